"""`sa3-edge export`."""

from dataclasses import dataclass
from pathlib import Path

from sa3_edge.cli.display import print_json, stage_bars
from sa3_edge.errors import RequestError, Sa3Error


@dataclass(frozen=True)
class FormatOptions:
    """`engines`: formats, comma-separated; `precision` of the Core ML packages."""

    engines: str
    precision: str

    @property
    def names(self) -> list[str]:
        return [engine.strip() for engine in self.engines.split(",") if engine.strip()]


def run(
    checkpoint: Path | None,
    out: Path,
    synthetic: str | None,
    formats: FormatOptions,
    lora: list[str],
    name: str | None,
    overwrite: bool,
    json: bool,
) -> None:
    """Export, say what was made and how exact it is."""
    if (checkpoint is None) == (synthetic is None):
        raise RequestError("name a checkpoint's folder, or --synthetic small or tiny")
    if synthetic is not None and lora:
        raise RequestError("--lora needs a checkpoint: random weights have nothing to adapt")
    try:
        from sa3_export import AdapterFile, CoreMLOptions, export_bundle, export_synthetic
    except ModuleNotFoundError as error:
        raise Sa3Error(f'export needs {error.name}, which is not installed: pip install "sa3-edge[export]"') from error

    adapters = [AdapterFile.parse(text) for text in lora]
    coreml = CoreMLOptions(formats.precision)
    with stage_bars({}, quiet=json) as progress:
        current = ""

        def one_bar(what: str, done: int, total: int) -> None:
            nonlocal current
            current = what
            progress("Exporting", done, total)

        if checkpoint is not None:
            made = export_bundle(
                checkpoint,
                out,
                name=name,
                overwrite=overwrite,
                adapters=adapters,
                formats=formats.names,
                coreml=coreml,
                progress=one_bar,
            )
        else:
            made = export_synthetic(
                synthetic or "",
                out,
                name=name,
                overwrite=overwrite,
                formats=formats.names,
                coreml=coreml,
                progress=one_bar,
            )

    artifacts = {
        f"{graph_name}.{kind}": artifact
        for graph_name, graph in made.graphs.items()
        for kind, artifact in graph.artifacts.items()
    }
    if json:
        sizes = {key: sum(file.bytes for file in artifact.files) for key, artifact in artifacts.items()}
        worst = {key: min(parity.snr_db for parity in artifact.parity) for key, artifact in artifacts.items()}
        print_json(
            {
                "bundle": str(out),
                "model": made.model.name,
                "bytes": sizes,
                "snr_db": worst,
                "synthetic": made.model.synthetic,
                "unknown_config_keys": made.unknown_config_keys,
            }
        )
        return
    for key in made.unknown_config_keys:
        print(f"warning: the config's {key} is not known here and has no effect")
    for key, artifact in artifacts.items():
        megabytes = sum(file.bytes for file in artifact.files) / 1e6
        parity = ", ".join(f"{parity.snr_db:.0f} dB at {parity.length}" for parity in artifact.parity)
        print(f"{key:20} {artifact.precision}  {megabytes:8.1f} MB  {parity}")
    print(f"{out}  {made.model.name}" + ("  (random weights: makes noise)" if made.model.synthetic else ""))
