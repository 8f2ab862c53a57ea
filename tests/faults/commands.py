"""What is put to the test: five commands, as processes, in folders of their own, and what may never be left of them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from sa3_edge.bundle import Bundle
from sa3_edge.errors import BundleError
from sa3_edge.models.catalog import PUBLISHED
from tests.stand_ins.hub import StandInHub

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "sa3_edge" / "demo"
MODULE = (sys.executable, "-m", "sa3_edge")
_INTERRUPTED = 130  # the exit code
_DEADLINE = 300.0  # seconds after which a command hangs
# What is made under a name that is not the final one; `.part` files of a download are kept on purpose.
_UNFINISHED = re.compile(r"\.sa3-edge-.*|\.staging-.*|\.sa3-checkpoint-.*|\..*\.link|verified\..*\.tmp")


@dataclass(frozen=True)
class Place:
    """A folder where a command works: `here` is for what it makes, `home` is the user's."""

    folder: Path

    @property
    def here(self) -> Path:
        return self.folder / "here"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def unfinished(self) -> list[Path]:
        """What lies about under no final name."""
        return [path for path in self.folder.rglob("*") if _UNFINISHED.fullmatch(path.name)]

    def make(self) -> None:
        """The empty folders."""
        for each in (self.here, self.home, self.folder / "tmp"):
            each.mkdir(exist_ok=True)

    def environment(self) -> dict[str, str]:
        """Without the folders and settings of whoever runs this."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "SA3_EDGE_", "HF_"))}
        path = os.pathsep.join((str(ROOT), str(ROOT / "export")))
        return {**kept, "HOME": str(self.home), "TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": path}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, below 0 by a signal, and what it said on standard error."""

    code: int
    said: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    def faults(self) -> list[str]:
        """What is wrong with how it ended: anything but success, or words and the code of an error."""
        if self.code == 0:
            return []
        wrong = [
            f"says {word!r}" for word in ("Traceback", "a fault of sa3-edge", "Exception ignored") if word in self.said
        ]
        if self.code not in (1, 2):
            wrong.append(f"exit code {self.code}")
        if not wrong and "error: " not in self.said:
            wrong.append("says nothing")
        return wrong


@dataclass(frozen=True)
class Command:
    """A command line, and what must hold of its files at every moment.

    prepare: makes what it starts from, where it is not there; partial: what bears a final name and is not whole
    writes: the folder that it writes to; printing: further arguments with which it prints its result
    then: drives a process that waits for others, such as a server; its words are added to those of the process
    """

    name: str
    arguments: Callable[[Place], list[str]]
    partial: Callable[[Place], list[str]]
    prepare: Callable[[Place], None] = lambda place: None
    then: Callable[[str], list[str]] | None = None
    writes: Callable[[Place], Path] = lambda place: place.here
    printing: tuple[str, ...] | None = ("--json",)
    variables: dict[str, str] = field(default_factory=dict)

    def start(self, place: Place, *more: str, **options: Any) -> "Running":
        """Start it; `more`: further arguments, `options` as of Popen."""
        environment = {**place.environment(), **self.variables}
        options = {"stdout": subprocess.DEVNULL, "cwd": place.folder, **options}
        process = subprocess.Popen(
            [*MODULE, *self.arguments(place), *more], env=environment, stderr=subprocess.PIPE, text=True, **options
        )
        return Running(process, self.then)

    def run(self, place: Place, *more: str, **options: Any) -> Ended:
        """Start it and wait until it has ended."""
        return self.start(place, *more, **options).ended()


class Running:
    """A process whose words are read while it runs."""

    def __init__(self, process: "subprocess.Popen[str]", then: Callable[[str], list[str]] | None):
        self.process, self._said = process, list[str]()
        self._first, self._served = threading.Event(), False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._driver = threading.Thread(target=self._drive, args=(then,), daemon=True) if then else None
        if self._driver:
            self._driver.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.append(line)
            self._first.set()
        self._first.set()

    def _drive(self, then: Callable[[str], list[str]]) -> None:
        self._first.wait(_DEADLINE)
        with suppress(OSError, ValueError):  # the server was killed, or never served
            if self._said and self._said[0].startswith("sa3-edge listens on "):
                self._said += then(self._said[0].split()[3])
                self._served = True
                self.process.send_signal(signal.SIGTERM)

    def ended(self, after: float | None = None, number: int = signal.SIGKILL) -> Ended:
        """Wait; after some seconds send it a signal if it still runs."""
        if after is not None:
            try:
                self.process.wait(after)
            except subprocess.TimeoutExpired:
                self.process.send_signal(number)
        try:
            code = self.process.wait(_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = -1000
        for thread in (self._reader, self._driver):
            if thread:
                thread.join(_DEADLINE)
        said = "".join(self._said)
        if self._served:  # and was then told to end
            code = code if code != _INTERRUPTED else int("error: " in said)
        return Ended(code, said)


def _clips(folder: Path) -> list[str]:
    """Clips that are not whole, by name."""
    wrong = []
    for path in folder.glob("[!.]*"):
        if path.suffix in (".wav", ".flac"):
            try:
                whole = soundfile.info(path).frames == 44_100
            except soundfile.SoundFileError:
                whole = False
            wrong += [] if whole else [path.name]
    return wrong


def _bundle(folder: Path) -> list[str]:
    """A model must be there: the old one or the new one."""
    try:
        Bundle.load(folder, trust_cache=False)
    except BundleError as error:
        return [str(error)]
    return []


def _generate(place: Place) -> list[str]:
    return [
        "generate",
        "x",
        "--seconds",
        "1",
        "-m",
        "demo",
        "-o",
        str(place.here / "x.wav"),
        "--sidecar",
        "--overwrite",
    ]


def _sidecar(place: Place) -> list[str]:
    try:
        json.loads((place.here / "x.wav.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError:
        return ["x.wav.json"]
    return []


def _export(place: Place) -> list[str]:
    return ["export", "--synthetic", "tiny", "--out", str(place.here / "model"), "--overwrite"]


def _model(folder: Path) -> None:
    """A model that is to be replaced, unless there is one."""
    if not folder.exists():
        shutil.copytree(DEMO, folder)


def _data(place: Place) -> Path:
    """Where `pull` keeps what it makes, on Linux."""
    return place.home / ".local" / "share" / "sa3-edge"


def _page(place: Place) -> list[str]:
    page = place.here / "index.html"
    return [] if not page.exists() or page.read_text(encoding="utf-8").rstrip().endswith("</html>") else [page.name]


def _takes(place: Place) -> None:
    for name in ("a.wav", "b.flac"):
        soundfile.write(place.here / name, [[0.1, -0.1]] * 44_100, 44_100)


def _history(place: Place) -> list[str]:
    """Lines but the last, which a crash may cut, are whole."""
    path = place.here / "history.jsonl"
    if not path.exists():
        return []
    try:
        for line in path.read_text(encoding="utf-8").splitlines()[:-1]:
            json.loads(line)
    except ValueError:
        return [path.name]
    return []


def _order(url: str) -> list[str]:
    """Have a server make a clip -> what it says if it cannot."""
    body = json.dumps({"prompt": "x", "seconds": 1}).encode()
    headers = {"content-type": "application/json"}
    try:
        made = _asked(urllib.request.Request(f"{url}v1/generations", body, headers))  # noqa: S310
        while made["state"] in ("queued", "running"):
            time.sleep(0.02)
            made = _asked(f"{url}v1/generations/{made['id']}")
    except urllib.error.HTTPError as error:
        return [f"error: {json.loads(error.read())['error']['message']}\n"]
    return [] if made["state"] == "done" else [f"error: {made['error']}\n"]


def _asked(request: "str | urllib.request.Request") -> dict[str, Any]:
    with urllib.request.urlopen(request, timeout=_DEADLINE) as answer:  # noqa: S310  our own server
        said: dict[str, Any] = json.load(answer)
        return said


GENERATE = Command("generate", _generate, lambda place: _clips(place.here) + _sidecar(place))
EXPORT = Command(
    "export --overwrite",
    _export,
    lambda place: _bundle(place.here / "model"),
    lambda place: _model(place.here / "model"),
)
PAGE = Command("page", lambda place: ["page", str(place.here)], _page, _takes)
SERVE = Command(
    "serve",
    lambda place: ["serve", "--model", "demo", "--port", "0", "--folder", str(place.here)],
    lambda place: _clips(place.here) + _history(place),
    then=_order,
    printing=None,
)
_PULLED = "small-music"


@contextmanager
def pull() -> Iterator[Command]:
    """`pull` from a hub on this machine, which serves while the block runs."""
    with StandInHub.of_folder(PUBLISHED[_PULLED], ROOT / "tests" / "data" / "tiny").serving() as hub:
        yield Command(
            "pull --overwrite",
            lambda place: ["pull", _PULLED, "--source", "checkpoint", "--overwrite"],
            lambda place: _bundle(_data(place) / "models" / _PULLED),
            lambda place: _model(_data(place) / "models" / _PULLED),
            writes=_data,
            variables={"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "x"},
        )
