"""Integer products: does this processor's ONNX Runtime compute them exactly, and how to make it.

On x86 without VNNI (AMD before Zen 4, Intel before Cascade Lake and Ice Lake) its kernels for unsigned by signed bytes
add pairs of products in 16 bits, which saturate: 4 x 255 x 127 comes out as 65534, and a model loses up to 15 dB.
`session.x64quantprecision` converts weights to unsigned at load, and computes exactly in 1.2 to 1.3 times the time;
loading a denoiser of the published size takes about 3 s longer. Where products are exact anyway, newer versions may
only lose time by it. So it is asked of the runtime itself, by a product of extremes, and never guessed from names.
"""

from functools import cache

import numpy as np

from sa3_edge.engines.libraries import load_onnxruntime
from sa3_edge.machine import processor

_EXACT = "session.x64quantprecision"
_K, _N = 4, 16
_EXTREMES = (255, 127)
# An ONNX model: y = MatMulInteger(a, w), a (2, 4) uint8, w (4, 16) int8 all 127; opset 10. A test makes it with onnx.
_PROBE = (
    b'\x08\x08\x12\x00:\x94\x01\n\x18\n\x01a\n\x01w\x12\x01y"\rMatMulInteger\x12\x01p*K\x08\x04\x08\x10\x10\x03B\x01wJ@'
    + b"\x7f" * (_K * _N)
    + b"Z\x13\n\x01a\x12\x0e\n\x0c\x08\x02\x12\x08\n\x02\x08\x02\n\x02\x08\x04"
    + b"b\x13\n\x01y\x12\x0e\n\x0c\x08\x06\x12\x08\n\x02\x08\x02\n\x02\x08\x10B\x04\n\x00\x10\n"
)


@cache
def products_saturate() -> bool:
    """Whether integer products saturate here unless exact ones are asked for. Some milliseconds, once a process."""
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(_PROBE, options, providers=["CPUExecutionProvider"])
    a, w = _EXTREMES
    (products,) = session.run(None, {"a": np.full((2, _K), a, np.uint8)})
    return bool((products != _K * a * w).any())


def settings(precision: str) -> dict[str, str]:
    """Entries of the session's configuration by which a graph of this precision is computed exactly."""
    return {_EXACT: "1"} if precision == "int8" and products_saturate() else {}


def describe_products() -> str:
    """How integer products are computed here, and on what."""
    how = "exact, by unsigned weights: its own saturate" if products_saturate() else "exact, its own"
    return f"{how} ({processor()})"
