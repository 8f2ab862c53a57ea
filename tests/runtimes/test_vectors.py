"""The vectors for hosts in other languages are what this host computes now."""

import json
from pathlib import Path

import numpy as np
import pytest

from bundle_vectors import write_bundle
from make_vectors import all_vectors, out_of_date
from run_vectors import input_array, keep_bundles
from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, create_engine
from sa3_edge.models.catalog import DEMO
from tests.conftest import RunCli
from vector_format import REPOSITORY, VECTORS, Made, npy_file, read_npy


@pytest.fixture(scope="module")
def bundles() -> Path:
    """Those of the hosts' tests, which find them current afterwards."""
    folder = REPOSITORY / "build/conformance"
    keep_bundles(folder)
    return folder


@pytest.fixture(scope="module")
def made(bundles: Path) -> Made:
    return all_vectors(bundles)


def test_the_committed_vectors_are_current(made: Made) -> None:
    stale = out_of_date(made, VECTORS)
    assert stale == [], "run python runtimes/conformance/make_vectors.py"


def test_a_vector_that_differs_is_named(tmp_path: Path) -> None:
    near, far = np.ones(1000, np.float32), np.ones(1000, np.float32)
    near[0], far[0] = 1 + 1e-4, 1.1
    files = {"a.json": b"{}", "near.npy": npy_file(np.ones(1000)), "far.npy": npy_file(np.ones(1000))}
    for name, data in {"a.json": b"{ }", "near.npy": npy_file(near), "far.npy": npy_file(far), "old.json": b""}.items():
        (tmp_path / name).write_bytes(data)
    assert out_of_date({**files, "new.json": b"{}"}, tmp_path) == ["a.json", "far.npy", "new.json", "old.json"]


def test_one_int8_step_is_near_the_fp32_one(bundles: Path) -> None:
    content = json.loads((VECTORS / "graphs.json").read_text(encoding="ascii"))
    (case,) = (case for case in content["cases"] if case["bundle"] == "tiny-int8")
    session = create_engine("onnxruntime", EngineOptions()).load(Bundle.load(bundles / "tiny-int8"), case["graph"])
    outputs = session.run({tensor["name"]: input_array(tensor) for tensor in case["inputs"]})
    for kept in case["outputs"]:
        expected = read_npy((VECTORS / kept["values"]).read_bytes())
        error = outputs[kept["name"]].ravel()[:: kept["stride"]] - expected
        snr = 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(error))
        assert content["int8_db"] <= snr < 80


def test_commands_are_refused_as_hosts_must(tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = json.loads((VECTORS / "requests.json").read_text(encoding="ascii"))["commands"]
    for name, text in commands["files"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for case in commands["refused"]:
        code, out, err = run_cli(*(DEMO if word == "MODEL" else word for word in case["arguments"]))
        assert (code, out) == (2, ""), case
        assert case["says"] in err
    assert {path.name for path in tmp_path.iterdir()} == set(commands["files"])


def test_the_bundle_of_a_case_is_what_the_file_says(tmp_path: Path) -> None:
    content = json.loads((VECTORS / "bundles.json").read_text(encoding="ascii"))
    good = next(case for case in content["cases"] if case["error"] is None)
    write_bundle(tmp_path / "good", good)
    assert {path.name for path in (tmp_path / "good").iterdir()} == {*content["files"], "manifest.json"}
