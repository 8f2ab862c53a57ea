"""How vectors are written: exact in every JSON reader, small in a repository."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.generation.noise import NoiseStream

Array = NDArray[Any]
Made = dict[str, bytes]  # files by their path in the folder of vectors
ENDS = 4  # values of a long array that are written out at either end

REPOSITORY = Path(__file__).resolve().parents[2]
VECTORS = Path(__file__).resolve().parent / "vectors"


def bits(values: Array) -> list[str]:
    """fp32 values as 8 hex digits each: no reader's decimal numbers come between."""
    return [f"{value:08x}" for value in np.ascontiguousarray(values, "<f4").ravel().view("<u4").tolist()]


def digest(values: Array) -> dict[str, Any]:
    """A long array, fp32 or 32-bit integers: SHA-256 of its little-endian bytes, and its ends for who must look."""
    flat = np.ascontiguousarray(values).ravel()
    if flat.dtype.kind == "f":
        flat = flat.astype("<f4")
        ends: list[Any] = [bits(flat[:ENDS]), bits(flat[-ENDS:])]
    else:
        flat = flat.astype("<i4" if flat.dtype.kind == "i" else "<u4")
        ends = [flat[:ENDS].tolist(), flat[-ENDS:].tolist()]
    sha256 = hashlib.sha256(flat.tobytes()).hexdigest()
    return {"count": flat.size, "head": ends[0], "tail": ends[1], "sha256": sha256}


def signal(seed: int, shape: tuple[int, ...], gain: float = 1.0) -> NDArray[np.float32]:
    """A tensor that every host can make: the contract's noise times a gain, in fp32."""
    return NoiseStream(seed).normal(shape) * np.float32(gain)


def json_file(value: object) -> bytes:
    """ASCII, so that no reader's encoding matters; a line a case, so that a change can be seen."""
    assert isinstance(value, Mapping)
    lines = []
    for key, content in value.items():
        if isinstance(content, list) and content and isinstance(content[0], Mapping):
            cases = ",\n".join(f"  {_compact(case)}" for case in content)
            lines.append(f" {_compact(key)}: [\n{cases}\n ]")
        else:
            lines.append(f" {_compact(key)}: {_compact(content)}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")


def npy_file(values: Array) -> bytes:
    """NumPy's own format, little-endian fp32, C order, version 1."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, "<f4"), allow_pickle=False)
    return buffer.getvalue()


def read_npy(data: bytes) -> NDArray[np.float32]:
    """The array in a file that `npy_file` made."""
    array: NDArray[np.float32] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
