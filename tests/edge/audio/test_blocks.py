"""Sound in blocks, as it is made, is the sound that is made whole: limiter, encoders, and the mark on each format."""

import io
from collections.abc import Iterator
from pathlib import Path

import mutagen
import mutagen.id3
import numpy as np
import pytest
import soundfile
from mutagen._riff import RiffFile
from numpy.typing import NDArray

from sa3_edge.audio.encoding import AudioWriter, Tags, encode_audio
from sa3_edge.audio.formats import FORMATS, Encoding
from sa3_edge.audio.limiter import limit, limit_blocks
from sa3_edge.audio.mark import DIGITAL_SOURCE_TYPE
from sa3_edge.audio.wav_info import wav_head
from sa3_edge.errors import RequestError

RATE = 44100
ENCODINGS = [Encoding(name, bits) for name, kind in FORMATS.items() for bits in kind.subtypes]
TAGS = Tags("title", "sa3-edge", "{}" * 100, marked=True)


def _noise(samples: int, channels: int = 2, peak: float = 1.2) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-peak, peak, (channels, samples)).astype(np.float32)


def _blocks(audio: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, audio.shape[-1], size):
        yield audio[:, start : start + size]


@pytest.mark.parametrize("samples", [1, 131, 265, 400, 65535, 65537, 65601, 200_000])
@pytest.mark.parametrize("loud", ["all", "bursts", "ends", "nothing"])
def test_limited_blocks_join_to_what_is_limited_whole(samples: int, loud: str) -> None:
    audio = _noise(samples, peak=1.5 if loud == "all" else 0.3)
    if loud == "bursts":
        for start in np.random.default_rng(1).integers(0, samples, 5):
            audio[:, start : start + 50] *= 8
    elif loud == "ends":
        audio[:, :1] *= 9
        audio[:, -1:] *= 9
    whole = limit(audio, RATE)
    for size in (samples, 131_072, 9_973):
        assert np.array_equal(np.concatenate(list(limit_blocks(_blocks(audio, size), RATE)), axis=1), whole)


def test_limited_audio_leaves_before_all_of_it_has_come() -> None:
    taken = 0

    def blocks() -> Iterator[NDArray[np.float32]]:
        nonlocal taken
        for block in _blocks(_noise(20 * RATE), RATE * 3):
            taken += 1
            yield block

    first = next(limit_blocks(blocks(), RATE))
    assert (taken, first.shape[-1] > RATE) == (1, True)


class _Pipe:
    """Takes bytes in order, as a pipe does: no way back."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes, /) -> None:
        self.data += data


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda each: f"{each.format}{each.bits}")
@pytest.mark.parametrize(("samples", "channels"), [(150_001, 2), (70_001, 1), (10, 2)])
def test_a_piped_file_in_blocks_holds_the_sound_of_the_whole_one(
    encoding: Encoding, samples: int, channels: int
) -> None:
    audio = _noise(samples, channels)
    whole, clipped = encode_audio(audio, RATE, encoding, TAGS)
    pipe = _Pipe()
    with AudioWriter(pipe, RATE, channels, samples, encoding, TAGS, patchable=False) as writer:
        for block in _blocks(audio, 50_000):
            writer.write(block)
    assert writer.clipped == clipped
    piped, expected = (soundfile.SoundFile(io.BytesIO(data)) for data in (pipe.data, whole))
    assert piped.samplerate == expected.samplerate
    assert np.array_equal(piped.read(samples * 2, dtype="int32"), expected.read(samples * 2, dtype="int32"))
    if encoding.format in ("wav", "mp3"):
        assert pipe.data == whole


def test_bytes_leave_while_the_sound_is_made() -> None:
    for encoding in (Encoding("wav", "24"), Encoding("flac", "24"), Encoding("ogg", ""), Encoding("opus", "")):
        pipe = _Pipe()
        with AudioWriter(pipe, RATE, 2, 4 * 131_072, encoding, TAGS, patchable=False) as writer:
            lengths = []
            for block in _blocks(_noise(4 * 131_072), 131_072):
                writer.write(block)
                lengths.append(len(pipe.data))
        assert all(later > earlier for earlier, later in zip([0, *lengths], lengths, strict=False)), encoding


def test_more_than_a_wav_file_holds_is_refused() -> None:
    with pytest.raises(RequestError, match="choose flac"):
        wav_head(2**30, 2, RATE, "24", b"")


def _source_type(path: Path) -> str | None:
    """The mark, as a library that is not ours reads the file."""
    if path.suffix == ".wav":
        with path.open("rb") as file:
            riff = RiffFile(file)  # type: ignore[no-untyped-call]
            return riff["_PMX"].read().decode("utf-8") if "_PMX" in riff else None
    tags = mutagen.File(path).tags
    if tags is None:
        return None
    if path.suffix == ".mp3":
        frames = tags.getall("TXXX:DIGITALSOURCETYPE")
        return str(frames[0].text[0]) if frames else None
    values = tags.get("DIGITALSOURCETYPE")
    return values[0] if values else None


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda each: f"{each.format}{each.bits}")
@pytest.mark.parametrize("comment", ["", "{}", "x" * 40_000])
def test_other_readers_find_that_a_machine_made_the_sound(tmp_path: Path, encoding: Encoding, comment: str) -> None:
    path = tmp_path / f"a.{encoding.format}"
    for marked in (True, False):
        path.write_bytes(encode_audio(_noise(20_000), RATE, encoding, Tags("", "sa3-edge", comment, marked))[0])
        found = _source_type(path)
        assert (DIGITAL_SOURCE_TYPE in (found or "")) is marked
        assert b"~~~~" not in path.read_bytes()
        assert soundfile.info(path).frames >= 20_000 or encoding.format == "mp3"


def test_a_marked_wav_file_has_a_whole_xmp_packet(tmp_path: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    (tmp_path / "a.wav").write_bytes(encode_audio(_noise(100), RATE, Encoding("wav", "24"), TAGS)[0])
    packet = ElementTree.fromstring(_source_type(tmp_path / "a.wav") or "")  # noqa: S314  our own file
    (mark,) = packet.iter("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert mark.text == DIGITAL_SOURCE_TYPE
