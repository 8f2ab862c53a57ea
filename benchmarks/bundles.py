"""The models that are measured: made once, kept in the user's cache, named after all that they depend on."""

import hashlib
import shutil
from pathlib import Path

import torch
from platformdirs import user_cache_path

import sa3_edge
import sa3_export
from sa3_edge.manifest import FILE_NAME
from sa3_export import export_bundle
from sa3_export.synthetic import write_synthetic_checkpoint


def _exporter() -> str:
    """A name for the exporter: its version and its source."""
    digest = hashlib.sha256(torch.__version__.encode())
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


def bundle(source: Path, precision: str, synthetic: bool) -> Path:
    """The checkpoint `source`, exported in a precision by the exporter as it is now."""
    path = _cache() / f"{source.name}-{precision}-{_exporter()}"
    if not (path / FILE_NAME).is_file():
        for old in _cache().glob(f"{source.name}-{precision}-*"):
            shutil.rmtree(old)  # of another exporter; gigabytes
        export_bundle(source, path, synthetic=synthetic, precision=precision)
    return path
