"""`sa3-edge doctor --bundle BUNDLE`: where Core ML plans to run a bundle's packages."""

from dataclasses import asdict

from sa3_edge.bundle import Bundle
from sa3_edge.cli.display import print_json, print_line
from sa3_edge.engines.coreml.compute_plan import MacPlanner, Placement, placements
from sa3_edge.models.catalog import resolve_model

_CAVEAT = "Planned, not measured: Core ML's preferred device is not always the one that an operation runs on."


def run(name_or_path: str, json: bool) -> None:
    """Print a function's placement as soon as it is planned, or all of them as one object."""
    planner = MacPlanner()
    bundle = Bundle.load(resolve_model(name_or_path))
    found = placements(bundle, planner)
    if json:
        print_json({"bundle": str(bundle.path), "note": _CAVEAT, "functions": [asdict(each) for each in found]})
        return
    print_line(_CAVEAT)
    for placement in found:
        print_line(f"{placement.graph:14} {placement.function:12} {placement.compute_units:12} {_devices(placement)}")
        for line in _elsewhere(placement):
            print_line(f"  {line}")


def _devices(placement: Placement) -> str:
    """ "Neural Engine 412 (97 % of the estimated cost), CPU 12 (3 %)", the device it is meant for first."""
    if not placement.covered:
        return "the plan does not cover this function"
    parts = []
    for device in sorted(placement.operations, key=lambda device: (device != placement.meant_for, device)):
        share = f" ({placement.cost[device]:.0%} of the estimated cost)" if device in placement.cost else ""
        parts.append(f"{device} {sum(placement.operations[device].values())}{share}")
    return ", ".join(parts)


def _elsewhere(placement: Placement) -> list[str]:
    """What is not on the device that the function is meant for, a line a device."""
    if not placement.covered:
        return []
    return [
        f"{device}, not {placement.meant_for}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}"
        for device, kinds in placement.operations.items()
        if device != placement.meant_for
    ]
