"""`sa3-edge models` and `sa3-edge remove`."""

import sys

import typer
from rich.filesize import decimal

from sa3_edge.cli.display import print_json, print_line
from sa3_edge.cli.remedies import this_command
from sa3_edge.errors import RequestError
from sa3_edge.models import installed
from sa3_edge.models.catalog import DEMO, PUBLISHED, models_folder


def report(model: installed.InstalledModel) -> dict[str, object]:
    """A model as a JSON object."""
    return {
        "name": model.name,
        "path": str(model.path),
        "bytes": model.bytes,
        "shared_bytes": model.shared_bytes,
        "precisions": model.precisions,
        "revision": model.model.revision if model.model else None,
        "synthetic": model.model.synthetic if model.model else None,
        "problem": model.problem,
    }


def formats(model: installed.InstalledModel) -> str:
    """What files there are, and how precise: "onnx fp32, coreml fp16"."""
    return ", ".join(f"{format} {precision}" for format, precision in model.precisions.items())


def show(json: bool) -> None:
    """List what is installed, whole or broken, and downloads that were not finished."""
    models, unfinished = installed.list_models(), installed.unfinished_downloads()
    if json:
        print_json(
            {
                "folder": str(models_folder()),
                "bytes_on_disk": installed.bytes_on_disk(),
                "models": [report(model) for model in models],
                "unfinished_downloads": unfinished,
            }
        )
        return
    for model in models:
        print_line(f"{model.name:18} {_facts(model)}")
    for name, size in unfinished.items():
        print_line(f"{name:18} {decimal(size)} downloaded, not installed; {this_command()} pull {name} goes on")
    print_line(f"\n{decimal(installed.bytes_on_disk())} in {models_folder()}, files that models share counted once")
    if available := [name for name in PUBLISHED if name not in {model.name for model in models}]:
        print_line(f"to install: {', '.join(available)}, by {this_command()} pull NAME")


def _facts(model: installed.InstalledModel) -> str:
    if model.problem or not model.model:
        return f"broken: {model.problem}; pull or export it again, or {this_command()} remove {model.name}"
    notes = [f"{decimal(model.shared_bytes)} shared"] if model.shared_bytes else []
    notes += [f"with {adapter.file}" for adapter in model.model.adapters]
    if model.model.synthetic:
        notes.append("untrained, makes noise")
    if model.name == DEMO:
        notes.append("part of sa3-edge")
    revision = model.model.revision
    short = revision[: revision.find(":") + 13]  # a commit, or sha256: and a hash
    return f"{decimal(model.bytes):>9}  {formats(model)}  {short}" + (f"  ({', '.join(notes)})" if notes else "")


def remove(name: str, yes: bool, json: bool) -> None:
    """Remove a model, after a question unless `yes`; say what that frees."""
    # What cannot be removed is refused before anyone is asked.
    installed.check_removable(name)
    if not yes:
        if json or not sys.stdin.isatty():
            raise RequestError(f"removing {name} needs a yes: {this_command()} remove {name} --yes")
        if not typer.confirm(f"Remove {name}?", err=True):
            print(f"{name} stays", file=sys.stderr)
            return
    freed = installed.remove(name)
    if json:
        print_json({"removed": name, "freed_bytes": freed})
    else:
        print_line(f"{name} is removed; {decimal(freed)} are free again")
