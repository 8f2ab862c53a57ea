"""Integrated loudness as ITU-R BS.1770 measures it, by pyloudnorm (extra `measure`)."""

import warnings
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.errors import Remedy, RequestError, Sa3Error

Array = NDArray[np.float32]
SHORTEST_SECONDS = 0.4  # one block of the gate


def load_meter() -> Any:
    """The library. Raises Sa3Error if it is not installed; asked before work that would be lost."""
    try:
        return import_module("pyloudnorm")
    except ModuleNotFoundError as error:
        raise Sa3Error(
            "measuring loudness needs pyloudnorm, which is not installed", remedy=Remedy("install extra", ("measure",))
        ) from error


def integrated_loudness(audio: Array, rate: int) -> float:
    """LUFS of audio (channels, N); -inf for silence. Raises RequestError for less than 0.4 s."""
    if audio.shape[-1] < SHORTEST_SECONDS * rate:
        raise RequestError(f"the loudness of {audio.shape[-1] / rate:.2f} s cannot be measured, only of 0.4 s and more")
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("ignore")  # of levels beyond full scale, which true peaks tell
        return float(load_meter().Meter(rate).integrated_loudness(audio.T.astype(np.float64)))
