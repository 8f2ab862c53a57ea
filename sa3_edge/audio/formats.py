"""The formats of sound files: which there are, how each stores samples, what is read and what is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sa3_edge.errors import RequestError

_FORMAT_NOT_RECOGNISED = 1  # libsndfile's code
_LOOKED_AT = 512  # bytes: every sound file has some by then that no text has
_UNKNOWN_FORMAT = (
    "its format is unknown (wav, flac, ogg, opus, mp3, aiff, caf and others are known; with the extra m4a AAC is, as "
    ".m4a); convert it to wav or flac"
)


@dataclass(frozen=True)
class Format:
    """A file format: libsndfile's container, and its subtype by bit depth ("" where there is none).

    longest_comment: bytes that the comment tag takes, None for any number
    """

    container: str
    subtypes: dict[str, str]
    longest_comment: int | None = None


FORMATS = {
    "wav": Format("WAV", {"24": "PCM_24", "16": "PCM_16", "float": "FLOAT"}),
    "flac": Format("FLAC", {"24": "PCM_24", "16": "PCM_16"}, 16_000_000),
    "ogg": Format("OGG", {"": "VORBIS"}),
    "opus": Format("OGG", {"": "OPUS"}, 51_000),
    "mp3": Format("MP3", {"": "MPEG_LAYER_III"}),
}


@dataclass(frozen=True)
class Encoding:
    """How samples are stored: a key of FORMATS, and a bit depth of it ("" for lossy formats)."""

    format: str
    bits: str


def encoding_for(suffix: str, bits: str | None) -> Encoding:
    """The encoding for a file's suffix (".flac") or a format's name. Raises RequestError."""
    name = suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise RequestError(f"{suffix or 'a file without suffix'} is no known format; choose {', '.join(FORMATS)}")
    depths = FORMATS[name].subtypes
    if bits is None:
        return Encoding(name, next(iter(depths)))
    if bits not in depths:
        choices = " or ".join(filter(None, depths))
        raise RequestError(f"{name} cannot store {bits} bits; " + (f"choose {choices}" if choices else "it is lossy"))
    return Encoding(name, bits)


def stored_bits(path: Path) -> str | None:
    """The bit depth of a readable sound file, as in FORMATS; None for one that is lossy or of another kind."""
    import soundfile

    subtype = soundfile.info(path).subtype
    depths = (depth for kind in FORMATS.values() for depth, name in kind.subtypes.items() if depth and name == subtype)
    return next(depths, None)


def rate_and_channels(path: Path) -> tuple[int, int]:
    """Samples a second and channels of a readable sound file."""
    import soundfile

    info = soundfile.info(path)
    return info.samplerate, info.channels


def check_contents(path: Path) -> None:
    """Raise RequestError for an empty file and for text: some readers take these for a damaged recording."""
    try:
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}") from None
    if not head:
        raise RequestError(f"{path} is empty: there is nothing in it")
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # no letter that the end of what was read has cut
            return
        text = head[: error.start].decode("utf-8")
    if text and all(letter.isprintable() or letter in "\r\n\t\ufeff" for letter in text):
        raise RequestError(f"{path} is a text, not a recording")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise RequestError, with what to do, where the block finds that soundfile cannot read `path`."""
    import soundfile

    if path.suffix.lower() == ".raw":  # samples without a header, of which soundfile would ask us all
        raise RequestError(f"{path} cannot be read as audio: {_UNKNOWN_FORMAT}")
    try:
        yield
    except soundfile.LibsndfileError as error:
        reason = _UNKNOWN_FORMAT if error.code == _FORMAT_NOT_RECOGNISED else error.error_string
        raise RequestError(f"{path} cannot be read as audio: {reason}") from None


def check_comment(encoding: Encoding, size: int) -> None:
    """Raise RequestError if a comment tag of `size` bytes does not fit; asked before work that would be lost."""
    longest = FORMATS[encoding.format].longest_comment
    if longest is not None and size > longest:
        roomier = ", ".join(name for name, kind in FORMATS.items() if size <= (kind.longest_comment or size))
        raise RequestError(
            f"the request is too long for the tags of a .{encoding.format} file, about {size} bytes of at most "
            f"{longest}; shorten the prompt or choose {roomier}"
        )
