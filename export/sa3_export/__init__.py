"""From a published Stable Audio 3 checkpoint to graphs that run on devices."""

from sa3_edge.adapters.lora import AdapterFile
from sa3_export.errors import CheckpointError, ParityError
from sa3_export.make_bundle import check_export, export_bundle, export_synthetic
from sa3_export.precision import CoreMLOptions, ExportPlan

__all__ = [
    "AdapterFile",
    "CheckpointError",
    "CoreMLOptions",
    "ExportPlan",
    "ParityError",
    "check_export",
    "export_bundle",
    "export_synthetic",
]
