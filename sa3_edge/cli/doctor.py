"""`sa3-edge doctor`."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from sa3_edge.bundle import Bundle
from sa3_edge.cli.config import config_file, defaults
from sa3_edge.cli.display import print_json
from sa3_edge.engines import ENGINES, EngineOptions, create_engine
from sa3_edge.errors import Sa3Error
from sa3_edge.models import installed_models, models_folder

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
# What makes matrix products fast, by the names of /proc/cpuinfo and of sysctl hw.optional.arm.
_MATRIX_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
    "FEAT_DotProd", "FEAT_I8MM", "FEAT_BF16", "FEAT_SME", "FEAT_SME2", "asimddp", "i8mm", "bf16", "sme", "sme2",
)  # fmt: skip


def _instruction_sets() -> list[str]:
    """The processor's matrix and vector extensions, where the system tells."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                present = set(line.split(":", 1)[1].split())
                return [feature for feature in _MATRIX_FEATURES if feature in present]
    if sys.platform == "darwin":
        listed = subprocess.run(["/usr/sbin/sysctl", "hw.optional.arm"], capture_output=True, text=True, check=False)
        present = {line.split(":")[0].rsplit(".", 1)[-1] for line in listed.stdout.splitlines() if line.endswith(" 1")}
        return [feature for feature in _MATRIX_FEATURES if feature in present]
    return []


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


def _model_state(path: Path) -> str:
    try:
        model = Bundle.load(path).manifest.model
    except Sa3Error as error:
        return f"broken: {error}"
    return f"{path}" + (" (untrained, makes noise)" if model.synthetic else "")


def _cores() -> int:
    # The cores that this process may use: a container often gets fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(json: bool) -> None:
    """Collect and print; nothing here fails because something is missing, it says so."""
    packages = {package: _version(package) for package in _PACKAGES}
    report = {
        "sa3-edge": _version("sa3-edge"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": {"cores": _cores(), "instruction_sets": _instruction_sets()},
        "packages": packages,
        "engines": {name: _engine_state(name) for name in ENGINES},
        "config_file": str(config_file()),
        "defaults": defaults(),
        "models_folder": str(models_folder()),
        "models": {name: _model_state(path) for name, path in installed_models().items()},
    }
    if json:
        print_json(report)
        return
    print(f"sa3-edge {report['sa3-edge']}, Python {report['python']}, {report['system']}")
    print(f"{_cores()} cores; {', '.join(_instruction_sets()) or 'instruction sets not known'}")
    print("\npackages")
    for package, version in packages.items():
        print(f"  {package:20} {version or '-'}")
    if packages["onnxruntime"] and packages["onnxruntime-silicon"]:
        print("  onnxruntime and onnxruntime-silicon overwrite each other: keep one of them")
    print("\nengines")
    for name in ENGINES:
        print(f"  {name:20} {_engine_state(name)}")
    print(f"\ndefaults from {config_file()} and SA3_EDGE_* variables")
    for name, value in defaults().items():
        print(f"  {name:20} {value}")
    print(f"\nmodels in {models_folder()}")
    for name, path in installed_models().items():
        print(f"  {name:20} {_model_state(path)}")
