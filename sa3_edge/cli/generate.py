"""`sa3-edge generate`."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape

import sa3_edge
from sa3_edge.audio_file import check_destination, whole_file, write_wav
from sa3_edge.cli.display import err, print_json, stage_bars
from sa3_edge.errors import RequestError
from sa3_edge.models import resolve_model
from sa3_edge.pipeline import Generation, GenerationRequest, Pipeline

_LONGEST_STEM = 40
_STAGES = {
    "text": "Reading the prompt",
    "condition": "Conditioning",
    "denoise": "Denoising",
    "decode": "Decoding",
}


@dataclass(frozen=True)
class GenerateOptions:
    """How and where to, beside what is asked for."""

    model: str
    engine: str
    threads: int | None
    compute_units: str | None
    output: Path | None
    save_latents: Path | None
    json: bool


def run(request: GenerationRequest, options: GenerateOptions) -> None:
    """Generate, write the files, say what was made."""
    if options.output is not None:
        if options.output.suffix.lower() != ".wav":
            raise RequestError(f"the output must be a .wav file, got {options.output}")
        check_destination(options.output)
    if options.save_latents is not None:
        if options.save_latents.suffix != ".npy":
            raise RequestError(f"latents are saved as a .npy file, got {options.save_latents}")
        check_destination(options.save_latents)

    pipeline = Pipeline.load(
        resolve_model(options.model), options.engine, threads=options.threads, compute_units=options.compute_units
    )
    with stage_bars(_STAGES, quiet=options.json) as progress:
        made = pipeline.generate(request, progress)

    model = pipeline.bundle.manifest.model
    comment = f"sa3-edge {sa3_edge.__version__}, {model.name}, seed {made.seed}"
    if model.synthetic:
        comment += ": made by an untrained model of random weights"
    output = options.output or _free_name(request.prompt, made.seed)
    clipped = write_wav(output, made.audio, made.sample_rate, comment)
    if options.save_latents is not None:
        with whole_file(options.save_latents) as temporary, temporary.open("wb") as file:
            np.save(file, made.latents)

    notes = list(made.notes)
    if model.synthetic:
        notes.append(f"{model.name} is untrained (random weights): what it makes is noise")
    if clipped:
        notes.append(f"{clipped} samples were louder than full scale and are clipped")
    if options.json:
        print_json(_result(request, output, options.save_latents, pipeline, made, notes))
    else:
        _summary(output, made, notes)


def _free_name(prompt: str, seed: int) -> Path:
    """A readable name in the current directory that no file has: lofi-piano-42.wav, lofi-piano-42-2.wav."""
    words = re.findall(r"\w+", prompt.lower())
    stem = "-".join(["-".join(words)[:_LONGEST_STEM].strip("-") or "untitled", str(seed)])
    candidates = itertools.chain([f"{stem}.wav"], (f"{stem}-{count}.wav" for count in itertools.count(2)))
    return next(path for path in map(Path, candidates) if not path.exists())


def _summary(output: Path, made: Generation, notes: list[str]) -> None:
    length = made.audio.shape[-1] / made.sample_rate
    total = made.timings["total"]
    console = err()
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    stages = ", ".join(f"{graph.replace('_', ' ')} {time:.2f} s" for graph, time in _by_graph(made.timings).items())
    console.print(f"[dim]{stages}[/]")
    print(f"{output}  {length:.2f} s of audio in {total:.2f} s ({length / total:.1f}x real time)  seed {made.seed}")


def _by_graph(timings: dict[str, float]) -> dict[str, float]:
    """Loading and running, added up for each graph."""
    added: dict[str, float] = {}
    for key, time in timings.items():
        if "." in key:
            graph = key.split(".")[0]
            added[graph] = added.get(graph, 0.0) + time
    return added


def _result(
    request: GenerationRequest,
    output: Path,
    latents_file: Path | None,
    pipeline: Pipeline,
    made: Generation,
    notes: list[str],
) -> dict[str, object]:
    model = pipeline.bundle.manifest.model
    length = made.audio.shape[-1] / made.sample_rate
    return {
        "file": str(output),
        "latents_file": str(latents_file) if latents_file else None,
        "prompt": request.prompt,
        "seconds": request.seconds,
        "samples": made.audio.shape[-1],
        "sample_rate": made.sample_rate,
        "seed": made.seed,
        "steps": made.steps,
        "headroom": made.headroom,
        "model": {"name": model.name, "revision": model.revision, "bundle": pipeline.bundle.id},
        "synthetic": model.synthetic,
        "engine": pipeline.engine,
        "version": sa3_edge.__version__,
        "timings": {key: round(time, 4) for key, time in made.timings.items()},
        "realtime_factor": round(length / made.timings["total"], 2),
        "notes": notes,
    }
