"""`sa3-edge export`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sa3_edge.cli.display import print_json, print_line, stage_bars
from sa3_edge.errors import Remedy, RequestError, Sa3Error


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and how. `formats`: comma-separated; None, as for `precision`, is the target's own."""

    checkpoint: Path | None
    synthetic: str | None
    out: Path
    formats: str | None
    precision: str | None
    lora: list[str]
    accept: list[str]
    name: str | None
    overwrite: bool
    target: str | None = None


def run(options: ExportOptions, json: bool) -> None:
    """Export, say what was made and how exact it is."""
    if (options.checkpoint is None) == (options.synthetic is None):
        raise RequestError("name a checkpoint's folder, or --synthetic small, medium or tiny")
    if options.synthetic is not None and options.accept:
        raise RequestError("--accept needs a checkpoint: what a config of our own says is known")
    if options.synthetic is not None and options.lora:
        raise RequestError("--lora needs a checkpoint: random weights have nothing to adapt")
    try:
        from sa3_export import AdapterFile, export_bundle, export_synthetic
        from sa3_export.precision import COREML_VERIFIED, ExportPlan
        from sa3_export.targets import target_of
    except ModuleNotFoundError as error:
        raise Sa3Error(
            f"export needs {error.name}, which is not installed", remedy=Remedy("install extra", ("export",))
        ) from error

    if options.checkpoint is not None:
        adapters = [AdapterFile.parse(text) for text in options.lora]
        export = partial(export_bundle, options.checkpoint, adapters=adapters, accept=options.accept)
    else:
        export = partial(export_synthetic, options.synthetic or "")
    target = target_of(options.target or "desktop")
    named = ",".join(target.formats) if options.formats is None else options.formats
    formats = [each.strip() for each in named.split(",") if each.strip()]
    wanted = target.precision if options.precision is None and options.target is not None else options.precision
    plan = ExportPlan.of(formats, wanted, float_tables=target.float_tables)
    try:
        with stage_bars({}, quiet=json) as progress:
            made = export(
                options.out,
                plan,
                name=options.name,
                overwrite=options.overwrite,
                progress=lambda what, done, total: progress("Exporting", done, total),
            )
    except OSError as error:
        path = options.out if error.filename is None else error.filename
        raise Sa3Error(f"the export failed at {path}: {error.strerror or error}") from error

    artifacts = {
        f"{graph_name}.{format}": artifact
        for graph_name, graph in made.graphs.items()
        for format, artifact in graph.artifacts.items()
    }
    size = sum(file.bytes for artifact in artifacts.values() for file in artifact.files)
    too_large = target.most_bytes is not None and size > target.most_bytes
    verified_by = made.made_with.get(COREML_VERIFIED)
    if json:
        sizes = {key: sum(file.bytes for file in artifact.files) for key, artifact in artifacts.items()}
        worst = {key: min(parity.snr_db for parity in artifact.parity) for key, artifact in artifacts.items()}
        precisions = {key: artifact.precision for key, artifact in artifacts.items()}
        print_json(
            {
                "bundle": str(options.out),
                "model": made.model.name,
                "bytes": sizes,
                "precision": precisions,
                "snr_db": worst,
                "coreml_verified_by": verified_by,
                "target": options.target,
                "fits_target": not too_large,
                "placed": target.placed,
                "synthetic": made.model.synthetic,
                "unknown_config_keys": made.unknown_config_keys,
            }
        )
        return
    for key in made.unknown_config_keys:
        print_line(f"warning: the config's {key} is not known here and has no effect")
    for key, artifact in artifacts.items():
        megabytes = sum(file.bytes for file in artifact.files) / 1e6
        parity = ", ".join(f"{parity.snr_db:.0f} dB at {parity.length}" for parity in artifact.parity)
        print_line(f"{key:20} {artifact.precision}  {megabytes:8.1f} MB  {parity}")
    if too_large and target.most_bytes is not None:
        print_line(
            f"warning: {size / 1e9:.2f} GB are more than one delivery for {options.target} takes "
            f"({target.most_bytes / 1e9:g} GB); split them, or let the app download them"
        )
    if verified_by is not None:
        print_line(f"Core ML packages verified by {verified_by}")
    if target.placed:
        print_line(f"for {options.target}, its folder may lie {target.placed}")
    print_line(
        f"{options.out}  {made.model.name}" + ("  (random weights: makes noise)" if made.model.synthetic else "")
    )
