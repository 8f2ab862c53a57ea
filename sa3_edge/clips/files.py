"""Where clips go, what they are called, what is written into them and what is said of them."""

import io
import itertools
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

import sa3_edge
from sa3_edge.audio.encoding import (
    FORMATS,
    Encoding,
    Tags,
    check_comment,
    encode_audio,
    encoding_for,
    write_audio,
)
from sa3_edge.bundle import sha256_of
from sa3_edge.cli import display
from sa3_edge.cli.display import err, json_text, standard_output
from sa3_edge.clips.options import RequestOptions
from sa3_edge.clips.record import Record, encode_record
from sa3_edge.errors import RequestError
from sa3_edge.files import check_writable, whole_file
from sa3_edge.generation.pipeline import Generation, Pipeline

STDOUT = Path("-")
_LONGEST_STEM = 40
_LONGEST_TITLE = 100
_RECORD_ROOM = 4096  # bytes of a record beside prompt and options: names, versions, what JSON adds


@dataclass(frozen=True)
class FileOptions:
    """The files to write. `audio` None means a name after the prompt, "-" standard output.

    A usual format or depth is for where neither options nor the file's name say one, and only if they go together.
    """

    audio: Path | None
    latents: Path | None
    format: str | None
    bits: str | None
    sidecar: bool
    usual_format: str | None = None
    usual_bits: str | None = None

    def with_defaults(self, defaults: Mapping[str, Any]) -> "FileOptions":
        """The same with what the user has set as default. Raises RequestError for what does not exist."""
        usual_format, usual_bits = defaults.get("format"), defaults.get("bits")
        depths = {depth for kind in FORMATS.values() for depth in kind.subtypes if depth}
        for name, value, choices in (("format", usual_format, FORMATS), ("bits", usual_bits, sorted(depths))):
            if value is not None and value not in choices:
                raise RequestError(f"the default {name} is {value!r}; choose {', '.join(choices)}")
        return replace(self, usual_format=usual_format, usual_bits=usual_bits)

    def encoding(self, suffix: str = "") -> Encoding:
        """How a file with this suffix ("": not named yet) is stored. Raises RequestError."""
        name = self.format or suffix or self.usual_format or "wav"
        usual = encoding_for(name, None)
        depths = FORMATS[usual.format].subtypes
        return encoding_for(name, self.usual_bits if self.bits is None and self.usual_bits in depths else self.bits)

    def check(self, prompt: str, shape: RequestOptions, count: int = 1) -> Encoding:
        """The audio's encoding. Raises RequestError if the files of this request cannot be made.

        Asked before any work; of several clips once more for each one's files, whose names have its seed.
        """
        encoding = self._check_names()
        if count == 1 and shape.init_audio is not None:
            self._spare(shape.init_audio)
        check_comment(encoding, len(json.dumps([prompt, asdict(shape)], default=str)) + _RECORD_ROOM)
        return encoding

    def _spare(self, recording: Path) -> None:
        """Raise RequestError if one of the files would replace the recording."""
        for path in (self.audio, self.latents, _sidecar_of(self.audio) if self.audio and self.sidecar else None):
            if path is not None and path.exists() and recording.exists() and path.samefile(recording):
                raise RequestError(f"{path} is the recording that is edited and would be lost; name another file")

    def _check_names(self) -> Encoding:
        if self.latents is not None:
            if self.latents.suffix != ".npy":
                raise RequestError(f"the latents must be a .npy file, got {self.latents}")
            check_writable(self.latents)
        if self.audio is None or self.audio == STDOUT:
            if self.sidecar and self.audio == STDOUT:
                raise RequestError("--sidecar needs a file to lie beside")
            encoding = self.encoding()
            if self.audio is None:
                check_writable(_free_name("", 0, encoding.format))
            return encoding
        if self.format is not None and self.format != self.audio.suffix.lower().removeprefix("."):
            raise RequestError(f"the output {self.audio} is no {self.format} file; leave out --format or change one")
        if not self.audio.suffix:
            raise RequestError(f"the output {self.audio} has no suffix; choose {', '.join(FORMATS)}, as in a.wav")
        encoding = self.encoding(self.audio.suffix)
        check_writable(self.audio)
        if self.sidecar:
            check_writable(_sidecar_of(self.audio))
        return encoding

    def for_seed(self, seed: int) -> "FileOptions":
        """One of several seeds' files: piano.wav -> piano-42.wav."""
        return replace(
            self,
            audio=self.audio and _with_seed(self.audio, seed),
            latents=self.latents and _with_seed(self.latents, seed),
        )


@dataclass(frozen=True)
class Written:
    """A clip that was written, with the notes that writing it added."""

    audio: Path
    latents: Path | None
    notes: list[str]
    record: Record


def slug(prompt: str) -> str:
    """A prompt as part of a file's name."""
    words = re.findall(r"\w+", prompt.lower())
    return "-".join(words)[:_LONGEST_STEM].strip("-") or "untitled"


def _sidecar_of(audio: Path) -> Path:
    return audio.with_name(f"{audio.name}.json")


def _with_seed(path: Path, seed: int) -> Path:
    return path.with_name(f"{path.stem}-{seed}{path.suffix}")


def _free_name(prompt: str, seed: int, suffix: str) -> Path:
    """A readable name in the current directory that no file has: lofi-piano-42.wav, lofi-piano-42-2.wav."""
    stem = f"{slug(prompt)}-{seed}"
    candidates = itertools.chain([f"{stem}.{suffix}"], (f"{stem}-{count}.{suffix}" for count in itertools.count(2)))
    return next(path for path in map(Path, candidates) if not path.exists())


def _record(prompt: str, shape: RequestOptions, model: str, made: Generation, pipeline: Pipeline) -> Record:
    """What was asked for, with what the model or chance decided filled in."""
    settled = replace(
        shape,
        seed=made.seed,
        steps=made.steps,
        headroom=made.headroom,
        cfg=made.guidance,
        # A continuation's length follows from its recording.
        seconds=None if shape.mode == "continuation" else made.seconds,
        init_audio=shape.init_audio and shape.init_audio.resolve(),
    )
    options = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settled).items()}
    manifest = pipeline.bundle.manifest
    engine = pipeline.graphs.engine
    path = Path(model).expanduser()
    return Record(
        version=sa3_edge.__version__,
        mode=shape.mode,
        prompt=prompt,
        options=options,
        # A name stays a name; a folder is found from anywhere.
        model=str(path.resolve()) if path.resolve() == pipeline.bundle.path.resolve() else model,
        model_name=manifest.model.name,
        revision=manifest.model.revision,
        bundle=pipeline.bundle.id,
        precision=manifest.graphs["denoiser"].artifacts[engine.artifact].precision,
        engine=engine.name,
        engine_version=engine.describe(),
        synthetic=manifest.model.synthetic,
        source_sha256=sha256_of(shape.init_audio) if shape.init_audio else None,
    )


def write(
    made: Generation, pipeline: Pipeline, prompt: str, shape: RequestOptions, model: str, files: FileOptions
) -> Written:
    """Write a clip and whatever else was asked for."""
    encoding = files.check(prompt, shape)
    notes = list(made.notes)
    record = _record(prompt, shape, model, made, pipeline)
    title = prompt if len(prompt) <= _LONGEST_TITLE else f"{prompt[: _LONGEST_TITLE - 3]}..."
    if record.synthetic:
        title += " (random weights: noise)"
        notes.append(f"{record.model_name} is untrained (random weights): what it makes is noise")
    tags = Tags(title, f"sa3-edge {sa3_edge.__version__}", encode_record(record))
    audio = files.audio or _free_name(prompt, made.seed, encoding.format)
    if audio == STDOUT:
        data, clipped = encode_audio(made.audio, made.sample_rate, encoding, tags)
        with standard_output():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    else:
        clipped = write_audio(audio, made.audio, made.sample_rate, encoding, tags)
    if clipped:
        notes.append(f"{clipped} samples were louder than full scale and are clipped")
    if files.latents is not None:
        latents = io.BytesIO()  # np.save says nothing of the reason if it cannot write a file
        np.save(latents, made.latents)
        with whole_file(files.latents) as temporary:
            temporary.write_bytes(latents.getvalue())
    written = Written(audio, files.latents, notes, record)
    if files.sidecar:
        with whole_file(_sidecar_of(audio)) as temporary:
            temporary.write_text(json_text(result(made, written)), encoding="utf-8")
    return written


def summarize(made: Generation, written: Written, result: Callable[[str], None], verbose: bool = False) -> None:
    """Notes and times on stderr; the file and how it was made by `result`, or on stderr if it went to stdout itself."""
    length = made.audio.shape[-1] / made.sample_rate
    total = made.timings["total"]
    console = err()
    for note in written.notes:
        display.note(note)
    if verbose:
        record = written.record
        console.print(f"[dim]{escape(record.engine_version)}, {record.model_name} {record.precision}[/]")
        console.print(f"[dim]bundle {record.bundle}, latents {made.latents.shape}[/]")
        for key, time in made.timings.items():
            console.print(f"[dim]{key:18} {time:8.3f} s[/]")
    stages = ", ".join(f"{graph.replace('_', ' ')} {time:.2f} s" for graph, time in _by_graph(made.timings).items())
    console.print(f"[dim]{stages}[/]", soft_wrap=True)
    speed = f"{length / total:.1f}x real time"
    line = f"{written.audio}  {length:.2f} s of audio in {total:.2f} s ({speed})  seed {made.seed}"
    if written.audio == STDOUT:
        print(line, file=sys.stderr)
    else:
        result(line)


def result(made: Generation, written: Written) -> dict[str, object]:
    """The clip as a JSON object."""
    length = made.audio.shape[-1] / made.sample_rate
    record = written.record
    return {
        "file": str(written.audio),
        "latents_file": str(written.latents) if written.latents else None,
        "prompt": record.prompt,
        "seconds": made.seconds,
        "samples": made.audio.shape[-1],
        "sample_rate": made.sample_rate,
        "seed": made.seed,
        "steps": made.steps,
        "headroom": made.headroom,
        "cfg": made.guidance,
        "mode": record.mode,
        "options": record.options,
        "model": {"name": record.model_name, "revision": record.revision, "bundle": record.bundle},
        "precision": record.precision,
        "synthetic": record.synthetic,
        "engine": record.engine_version,
        "version": record.version,
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
