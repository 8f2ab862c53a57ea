"""What the API says, as types: the answers' JSON, and the schemas in /openapi.json, are made from these."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from sa3_edge.manifest import Manifest
from sa3_edge.serve.clip_folder import Clip
from sa3_edge.serve.jobs import State
from sa3_edge.serve.service import GenerationJob, Service


class ProgressView(msgspec.Struct):
    """How far a generation is: the stage and its steps, the fraction of the whole, and about how long it will go on."""

    stage: str | None
    done: int
    total: int
    fraction: float
    seconds_left: float | None


class ClipView(msgspec.Struct):
    """A finished clip. `file` is its name in the server's folder; `options` with all that was drawn or settled."""

    file: str
    format: str
    bits: str | None
    bytes: int
    seconds: float
    samples: int
    sample_rate: int
    channels: int
    mode: str
    options: dict[str, Any]
    model: str
    precision: str
    engine: str
    synthetic: bool
    notes: list[str]
    took_seconds: float | None


class GenerationView(msgspec.Struct):
    """A generation: `ahead` is how many come before one that is queued; `source` the id of what was edited."""

    id: str
    state: State
    created: str
    prompt: str
    model: str
    seed: int | None
    ahead: int
    source: str | None
    progress: ProgressView
    clip: ClipView | None
    error: str | None


class GenerationList(msgspec.Struct):
    """The newest first; `next` is the `before` of the next page."""

    generations: list[GenerationView]
    next: str | None


class ModelView(msgspec.Struct):
    """A model that a request may name."""

    name: str
    title: str
    default: bool
    loaded: bool
    synthetic: bool
    max_seconds: float
    sample_rate: int
    channels: int
    steps: int
    cfg: float
    licence: str
    problem: str | None


class ModelList(msgspec.Struct):
    """Installed models, the usual one first, and adapters, which `lora` takes by name."""

    models: list[ModelView]
    adapters: list[str]


class RecordingView(msgspec.Struct):
    """An uploaded recording: `id` is what `init_audio` takes."""

    id: str
    seconds: float
    sample_rate: int
    channels: int
    bytes: int


class PictureView(msgspec.Struct):
    """What a sound looks like. lows, highs: extremes by column, -127..127 of full scale.

    spectrogram: base64 of bands x columns bytes, the lowest band first, each 0 (-90 dB) to 255 (full scale)
    """

    seconds: float
    columns: int
    bands: int
    lows: list[int]
    highs: list[int]
    spectrogram: str


class HealthView(msgspec.Struct):
    """How the server is: memory in bytes, None where it cannot be known."""

    status: Literal["ok"]
    version: str
    engine: str
    model: str
    loaded: str | None
    folder: str
    running: str | None
    waiting: int
    queue: int
    memory: int | None
    uptime_seconds: float


class ErrorBody(msgspec.Struct):
    """Why not: a code for programs, a sentence for people."""

    code: str
    message: str


class ErrorView(msgspec.Struct):
    """The body of every answer of the API that is an error."""

    error: ErrorBody


def model_view(name: str, default: bool, loaded: bool, manifest: Manifest) -> ModelView:
    """A model as its bundle's manifest describes it."""
    audio, sampler = manifest.audio, manifest.sampler
    return ModelView(
        name=name,
        title=manifest.model.name,
        default=default,
        loaded=loaded,
        synthetic=manifest.model.synthetic,
        max_seconds=manifest.max_seconds,
        sample_rate=audio.sample_rate,
        channels=audio.channels,
        steps=sampler.steps,
        cfg=sampler.cfg,
        licence=manifest.model.licence,
        problem=None,
    )


def broken_model(name: str, default: bool, loaded: bool, problem: str) -> ModelView:
    """A model that cannot be opened, and why."""
    return ModelView(name, name, default, loaded, False, 0.0, 0, 0, 0, 0.0, "", problem)


def view(found: GenerationJob | Clip, service: Service) -> GenerationView:
    """A job of this run, or a clip of an earlier one."""
    if isinstance(found, Clip):
        return _of_clip(found, service)
    status = found.status
    order = found.request
    return GenerationView(
        id=found.id,
        state=status.state,
        created=_time(found.created),
        prompt=order.options.prompt,
        model=order.model,
        seed=order.options.seed,
        ahead=service.queue.ahead(found),
        source=order.source,
        progress=ProgressView(
            status.progress.stage,
            status.progress.done,
            status.progress.total,
            1.0 if status.state == "done" else status.progress.fraction,
            status.progress.seconds_left if status.state == "running" else None,
        ),
        clip=clip_view(status.result, order.source) if status.result else None,
        error=status.error,
    )


def _of_clip(clip: Clip, service: Service) -> GenerationView:
    source = service.source_of(clip)
    seed = clip.record.options.get("seed")
    return GenerationView(
        id=clip.id,
        state="done",
        created=_time(clip.created),
        prompt=clip.record.prompt,
        model=clip.record.model or clip.record.model_name,
        seed=seed if isinstance(seed, int) else None,
        ahead=0,
        source=source,
        progress=ProgressView(None, 0, 0, 1.0, None),
        clip=clip_view(clip, source),
        error=None,
    )


def clip_view(clip: Clip, source: str | None) -> ClipView:
    """A clip without anything of this machine's folders; `init_audio` is an id, as it is asked for."""
    record = clip.record
    options = {key: value for key, value in record.options.items() if value not in (None, "", [])}
    options.pop("init_audio", None)
    if source is not None:
        options["init_audio"] = source
    return ClipView(
        file=clip.path.name,
        format=clip.format,
        bits=clip.bits,
        bytes=clip.bytes,
        seconds=clip.seconds,
        samples=clip.samples,
        sample_rate=clip.sample_rate,
        channels=clip.channels,
        mode=record.mode,
        options=options,
        model=record.model_name,
        precision=record.precision,
        engine=record.engine_version,
        synthetic=record.synthetic,
        notes=list(clip.notes),
        took_seconds=clip.took,
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
