"""A real server on a real port with the demo model, in a thread of the tests."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from sa3_edge.serve.server import bind, make_server
from sa3_edge.serve.service import Service
from sa3_edge.serve.settings import Settings

DEADLINE = 120.0  # seconds after which a test gives up; none is so slow
SLOW: dict[str, Any] = {"prompt": "slow", "seconds": 20, "steps": 9000}  # steps to cancel among
Wav = Callable[..., bytes]


@dataclass(frozen=True)
class Running:
    """A server that runs, and a client that speaks to it."""

    url: str
    client: httpx.Client
    service: Service
    settings: Settings

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def generate(self, **body: Any) -> dict[str, Any]:
        """Ask for a clip -> what is said of it."""
        answer = self.client.post("/v1/generations", json={"prompt": "lofi piano", "seconds": 1, **body})
        assert answer.status_code == 202, answer.text
        generation: dict[str, Any] = answer.json()
        return generation

    def ended(self, generation: dict[str, Any]) -> dict[str, Any]:
        """What is said of it when it has ended."""

        def now() -> dict[str, Any] | None:
            found: dict[str, Any] = self.client.get(f"/v1/generations/{generation['id']}").json()
            return found if found["state"] in ("done", "failed", "cancelled") else None

        found: dict[str, Any] = until(now)
        return found

    def made(self, **body: Any) -> dict[str, Any]:
        """Ask for a clip and wait for it."""
        generation = self.ended(self.generate(**body))
        assert generation["state"] == "done", generation
        return generation


def until(found: Callable[[], Any]) -> Any:
    """What `found` gives when it gives something."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it never came to be")


@contextmanager
def running(settings: Settings, **headers: str) -> Iterator[Running]:
    """A server of its own."""
    ready = threading.Event()
    server = make_server(settings, ready.set)
    with bind("127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        assert ready.wait(DEADLINE)
        with httpx.Client(base_url=url, headers=headers, timeout=DEADLINE) as client:
            yield Running(url, client, server.config.app.state.service, settings)  # type: ignore[union-attr]
        server.should_exit = True
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server that most tests share."""
    with running(Settings("demo", tmp_path_factory.mktemp("clips"))) as server:
        yield server


@pytest.fixture
def serve_with(tmp_path: Path) -> Callable[..., Any]:
    """A server with other settings: `with serve_with(token="x") as server`."""

    def make(**changes: Any) -> Any:
        headers = changes.pop("headers", {})
        return running(replace(Settings("demo", tmp_path / "clips"), **changes), **headers)

    return make


@pytest.fixture
def wav(tmp_path: Path) -> Wav:
    """Bytes of a WAV: a tone of some seconds."""
    import numpy as np
    import soundfile

    def make(seconds: float = 2.0, rate: int = 44_100, channels: int = 2) -> bytes:
        path = tmp_path / "tone.wav"
        times = np.arange(int(seconds * rate)) / rate
        tone = 0.3 * np.sin(2 * np.pi * 220 * times)
        soundfile.write(path, np.repeat(tone[:, None], channels, axis=1), rate, subtype="PCM_16")
        return path.read_bytes()

    return make
