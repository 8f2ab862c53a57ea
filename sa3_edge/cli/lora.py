"""`sa3-edge lora add`, `list` and `remove`."""

from pathlib import Path

from rich.filesize import decimal

from sa3_edge.adapters import installed
from sa3_edge.adapters.names import adapters_folder
from sa3_edge.cli.display import print_json, print_line
from sa3_edge.cli.remedies import this_command


def add(path: Path, name: str | None, overwrite: bool, json: bool) -> None:
    """Copy an adapter under a name, and say how it is used."""
    adapter = installed.add(path, name, overwrite=overwrite)
    if json:
        print_json(_report(adapter))
    else:
        print_line(f"{adapter.name}: {_facts(adapter)}; use it: {this_command()} generate PROMPT --lora {adapter.name}")


def show(json: bool) -> None:
    """List the adapters that have names."""
    adapters = installed.list_adapters()
    if json:
        print_json({"folder": str(adapters_folder()), "adapters": [_report(each) for each in adapters]})
        return
    for adapter in adapters:
        print_line(f"{adapter.name:18} {decimal(adapter.bytes):>9}  {_facts(adapter)}")
    if not adapters:
        print_line(f"no adapter has a name yet: {this_command()} lora add FILE.safetensors")


def remove(name: str, json: bool) -> None:
    """Delete the copy that has this name."""
    installed.remove(name)
    if json:
        print_json({"removed": name})
    else:
        print_line(f"{name} is removed")


def _facts(adapter: installed.InstalledAdapter) -> str:
    if adapter.summary is None:
        return f"broken: {adapter.problem}"
    ranks = "/".join(map(str, adapter.summary.ranks))
    return f"{adapter.summary.kind}, rank {ranks}, {adapter.summary.layers} layers"


def _report(adapter: installed.InstalledAdapter) -> dict[str, object]:
    summary = adapter.summary
    return {
        "name": adapter.name,
        "path": str(adapter.path),
        "bytes": adapter.bytes,
        "kind": summary.kind if summary else None,
        "ranks": list(summary.ranks) if summary else None,
        "layers": summary.layers if summary else None,
        "problem": adapter.problem,
    }
