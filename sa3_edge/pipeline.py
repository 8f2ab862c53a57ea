"""Text to audio: the graphs of a bundle, run in order, with the sampler between them."""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.bundle import Bundle
from sa3_edge.engines import DEFAULT_ENGINE, EngineOptions, Session, Tensors, create_engine
from sa3_edge.errors import EngineError, RequestError
from sa3_edge.lengths import Lengths, plan_lengths
from sa3_edge.manifest import GraphName
from sa3_edge.noise import SEEDS
from sa3_edge.sampling import LatentNoise, Latents, euler, ping_pong, schedule
from sa3_edge.tiling import decode_tiles
from sa3_edge.tokenizer import Tokenizer

Array = NDArray[np.float32]
Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all
_SILENT: Progress = lambda stage, done, total: None  # noqa: E731


@dataclass(frozen=True)
class GenerationRequest:
    """What to make.

    prompt: what to hear; may be empty
    seconds: length of the clip
    seed: 0..2^32-1, the same seed gives the same music; None draws one
    steps: denoising steps; None takes the model's own
    headroom: seconds that the model composes beyond the end, which are cut off
    """

    prompt: str
    seconds: float = 30.0
    seed: int | None = None
    steps: int | None = None
    headroom: float | None = None


@dataclass(frozen=True)
class Generation:
    """What was made.

    audio: (channels, N) fp32, N = int(seconds * sample_rate); peaks may exceed 1
    latents: (1, C, T) fp32, T the valid frames with the headroom
    timings: seconds by stage, e.g. "denoiser.load", "denoiser.run", and "total"
    notes: what the caller should know, e.g. that the prompt was cut
    """

    audio: Array
    sample_rate: int
    latents: Latents
    seed: int
    steps: int
    headroom: float
    timings: dict[str, float]
    notes: list[str] = field(default_factory=list)


class _Graphs:
    """The engine's sessions, loaded when first needed, freed after use unless they are to be kept."""

    def __init__(self, bundle: Bundle, engine: str, options: EngineOptions, keep_loaded: bool):
        self.bundle = bundle
        self.engine = create_engine(engine, options)
        self._keep_loaded = keep_loaded
        self._sessions: dict[GraphName, Session] = {}
        self.timings: dict[str, float] = {}

    def _add_time(self, key: str, start: float) -> None:
        self.timings[key] = self.timings.get(key, 0.0) + time.perf_counter() - start

    def run(self, graph: GraphName, inputs: Tensors) -> dict[str, NDArray[Any]]:
        if graph not in self._sessions:
            start = time.perf_counter()
            self._sessions[graph] = self.engine.load(self.bundle, graph)
            self._add_time(f"{graph}.load", start)
        start = time.perf_counter()
        outputs = self._sessions[graph].run(inputs)
        self._add_time(f"{graph}.run", start)
        return outputs

    def done_with(self, graph: GraphName) -> None:
        """Free a graph that this run needs no more."""
        if not self._keep_loaded:
            self._sessions.pop(graph, None)

    def free(self) -> None:
        self._sessions.clear()


class Pipeline:
    """A loaded bundle that generates audio.

    pipeline = Pipeline.load("bundle")
    made = pipeline.generate(GenerationRequest("lofi piano", seconds=90))
    """

    def __init__(self, bundle: Bundle, graphs: _Graphs):
        self.bundle = bundle
        self._graphs = graphs
        text = bundle.manifest.text
        self._tokenizer = Tokenizer(bundle.resolve(text.tokenizer), text.max_tokens)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        engine: str = DEFAULT_ENGINE,
        *,
        threads: int | None = None,
        compute_units: str | None = None,
        keep_loaded: bool = False,
    ) -> "Pipeline":
        """Open the bundle in folder `path`; graphs are loaded when first needed.

        `keep_loaded` keeps them for the next call, at the price of memory. Raises BundleError if the bundle is not
        whole, RequestError for an unknown engine, EngineError if it is not installed.
        """
        bundle = Bundle.load(path)
        return cls(bundle, _Graphs(bundle, engine, EngineOptions(threads, compute_units), keep_loaded))

    @property
    def engine(self) -> str:
        """The engine, its version and device, in a line."""
        return self._graphs.engine.describe()

    def free(self) -> None:
        """Release all loaded graphs; the next call loads them again."""
        self._graphs.free()

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()

    def generate(self, request: GenerationRequest, progress: Progress = _SILENT) -> Generation:
        """Make one clip.

        `progress(stage, done, total)` is called in the stages "text", "condition", "denoise" and "decode"; what it
        raises stops the run. Raises RequestError for values that cannot be, before anything is computed, and
        EngineError if a graph fails.
        """
        start = time.perf_counter()
        manifest = self.bundle.manifest
        headroom = manifest.sampler.headroom_seconds if request.headroom is None else request.headroom
        lengths = plan_lengths(request.seconds, headroom, manifest)
        steps = manifest.sampler.steps if request.steps is None else request.steps
        if steps < 1:
            raise RequestError(f"steps must be 1 or more, got {steps}")
        seed = secrets.randbelow(SEEDS) if request.seed is None else request.seed
        noise = LatentNoise(seed, manifest.audio.latent_channels, lengths.allocated, lengths.valid)

        self._graphs.timings = {}
        notes: list[str] = []
        hidden, text_mask = self._encode_text(request.prompt, notes, progress)
        conditioning = self._condition(hidden, text_mask, request.seconds, progress)
        latents = self._sample(conditioning, noise, steps, progress)
        audio = self._decode(latents, lengths, progress)
        timings = {**self._graphs.timings, "total": time.perf_counter() - start}
        return Generation(audio, manifest.audio.sample_rate, latents, seed, steps, headroom, timings, notes)

    def _encode_text(self, prompt: str, notes: list[str], progress: Progress) -> tuple[Array, Array]:
        """Prompt -> hidden states (1, n, W) and their mask (1, n)."""
        progress("text", 0, 1)
        ids, cut = self._tokenizer.encode(prompt)
        if cut:
            notes.append(f"the prompt is {cut} tokens too long; the model reads the first {len(ids)}")
        if ids:
            hidden = self._graphs.run("text_encoder", {"input_ids": np.array([ids], np.int64)})["hidden"]
            self._graphs.done_with("text_encoder")
            mask = np.ones((1, len(ids)), np.float32)
        else:
            # An empty prompt is all padding: one masked position stands for a text of no tokens.
            hidden = np.zeros((1, 1, self.bundle.manifest.text.hidden_size), np.float32)
            mask = np.zeros((1, 1), np.float32)
        progress("text", 1, 1)
        return hidden, mask

    def _condition(self, hidden: Array, text_mask: Array, seconds: float, progress: Progress) -> dict[str, Array]:
        """Everything that the steps share, under the names of the denoiser's inputs."""
        progress("condition", 0, 1)
        channels = self.bundle.manifest.audio.latent_channels
        conditioning = self._graphs.run(
            "conditioner",
            {
                "hidden": hidden,
                "text_mask": text_mask,
                "padding_scale": np.ones(1, np.float32),
                "seconds": np.array([seconds], np.float32),
                # Nothing to keep: one zero frame stands for all.
                "inpaint_mask": np.zeros((1, 1, 1), np.float32),
                "inpaint_masked_input": np.zeros((1, channels, 1), np.float32),
            },
        )
        self._graphs.done_with("conditioner")
        progress("condition", 1, 1)
        return conditioning

    def _sample(self, conditioning: dict[str, Array], noise: LatentNoise, steps: int, progress: Progress) -> Latents:
        sampler = self.bundle.manifest.sampler
        timesteps = schedule(steps, sampler.logsnr_start, sampler.logsnr_end)

        def velocity(x: Latents, t: float) -> Latents:
            inputs = {"x": x, "t": np.array([t], np.float32), **conditioning}
            out: Latents = self._graphs.run("denoiser", inputs)["velocity"]
            if not np.isfinite(out).all():
                raise EngineError(f"{self._graphs.engine.name} computed NaN or infinity in the denoiser")
            return out

        def on_step(done: int, total: int) -> None:
            progress("denoise", done, total)

        on_step(0, steps)
        x = noise()
        if sampler.objective == "rf_denoiser":
            latents = ping_pong(velocity, x, timesteps, noise, on_step)
        else:
            latents = euler(velocity, x, timesteps, on_step)
        self._graphs.done_with("denoiser")
        return latents

    def _decode(self, latents: Latents, lengths: Lengths, progress: Progress) -> Array:
        """Latents (1, C, T) -> audio (channels, samples); only the frames that are heard are decoded."""
        manifest = self.bundle.manifest
        frame = manifest.audio.samples_per_frame
        wanted = -(-lengths.samples // frame)
        audio = np.empty((manifest.audio.channels, wanted * frame), np.float32)

        def decode(tile: Array) -> Array:
            out: Array = self._graphs.run("decoder", {"latents": tile})["audio"]
            return out

        written = 0
        progress("decode", 0, wanted)
        for piece in decode_tiles(decode, latents, wanted, manifest.tiles, frame):
            audio[:, written : written + piece.shape[-1]] = piece[0]
            written += piece.shape[-1]
            progress("decode", written // frame, wanted)
        self._graphs.done_with("decoder")
        return audio[:, : lengths.samples]
