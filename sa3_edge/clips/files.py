"""Where a clip's files go and what they are called: settled, for every seed, before any work."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Any

from sa3_edge.audio.conversion import check_rate
from sa3_edge.audio.formats import FORMATS, Encoding, check_comment, encoding_for
from sa3_edge.clips.options import ClipOptions, FileOptions, as_json
from sa3_edge.errors import RequestError
from sa3_edge.files import check_destination, check_writable

TAGS = ("full", "minimal", "none")
_LONGEST_STEM = 40
DEFAULT_NAME = "{slug}-{seed}"
_RECORD_ROOM = 4096  # bytes of a record beside prompt and options: names, versions, what JSON adds


@dataclass(frozen=True)
class ClipFiles:
    """One clip's files. `audio` None: the sound goes elsewhere, as to standard output.

    automatic: the name was chosen here, so another is if a file has it by the time that the clip is done
    rate, mono, overwrite, tags: as of FileOptions
    """

    encoding: Encoding
    audio: Path | None = None
    latents: Path | None = None
    sidecar: Path | None = None
    automatic: bool = False
    overwrite: bool = False
    tags: str = "full"
    rate: int | None = None
    mono: bool = False

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
    settled = tuple(_for_seed(files, options, seed, len(seeds) > 1, encoding, elsewhere) for seed in seeds)
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
    if files.name is not None and elsewhere:
        raise RequestError("`name` needs a file to be the name of")
    if files.name is not None and files.output is not None and _is_no_folder(files.output):
        raise RequestError(f"with `name` the output is a folder, got {files.output}")
    path = files.output
    if elsewhere or path is None or files.name is not None:
        encoding = encoding_of(files)
    else:
        encoding = _encoding_by_name(files, path)
    if files.rate is not None:
        check_rate(files.rate, encoding)
    return encoding


def _encoding_by_name(files: FileOptions, path: Path) -> Encoding:
    if files.format is not None and files.format != path.suffix.lower().removeprefix("."):
        raise RequestError(f"the output {path} is no {files.format} file; leave out `format` or change one")
    if not path.suffix:
        raise RequestError(f"the output {path} has no suffix; choose {', '.join(FORMATS)}, as in a.wav")
    return encoding_of(files, path.suffix)


def _is_no_folder(path: Path) -> bool:
    return not path.is_dir() and (path.exists() or path.suffix.lower().removeprefix(".") in FORMATS)


def _for_seed(
    files: FileOptions, options: ClipOptions, seed: int, several: bool, encoding: Encoding, elsewhere: bool
) -> ClipFiles:
    audio, latents = files.output, files.save_latents
    made = ClipFiles(encoding, overwrite=files.overwrite, tags=files.tags, rate=files.rate, mono=files.mono)
    if several:
        latents = latents and with_seed(latents, seed)
    made = replace(made, latents=latents)
    if elsewhere:
        return made
    automatic = audio is None or files.name is not None
    if automatic:
        stem = named_by(files.name or DEFAULT_NAME, options, seed)
        if several and "{seed" not in (files.name or DEFAULT_NAME):
            stem = f"{stem}-{seed}"
        wanted = (audio or Path()) / f"{stem}.{encoding.format}"
        audio = wanted if files.overwrite and files.name is not None else free_name(wanted)
    elif several and audio is not None:
        audio = with_seed(audio, seed)
    assert audio is not None
    sidecar = sidecar_of(audio) if files.sidecar else None
    return replace(made, audio=audio, sidecar=sidecar, automatic=automatic)


def named_by(template: str, options: ClipOptions, seed: int | None) -> str:
    """A clip's name by a template, without suffix. Raises RequestError for what is none, or says what is not known."""
    said = {
        "slug": slug(options.prompt),
        "seed": seed,
        "bpm": None if options.bpm is None else f"{options.bpm:g}",
        "bars": options.bars,
        "seconds": None if options.seconds is None else f"{options.seconds:g}",
        "mode": options.mode,
    }
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise RequestError(f"`name` cannot be {template!r}: {error}") from None
    name = ""
    for text, field, form, conversion in parts:
        name += text
        if field is None:
            continue
        if field not in said or form or conversion:
            raise RequestError(f"`name` cannot say {{{field}}}; choose {', '.join(f'{{{each}}}' for each in said)}")
        if said[field] is None:
            raise RequestError(f"`name` says {{{field}}}, which this clip does not: give `{field}`")
        name += str(said[field])
    if not name.strip(". ") or re.search(r'[/\\:*?"<>|\x00-\x1f]', name):
        raise RequestError(f"`name` makes {name!r}, which is no file's name")
    return name


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


def free_name(path: Path) -> Path:
    """The path, or one like it that no file has: lofi-piano-42.wav, lofi-piano-42-2.wav."""
    others = (path.with_name(f"{path.stem}-{count}{path.suffix}") for count in itertools.count(2))
    candidates = itertools.chain([path], others)
    return next(each for each in candidates if not (each.exists() or sidecar_of(each).exists()))


def with_seed(path: Path, seed: int) -> Path:
    """What one of several clips of a name is called: piano.wav, piano-42.wav."""
    return path.with_name(f"{path.stem}-{seed}{path.suffix}")
