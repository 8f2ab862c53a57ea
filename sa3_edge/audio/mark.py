"""The mark that a machine made the sound: IPTC's digital source type, where each format keeps such a thing.

WAV: an XMP packet in the chunk `_PMX`, as the XMP specification says. FLAC, Ogg and Opus: the Vorbis comment
DIGITALSOURCETYPE. MP3: an ID3v2 frame TXXX of that name.
"""

import struct
import zlib
from collections.abc import Iterator

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_NAME = "DIGITALSOURCETYPE"
_ENTRY = f"{_NAME}={DIGITAL_SOURCE_TYPE}".encode()
# libsndfile writes only the names it knows, so it gets a licence of the same length, which becomes the mark on its way.
PLACEHOLDER = "~" * (len(_ENTRY) - len("license="))
_WRITTEN = PLACEHOLDER.encode()
_STREAMINFO = bytes([0, 0, 34])  # the length of a FLAC file's first block; its last 36 bits before a hash: samples
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


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
    """Passes on what libsndfile writes of a FLAC or Ogg file, with the mark in the place of the placeholder.

    A FLAC file's header gets the count of samples, which libsndfile would put there only at the end.
    """

    def __init__(self, samples: int, *, marked: bool) -> None:
        self._samples, self._done, self._page_head = samples, not marked, b""

    def __call__(self, data: bytes) -> bytes:
        """What to write for `data`; of an Ogg page nothing until all of it is there."""
        if len(data) == 38 and data[0] & 0x7F == 0 and data[1:4] == _STREAMINFO:
            return (
                data[:17] + struct.pack(">BI", data[17] | self._samples >> 32, self._samples & 0xFFFFFFFF) + data[22:]
            )
        if self._done:
            return data
        if data[:4] == b"OggS" and len(data) == 27 + data[26]:
            self._page_head = data
            return b""
        head, self._page_head = self._page_head, b""
        if _WRITTEN not in data:
            return head + data
        self._done = True
        start = data.index(_WRITTEN) - len("license=")
        data = data[:start] + _ENTRY + data[start + len(_ENTRY) :]
        return _with_checksum(head, data) + data if head else data


def _with_checksum(head: bytes, body: bytes) -> bytes:
    """An Ogg page's head for its body: a CRC-32 without reflection, start 0, over the page with zeros in its place."""
    page = head[:22] + bytes(4) + head[26:] + body
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return head[:22] + struct.pack(">I", reflected).translate(_REVERSED) + head[26:]


def mark_mp3(data: bytes) -> bytes:
    """An MP3 file with the mark in its ID3v2 tag, which it may have or not."""
    text = b"\0" + _NAME.encode() + b"\0" + DIGITAL_SOURCE_TYPE.encode()
    version = data[3] if data[:3] == b"ID3" else 3
    size = _synchsafe(len(text)) if version == 4 else struct.pack(">I", len(text))
    frame = b"TXXX" + size + bytes(2) + text
    if data[:3] != b"ID3":
        return b"ID3\3\0\0" + _synchsafe(len(frame)) + frame + data
    length = sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    return data[:6] + _synchsafe(length + len(frame)) + frame + data[10:]


def _synchsafe(size: int) -> bytes:
    return bytes(_seven_bits(size))


def _seven_bits(size: int) -> Iterator[int]:
    for shift in (21, 14, 7, 0):
        yield size >> shift & 0x7F
