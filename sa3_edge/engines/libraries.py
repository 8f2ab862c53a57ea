"""Libraries that send reports of their use, loaded so that they do not: the one place that imports them.

Each reads its switch when it is imported, never later. Whoever sets a switch to another value is left that choice.
"""

import os
import sys
from importlib import import_module
from typing import Any

# onnxruntime: official wheels since 1.29 write a device id and a queue of events, and send it.
# huggingface_hub: names library, Python and torch versions in each request.
# ray: reports its version, the machine and what of it is used, by a process of its own.
_SWITCHES = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def send_nothing() -> None:
    """Set the switches, for this process and those it starts. Before any of the libraries is imported."""
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
    # openvino reports its own import through this package, with no switch; without it, it takes its own stub.
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def load_onnxruntime() -> Any:
    """The module onnxruntime. Raises ImportError."""
    send_nothing()
    return import_module("onnxruntime")


def load_openvino(submodule: str = "") -> Any:
    """The module openvino, or one inside it (".opset13"). Raises ImportError."""
    send_nothing()
    return import_module("openvino" + submodule)


def load_ray() -> Any:
    """The module ray. Raises ImportError."""
    send_nothing()
    ray = import_module("ray")
    # It prints what befalls workers to standard output, where results go, and has no option for that.
    ray._private.worker._worker_logs_enabled = False
    return ray
