"""Several channels to few, as ITU-R BS.775 mixes them: L + 0.707 C + 0.707 Ls, without the low-frequency channel."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_HALF_POWER = math.sqrt(0.5)
_SHARES = {  # of a channel in left and right
    "L": (1.0, 0.0),
    "R": (0.0, 1.0),
    "C": (_HALF_POWER, _HALF_POWER),
    "LFE": (0.0, 0.0),
    "Ls": (_HALF_POWER, 0.0),
    "Rs": (0.0, _HALF_POWER),
    "Lb": (_HALF_POWER, 0.0),
    "Rb": (0.0, _HALF_POWER),
    "Cs": (0.5, 0.5),
}
_ORDERS = {
    2: "L R",
    3: "L R C",
    4: "L R Ls Rs",
    5: "L R C Ls Rs",
    6: "L R C LFE Ls Rs",
    7: "L R C LFE Cs Ls Rs",
    8: "L R C LFE Lb Rb Ls Rs",
}
_OGG_ORDERS = {
    **_ORDERS,
    3: "L C R",
    5: "L C R Ls Rs",
    6: "L C R Ls Rs LFE",
    7: "L C R Ls Rs Cs LFE",
    8: "L C R Ls Rs Lb Rb LFE",
}


def downmix(audio: Array, channels: int, format_name: str = "WAV") -> tuple[Array, float]:
    """Audio (n, channels) -> (n, fewer channels) and the gain, 1 or what keeps the mix below full scale.

    format_name: libsndfile's, for the order of the channels. One channel is the mean of left and right; numbers of
    channels that have no usual order are mixed equally.
    """
    given = audio.shape[1]
    order = (_OGG_ORDERS if format_name == "OGG" else _ORDERS).get(given)
    shares = np.full((given, channels), 1 / given)
    if order is not None and channels <= 2:
        stereo = np.array([_SHARES[name] for name in order.split()])
        shares = stereo if channels == 2 else stereo.mean(axis=1, keepdims=True)
    mixed = audio @ shares.astype(np.float32)
    gain = 1 / max(1.0, float(np.abs(mixed).max(initial=0.0)))
    return mixed * np.float32(gain), gain
