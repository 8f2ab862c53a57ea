"""What is measured on which kind of machine, and what this machine is."""

import platform
from dataclasses import dataclass
from importlib import metadata

from sa3_edge.machine import cores, instruction_sets, processor


@dataclass(frozen=True)
class Device:
    """A `--device`: its engines, the precisions of which stages and whole commands are measured, the bundle's formats,
    and published times for 120 s of audio by engine, in seconds."""

    engines: tuple[str, ...]
    stages: tuple[str, ...]
    commands: tuple[str, ...]
    formats: tuple[str, ...]
    targets: dict[str, float]


_GRAPHS = ("fp32", "int8")  # each graph has one of these; "balanced" is a mixture of such graphs
_PRESETS = ("fp32", "balanced", "int8")
DEVICES = {
    "cpu": Device(("onnxruntime",), _GRAPHS, _PRESETS, ("onnx",), {}),
    "x86": Device(("onnxruntime", "openvino", "openvino-bf16"), _GRAPHS, _PRESETS, ("onnx",), {}),
    "m4": Device(
        ("onnxruntime", "coreml"),
        ("balanced", "int8"),  # in "balanced" the Core ML packages are fp16, as the Neural Engine needs them
        ("balanced", "int8"),
        ("onnx", "coreml"),
        # Published by the model's authors for an Apple M4 (README of Stability-AI/stable-audio-3).
        {"onnxruntime": 5.9, "coreml": 3.0},
    ),
}


def why_not(device: str) -> str | None:
    """Why this machine cannot stand for `device`; None if it can."""
    if device == "m4" and not processor().startswith("Apple M4"):
        return f"NOT MEASURED: --device m4 needs an Apple M4, this is {processor()}; its targets were not checked"
    if device == "x86" and platform.machine().lower() not in {"x86_64", "amd64"}:
        return f"NOT MEASURED: --device x86 needs an x86-64 processor, this is {platform.machine()}"
    return None


def describe_machine() -> dict[str, object]:
    """What a figure depends on besides the code."""
    packages = ("sa3-edge", "onnxruntime", "openvino", "ai-edge-litert", "litert-torch", "torch", "numpy")
    return {
        "processor": processor(),
        "cores": cores(),
        "instruction_sets": instruction_sets(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
