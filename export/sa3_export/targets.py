"""Where a bundle is to run: formats, precision and types that the host there loads, and what its store takes."""

from dataclasses import dataclass

from sa3_export.errors import ExportRequestError
from sa3_export.precision import DEFAULT_PRECISION


@dataclass(frozen=True)
class Target:
    """A platform.

    formats, precision: what is exported where nothing else is asked for
    float_tables: whether the engine there has no bf16, so that the text encoder's table is stored in another type
    most_bytes: what one delivery of its store takes
    placed: where the bundle's folder may lie for an app to find it; "" where that is any folder
    """

    formats: tuple[str, ...]
    precision: str
    float_tables: bool
    most_bytes: int | None = None
    placed: str = ""


TARGETS = {
    "desktop": Target(("onnx",), DEFAULT_PRECISION, float_tables=False),
    # int8 where it passes its bar: a 32-bit WebAssembly memory is full at 4 GB, and downloads are waited for.
    "web": Target(
        ("onnx",),
        "compact",
        float_tables=True,
        placed="on any static web server, the page's own or one that sends Access-Control-Allow-Origin",
    ),
    # One AI pack of Google Play is 1.5 GB at most.
    "android": Target(
        ("onnx",),
        "compact",
        float_tables=True,
        most_bytes=1_500_000_000,
        placed="in an on-demand or fast-follow asset pack, or on a server; not in the APK's assets",
    ),
}


def target_of(name: str) -> Target:
    """Raises ExportRequestError for an unknown one."""
    if name not in TARGETS:
        raise ExportRequestError(f"unknown target {name!r}; choose {', '.join(TARGETS)}")
    return TARGETS[name]
