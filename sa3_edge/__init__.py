"""Stable Audio 3 small on your own device.

from sa3_edge import GenerationRequest, Pipeline

made = Pipeline.load("bundle").generate(GenerationRequest("lofi piano", seconds=90, seed=42))
made.audio  # (2, N) float32 at made.sample_rate
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sa3_edge.audio.recording import AudioSource
    from sa3_edge.bundle import Bundle
    from sa3_edge.clips.options import ClipOptions, FileOptions
    from sa3_edge.clips.render import Clip, render
    from sa3_edge.errors import (
        AdapterError,
        BundleError,
        CancelledError,
        DownloadError,
        EngineError,
        MemoryLimitError,
        RequestError,
        Sa3Error,
    )
    from sa3_edge.generation.made import Generation, Stream
    from sa3_edge.generation.pipeline import Pipeline
    from sa3_edge.generation.request import Continuation, GenerationRequest, Inpainting, Region, Variation
    from sa3_edge.models.catalog import installed_models

__all__ = [
    "AdapterError",
    "AudioSource",
    "Bundle",
    "BundleError",
    "CancelledError",
    "Clip",
    "ClipOptions",
    "Continuation",
    "DownloadError",
    "EngineError",
    "FileOptions",
    "Generation",
    "GenerationRequest",
    "Inpainting",
    "MemoryLimitError",
    "Pipeline",
    "Region",
    "RequestError",
    "Sa3Error",
    "Stream",
    "Variation",
    "__version__",
    "installed_models",
    "render",
]

# Loaded when asked for: `sa3-edge --help` should not wait for NumPy.
_HOMES = {
    "Bundle": "sa3_edge.bundle",
    **dict.fromkeys(("ClipOptions", "FileOptions"), "sa3_edge.clips.options"),
    **dict.fromkeys(("Clip", "render"), "sa3_edge.clips.render"),
    **dict.fromkeys(
        (
            "AdapterError",
            "BundleError",
            "CancelledError",
            "DownloadError",
            "EngineError",
            "MemoryLimitError",
            "RequestError",
            "Sa3Error",
        ),
        "sa3_edge.errors",
    ),
    "AudioSource": "sa3_edge.audio.recording",
    **dict.fromkeys(("Generation", "Stream"), "sa3_edge.generation.made"),
    "installed_models": "sa3_edge.models.catalog",
    "Pipeline": "sa3_edge.generation.pipeline",
    **dict.fromkeys(
        ("Continuation", "GenerationRequest", "Inpainting", "Region", "Variation"), "sa3_edge.generation.request"
    ),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # a quarter of the time that `--help` takes

        globals()[name] = version("sa3-edge")  # read once: every clip's record says it
        return globals()[name]
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sa3_edge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
