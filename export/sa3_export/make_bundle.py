"""From a checkpoint to a bundle that is whole or not there."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path

import msgspec

from sa3_edge import manifest as m
from sa3_edge.adapters.lora import AdapterFile
from sa3_edge.bundle import describe_file
from sa3_edge.engines import int8
from sa3_edge.errors import Remedy, RequestError
from sa3_edge.files import put_in_place, unfinished_folder
from sa3_export.checkpoints.published import Checkpoint, identity
from sa3_export.checkpoints.synthetic import SIZES, write_synthetic_checkpoint
from sa3_export.config.model import ModelConfig
from sa3_export.errors import ExportRequestError, ParityError
from sa3_export.graphs import GRAPHS, Graph
from sa3_export.graphs.codec import tiling
from sa3_export.onnx.artifact import export_onnx
from sa3_export.onnx.kernels import OPSET
from sa3_export.precision import (
    COREML_VERIFIED,
    EXACT_BLOCKS,
    INT8_PRODUCTS,
    ExportPlan,
    check_coreml_precision,
    parse_precision,
)

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all
_Exporter = Callable[[Graph, Path, Mapping[str, str]], m.Artifact]
_SILENT: Progress = lambda what, done, total: None  # noqa: E731

PUBLISHED_LICENCE = "Stability AI Community License; text encoder: Gemma Terms of Use"
SYNTHETIC_LICENCE = "MIT (random weights)"
# Defaults by objective: the distilled model's 8 steps without guidance, the base model's 50 with.
_SAMPLING: dict[str, tuple[int, float]] = {"rf_denoiser": (8, 1.0), "rectified_flow": (50, 7.0)}
_HEADROOM_SECONDS = 6.0


def export_bundle(
    checkpoint_path: Path,
    out: Path,
    plan: ExportPlan = ExportPlan(),  # noqa: B008  frozen
    *,
    name: str | None = None,
    overwrite: bool = False,
    synthetic: bool = False,
    adapters: Sequence[AdapterFile] = (),
    accept: Sequence[str] = (),
    made_with: Mapping[str, str] | None = None,
    progress: Progress = _SILENT,
) -> m.Manifest:
    """Export the checkpoint directory `checkpoint_path`, with `adapters` merged, to the bundle folder `out`.

    `accept` names values of the config that are not computed and are to be read as the usual ones, "KEY=VALUE".
    `made_with`: what the manifest is to say there beside the exporter's own.
    `plan` says which formats are made and how exact each is; all share the manifest. Each graph is compared with
    PyTorch at several lengths before it is kept. The folder appears when all is done; until then, and after a failure,
    nothing is there (`overwrite` keeps the old bundle until then). Raises CheckpointError
    for a checkpoint that cannot be computed, ParityError below the bars of `precision.py` and `coreml/gate.py`,
    RequestError for an unknown format or precision, or if `out` is in the way.
    """
    exporters = _exporters(plan)
    checkpoint = Checkpoint(checkpoint_path, adapters, accept)
    guessed_name, revision = identity(checkpoint_path)
    licence = SYNTHETIC_LICENCE if synthetic else checkpoint.licence or PUBLISHED_LICENCE
    with _new_folder(out, overwrite) as folder:
        graphs: dict[m.GraphName, m.Graph] = {}
        for index, (graph_name, build) in enumerate(GRAPHS.items()):
            progress(graph_name, index, len(GRAPHS))
            graph = build(checkpoint)
            facts = {
                "sample_rate": str(checkpoint.config.sample_rate),
                "made_with": f"sa3-edge {metadata.version('sa3-edge')}",
                "licence": licence,
            }
            try:
                artifacts = {format: make(graph, folder, facts) for format, make in exporters.items()}
            except ParityError as error:
                raise ParityError(f"{error}; nothing was kept", remedy=error.remedy) from error
            graphs[graph.name] = msgspec.structs.replace(graph.described, artifacts=artifacts)
            del graph  # its weights, before the next one's are read
        progress("manifest", len(GRAPHS), len(GRAPHS))
        shutil.copyfile(checkpoint.tokenizer_file, folder / "tokenizer.json")
        made = _manifest(
            checkpoint,
            graphs,
            m.Model(
                name=name or guessed_name,
                revision=revision,
                licence=licence,
                synthetic=synthetic,
                adapters=[file.described for file in adapters],
            ),
            describe_file(folder, folder / "tokenizer.json"),
            plan.formats,
            _exact_blocks(plan) | dict(made_with or {}),
        )
        (folder / m.FILE_NAME).write_bytes(m.encode_manifest(made))
    return made


def export_synthetic(
    size: str,
    out: Path,
    plan: ExportPlan = ExportPlan(),  # noqa: B008  frozen
    *,
    name: str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    progress: Progress = _SILENT,
) -> m.Manifest:
    """Export a model of random weights, "small", "medium" (published sizes) or "tiny".

    Arguments and errors as `export_bundle`.
    """
    if size not in SIZES:
        raise RequestError(f"unknown synthetic size {size!r}; choose {', '.join([*SIZES][:-1])} or {[*SIZES][-1]}")
    _exporters(plan)  # refuses an unknown one before gigabytes of random weights are written
    _check_free(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the bundle: it needs the same space, and /tmp may be small.
    with unfinished_folder(out.parent) as temporary:
        progress("random weights", 0, len(GRAPHS))
        checkpoint = temporary / f"synthetic-{size}"
        write_synthetic_checkpoint(checkpoint, size, seed)
        return export_bundle(
            checkpoint,
            out,
            plan,
            name=name,
            overwrite=overwrite,
            synthetic=True,
            progress=progress,
        )


def _check_free(out: Path, overwrite: bool) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (overwrite and (out / m.FILE_NAME).is_file())):
        raise RequestError(
            f"{out} exists and is not {'a bundle' if overwrite else 'empty'}",
            remedy=None if overwrite else Remedy("name another folder or overwrite"),
        )


@contextmanager
def _new_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` when the block ends well."""
    _check_free(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(out.parent) as temporary:
        folder = temporary / "new"
        folder.mkdir()
        yield folder
        _check_free(out, overwrite)  # again: minutes have passed
        put_in_place(folder, out)


def check_export(plan: ExportPlan) -> None:
    """Raise ExportRequestError for what `export_bundle` could not make here, before any work."""
    _exporters(plan)


def _exporters(plan: ExportPlan) -> dict[str, _Exporter]:
    """What makes a graph's artifact, by format, each able to run: better said now than after an hour."""
    plan.check_formats()
    made: dict[str, _Exporter] = {}
    for format in plan.formats:
        match format:
            case "onnx":
                precisions = parse_precision(plan.precision)
                made[format] = partial(export_onnx, precisions=precisions, float_tables=plan.float_tables)
            case "coreml":
                try:
                    from sa3_export.coreml.artifact import export_coreml
                except ModuleNotFoundError as error:
                    raise ExportRequestError(
                        f"Core ML needs {error.name}, which is not installed",
                        remedy=Remedy("install extra", ("export", "coreml")),
                    ) from error
                check_coreml_precision(plan.coreml.precision)
                made[format] = partial(export_coreml, options=plan.coreml)
    return made


def _sampler(config: ModelConfig) -> m.Sampler:
    steps, cfg = _SAMPLING[config.objective]
    return m.Sampler(
        objective=config.objective,
        logsnr_start=config.schedule.logsnr_start,
        logsnr_end=config.schedule.logsnr_end,
        steps=steps,
        cfg=cfg,
        headroom_seconds=_HEADROOM_SECONDS,
    )


def _manifest(
    checkpoint: Checkpoint,
    graphs: dict[m.GraphName, m.Graph],
    model: m.Model,
    tokenizer: m.File,
    formats: Sequence[str],
    made_with: Mapping[str, str],
) -> m.Manifest:
    config = checkpoint.config
    tools = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "coreml": ("coremltools",)}
    packages = ("sa3-edge", "torch", *(package for format in formats for package in tools[format]))
    return m.Manifest(
        schema_version=m.SCHEMA_VERSION,
        model=model,
        audio=m.Audio(
            sample_rate=config.sample_rate,
            channels=config.autoencoder.audio_channels,
            samples_per_frame=config.samples_per_frame,
            latent_channels=config.latent_channels,
            max_frames=config.max_frames,
        ),
        text=m.Text(
            tokenizer=tokenizer,
            max_tokens=config.conditioner.max_tokens,
            hidden_size=config.conditioner.text_dim,
        ),
        sampler=_sampler(config),
        tiles=tiling(config),
        memory_tokens=config.dit.num_memory_tokens,
        graphs=graphs,
        made_with=({"onnx opset": str(OPSET)} if "onnx" in formats else {})
        | {package: metadata.version(package) for package in packages}
        | checkpoint.source
        | dict(made_with)
        | _int8_products(graphs)
        | (_coreml_verified() if "coreml" in formats else {}),
        unknown_config_keys=list(checkpoint.unknown_keys),
    )


def _exact_blocks(plan: ExportPlan) -> dict[str, str]:
    """Which blocks of graphs in int8 were to stay in fp32."""
    exact = parse_precision(plan.precision).exact if "onnx" in plan.formats else ""
    return {EXACT_BLOCKS: exact} if exact else {}


def _int8_products(graphs: Mapping[m.GraphName, m.Graph]) -> dict[str, str]:
    """What the figures of int8 graphs were measured with."""
    onnx = (graph.artifacts["onnx"] for graph in graphs.values() if "onnx" in graph.artifacts)
    return {INT8_PRODUCTS: int8.describe_products()} if any(each.precision == "int8" for each in onnx) else {}


def _coreml_verified() -> dict[str, str]:
    from sa3_export.coreml.gate import Verification, core_ml_here

    return {COREML_VERIFIED: Verification(core_ml_here()).means}
