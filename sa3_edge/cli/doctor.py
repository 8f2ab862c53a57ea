"""`sa3-edge doctor`."""

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from sa3_edge.bundle import Bundle
from sa3_edge.cli.defaults import config_file, defaults
from sa3_edge.cli.display import print_json, print_line
from sa3_edge.cli.remedies import install_command, worded
from sa3_edge.clips.files import with_usual
from sa3_edge.clips.options import FileOptions
from sa3_edge.engines import ENGINES, EngineOptions, create_engine
from sa3_edge.engines.cache import cache_folder
from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.files import files_below
from sa3_edge.machine import cores, instruction_sets, memory, processor
from sa3_edge.models.catalog import PUBLISHED, installed_models, models_folder
from sa3_edge.models.needs import need_of, shortage

_PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-silicon",
    "openvino",
    "coremltools",
    "torch",
    "tokenizers",
    "soundfile",
)


@dataclass(frozen=True)
class _Extra:
    """An optional part: what for, what it brings, and on which systems that can be used."""

    purpose: str
    packages: tuple[str, ...]
    systems: tuple[str, ...] = ("linux", "darwin", "win32")


_EXTRAS = {
    "export": _Extra("pull and export", ("filelock", "huggingface_hub", "onnx", "onnxscript", "torch")),
    "openvino": _Extra("--engine openvino", ("openvino",)),
    "coreml": _Extra("--engine coreml", ("coremltools",), systems=("darwin",)),
    "serve": _Extra("serve and ui", ("psutil", "python-multipart", "starlette", "uvicorn")),
    "m4a": _Extra("recordings as .m4a and .mp4", ("av",)),
    "measure": _Extra("--normalize", ("pyloudnorm",)),
    "tempo": _Extra("the tempo in check", ("librosa",)),
    "play": _Extra("--play", ("sounddevice",)),
}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _engine_state(name: str) -> str:
    try:
        return create_engine(name, EngineOptions()).describe()
    except Sa3Error as error:
        return f"not available: {worded(error)}".replace("\n", "; ")


def _int8_products() -> str:
    try:
        from sa3_edge.engines import int8

        return int8.describe_products()
    except (ImportError, Sa3Error) as error:
        return f"not known: {error}"


def _model_state(path: Path) -> str:
    try:
        model = Bundle.load(path).manifest.model
    except Sa3Error as error:
        return f"broken: {error}"
    return f"{path}" + (" (untrained, makes noise)" if model.synthetic else "")


def _takes(model: str) -> str:
    need = need_of(model)
    return (
        f"can be pulled: {decimal(need.download)} to download, {decimal(need.disk)} of disk and about "
        f"{decimal(need.memory)} of memory to export"
    )


def _bytes_in(folder: Path) -> int:
    return sum(found.st_size for found in files_below(folder))


def _defaults() -> tuple[dict[str, Any], str | None]:
    """The user's defaults, and what is wrong with them."""
    try:
        values = defaults()
        with_usual(FileOptions(), values)
    except RequestError as error:
        return {}, str(error)
    return values, None


def _missing() -> list[dict[str, str]]:
    """Optional parts that this system could have but lacks: what for, which packages, how to get them."""
    missing = []
    for extra, part in _EXTRAS.items():
        absent = [package for package in part.packages if _version(package) is None]
        if absent and sys.platform in part.systems:
            what = {"extra": extra, "for": part.purpose, "packages": ", ".join(absent)}
            missing.append({**what, "command": install_command(extra)})
    return missing


def collect() -> dict[str, Any]:
    """All that `doctor` says; nothing here fails because something is missing."""
    values, problem = _defaults()
    return {
        "sa3-edge": _version("sa3-edge"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": {
            "name": processor(),
            "cores": cores(),
            "instruction_sets": instruction_sets(),
            "int8_products": _int8_products(),
        },
        "packages": {package: _version(package) for package in _PACKAGES},
        "missing": _missing(),
        "engines": {name: _engine_state(name) for name in ENGINES},
        "config_file": str(config_file()),
        "defaults": values,
        "defaults_problem": problem,
        "cache": {"folder": str(cache_folder()), "bytes": _bytes_in(cache_folder())},
        "models_folder": str(models_folder()),
        "memory_bytes": memory(),
        "published": {name: shortage(name) or _takes(name) for name in PUBLISHED},
        "models": {name: _model_state(path) for name, path in installed_models().items()},
    }


def run(json: bool) -> None:
    """Collect once, print that."""
    report = collect()
    if json:
        print_json(report)
    else:
        for line in _lines(report):
            print_line(line)


def _lines(report: dict[str, Any]) -> Iterator[str]:
    machine, packages = report["processor"], report["packages"]
    yield f"sa3-edge {report['sa3-edge']}, Python {report['python']}, {report['system']}"
    features = ", ".join(machine["instruction_sets"]) or "instruction sets not known"
    yield f"{machine['name']}, {machine['cores']} cores; {features}"
    yield f"int8 products: {machine['int8_products']}"
    yield "\npackages"
    for package, version in packages.items():
        yield f"  {package:20} {version or '-'}"
    if packages["onnxruntime"] and packages["onnxruntime-silicon"]:
        yield "  onnxruntime and onnxruntime-silicon overwrite each other: keep one of them"
    if report["missing"]:
        yield "\nnot installed"
    for part in report["missing"]:
        yield f"  {part['for']:20} {part['command']}"
    yield "\nengines"
    for name, state in report["engines"].items():
        yield f"  {name:20} {state}"
    yield f"\ndefaults from {report['config_file']} and SA3_EDGE_* variables"
    if report["defaults_problem"] is not None:
        yield f"  broken: {report['defaults_problem']}"
    for name, value in report["defaults"].items():
        yield f"  {name:20} {value}"
    cache = report["cache"]
    yield f"\n{decimal(cache['bytes'])} of compiled graphs in {cache['folder']}, safe to delete"
    yield f"\nmodels in {report['models_folder']}"
    for name, state in report["models"].items():
        yield f"  {name:20} {state}"
    yield "\npublished models, on this machine"
    for name, state in report["published"].items():
        yield f"  {name:20} {state}"
