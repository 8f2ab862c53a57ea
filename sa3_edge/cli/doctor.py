"""`sa3-edge doctor`."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from sa3_edge.bundle import Bundle
from sa3_edge.cli.defaults import config_file, defaults
from sa3_edge.cli.display import print_json
from sa3_edge.clips.files import with_usual
from sa3_edge.clips.options import FileOptions
from sa3_edge.engines import ENGINES, EngineOptions, create_engine
from sa3_edge.engines.cache import cache_folder
from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.machine import cores, instruction_sets, processor
from sa3_edge.models.catalog import installed_models, models_folder

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


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _engine_state(name: str) -> str:
    try:
        return create_engine(name, EngineOptions()).describe()
    except Sa3Error as error:
        return f"not available: {error}"


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


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _defaults() -> tuple[dict[str, Any], str | None]:
    """The user's defaults, and what is wrong with them."""
    try:
        values = defaults()
        with_usual(FileOptions(), values)
    except RequestError as error:
        return {}, str(error)
    return values, None


def run(json: bool) -> None:
    """Collect and print; nothing here fails because something is missing, it says so."""
    packages = {package: _version(package) for package in _PACKAGES}
    values, problem = _defaults()
    report = {
        "sa3-edge": _version("sa3-edge"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": {
            "name": processor(),
            "cores": cores(),
            "instruction_sets": instruction_sets(),
            "int8_products": _int8_products(),
        },
        "packages": packages,
        "engines": {name: _engine_state(name) for name in ENGINES},
        "config_file": str(config_file()),
        "defaults": values,
        "defaults_problem": problem,
        "cache": {"folder": str(cache_folder()), "bytes": _bytes_in(cache_folder())},
        "models_folder": str(models_folder()),
        "models": {name: _model_state(path) for name, path in installed_models().items()},
    }
    if json:
        print_json(report)
        return
    print(f"sa3-edge {report['sa3-edge']}, Python {report['python']}, {report['system']}")
    print(f"{processor()}, {cores()} cores; {', '.join(instruction_sets()) or 'instruction sets not known'}")
    print(f"int8 products: {_int8_products()}")
    print("\npackages")
    for package, version in packages.items():
        print(f"  {package:20} {version or '-'}")
    if packages["onnxruntime"] and packages["onnxruntime-silicon"]:
        print("  onnxruntime and onnxruntime-silicon overwrite each other: keep one of them")
    print("\nengines")
    for name in ENGINES:
        print(f"  {name:20} {_engine_state(name)}")
    print(f"\ndefaults from {config_file()} and SA3_EDGE_* variables")
    if problem is not None:
        print(f"  broken: {problem}")
    for name, value in values.items():
        print(f"  {name:20} {value}")
    print(f"\n{decimal(_bytes_in(cache_folder()))} of compiled graphs in {cache_folder()}, safe to delete")
    print(f"\nmodels in {models_folder()}")
    for name, path in installed_models().items():
        print(f"  {name:20} {_model_state(path)}")
