"""Playing a clip on the default output device. Needs the extra `play`."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sa3_edge.errors import Remedy, Sa3Error

Player = Callable[[NDArray[np.float32], int], None]


def open_player() -> Player:
    """A function that plays audio (channels, N) at a rate and returns when it has ended.

    Opened before anything is computed. Raises Sa3Error if the library or a device is missing.
    """
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

    def play(audio: NDArray[np.float32], rate: int) -> None:
        sounddevice.play(np.clip(audio.T, -1, 1), rate)
        sounddevice.wait()

    return play
