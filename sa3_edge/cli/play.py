"""Playing clips on the default output device while they are decoded. Needs the extra `play`."""

from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.errors import Remedy, Sa3Error


class Player:
    """Plays pieces of audio (channels, n), one after another, while the next ones are made."""

    def __init__(self, sounddevice: Any):
        self._library = sounddevice
        self._pieces: SimpleQueue[NDArray[np.float32] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._failed: Exception | None = None

    def __call__(self, audio: NDArray[np.float32], rate: int) -> None:
        """Play a piece after those before; returns at once. The first begins at once."""
        if self._thread is None:
            self._thread = Thread(target=self._play, args=(audio.shape[0], rate), daemon=True)
            self._thread.start()
        self._pieces.put(np.ascontiguousarray(np.clip(audio, -1, 1).T))

    def finish(self) -> None:
        """Return when all has been heard. Raises Sa3Error if the device failed."""
        if self._thread is not None:
            self._pieces.put(None)
            self._thread.join()
            self._thread = None
        if self._failed is not None:
            raise Sa3Error(f"the clip cannot be played: {self._failed}") from self._failed

    def _play(self, channels: int, rate: int) -> None:
        try:
            # Leaving the block waits for what is buffered.
            with self._library.OutputStream(samplerate=rate, channels=channels, dtype="float32") as device:
                while (piece := self._pieces.get()) is not None:
                    device.write(piece)
        except (self._library.PortAudioError, ValueError) as error:
            self._failed = error


def open_player() -> Player:
    """Opened before anything is computed. Raises Sa3Error if the library or a device is missing."""
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise Sa3Error(
            "--play needs sounddevice, which is not installed", remedy=Remedy("install extra", ("play",))
        ) from error
    except OSError as error:
        raise Sa3Error(f"--play needs the PortAudio library: {error}") from error
    try:
        sounddevice.query_devices(kind="output")
    except (sounddevice.PortAudioError, ValueError) as error:
        raise Sa3Error(f"--play finds no output device: {error}") from error

    return Player(sounddevice)
