"""What a run may take: estimated before it begins, kept to by smaller tiles, or refused."""

from pathlib import Path

import numpy as np
import pytest

from sa3_edge import GenerationRequest, MemoryLimitError, Pipeline, RequestError, machine
from sa3_edge.bundle import Bundle
from sa3_edge.generation import memory
from sa3_edge.generation.memory import estimate, parse_memory, within
from sa3_edge.models.catalog import DEMO, resolve_model
from tests.conftest import RunCli

_MB = 10**6


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """With a process that has 80 MB, whatever this one has."""
    monkeypatch.setattr(memory, "resident_memory", lambda: 80 * _MB)
    return Bundle.load(resolve_model(DEMO))


@pytest.mark.parametrize(
    ("text", "size"), [("1.5GB", 1_500_000_000), ("800 mb", 800_000_000), ("1GiB", 1 << 30), ("2g", 2 * 10**9)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "1.5XB", "1e9", "9" * 50])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="max_memory"):
        parse_memory(text)


def test_the_estimate_grows_with_what_is_in_memory(demo: Bundle) -> None:
    tiles = demo.manifest.tiles.decoder

    def of(frames: int, recording: bool = False, keep_loaded: bool = False) -> int:
        return estimate(demo, frames, recording=recording, keep_loaded=keep_loaded, tiles=tiles).bytes

    assert 100 * _MB < of(54) < of(1292) < 250 * _MB
    assert of(1292) <= of(1292, recording=True) < of(1292, recording=True, keep_loaded=True)


def test_tiles_become_smaller_before_a_clip_is_refused(demo: Bundle) -> None:
    def tiles(limit: int) -> int:
        found = within(limit, demo, "onnxruntime", 388, recording=False, keep_loaded=False)
        assert (found.overlap, found.multiple) == (2, 2)
        return found.frames

    assert tiles(1000 * _MB) == demo.manifest.tiles.decoder.frames == 64
    assert tiles(160 * _MB) == 32
    assert tiles(135 * _MB) == 8
    with pytest.raises(MemoryLimitError, match=r"takes about 130 MB .* more than the 100 MB of `max_memory`; "):
        tiles(100 * _MB)
    with pytest.raises(RequestError, match="what openvino takes is not known"):
        within(1 << 40, demo, "openvino", 10, recording=False, keep_loaded=False)


def test_smaller_tiles_make_the_same_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_memory", lambda: 80 * _MB)
    request = GenerationRequest("x", seconds=12, seed=1, steps=1, limiter=False)
    pieces = list(Pipeline.load(DEMO, max_memory="130MB").stream(request))
    assert len(pieces) > 10  # not 3, as with the bundle's own tiles
    unlimited = Pipeline.load(DEMO).generate(request).audio
    error = np.abs(np.concatenate(pieces, axis=1) - unlimited).max()
    assert error < 1e-5 * np.abs(unlimited).max()  # 100 dB; on most processors none at all


def test_a_clip_that_takes_too_much_is_refused_in_one_line(run_cli: RunCli, tmp_path: Path) -> None:
    code, out, err = run_cli("generate", "x", "-m", DEMO, "-o", tmp_path / "x.wav", "--max-memory", "20MB", "-q")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "more than the 20 MB of --max-memory" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("groups", "files", "cores", "memory"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000", "a/memory.max": "1000000"}, 2, 1_000_000),
        ("0::/host/path\n", {"cpu.max": "50000 100000", "memory.max": "2000000"}, 1, 2_000_000),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        (
            "4:cpu,cpuacct:/x\n3:memory:/x\n",
            {
                "cpu/x/cpu.cfs_quota_us": "100000",
                "cpu/x/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "3000000",
            },
            1,
            3_000_000,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
    ],
)
def test_a_container_has_what_its_control_groups_leave_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    groups: str,
    files: dict[str, str],
    cores: int | None,
    memory: int | None,
) -> None:
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    whole = machine.memory()
    (tmp_path / "own").write_text(groups)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text + "\n")
    assert machine.cores() == (cores or 8)
    assert machine.threads_to_use() == cores
    assert machine.memory() == (memory or whole)
