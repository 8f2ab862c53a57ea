"""The models that are measured: made once, kept in the user's cache, named after all that they depend on."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from platformdirs import user_cache_path

import sa3_edge
import sa3_export
from sa3_edge.manifest import FILE_NAME
from sa3_export import ExportPlan, export_bundle
from sa3_export.checkpoints.synthetic import write_synthetic_checkpoint


def _exporter(converter: bytes = b"") -> str:
    """A name for the exporter: its version and its source, and what else converts its modules."""
    digest = hashlib.sha256(torch.__version__.encode() + converter)
    folder = Path(sa3_export.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return f"{sa3_edge.__version__}-{digest.hexdigest()[:12]}"


def _cache() -> Path:
    folder = user_cache_path("sa3-edge") / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def checkpoint(size: str) -> Path:
    """A synthetic checkpoint, "small" with the published sizes (2.8 GB) or "tiny"."""
    path = _cache() / f"checkpoint-{size}"
    if not path.is_dir():
        temporary = path.with_suffix(".part")
        shutil.rmtree(temporary, ignore_errors=True)
        write_synthetic_checkpoint(temporary, size)
        temporary.rename(path)
    return path


def bundle(source: Path, precision: str, formats: tuple[str, ...], synthetic: bool) -> Path:
    """The checkpoint `source`, exported in formats and a precision by the exporter as it is now."""
    kind = f"{source.name}-{'+'.join(formats)}-{precision}"
    path = _cache() / f"{kind}-{_exporter()}"
    if not (path / FILE_NAME).is_file():
        for old in _cache().glob(f"{kind}-*"):
            shutil.rmtree(old)  # of another exporter; gigabytes
        export_bundle(source, path, ExportPlan(precision=precision, formats=formats), synthetic=synthetic)
    return path


def file(kind: str, converter: bytes, make: Callable[[Path], object]) -> Path:
    """What `make` writes to a path from the exporter's modules; made anew when they or the `converter` changed."""
    path = _cache() / f"{kind}-{_exporter(converter)}"
    if not path.is_file():
        for old in _cache().glob(f"{kind}-*"):
            old.unlink()  # of another exporter, or cut off; gigabytes
        temporary = path.with_name(f"{path.name}.part")
        make(temporary)
        temporary.rename(path)
    return path
