"""What libsndfile has no name for: the mark that a machine made the sound, and the tempo.

The mark is IPTC's digital source type. WAV: an XMP packet in the chunk `_PMX`, as the XMP specification says. FLAC, Ogg
and Opus: the Vorbis comment DIGITALSOURCETYPE. MP3: an ID3v2 frame TXXX of that name. The tempo is the comment BPM, or
the frame TBPM.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_NAME = "DIGITALSOURCETYPE"
_STREAMINFO = bytes([0, 0, 34])  # the length of a FLAC file's first block; its last 36 bits before a hash: samples
_SERIAL = b"sa3e"  # of the one stream in an Ogg file
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Entry:
    """A Vorbis comment of our own, "NAME=value" in ASCII, written by libsndfile as one that it knows, `stand_in`.

    That gets a placeholder of the same length, which becomes the entry on its way.
    """

    text: str
    stand_in: str

    @property
    def placeholder(self) -> str:
        """What libsndfile is given as the value of the stand-in."""
        return "~" * (len(self.text) - len(self.stand_in) - 1)

    def put_into(self, data: bytes) -> bytes | None:
        """The data with the entry in its place; None if it is not there."""
        length = struct.pack("<I", len(self.text))  # a comment begins with it, so no text is taken for one
        for name in (self.stand_in, self.stand_in.upper()):
            written = length + f"{name}={self.placeholder}".encode()
            if written in data:
                return data.replace(written, length + self.text.encode(), 1)
        return None


MARK = Entry(f"{_NAME}={DIGITAL_SOURCE_TYPE}", "license")


def tempo_entry(bpm: float) -> Entry:
    """The tempo as a Vorbis comment."""
    return Entry(f"BPM={bpm:g}", "date")


def xmp_packet() -> bytes:
    """The mark as XMP."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


class PassedOn:
    """Passes on what libsndfile writes of a FLAC or Ogg file, with entries in the places of their stand-ins.

    A FLAC file's header gets the count of samples, which libsndfile would put there only at the end; an Ogg file's
    pages get a serial number of ours instead of one by chance, so that the same clip is the same file.
    """

    def __init__(self, samples: int, entries: Sequence[Entry]) -> None:
        self._samples, self._missing, self._page_head = samples, list(entries), b""

    def __call__(self, data: bytes) -> bytes:
        """What to write for `data`; of an Ogg page nothing until all of it is there."""
        if len(data) == 38 and data[0] & 0x7F == 0 and data[1:4] == _STREAMINFO:
            return (
                data[:17] + struct.pack(">BI", data[17] | self._samples >> 32, self._samples & 0xFFFFFFFF) + data[22:]
            )
        head, self._page_head = self._page_head, b""
        if not head and data[:4] == b"OggS" and len(data) == 27 + data[26]:
            if any(data[27:]):
                self._page_head = data
                return b""
            head, data = data, b""  # a page without a body
        for entry in list(self._missing):
            put = entry.put_into(data)
            if put is not None:
                data = put
                self._missing.remove(entry)
        return _page(head, data) if head else data


def _page(head: bytes, body: bytes) -> bytes:
    """An Ogg page with our serial number. Its checksum: a CRC-32 without reflection, start 0, zeros in its place."""
    page = head[:14] + _SERIAL + head[18:22] + bytes(4) + head[26:] + body
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return page[:22] + struct.pack(">I", reflected).translate(_REVERSED) + page[26:]


def tag_mp3(data: bytes, *, marked: bool, bpm: float | None) -> bytes:
    """An MP3 file with mark and tempo in its ID3v2 tag, which it may have or not."""
    texts = {}
    if marked:
        texts[b"TXXX"] = b"\0" + _NAME.encode() + b"\0" + DIGITAL_SOURCE_TYPE.encode()
    if bpm is not None:
        texts[b"TBPM"] = f"\0{round(bpm)}".encode()  # whole numbers only, says the standard
    if not texts:
        return data
    version = data[3] if data[:3] == b"ID3" else 3
    frames = b""
    for name, text in texts.items():
        size = _synchsafe(len(text)) if version == 4 else struct.pack(">I", len(text))
        frames += name + size + bytes(2) + text
    if data[:3] != b"ID3":
        return b"ID3\3\0\0" + _synchsafe(len(frames)) + frames + data
    length = sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    return data[:6] + _synchsafe(length + len(frames)) + frames + data[10:]


def _synchsafe(size: int) -> bytes:
    return bytes(_seven_bits(size))


def _seven_bits(size: int) -> Iterator[int]:
    for shift in (21, 14, 7, 0):
        yield size >> shift & 0x7F
