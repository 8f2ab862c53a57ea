"""Core ML for tests on any system: packages are "compiled" by noting where they lie and run by the evaluator."""

from pathlib import Path

from sa3_edge import manifest as m
from sa3_export.coreml.evaluator import Package
from sa3_export.coreml.gate import Evaluated


class EvaluatedCoreML:
    """Stands in for Core ML behind `CoreMLEngine`."""

    version = "evaluator"

    def __init__(self) -> None:
        self.functions_run: set[tuple[str, str]] = set()
        self._packages: dict[Path, Package] = {}

    def compile(self, package: Path, destination: Path) -> None:
        destination.mkdir()
        (destination / "package").write_text(str(package))

    def load(self, model: Path, function: str | None, units: m.ComputeUnits) -> Evaluated:
        path = Path((model / "package").read_text())
        if path not in self._packages:
            self._packages[path] = Package(path)
        package = self._packages[path]
        if function is None and package.functions != ("main",):
            raise ValueError(f"{path} has several functions")
        self.functions_run.add((path.stem, function or "main"))
        return Evaluated(package, function or "main", half=True)
