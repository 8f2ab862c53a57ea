"""`sa3-edge pull`."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.filesize import decimal

from sa3_edge.cli.display import byte_bar, note, print_json, print_line, say, stage_bars
from sa3_edge.cli.models import formats as formats_of
from sa3_edge.cli.models import report
from sa3_edge.cli.remedies import this_command
from sa3_edge.errors import Remedy, RequestError, Sa3Error
from sa3_edge.models import installed
from sa3_edge.models.licence import WEIGHTS
from sa3_edge.models.needs import shortage
from sa3_edge.models.pull import Route, check_published, has_route, is_optimized, pull


@dataclass(frozen=True)
class PullOptions:
    """What is pulled, and how. `formats`, `precision` and `accept` are those of the export."""

    model: str
    source: Path | None
    route: str | None
    exact: bool
    formats: str
    precision: str | None
    accept: list[str]
    accept_licence: bool
    overwrite: bool


def run(options: PullOptions, json: bool) -> None:
    """Download, export and install; say what is there now."""
    name = options.model
    check_published(name)
    route = _route(options)
    try:  # before gigabytes are fetched that could not be used
        import huggingface_hub  # noqa: F401

        from sa3_export import check_export, export_bundle
        from sa3_export.precision import ExportPlan
    except ModuleNotFoundError as error:
        raise Sa3Error(
            f"pull needs {error.name}, which is not installed", remedy=Remedy("install extra", ("export",))
        ) from error
    plan = ExportPlan.of([each.strip() for each in options.formats.split(",") if each.strip()], options.precision)
    check_export(plan)
    made_with = _licence(options, route, json)

    def export(checkpoint: Path, out: Path) -> None:
        with stage_bars({}, quiet=json) as progress:
            export_bundle(
                checkpoint,
                out,
                plan=plan,
                name=name,
                accept=options.accept,
                made_with=made_with,
                progress=lambda what, done, total: progress("Exporting", done, total),
            )

    # Of the disk pull itself knows to the byte what is short.
    if not json and (short := shortage(name, disk=False)):
        note(short)
    with byte_bar(f"Downloading {name}", quiet=json) as on_bytes:
        pulled = pull(
            name,
            export,
            source=options.source,
            route=route,
            overwrite=options.overwrite,
            formats=len(plan.formats),
            progress=on_bytes,
            announce=(lambda download, bundle: None) if json else _announce,
        )
    model = pulled.model
    if json:
        print_json({**report(model), "was_installed": pulled.was_installed})
        return
    shared = f", {decimal(model.shared_bytes)} of it shared with other models" if model.shared_bytes else ""
    print_line(f"{model.path}  {decimal(model.bytes)}{shared}")
    if pulled.was_installed:
        revision = model.model.revision if model.model else "unknown"
        print_line(
            f"{name} was installed already ({formats_of(model)}, revision {revision}); --overwrite pulls it again"
        )
    else:
        print_line(f'{name} is installed: {this_command()} generate "lofi piano" --model {name}')


def _route(options: PullOptions) -> Route:
    """Where the weights come from: as asked for, else the way without a login, where there is one."""
    if options.exact and options.route == "optimized":
        raise RequestError("--exact does not go with --source optimized: its weights are rounded to float16")
    if options.route not in (None, "optimized", "checkpoint"):
        raise RequestError(f"--source must be optimized or checkpoint, got {options.route}")
    if options.route == "optimized" and not has_route(options.model, "optimized"):
        raise RequestError(f"{options.model} is published as a checkpoint only: --source checkpoint")
    if options.exact or options.route == "checkpoint" or not has_route(options.model, "optimized"):
        return "checkpoint"
    return "optimized"


def _licence(options: PullOptions, route: Route, json: bool) -> dict[str, str]:
    """Ask for what a gate asks elsewhere; what the manifest records of it. Raises RequestError without a yes."""
    from_folder = options.source is not None
    if not options.accept_licence:
        there = installed.find(options.model)
        if there and not there.problem and not options.overwrite:
            return {}  # nothing will be fetched
        if (from_folder and not is_optimized(options.source or Path())) or (not from_folder and route == "checkpoint"):
            return {}  # who has a checkpoint was asked at its page
        print(f"{options.model} is given under the {WEIGHTS.name}: {WEIGHTS.page}", file=sys.stderr)
        for term in WEIGHTS.terms:
            print(f"- {term}", file=sys.stderr)
        if json or not sys.stdin.isatty():
            raise RequestError(f"read the licence, and accept it with: {_again(options)} --accept-licence")
        if not typer.confirm("Do you accept it?", err=True):
            raise RequestError(f"{options.model} is not fetched: its licence is not accepted")
    return WEIGHTS.accepted()


def _again(options: PullOptions) -> str:
    source = [] if options.source is None else ["--from", str(options.source)]
    return f"{this_command()} {shlex.join(['pull', options.model, *source])}"


def _announce(download: int, bundle: int) -> None:
    """What it will take, before it begins."""
    first = f"{decimal(download)} to download and up to" if download else "up to"
    kept = "; the download is deleted at the end" if download else ""
    say(f"This takes {first} {decimal(bundle)} for the model on the disk{kept}.")
