"""`sa3-edge pull`."""

from pathlib import Path

from rich.filesize import decimal

from sa3_edge.cli.display import byte_bar, err, note, print_json, print_line, stage_bars
from sa3_edge.cli.models import formats as formats_of
from sa3_edge.cli.models import report
from sa3_edge.cli.remedies import this_command
from sa3_edge.errors import Remedy, Sa3Error
from sa3_edge.models.needs import shortage
from sa3_edge.models.pull import BUNDLE_RATIO, check_published, pull


def run(
    name: str,
    source: Path | None,
    formats: str,
    precision: str | None,
    accept: list[str],
    overwrite: bool,
    json: bool,
) -> None:
    """Download, export and install; say what is there now. `formats` and `precision` are those of the export."""
    check_published(name)
    try:  # before gigabytes are fetched that could not be used
        import huggingface_hub  # noqa: F401

        from sa3_export import check_export, export_bundle
        from sa3_export.precision import ExportPlan
    except ModuleNotFoundError as error:
        raise Sa3Error(
            f"pull needs {error.name}, which is not installed", remedy=Remedy("install extra", ("export",))
        ) from error
    chosen = [each.strip() for each in formats.split(",") if each.strip()]
    plan = ExportPlan.of(chosen, precision)
    check_export(plan)

    def export(checkpoint: Path, out: Path) -> None:
        with stage_bars({}, quiet=json) as progress:
            export_bundle(
                checkpoint,
                out,
                plan=plan,
                name=name,
                accept=accept,
                progress=lambda what, done, total: progress("Exporting", done, total),
            )

    # Of the disk pull itself knows to the byte what is short.
    if not json and (short := shortage(name, disk=False)):
        note(short)
    with byte_bar(f"Downloading {name}", quiet=json) as on_bytes:
        pulled = pull(
            name,
            export,
            source=source,
            overwrite=overwrite,
            bundle_ratio=BUNDLE_RATIO * len(chosen),
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


def _announce(download: int, bundle: int) -> None:
    """What it will take, before it begins."""
    first = f"{decimal(download)} to download and up to" if download else "up to"
    kept = "; the download is deleted at the end" if download else ""
    err().print(f"This takes {first} {decimal(bundle)} for the model on the disk{kept}.", soft_wrap=True)
