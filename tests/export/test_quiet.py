"""Libraries are silenced while they work for us, and speak as before when they are done."""

import logging
import warnings
from pathlib import Path

import pytest

import sa3_export.coreml.convert
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs import GRAPHS
from sa3_export.onnx.trace import trace_onnx
from sa3_export.quiet import quiet


def test_only_errors_are_heard_and_only_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("a.library")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with quiet("a.library"):
            warnings.warn("during", stacklevel=1)
            logger.warning("during")
            logger.error("an error")
        warnings.warn("after", stacklevel=1)
    logger.warning("after")
    assert [str(each.message) for each in heard] == ["after"]
    assert caplog.messages == ["an error", "after"]


def test_no_librarys_log_level_is_left_changed(tiny_checkpoint: Path) -> None:
    trace_onnx(GRAPHS["text_encoder"](Checkpoint(tiny_checkpoint)))
    assert sa3_export.coreml.convert
    assert [logging.getLogger(name).level for name in ("torch.onnx", "coremltools")] == [logging.NOTSET] * 2
