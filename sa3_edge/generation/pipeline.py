"""Text and recordings to audio: the graphs of a bundle, run in order, with the sampler between them."""

import os
import secrets
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from sa3_edge.adapters.lora import Adapter, AdapterFile
from sa3_edge.adapters.lora_files import fingerprint, read_adapter
from sa3_edge.audio.limiter import limit_blocks
from sa3_edge.bundle import Bundle
from sa3_edge.engines import DEFAULT_ENGINE, EngineOptions
from sa3_edge.engines.runner import Adapters, GraphRunner
from sa3_edge.errors import CancelledError, RequestError
from sa3_edge.generation.editing import Plan, keep_mask, plan_request, splice, without_source
from sa3_edge.generation.guidance import check_guidance, guided
from sa3_edge.generation.made import Generation, Stream
from sa3_edge.generation.memory import parse_memory, within
from sa3_edge.generation.noise import SEEDS
from sa3_edge.generation.request import Blend, GenerationRequest, Sampling, Variation
from sa3_edge.generation.sampling import LatentNoise, Latents, Velocity, euler, ping_pong, schedule
from sa3_edge.generation.tiling import decode_tiles, encode_tiles
from sa3_edge.generation.tokenizer import Tokenizer
from sa3_edge.manifest import Audio, GraphName, Sampler, Tiles
from sa3_edge.models.catalog import resolve_model

Array = NDArray[np.float32]
Conditioning = dict[str, Array]
_ADAPTED: tuple[GraphName, ...] = ("conditioner", "denoiser")  # what adapters are trained for
MOST_STEPS = 10_000  # far beyond what any sampler gains by
Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all
SILENT: Progress = lambda stage, done, total: None  # noqa: E731


def stoppable(progress: Progress, cancel: Event | None) -> Progress:
    """The callback, which also stops the run by CancelledError once `cancel` is set."""
    if cancel is None:
        return progress

    def checked(stage: str, done: int, total: int) -> None:
        progress(stage, done, total)
        if cancel.is_set():
            raise CancelledError(f"the run was cancelled ({stage}, {done} of {total})")

    return checked


def settle_seeds(seed: int | None, count: int) -> range:
    """The seeds of `count` clips, s, s + 1, ...; the first is drawn where none is given. Raises RequestError."""
    if count < 1:
        raise RequestError(f"count must be 1 or more, got {count}")
    if count > SEEDS:
        raise RequestError(f"count must be at most {SEEDS}, as many as there are seeds, got {count}")
    first = secrets.randbelow(SEEDS - count + 1) if seed is None else seed
    if not 0 <= first <= SEEDS - count:
        more = f" and the {count - 1} after it" if count > 1 else ""
        raise RequestError(f"seed must be between 0 and {SEEDS - 1}, got {first}{more}")
    return range(first, first + count)


@dataclass(frozen=True)
class _Text:
    """A prompt as the text encoder read it: hidden states (1, n, W), their mask (1, n), a note if it was cut."""

    hidden: Array
    mask: Array
    note: str | None


@dataclass(frozen=True)
class _Prompt:
    """A prompt as the denoiser takes it. share: (1, 1, T) or (1, 1, 1), how much of each frame is its."""

    conditioning: Conditioning
    unconditional: Conditioning | None
    share: Array


@dataclass(frozen=True)
class _Prepared:
    """What all seeds of a request share."""

    plan: Plan
    timesteps: NDArray[np.float32]
    prompts: tuple["_Prompt", ...]
    init: Latents | None
    headroom: float
    cfg: float
    apg: float
    adapters: Adapters
    tiles: Tiles  # of the decoder
    notes: tuple[str, ...]


class Pipeline:
    """A loaded bundle that generates audio. It is for one call at a time; pipelines in several threads do not meet.

    pipeline = Pipeline.load("small-music")
    made = pipeline.generate(GenerationRequest("lofi piano", seconds=90))
    """

    def __init__(self, graphs: GraphRunner, name: str = "", max_memory: int | None = None):
        """`name`: the installed model's, "" for a bundle that just lies in a folder. `max_memory` as of `load`."""
        self.bundle = graphs.bundle
        self.max_memory = max_memory
        self.graphs = graphs
        self.name = name
        text = self.bundle.manifest.text
        self._adapters: dict[tuple[object, ...], Adapter] = {}
        self._tokenizer = Tokenizer(self.bundle.resolve(text.tokenizer), text.max_tokens)

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str],
        engine: str = DEFAULT_ENGINE,
        *,
        threads: int | None = None,
        compute_units: str | None = None,
        keep_loaded: bool = False,
        max_memory: int | str | None = None,
    ) -> "Pipeline":
        """Open a model, by its installed name or its bundle's folder; graphs are loaded when first needed.

        `keep_loaded` keeps them for the next call, at the price of memory. `max_memory`: bytes, or "1.5GB", that the
        process may have; a clip that would take more, by an estimate, is decoded in smaller tiles, or refused before
        anything is computed (MemoryLimitError). For the engine onnxruntime. Raises BundleError if the bundle is not
        whole, RequestError for an unknown model or engine, EngineError if the engine is not installed.
        """
        folder = resolve_model(os.fspath(model))
        name = "" if Path(model).expanduser().resolve() == folder.resolve() else os.fspath(model)
        bundle = Bundle.load(folder)
        most = parse_memory(max_memory) if isinstance(max_memory, str) else max_memory
        return cls(GraphRunner(bundle, engine, EngineOptions(threads, compute_units), keep_loaded), name, most)

    @property
    def engine(self) -> str:
        """The engine, its version and device, in a line."""
        return self.graphs.engine.describe()

    def free(self) -> None:
        """Release all loaded graphs; the next call loads them again."""
        self.graphs.free()

    def free_unkept(self) -> None:
        """Release loaded graphs, unless they are to be kept for the next call."""
        self.graphs.done_with(*get_args(GraphName))

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()

    def generate(
        self, request: GenerationRequest, progress: Progress = SILENT, *, cancel: Event | None = None
    ) -> Generation:
        """Make one clip.

        `progress(stage, done, total)` is called in the stages "text", "encode" (of a recording), "condition",
        "denoise" and "decode"; what it raises stops the run. So does `cancel`, once any thread has set it, at the
        next step. Raises RequestError for invalid values, before anything is computed, EngineError if a graph fails
        and CancelledError.
        """
        (made,) = self.generate_many(request, 1, progress, cancel=cancel)
        return made

    def generate_many(
        self, request: GenerationRequest, count: int, progress: Progress = SILENT, *, cancel: Event | None = None
    ) -> Iterator[Generation]:
        """Make `count` clips of one request, of seeds s, s + 1, ..., each when it is asked for.

        The text is encoded and the conditioner run once; otherwise as `generate`. The first one's timings include
        what they share.
        """
        return (stream.whole() for stream in self.stream_many(request, count, progress, cancel=cancel))

    def stream(self, request: GenerationRequest, progress: Progress = SILENT, *, cancel: Event | None = None) -> Stream:
        """As `generate`, up to the latents: the clip is decoded while its pieces are asked for, in flat memory.

        Graphs are freed when the pieces have ended, or with the stream.
        """
        streams = self._stream_seeds(request, settle_seeds(request.seed, 1), stoppable(progress, cancel))
        return replace(next(streams), ended=streams.close)

    def stream_many(
        self, request: GenerationRequest, count: int, progress: Progress = SILENT, *, cancel: Event | None = None
    ) -> Iterator[Stream]:
        """As `generate_many`; a clip's pieces must be taken before the next clip is asked for."""
        return self._stream_seeds(request, settle_seeds(request.seed, count), stoppable(progress, cancel))

    def _stream_seeds(
        self, request: GenerationRequest, seeds: range, progress: Progress
    ) -> Generator[Stream, None, None]:
        prepared: _Prepared | None = None
        audio = self.bundle.manifest.audio
        free = self.free_unkept
        try:
            for seed in seeds:
                start = time.perf_counter()
                timings: dict[str, float] = {}
                with self.graphs.timing(timings):
                    prepared = prepared or self._prepare(request, progress)
                    latents = self._sample(prepared, seed, progress)
                    if seed == seeds[-1]:
                        self.graphs.done_with("denoiser")
                yield Stream(
                    decode=partial(self._decode, latents, prepared, request.limiter, timings, progress),
                    latents=latents,
                    seconds=prepared.plan.seconds,
                    samples=prepared.plan.lengths.samples,
                    sample_rate=audio.sample_rate,
                    channels=audio.channels,
                    seed=seed,
                    steps=len(prepared.timesteps) - 1,
                    headroom=prepared.headroom,
                    cfg=prepared.cfg,
                    timings=timings,
                    notes=list(prepared.notes),
                    prompt=request.prompt,
                    start=start,
                    free=free,
                )
        finally:
            free()  # all of them: a callback may have stopped the run anywhere

    def _prepare(self, request: GenerationRequest, progress: Progress) -> _Prepared:
        """Check the request, read its recording, and compute what does not depend on the seed."""
        manifest = self.bundle.manifest
        sampler = manifest.sampler
        sampling = settle_sampling(request, sampler)
        plan = plan_request(request, sampling.headroom, manifest)

        if request.piece_seconds is not None and not request.piece_seconds > 0:
            raise RequestError(f"piece_seconds must be more than 0, got {request.piece_seconds}")

        tiles = manifest.tiles.decoder
        if self.max_memory is not None:
            tiles = within(
                self.max_memory,
                self.bundle,
                self.graphs.engine.name,
                plan.lengths.valid,
                recording=plan.source is not None,
                keep_loaded=self.graphs.keep_loaded,
            )
        adapters = self._read_adapters(request.adapters)
        shares = _shares(request.blend, request.prompt, plan.lengths.valid, manifest.audio)
        texts = [self._encode_text(prompt, progress) for prompt in shares]
        negative = self._encode_text(request.negative_prompt, progress) if request.negative_prompt else None
        self.graphs.done_with("text_encoder")
        source = self._encode_source(plan, progress)
        if request.after is not None and request.edit is None:
            source = np.pad(request.after, ((0, 0), (0, 0), (0, plan.lengths.valid - request.after.shape[-1])))
        init = source if plan.regions is None else None
        keep = keep_mask(plan, manifest.audio.samples_per_frame) if plan.regions is not None else None
        progress("condition", 0, 1)
        told = plan.seconds if request.piece_seconds is None else request.piece_seconds
        against = None
        if negative is not None:
            against = self._condition(negative, told, keep, source, adapters, padding_scale=0.0)
        prompts = []
        for text, share in zip(texts, shares.values(), strict=True):
            conditioning = self._condition(text, told, keep, source, adapters)
            unconditional = against
            if unconditional is None and sampling.cfg != 1:
                # The reference's unconditional context is all zeros: attending to it gives zero.
                zeros = {name: np.zeros_like(conditioning[name]) for name in ("cross_k", "cross_v")}
                unconditional = {**conditioning, **zeros}
            prompts.append(_Prompt(conditioning, unconditional, share))
        self.graphs.done_with("conditioner")
        progress("condition", 1, 1)
        return _Prepared(
            without_source(plan),
            _timesteps(request, sampling.steps, sampler.logsnr_start, sampler.logsnr_end),
            tuple(prompts),
            init,
            sampling.headroom,
            sampling.cfg,
            request.apg,
            adapters,
            tiles,
            (*plan.notes, *(text.note for text in (*texts, negative) if text is not None and text.note)),
        )

    def _read_adapters(self, files: tuple[AdapterFile, ...]) -> Adapters:
        """Adapters that change something, each read once while its file stays as it is.

        Raises AdapterError for one that does not fit, RequestError if this bundle does not say where layers are.
        """
        files = tuple(file for file in files if file.strength)
        if not files:
            self._adapters.clear()
            return ()
        shapes: dict[str, tuple[int, ...]] = {}
        for name in _ADAPTED:
            artifact = self.bundle.artifact(name, self.graphs.engine.format)
            if not artifact.layers:
                why = "is in int8" if artifact.precision == "int8" else "does not say which weights are which layer's"
                raise RequestError(
                    f"{self.bundle.path}: the {name} {why}, so no adapter can be merged while it runs; "
                    "export the model again with the denoiser in fp32, or with the adapter merged"
                )
            shapes |= {layer: tuple(described.shape) for layer, described in artifact.layers.items()}
        known, self._adapters = self._adapters, {}
        for file in files:
            key = (file, *fingerprint(file))
            self._adapters[key] = known.get(key) or read_adapter(file, shapes)
        return tuple(self._adapters[(file, *fingerprint(file))] for file in files)

    def _encode_text(self, prompt: str, progress: Progress) -> _Text:
        progress("text", 0, 1)
        ids, cut = self._tokenizer.encode(prompt)
        note = f"the prompt is {cut} tokens too long; the model reads the first {len(ids)}" if cut else None
        if ids:
            hidden = self.graphs.run("text_encoder", {"input_ids": np.array([ids], np.int64)})["hidden"]
            mask = np.ones((1, len(ids)), np.float32)
        else:
            # An empty prompt is all padding: one masked position stands for a text of no tokens.
            hidden = np.zeros((1, 1, self.bundle.manifest.text.hidden_size), np.float32)
            mask = np.zeros((1, 1), np.float32)
        progress("text", 1, 1)
        return _Text(hidden, mask, note)

    def _encode_source(self, plan: Plan, progress: Progress) -> Latents | None:
        """The plan's recording -> latents (1, C, valid)."""
        if plan.source is None:
            return None
        manifest = self.bundle.manifest
        progress("encode", 0, 1)
        frame = manifest.audio.samples_per_frame
        latents = encode_tiles(
            lambda audio: self.graphs.run("encoder", {"audio": audio})["latents"],
            plan.source[None],
            min(plan.lengths.valid, plan.source.shape[-1] // frame),
            manifest.tiles.encoder,
            frame,
        )
        latents = np.pad(latents, ((0, 0), (0, 0), (0, plan.lengths.valid - latents.shape[-1])))
        self.graphs.done_with("encoder")
        progress("encode", 1, 1)
        return latents

    def _condition(
        self,
        text: _Text,
        seconds: float,
        keep: Array | None,
        source: Latents | None,
        adapters: Adapters,
        padding_scale: float = 1.0,
    ) -> Conditioning:
        """Everything that the steps share, under the names of the denoiser's inputs."""
        if keep is None or source is None:
            # Nothing to keep: one zero frame stands for all.
            keep = np.zeros((1, 1, 1), np.float32)
            source = np.zeros((1, self.bundle.manifest.audio.latent_channels, 1), np.float32)
        return self.graphs.run(
            "conditioner",
            {
                "hidden": text.hidden,
                "text_mask": text.mask,
                "padding_scale": np.array([padding_scale], np.float32),
                "seconds": np.array([seconds], np.float32),
                "inpaint_mask": keep,
                "inpaint_masked_input": source * keep,
            },
            adapters,
        )

    def _velocity(self, conditioning: Conditioning, adapters: Adapters = ()) -> Velocity:
        def velocity(x: Latents, t: float) -> Latents:
            inputs = {"x": x, "t": np.array([t], np.float32), **conditioning}
            return self.graphs.run("denoiser", inputs, adapters)["velocity"]

        return velocity

    def _blended(self, prepared: _Prepared) -> Velocity:
        """The guided velocity of each prompt, averaged frame by frame by the prompts' shares."""
        velocities: list[tuple[Velocity, Array]] = []
        for prompt in prepared.prompts:
            velocity = self._velocity(prompt.conditioning, prepared.adapters)
            if prompt.unconditional is not None:
                velocity = guided(
                    velocity, self._velocity(prompt.unconditional, prepared.adapters), prepared.cfg, prepared.apg
                )
            velocities.append((velocity, prompt.share))
        if len(velocities) == 1:
            return velocities[0][0]

        def blended(x: Latents, t: float) -> Latents:
            mean = np.zeros_like(x)
            for velocity, share in velocities:
                mean += velocity(x, t) * share
            return mean

        return blended

    def _sample(self, prepared: _Prepared, seed: int, progress: Progress) -> Latents:
        channels, lengths = self.bundle.manifest.audio.latent_channels, prepared.plan.lengths
        noise = LatentNoise(seed, channels, lengths.allocated, lengths.valid)
        velocity = self._blended(prepared)

        on_step = partial(progress, "denoise")
        timesteps = prepared.timesteps
        on_step(0, len(timesteps) - 1)
        x = noise()
        if prepared.init is not None:
            x = prepared.init * (1 - timesteps[0]) + x * timesteps[0]
        if self.bundle.manifest.sampler.objective == "rf_denoiser":
            return ping_pong(velocity, x, timesteps, noise, on_step)
        return euler(velocity, x, timesteps, on_step)

    def _decode(
        self,
        latents: Latents,
        prepared: _Prepared,
        limiter: bool,
        timings: dict[str, float],
        progress: Progress,
        frame: int,
    ) -> Iterator[Array]:
        """Latents (1, C, T) -> audio in pieces (channels, n), from a frame on; only what is heard is decoded."""
        plan, rate = prepared.plan, self.bundle.manifest.audio.sample_rate
        pieces = self._decode_tiles(latents, plan.lengths.samples, prepared.tiles, timings, progress, frame)
        if limiter:
            pieces = limit_blocks(pieces, rate)
        first = frame * self.bundle.manifest.audio.samples_per_frame
        for piece in pieces:
            # After the limiter: the recording's own samples are not to be touched.
            yield splice(piece, plan, rate, first) if plan.splice else piece
            first += piece.shape[-1]

    def _decode_tiles(
        self,
        latents: Latents,
        samples: int,
        tiles: Tiles,
        timings: dict[str, float],
        progress: Progress,
        first: int,
    ) -> Iterator[Array]:
        def decode(tile: Latents) -> Array:
            with self.graphs.timing(timings):
                return self.graphs.run("decoder", {"latents": tile})["audio"]

        manifest = self.bundle.manifest
        frame = manifest.audio.samples_per_frame
        wanted = -(-samples // frame)
        pieces = decode_tiles(
            decode,
            latents,
            wanted,
            tiles,
            frame,
            full=self.graphs.engine.wants_full_tiles(self.bundle, "decoder"),
            first=first,
        )
        decoded = first * frame
        progress("decode", first, wanted)
        for piece in pieces:
            decoded += piece.shape[-1]
            progress("decode", decoded // frame, wanted)
            yield piece[0, :, : samples - decoded + piece.shape[-1]]


def _shares(blend: Blend | None, prompt: str, frames: int, audio: Audio) -> dict[str, Array]:
    """How much of each frame is which prompt's, (1, 1, T); a frame goes by its first sample."""
    if blend is None or blend.prompt == prompt:
        return {prompt: np.ones((1, 1, 1), np.float32)}
    if not 0 <= blend.start <= blend.end:
        raise RequestError(f"a blend must go from a time to a later one, got {blend.start} to {blend.end}")
    seconds = np.arange(frames) * (audio.samples_per_frame / audio.sample_rate)
    own = np.interp(seconds, [blend.start, max(blend.end, blend.start + 1e-6)], [0.0, 1.0])
    own = own.astype(np.float32)[None, None]
    return {blend.prompt: 1 - own, prompt: own}


def settle_sampling(request: GenerationRequest, sampler: Sampler) -> Sampling:
    """How a request to a model is sampled. Raises RequestError for invalid values."""
    sampling = Sampling.of(request, sampler)
    if not 1 <= sampling.steps <= MOST_STEPS:
        raise RequestError(f"steps must be from 1 to {MOST_STEPS}, got {sampling.steps}")
    check_guidance(sampling.cfg, request.apg, request.negative_prompt)
    return sampling


def _timesteps(request: GenerationRequest, steps: int, logsnr_start: float, logsnr_end: float) -> NDArray[np.float32]:
    if not isinstance(request.edit, Variation):
        return schedule(steps, logsnr_start, logsnr_end)
    level = request.edit.noise_level
    if request.edit.schedule == "reference":
        return schedule(steps, logsnr_start, logsnr_end, level)
    return schedule(steps, logsnr_start, logsnr_end) * np.float32(level)
