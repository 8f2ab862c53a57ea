"""What the API, its contracts and the MCP tool share: orders are checked, queued, made into clips and found again."""

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sa3_edge.adapters.names import installed_adapters
from sa3_edge.audio.formats import Encoding, encoding_for
from sa3_edge.clips.options import ClipOptions, FileOptions, options_of
from sa3_edge.clips.render import Job as Rendering
from sa3_edge.clips.render import prepare
from sa3_edge.clips.request import typed_options
from sa3_edge.errors import RequestError
from sa3_edge.generation.pipeline import settle_sampling, settle_seeds
from sa3_edge.manifest import Manifest
from sa3_edge.models.catalog import installed_models
from sa3_edge.serve.clip_folder import Clip, ClipFolder
from sa3_edge.serve.jobs import Job, JobQueue
from sa3_edge.serve.live import Live, Shape
from sa3_edge.serve.recordings import Recordings
from sa3_edge.serve.settings import Settings
from sa3_edge.serve.warm import WarmModel

FORMAT = "flac"  # of files, where a request says none: whole, half as large, played by every browser
RECORDINGS = "recordings"
_BESIDE_OPTIONS = ("model", "format", "bits")
# Nothing that a file, and not a clip, is made of is asked for by a client.
_ABOUT_FILES = frozenset(options_of(FileOptions)) - set(_BESIDE_OPTIONS)


@dataclass(frozen=True)
class Order:
    """A request that was found right: what is to be rendered, by which model, into which file.

    source: the id of the recording or clip that is edited
    """

    model: str
    options: ClipOptions
    rendering: Rendering
    path: Path
    encoding: Encoding
    shape: Shape
    source: str | None


GenerationJob = Job[Order, Clip]


class Service:
    """One machine's clips: the ones that wait, the one that is made, and all that were."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = ClipFolder(settings.folder)
        self.recordings = Recordings(settings.folder / RECORDINGS, settings.limits.recordings_bytes)
        self.warm = WarmModel(settings)
        self._live: dict[str, Live] = {}
        self.queue: JobQueue[Order, Clip] = JobQueue(
            self._make, settings.limits.queue, idle=self.warm.free, idle_seconds=settings.idle_unload
        )

    def check(self) -> None:
        """Raise RequestError for an unusable model or folder, before anybody is served."""
        self.warm.bundle(self.settings.model)
        self.folder.prepare()

    def start(self) -> None:
        """Begin to work. Raises RequestError as `check`."""
        self.check()
        self.recordings.sweep()
        self.queue.start()

    def stop(self) -> None:
        """Cancel what is under way and free the model."""
        self.queue.stop()
        self.warm.free()

    def models(self) -> list[str]:
        """Names that a request may say, the usual one first."""
        return list(dict.fromkeys([self.settings.model, *installed_models()]))

    def order(self, body: Mapping[str, Any]) -> GenerationJob:
        """Check a request, as JSON has it, and put it at the end of the queue.

        Everything that can be found wrong is found here, before the queue. Raises RequestError, QueueFullError.
        """
        asked = {key: value for key, value in body.items() if value is not None}
        forbidden = sorted(_ABOUT_FILES & asked.keys())
        if forbidden:
            raise RequestError(f"{forbidden[0]!r} is about files of this machine and cannot be asked for")
        model, format, bits = (_text(asked, key) for key in _BESIDE_OPTIONS)
        encoding = encoding_for(format or FORMAT, bits)
        options = self._options({key: value for key, value in asked.items() if key not in _BESIDE_OPTIONS})
        name = model or self.settings.model
        bundle = self.warm.bundle(name)
        path = self.folder.reserve(options.prompt, options.seed or 0, encoding.format)
        try:
            rendering = prepare(options, FileOptions(output=path, bits=encoding.bits or None))
            shape = shape_for(rendering, bundle.manifest)
            order = Order(name, options, rendering, path, encoding, shape, asked.get("init_audio"))
            job = GenerationJob(f"gen-{secrets.token_hex(16)}", order)
            self.queue.submit(job)
        except BaseException:
            self.folder.release(path)
            raise
        return job

    def find(self, generation_id: str) -> GenerationJob | Clip | None:
        """A generation that is known: as a job, or as the clip of an earlier run of the server."""
        return self.queue.get(generation_id) or self.folder.find(generation_id)

    def clip(self, generation_id: str) -> Clip | None:
        """The finished clip of a generation."""
        found = self.find(generation_id)
        return found.status.result if isinstance(found, Job) else found

    def live(self, job: GenerationJob) -> Live | None:
        """What there is to hear of a clip that is being decoded; nothing where its length is not known before."""
        if job.request.options.trim_silence:
            return None
        live = self._live.get(job.id)
        return live if live is not None and live.frames else None

    def source_of(self, clip: Clip) -> str | None:
        """The id of what a clip was made from, if it is still there."""
        source = clip.record.options.get("init_audio")
        if not isinstance(source, str):
            return None
        parts = source.split("/")
        if len(parts) == 2 and parts[0] == RECORDINGS:
            found = self.recordings.find(f"rec-{Path(parts[1]).stem}")
            return found.id if found else None
        return next((other.id for other in self.folder.clips() if other.path.name == parts[-1]), None)

    def _options(self, data: dict[str, Any]) -> ClipOptions:
        """The options with the recording found by its id and the seed drawn."""
        source = data.pop("init_audio", None)
        if source is not None:
            data["init_audio"] = str(self._recording(source))
        if data.get("lora"):
            data["lora"] = [_adapter(each) for each in _texts(data["lora"])]
        for key, value in data.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise RequestError(f"{key} must be a number, got {value}")
        options = ClipOptions(**typed_options(data))
        return replace(options, seed=settle_seeds(options.seed, 1)[0])

    def _recording(self, source: object) -> Path:
        """The file of an id: an uploaded recording or a clip. Never a path from a client."""
        if isinstance(source, str):
            recording = self.recordings.find(source)
            if recording is not None:
                return recording.path
            clip = self.clip(source)
            if clip is not None:
                return clip.path
        raise RequestError(
            f"init_audio {str(source)[:100]!r} is the id of no recording and no clip; upload the recording first"
        )

    def _make(self, job: GenerationJob, progress: Callable[[str, int, int], None]) -> Clip:
        order = job.request
        live = self._live[job.id] = Live(order.shape)
        try:
            pipeline = self.warm.pipeline(order.model)
            (made,) = order.rendering.run(pipeline, progress, hear=live.hear)
            return self.folder.remember(job.id, order.path, made.notes, made.timings["total"])
        finally:
            del self._live[job.id]
            self.folder.release(order.path)


def shape_for(rendering: Rendering, manifest: Manifest) -> Shape:
    """What the clip will be like. Raises RequestError for what this model cannot make."""
    audio = manifest.audio
    settle_sampling(rendering.piece.request, manifest.sampler)
    return Shape(rendering.piece.samples(manifest), audio.channels, audio.sample_rate)


def _text(asked: Mapping[str, Any], key: str) -> str | None:
    value = asked.get(key)
    if value is None or isinstance(value, str):
        return value
    raise RequestError(f"{key} must be text, got {value!r}")


def _texts(value: object) -> list[str]:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    raise RequestError(f"lora must be a list of texts, got {value!r:.100}")


def _adapter(text: str) -> str:
    """An adapter by its name, with its strength. Never a path from a client."""
    name, colon, strength = text.partition(":")
    path = installed_adapters().get(name)
    if path is None:
        raise RequestError(f"lora: no adapter of this machine is called {name!r:.100}")
    try:
        return f"{path}:{float(strength) if colon else 1.0!r}"
    except ValueError:
        raise RequestError(f"lora: the strength of {name} must be a number, got {strength!r:.100}") from None
