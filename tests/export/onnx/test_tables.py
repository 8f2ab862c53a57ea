"""The text encoder's table for hosts whose engine has no bf16."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from sa3_edge import RequestError
from sa3_edge.manifest import Manifest
from sa3_export.checkpoints.published import Checkpoint
from sa3_export.graphs import GRAPHS
from sa3_export.onnx.artifact import open_session
from sa3_export.onnx.tables import widen_tables
from sa3_export.onnx.trace import save_onnx, trace_onnx
from sa3_export.targets import TARGETS, target_of
from tests.conftest import RunCli


def run(model: ir.Model, path: Path, ids: list[int]) -> NDArray[np.float32]:
    save_onnx(model, path, {})
    (hidden,) = open_session(path, "fp32").run(None, {"input_ids": np.array([ids], np.int64)})
    array: NDArray[np.float32] = hidden
    return array


def table_of(model: ir.Model) -> ir.Value:
    (table,) = (
        value
        for value in model.graph.initializers.values()
        if any(use.op_type == "Gather" for use in value.consumers())
    )
    return table


@pytest.fixture(scope="module")
def traced(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traced") / "text_encoder.onnx"
    save_onnx(trace_onnx(GRAPHS["text_encoder"](Checkpoint(tiny_checkpoint)))[0], path, {})
    return path


def with_row(path: Path, row: int, value: float | None) -> ir.Model:
    """The graph with the same value all along a row of its table."""
    model = ir.load(path)
    table = table_of(model)
    assert table.const_value is not None
    assert table.dtype == ir.DataType.BFLOAT16
    bf16 = table.const_value.numpy()
    values = bf16.astype(np.float32)
    if value is not None:
        values[row] = value
    table.const_value = ir.tensor(values.astype(bf16.dtype), name=table.name)
    return model


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, ir.DataType.FLOAT16),
        (500.0, ir.DataType.FLOAT16),
        (3.0e30, ir.DataType.FLOAT),  # so large that the other rows are lost in fp16
        (2.0**-100, ir.DataType.FLOAT),
    ],
)
def test_a_widened_table_gives_the_same_bits(
    traced: Path, tmp_path: Path, value: float | None, stored: ir.DataType
) -> None:
    ids = [1, 7, 200, 3]
    expected = run(with_row(traced, 7, value), tmp_path / "bf16.onnx", ids)
    model = with_row(traced, 7, value)
    widen_tables(model)
    assert table_of(model).dtype == stored
    assert not any(each.dtype == ir.DataType.BFLOAT16 for each in model.graph.initializers.values())
    assert np.array_equal(run(model, tmp_path / "wide.onnx", ids), expected)


def test_a_bundle_for_the_web_has_no_bf16(tiny_checkpoint: Path, tmp_path: Path, run_cli: RunCli) -> None:
    code, out, err = run_cli("export", tiny_checkpoint, "--out", tmp_path / "web", "--target", "web", "--json")
    assert code == 0, err
    assert '"target": "web"' in out
    assert '"fits_target": true' in out
    assert '"placed": "on any static web server' in out
    for path in sorted((tmp_path / "web").glob("*.onnx")):
        values = ir.load(path).graph.initializers.values()
        assert not any(value.dtype == ir.DataType.BFLOAT16 for value in values), path.name


def test_an_unknown_target_is_refused_by_the_names_of_the_others(run_cli: RunCli, tmp_path: Path) -> None:
    code, _, err = run_cli("export", "--synthetic", "tiny", "--out", tmp_path / "b", "--target", "toaster")
    assert code == 2
    assert "unknown target 'toaster'; choose desktop, web, android" in err
    with pytest.raises(RequestError):
        target_of("toaster")
    assert TARGETS["android"].most_bytes == 1_500_000_000


def test_the_default_bundle_is_as_before(manifest: Manifest, tiny_bundle: Path) -> None:
    values = ir.load(tiny_bundle / "text_encoder.onnx").graph.initializers.values()
    assert any(value.dtype == ir.DataType.BFLOAT16 for value in values)
