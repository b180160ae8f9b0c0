"""Metadata put into picture files block by block: the pixels, and whatever else is there, stay byte for byte."""

import hashlib
import re
import struct
import zlib
from io import BytesIO

from suno_cover_cli.base.png_chunks import png_chunks
from suno_cover_cli.images.kinds import ImageFormat
from suno_cover_cli.release.containers import (
    AIGC_COMMENT,
    EXIF_PREFIX,
    EXTENDED_XMP_PREFIX,
    PHOTOSHOP_PREFIX,
    XMP_KEYWORD,
    XMP_PREFIX,
    find_reader,
    jpeg_segments,
    webp_chunks,
)

# A segment's length is a 16-bit number that counts itself.
_MAX_SEGMENT_BYTES = 0xFFFF - 2
_EXTENDED_PART_BYTES = 65_400
MAX_SEGMENT_PACKET_BYTES = _MAX_SEGMENT_BYTES - len(XMP_PREFIX)
"""How long an XMP packet may be that stands in one JPEG segment."""

_APP0, _APP1, _APP13, _COMMENT = 0xE0, 0xE1, 0xED, 0xFE
_VP8X_ALPHA, _VP8X_XMP = 0x10, 0x04
_VP8X_BYTES = 10


class NoRoomError(Exception):
    """The format, or a file written like this one, has no place for it; says why in words."""


def put_xmp(content: bytes, image_format: ImageFormat, packet: bytes) -> bytes:
    """Return a picture file with its XMP packet replaced, or with one added.

    Args:
        content: The whole file.
        image_format: Its format.
        packet: The packet, UTF-8.

    Raises:
        NoRoomError: There is no place for it.
    """
    match image_format:
        case ImageFormat.PNG:
            return _put_into_png(content, packet)
        case ImageFormat.JPEG:
            return _put_into_jpeg(content, packet)
        case ImageFormat.WEBP:
            return _put_into_webp(content, packet)
        case ImageFormat.AVIF:
            raise NoRoomError("an AVIF file would have to be rewritten")


def _put_into_png(content: bytes, packet: bytes) -> bytes:
    data = XMP_KEYWORD + b"\0\0\0\0\0" + packet
    chunk = struct.pack(">I4s", len(data), b"iTXt") + data
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    for kind, offset, length in png_chunks(BytesIO(content)):
        is_text = kind in {b"iTXt", b"tEXt", b"zTXt"}
        if is_text and content[offset : offset + length].startswith(XMP_KEYWORD + b"\0"):
            return content[: offset - 8] + chunk + content[offset + length + 4 :]
    # After the header, which is always the first chunk.
    _, offset, length = next(png_chunks(BytesIO(content)))
    return content[: offset + length + 4] + chunk + content[offset + length + 4 :]


def _put_into_jpeg(content: bytes, packet: bytes) -> bytes:
    segment = _segment(_APP1, XMP_PREFIX + packet)
    place = 2
    for marker, offset, length in jpeg_segments(BytesIO(content)):
        data = content[offset : offset + length]
        if marker == _APP1 and data.startswith(XMP_PREFIX):
            return content[: offset - 4] + segment + content[offset + length :]
        # JFIF and EXIF want to come first.
        if marker == _APP0 or (marker == _APP1 and data.startswith(EXIF_PREFIX)):
            place = offset + length
    return content[:place] + segment + content[place:]


def _put_into_webp(content: bytes, packet: bytes) -> bytes:
    """Put the packet behind everything else, where readers look for it; the extended header has to announce it."""
    chunks = [
        (kind, content[offset : offset + length])
        for kind, offset, length in webp_chunks(BytesIO(content))
        if kind != b"XMP "
    ]
    if chunks[0][0] != b"VP8X":
        chunks.insert(0, (b"VP8X", _extended_header(content, chunks[0])))
    head = bytearray(chunks[0][1])
    if len(head) != _VP8X_BYTES:
        raise NoRoomError("its header is damaged")
    head[0] |= _VP8X_XMP
    chunks[0] = (b"VP8X", bytes(head))
    chunks.append((b"XMP ", packet))
    body = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _extended_header(content: bytes, first: tuple[bytes, bytes]) -> bytes:
    """Make the header of the extended format for a file in the simple one, which is a single chunk of pixels."""
    with find_reader(ImageFormat.WEBP)(BytesIO(content)) as image:
        width, height = image.size
    # A lossless picture says itself whether it has transparency, in the bit after its two sizes.
    has_alpha = first[0] == b"VP8L" and bool(first[1][4] & _VP8X_ALPHA)
    flags = _VP8X_ALPHA if has_alpha else 0
    return struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


# --- a JPEG of our own ----------------------------------------------------------------------------------


class JpegHeaders:
    """Segments that go between the first one and the tables of a JPEG that an encoder has just made."""

    def __init__(self) -> None:
        self._segments: list[bytes] = []

    def add_exif(self, exif: bytes) -> None:
        """Add a TIFF structure.

        Raises:
            NoRoomError: It is too large for a segment.
        """
        self._segments.append(_segment(_APP1, EXIF_PREFIX + exif))

    def add_xmp(self, packet: bytes) -> None:
        """Add a packet.

        Raises:
            NoRoomError: It is too large for a segment.
        """
        try:
            self._segments.append(_segment(_APP1, XMP_PREFIX + packet))
        except NoRoomError:
            # Most of a packet may be blanks, which editors leave for themselves.
            slim = re.sub(rb"\s+(<\?xpacket end)", rb"\n\g<1>", packet)
            self._segments.append(_segment(_APP1, XMP_PREFIX + slim))

    def add_extended_xmp(self, packet: bytes) -> None:
        """Add a packet that is too large for a segment, in parts."""
        checksum = checksum_of(packet).encode()
        for start in range(0, len(packet), _EXTENDED_PART_BYTES):
            head = EXTENDED_XMP_PREFIX + checksum + struct.pack(">II", len(packet), start)
            self.add_raw(head + packet[start : start + _EXTENDED_PART_BYTES])

    def add_raw(self, data: bytes) -> None:
        """Add an APP1 segment as it stood in another JPEG."""
        self._segments.append(_segment(_APP1, data))

    def add_iptc(self, records: bytes) -> None:
        """Add records of the older IPTC standard, as Photoshop keeps them.

        Raises:
            NoRoomError: They are too large for a segment.
        """
        resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records + bytes(len(records) % 2)
        self._segments.append(_segment(_APP13, PHOTOSHOP_PREFIX + resource))

    def add_aigc_comment(self, label: str) -> None:
        """Add an AIGC label as a comment.

        Raises:
            NoRoomError: It is too large for a segment.
        """
        self._segments.append(_segment(_COMMENT, AIGC_COMMENT + label.encode()))

    def put_into(self, jpeg: bytes) -> bytes:
        """Return a JPEG with the segments in it."""
        first = next(jpeg_segments(BytesIO(jpeg)))
        place = first[1] + first[2] if first[0] == _APP0 else 2
        return jpeg[:place] + b"".join(self._segments) + jpeg[place:]


def checksum_of(packet: bytes) -> str:
    """Return what joins the parts of a packet that is too large for a segment."""
    return hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()


def _segment(marker: int, data: bytes) -> bytes:
    if len(data) > _MAX_SEGMENT_BYTES:
        raise NoRoomError("a JPEG segment holds at most 64 KiB")
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data
