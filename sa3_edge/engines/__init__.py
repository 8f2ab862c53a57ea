"""The registry of inference engines. One file an engine, loaded when it is asked for."""

from collections.abc import Sequence
from importlib import import_module
from typing import cast, get_args

from sa3_edge.adapters.lora import Adapter
from sa3_edge.engines.engine import Engine, EngineOptions, Session, Tensors
from sa3_edge.errors import Remedy, RequestError
from sa3_edge.machine import logical_cores
from sa3_edge.manifest import ComputeUnits

__all__ = [
    "DEFAULT_ENGINE",
    "ENGINES",
    "TAKE_COMPUTE_UNITS",
    "Engine",
    "EngineOptions",
    "Session",
    "Tensors",
    "chosen_units",
    "create_engine",
    "refuse_adapters",
]

ENGINES = {
    "onnxruntime": "sa3_edge.engines.onnxruntime:OnnxRuntimeEngine",
    "onnxruntime-coreml": "sa3_edge.engines.onnxruntime:OnnxRuntimeCoreMLEngine",
    "coreml": "sa3_edge.engines.coreml.engine:CoreMLEngine",
    "openvino": "sa3_edge.engines.openvino:OpenVinoEngine",
    "openvino-bf16": "sa3_edge.engines.openvino:OpenVinoBf16Engine",
}
DEFAULT_ENGINE = "onnxruntime"
TAKE_COMPUTE_UNITS = ("coreml", "onnxruntime-coreml")


def create_engine(name: str, options: EngineOptions) -> Engine:
    """The engine called `name`.

    Raises RequestError for an unknown name and for options that it does not take, EngineError if it is not installed.
    """
    if name not in ENGINES:
        raise RequestError(f"unknown engine {name!r}; choose {' or '.join(ENGINES)}")
    # Threads that wait for a core, while those on one spin for them, make a run many times as long.
    if options.threads is not None and not 1 <= options.threads <= logical_cores():
        raise RequestError(
            f"threads must be from 1 to {logical_cores()}, the logical cores of this machine, got {options.threads}"
        )
    if options.compute_units is not None and name not in TAKE_COMPUTE_UNITS:
        raise RequestError(
            f"compute units ({options.compute_units}) are for the engines {' and '.join(TAKE_COMPUTE_UNITS)}, "
            f"{name} has none"
        )
    module, attribute = ENGINES[name].split(":")
    engine: Engine = getattr(import_module(module), attribute)(options)
    return engine


def refuse_adapters(engine: str, adapters: Sequence[Adapter]) -> None:
    """Raise RequestError if there are any, for an engine that takes no weights but a bundle's."""
    if adapters:
        raise RequestError(
            f"{engine} takes no adapters at run time; onnxruntime does, or export the model with them",
            remedy=Remedy("choose engine", (DEFAULT_ENGINE,)),
        )


def chosen_units(options: EngineOptions) -> ComputeUnits | None:
    """The compute units that were asked for. Raises RequestError for an unknown name."""
    units = options.compute_units
    if units is not None and units not in get_args(ComputeUnits):
        raise RequestError(f"unknown compute units {units!r}; choose {' or '.join(get_args(ComputeUnits))}")
    return cast("ComputeUnits | None", units)
