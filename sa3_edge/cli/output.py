"""Where clips go, what they are called, and what is said of them."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape

import sa3_edge
from sa3_edge.audio_file import check_destination, whole_file, write_wav
from sa3_edge.cli.display import err
from sa3_edge.errors import RequestError
from sa3_edge.pipeline import Generation, Pipeline

_LONGEST_STEM = 40


@dataclass(frozen=True)
class Written:
    """A clip on disk, with the notes that writing it added."""

    audio: Path
    latents: Path | None
    notes: list[str]


def check_file(path: Path, suffix: str, what: str) -> None:
    """Raise RequestError if `path` cannot become a file of this kind; asked before any work."""
    if path.suffix.lower() != suffix:
        raise RequestError(f"{what} must be a {suffix} file, got {path}")
    check_destination(path)


def slug(prompt: str) -> str:
    """A prompt as part of a file's name."""
    words = re.findall(r"\w+", prompt.lower())
    return "-".join(words)[:_LONGEST_STEM].strip("-") or "untitled"


def free_name(prompt: str, seed: int) -> Path:
    """A readable name in the current directory that no file has: lofi-piano-42.wav, lofi-piano-42-2.wav."""
    stem = f"{slug(prompt)}-{seed}"
    candidates = itertools.chain([f"{stem}.wav"], (f"{stem}-{count}.wav" for count in itertools.count(2)))
    return next(path for path in map(Path, candidates) if not path.exists())


def with_seed(path: Path, seed: int) -> Path:
    """One file of several seeds: piano.wav -> piano-42.wav."""
    return path.with_name(f"{path.stem}-{seed}{path.suffix}")


def write(made: Generation, pipeline: Pipeline, output: Path, latents: Path | None) -> Written:
    """Write a clip and, if asked for, its latents."""
    model = pipeline.bundle.manifest.model
    notes = list(made.notes)
    comment = f"sa3-edge {sa3_edge.__version__}, {model.name}, seed {made.seed}"
    if model.synthetic:
        comment += ": made by an untrained model of random weights"
        notes.append(f"{model.name} is untrained (random weights): what it makes is noise")
    clipped = write_wav(output, made.audio, made.sample_rate, comment)
    if clipped:
        notes.append(f"{clipped} samples were louder than full scale and are clipped")
    if latents is not None:
        with whole_file(latents) as temporary, temporary.open("wb") as file:
            np.save(file, made.latents)
    return Written(output, latents, notes)


def summarize(made: Generation, written: Written) -> None:
    """Notes and times on stderr, the file and how it was made on stdout."""
    length = made.audio.shape[-1] / made.sample_rate
    total = made.timings["total"]
    console = err()
    for note in written.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    stages = ", ".join(f"{graph.replace('_', ' ')} {time:.2f} s" for graph, time in _by_graph(made.timings).items())
    console.print(f"[dim]{stages}[/]")
    speed = f"{length / total:.1f}x real time"
    print(f"{written.audio}  {length:.2f} s of audio in {total:.2f} s ({speed})  seed {made.seed}", flush=True)


def result(prompt: str, made: Generation, written: Written, pipeline: Pipeline) -> dict[str, object]:
    """The clip as a JSON object."""
    model = pipeline.bundle.manifest.model
    length = made.audio.shape[-1] / made.sample_rate
    return {
        "file": str(written.audio),
        "latents_file": str(written.latents) if written.latents else None,
        "prompt": prompt,
        "seconds": made.seconds,
        "samples": made.audio.shape[-1],
        "sample_rate": made.sample_rate,
        "seed": made.seed,
        "steps": made.steps,
        "headroom": made.headroom,
        "cfg": made.guidance,
        "model": {"name": model.name, "revision": model.revision, "bundle": pipeline.bundle.id},
        "synthetic": model.synthetic,
        "engine": pipeline.engine,
        "version": sa3_edge.__version__,
        "timings": {key: round(time, 4) for key, time in made.timings.items()},
        "realtime_factor": round(length / made.timings["total"], 2),
        "notes": written.notes,
    }


def _by_graph(timings: dict[str, float]) -> dict[str, float]:
    """Loading and running, added up for each graph."""
    added: dict[str, float] = {}
    for key, time in timings.items():
        if "." in key:
            graph = key.split(".")[0]
            added[graph] = added.get(graph, 0.0) + time
    return added
