"""Where a clip's files go and what they are called: settled, for every seed, before any work."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sa3_edge.audio.formats import FORMATS, Encoding, check_comment, encoding_for
from sa3_edge.clips.options import ClipOptions, FileOptions, as_json
from sa3_edge.errors import RequestError
from sa3_edge.files import check_destination, check_writable

TAGS = ("full", "minimal", "none")
_LONGEST_STEM = 40
_RECORD_ROOM = 4096  # bytes of a record beside prompt and options: names, versions, what JSON adds


@dataclass(frozen=True)
class ClipFiles:
    """One clip's files. `audio` None: the sound goes elsewhere, as to standard output.

    automatic: the name was chosen here, so another is if a file has it by the time that the clip is done
    overwrite, tags: as of FileOptions
    """

    encoding: Encoding
    audio: Path | None = None
    latents: Path | None = None
    sidecar: Path | None = None
    automatic: bool = False
    overwrite: bool = False
    tags: str = "full"

    def all(self) -> Iterator[Path]:
        """Those that are written."""
        yield from filter(None, (self.audio, self.latents, self.sidecar))


def with_usual(files: FileOptions, defaults: Mapping[str, Any]) -> FileOptions:
    """The same with what the user has set as default. Raises RequestError for what does not exist."""
    usual_format, usual_bits = defaults.get("format"), defaults.get("bits")
    depths = {depth for kind in FORMATS.values() for depth in kind.subtypes if depth}
    for name, value, choices in (("format", usual_format, FORMATS), ("bits", usual_bits, sorted(depths))):
        if value is not None and value not in choices:
            raise RequestError(f"the default {name} is {value!r}; choose {', '.join(choices)}")
    return replace(files, usual_format=usual_format, usual_bits=usual_bits)


def encoding_of(files: FileOptions, suffix: str = "") -> Encoding:
    """How a file with this suffix ("": not named yet) is stored. Raises RequestError."""
    usual = encoding_for(files.format or suffix or files.usual_format or "wav", None)
    bits = files.bits
    if bits is None and files.usual_bits in FORMATS[usual.format].subtypes:
        bits = files.usual_bits
    return encoding_for(usual.format, bits)


def settle_files(
    files: FileOptions, options: ClipOptions, seeds: range, *, elsewhere: bool = False
) -> tuple[ClipFiles, ...]:
    """The files of each seed's clip, in order; several clips of one name bear their seeds: piano.wav, piano-42.wav.

    `elsewhere`: the sound goes to something that is no file. Raises RequestError if any of them cannot be made, or
    would replace the recording that is edited.
    """
    encoding = _check_names(files, elsewhere)
    check_comment(encoding, len(json.dumps(as_json(options))) + _RECORD_ROOM)
    settled = tuple(_for_seed(files, options.prompt, seed, len(seeds) > 1, encoding, elsewhere) for seed in seeds)
    for clip in settled:
        for path in clip.all():
            # Permissions do not say all, so a file is made on trial; once is enough for names beside each other.
            (check_writable if clip is settled[0] else check_destination)(path)
    for path in (path for clip in settled for path in clip.all()):
        if options.init_audio is not None:
            _spare(options.init_audio, path)
        if not files.overwrite:
            _keep(path, named=path == files.output)
    return settled


def _check_names(files: FileOptions, elsewhere: bool) -> Encoding:
    if files.tags not in TAGS:
        raise RequestError(f"unknown tags {files.tags!r}; choose {', '.join(TAGS)}")
    if files.save_latents is not None and files.save_latents.suffix != ".npy":
        raise RequestError(f"the latents must be a .npy file, got {files.save_latents}")
    if elsewhere and files.sidecar:
        raise RequestError("`sidecar` needs a file to lie beside")
    path = files.output
    if elsewhere or path is None:
        return encoding_of(files)
    if files.format is not None and files.format != path.suffix.lower().removeprefix("."):
        raise RequestError(f"the output {path} is no {files.format} file; leave out `format` or change one")
    if not path.suffix:
        raise RequestError(f"the output {path} has no suffix; choose {', '.join(FORMATS)}, as in a.wav")
    return encoding_of(files, path.suffix)


def _for_seed(
    files: FileOptions, prompt: str, seed: int, several: bool, encoding: Encoding, elsewhere: bool
) -> ClipFiles:
    audio, latents = files.output, files.save_latents
    if several:
        audio, latents = audio and _with_seed(audio, seed), latents and _with_seed(latents, seed)
    if elsewhere:
        return ClipFiles(encoding, latents=latents, overwrite=files.overwrite, tags=files.tags)
    automatic = audio is None
    audio = audio or free_name(prompt, seed, encoding.format)
    sidecar = sidecar_of(audio) if files.sidecar else None
    return ClipFiles(encoding, audio, latents, sidecar, automatic, files.overwrite, files.tags)


def _spare(recording: Path, path: Path) -> None:
    if path.exists() and recording.exists() and path.samefile(recording):
        raise RequestError(f"{path} is the recording that is edited and would be lost; name another file")


def _keep(path: Path, *, named: bool) -> None:
    if path.exists() or path.is_symlink():
        otherwise = ", without `output` a clip gets a name of its own" if named else ""
        raise RequestError(f"{path} exists and is not replaced; `overwrite: true` does{otherwise}")


def slug(prompt: str) -> str:
    """A prompt as part of a file's name."""
    words = re.findall(r"\w+", prompt.lower())
    return "-".join(words)[:_LONGEST_STEM].strip("-") or "untitled"


def sidecar_of(audio: Path) -> Path:
    """The file beside a clip that says how it was made."""
    return audio.with_name(f"{audio.name}.json")


def free_name(prompt: str, seed: int, suffix: str) -> Path:
    """A readable name in the current directory that no file has: lofi-piano-42.wav, lofi-piano-42-2.wav."""
    stem = f"{slug(prompt)}-{seed}"
    candidates = itertools.chain([f"{stem}.{suffix}"], (f"{stem}-{count}.{suffix}" for count in itertools.count(2)))
    return next(path for path in map(Path, candidates) if not (path.exists() or sidecar_of(path).exists()))


def _with_seed(path: Path, seed: int) -> Path:
    return path.with_name(f"{path.stem}-{seed}{path.suffix}")
