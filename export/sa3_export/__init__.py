"""From a published Stable Audio 3 checkpoint to graphs that run on devices."""

from sa3_export.coreml.contract import CoreMLOptions
from sa3_export.errors import CheckpointError, ParityError
from sa3_export.export import check_export, export_bundle, export_synthetic
from sa3_export.lora import AdapterFile

__all__ = [
    "AdapterFile",
    "CheckpointError",
    "CoreMLOptions",
    "ParityError",
    "check_export",
    "export_bundle",
    "export_synthetic",
]
