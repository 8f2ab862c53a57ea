"""What engines keep of a graph is found again for the same graph, and gone when it was not used for long."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from sa3_edge.bundle import Bundle
from sa3_edge.engines.cache import cache_entry
from sa3_edge.errors import EngineError
from sa3_edge.manifest import Artifact
from sa3_edge.models.catalog import DEMO, resolve_model

DAY = 24 * 3600


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sa3_edge.engines.cache.user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "sa3-edge" / "engines"


@pytest.fixture(scope="module")
def decoder() -> Artifact:
    return Bundle.load(resolve_model(DEMO)).artifact("decoder", "onnx")


def test_an_entry_is_for_one_graph_engine_and_version(cache: Path, decoder: Artifact) -> None:
    first = cache_entry("openvino", decoder, "1")
    assert first == cache_entry("openvino", decoder, "1")
    assert first.parent == cache / "openvino"
    graph, weights = decoder.files
    other = msgspec.structs.replace(decoder, files=[graph, msgspec.structs.replace(weights, sha256="0" * 64)])
    others = [
        cache_entry("openvino", decoder, "2"),
        cache_entry("openvino", other, "1"),
        cache_entry("coreml", decoder, "1"),
    ]
    assert len({first, *others}) == 4


def test_entries_unused_for_a_month_are_deleted_when_one_is_added(cache: Path, decoder: Artifact) -> None:
    old, used, recent = (cache_entry("openvino", decoder, name) for name in ("old", "used", "recent"))
    for entry, days in ((old, 31), (used, 31), (recent, 29)):
        (entry / "blob").write_bytes(b"compiled")
        os.utime(entry, (time.time() - days * DAY,) * 2)
    cache_entry("openvino", decoder, "used")
    assert old.exists()
    cache_entry("coreml", decoder, "new")
    assert [entry.exists() for entry in (old, used, recent)] == [False, True, True]


def test_a_folder_that_cannot_be_written_is_named(cache: Path, decoder: Artifact) -> None:
    cache.parent.mkdir()
    cache.write_text("a file is in the way")
    with pytest.raises(EngineError, match="engines cannot be written"):
        cache_entry("openvino", decoder)


def test_an_entry_that_another_start_has_just_deleted_is_made_again(
    cache: Path, decoder: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = cache_entry("openvino", decoder, "1")
    use = os.utime

    def too_late(path: Path, *times: object, **options: object) -> None:
        monkeypatch.undo()
        entry.rmdir()
        use(path)

    monkeypatch.setattr(os, "utime", too_late)
    monkeypatch.setattr("sa3_edge.engines.cache.user_cache_path", lambda name: cache.parents[1] / name)
    assert cache_entry("openvino", decoder, "1") == entry
    assert entry.is_dir()


def test_an_old_entry_that_another_start_deletes_first_is_ignored(
    cache: Path, decoder: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sa3_edge.engines.cache._entries", lambda: [cache / "openvino" / "gone"])
    assert cache_entry("openvino", decoder, "1").is_dir()
