"""`pytest benchmarks/ --device cpu|x86|m4`: options, fixtures, and what is done with the figures at the end."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import bundles
from benchmarks.devices import DEVICES, describe_machine, why_not
from benchmarks.measure import Results
from benchmarks.torch_reference import TorchModels
from sa3_edge.bundle import Bundle
from sa3_edge.machine import cores

_RESULTS = Path(__file__).parent / "results"
_TOLERANCE = 0.15  # of a ratio to PyTorch; two runs on one idle machine differ by a few per cent
_results = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sa3-edge benchmarks")
    group.addoption("--device", choices=list(DEVICES), default="cpu", help="the kind of machine to measure as")
    group.addoption("--seconds", default="5,30,90,120", help="clip lengths to measure")
    group.addoption("--engines", help="engines instead of the device's")
    group.addoption("--precisions", help="precisions instead of the device's")
    group.addoption("--rounds", type=int, default=3, help="timed runs of each stage; a whole command is one")
    group.addoption("--threads", type=int, default=cores(), help="threads of every engine, PyTorch included")
    group.addoption("--size", choices=["small", "tiny"], default="small", help="synthetic model; tiny tries the code")
    group.addoption("--checkpoint", type=Path, help="a checkpoint's folder instead of a synthetic one")
    group.addoption("--bundles", default="", help="bundles that exist already: fp32=FOLDER,int8=FOLDER")
    group.addoption("--save", type=Path, help="JSON file of the figures, by default in benchmarks/results")
    group.addoption("--compare", type=Path, help="JSON file of another run; a worse ratio to PyTorch fails")


def _list(config: pytest.Config, option: str, default: tuple[str, ...]) -> list[str]:
    chosen = config.getoption(option)
    return chosen.split(",") if chosen else list(default)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    device = DEVICES[metafunc.config.getoption("--device")]
    if "seconds" in metafunc.fixturenames:
        metafunc.parametrize("seconds", [float(s) for s in metafunc.config.getoption("--seconds").split(",")])
    if "precision" in metafunc.fixturenames:
        measured = device.commands if metafunc.function.__name__ == "test_command" else device.stages
        metafunc.parametrize("precision", _list(metafunc.config, "--precisions", measured))
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", _list(metafunc.config, "--engines", device.engines))


def _stage(item: pytest.Item) -> str:
    """`test_step_pytorch[reference-5.0]` -> step."""
    return item.name.partition("[")[0].split("_")[1]


def _seconds(item: pytest.Item) -> float:
    return float(item.callspec.params.get("seconds", 0)) if hasattr(item, "callspec") else 0.0


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # A conversion takes minutes and is no figure of a device: it runs when it is named.
    named = any(collection_path.name in argument for argument in config.args)
    return True if collection_path.name == "test_coreml_conversion.py" and not named else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A machine's speed drifts: what the table sets side by side, one stage at one length, is measured in a row.
    stages = list(dict.fromkeys(_stage(item) for item in items))
    items.sort(key=lambda item: (stages.index(_stage(item)), _seconds(item)))
    reason = why_not(config.getoption("--device"))
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if why_not(session.config.getoption("--device")) and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED  # nothing was measured: not a success
    results = session.config.stash.get(_results, None)
    compare = session.config.getoption("--compare")
    if results and compare and results.regressions(Results.load(compare), _TOLERANCE):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reason = why_not(config.getoption("--device"))
    if reason:
        terminalreporter.write_line(reason, red=True, bold=True)
    results = config.stash.get(_results, None)
    if results is None or not results.rows:
        return
    for row in results.rows:
        ratio = results.ratio(row)
        said = f"  {ratio:.2f}x PyTorch" if ratio is not None and row.engine != "pytorch-reference" else ""
        more = "".join(f"  {name} {value:.4g}" for name, value in row.more.items())
        spread = "one run" if row.spread_s is None else f"+-{row.spread_s / 2:.3f}"
        terminalreporter.write_line(f"{row.key:45} {row.median_s:9.3f} s  {spread:7}{said}{more}")
    terminalreporter.write_line(f"figures are in {results.path}")
    compare = config.getoption("--compare")
    if compare:
        worse = results.regressions(Results.load(compare), _TOLERANCE)
        for line in worse:
            terminalreporter.write_line(f"SLOWER: {line}", red=True)
        if not worse:
            terminalreporter.write_line(f"no ratio is worse than in {compare}")


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--rounds"))


@pytest.fixture(scope="session")
def threads(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--threads"))


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, threads: int) -> Results:
    about = {"device": request.config.getoption("--device"), "machine": describe_machine(), "threads": threads}
    made = Results(about)
    made.path = request.config.getoption("--save") or _RESULTS / f"{about['device']}-{made.about['date']}.json"
    request.config.stash[_results] = made
    return made


@pytest.fixture(scope="session")
def checkpoint(request: pytest.FixtureRequest) -> Path:
    given: Path | None = request.config.getoption("--checkpoint")
    return given or bundles.checkpoint(request.config.getoption("--size"))


@pytest.fixture
def bundle(request: pytest.FixtureRequest, checkpoint: Path, precision: str, results: Results) -> Bundle:
    formats = DEVICES[request.config.getoption("--device")].formats
    given = dict(pair.split("=", 1) for pair in request.config.getoption("--bundles").split(",") if pair)
    path = given.get(precision) or bundles.bundle(
        checkpoint, precision, formats, synthetic=request.config.getoption("--checkpoint") is None
    )
    loaded = Bundle.load(path)
    results.about.setdefault("bundles", {})[precision] = {"id": loaded.id, "model": loaded.manifest.model.name}
    return loaded


@pytest.fixture(scope="session")
def torch_models(checkpoint: Path, threads: int) -> TorchModels:
    torch.set_num_threads(threads)
    return TorchModels(checkpoint)
