"""The formats that a bundle's graphs are exported to, and one word for the precision of all of them."""

from collections.abc import Sequence

from sa3_export.coreml.packaging import PRECISIONS, CoreMLOptions
from sa3_export.errors import ExportRequestError
from sa3_export.precision import DEFAULT_PRECISION, PRESETS

# In the manifest's made_with: what the figures of packages, and of int8 graphs, were measured by.
COREML_PROOF, INT8_PROOF = "coreml proof", "int8 products"
FORMATS = ("onnx", "coreml")
_PRECISIONS: dict[str, Sequence[str]] = {"onnx": tuple(PRESETS), "coreml": PRECISIONS}


def check_formats(formats: Sequence[str]) -> None:
    """Raises ExportRequestError for an unknown format, or none."""
    for kind in formats:
        if kind not in FORMATS:
            raise ExportRequestError(f"unknown format {kind!r}; choose one or more of {', '.join(FORMATS)}")
    if not formats:
        raise ExportRequestError(f"name a format to export: {' or '.join(FORMATS)}")


def split_precision(text: str | None, formats: Sequence[str]) -> tuple[str, CoreMLOptions]:
    """What one `--precision` means for the ONNX graphs and for the Core ML packages.

    Each format takes it if it has it, and else keeps its own default; None is the defaults. Raises
    ExportRequestError if no format that is exported has it.
    """
    check_formats(formats)
    onnx, coreml = DEFAULT_PRECISION, CoreMLOptions()
    if text is None:
        return onnx, coreml
    preset = text.split(",")[0].strip()
    takers = [kind for kind in formats if preset in _PRECISIONS[kind]]
    if not takers:
        choices = "; ".join(f"{kind}: {', '.join(_PRECISIONS[kind])}" for kind in formats)
        raise ExportRequestError(f"unknown precision {preset!r}; choose for {choices}")
    if "onnx" in takers:
        onnx = text
    if "coreml" in takers:
        coreml = CoreMLOptions(preset)
    return onnx, coreml
