"""Where picture files keep what is not pixels: PNG chunks, JPEG segments, WebP chunks, AVIF boxes.

Files are walked from block to block; pixels are passed over and every block that is read has a bound. What cannot
be read is named in :attr:`RawMarks.troubles`, so that it is never lost without a word.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.base.png_chunks import png_chunks
from suno_cover_cli.images.kinds import SNIFF_BYTES, ImageFormat, UnsupportedImageError, sniff

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP_PREFIX = b"http://ns.adobe.com/xmp/extension/\0"
EXIF_PREFIX = b"Exif\0\0"
PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"
XMP_KEYWORD = b"XML:com.adobe.xmp"
AIGC_COMMENT = b"AIGC "
"""Begins a JPEG comment with an AIGC label for which XMP has no room, as it holds another one."""

_MAX_BLOCK_BYTES = 8 * 1024 * 1024
_MAX_TOTAL_BYTES = 32 * 1024 * 1024
_MAX_BLOCKS = 100_000
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_RAW_PROFILE = re.compile(rb"Raw profile type (xmp|exif|iptc|APP1)", re.IGNORECASE)
# Markers of a JPEG that stand alone, without a length.
_LONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
# The pixels begin, or the file ends.
_ENDS_OF_HEADERS = frozenset({0xDA, 0xD9})
_COMMENT = 0xFE
_BASELINE = 0xC0
_MARK_SEGMENTS = {0xE1: "APP1", 0xEB: "APP11", 0xED: "APP13", _COMMENT: "COM"}
_IPTC_RESOURCE = 0x0404


class RawMarks(msgspec.Struct, kw_only=True):
    """What a file holds beside its pixels, as far as labels may be in it.

    Attributes:
        xmp: XMP packets, in the order of the file.
        extended_xmp: JPEG: the parts of a packet that is too long for one segment, each as it stands there.
        aigc_texts: Contents of PNG text chunks with the keyword ``AIGC``.
        aigc_comments: What :data:`AIGC_COMMENT` stands before in JPEG comments.
        exif: A TIFF structure, or ``None``.
        iptc: Records of the older IPTC standard (IIM), or ``None``.
        has_c2pa: Content credentials are there.
        troubles: What is there and could not be read, in words.
    """

    xmp: list[bytes] = []
    extended_xmp: list[bytes] = []
    aigc_texts: list[str] = []
    aigc_comments: list[str] = []
    exif: bytes | None = None
    iptc: bytes | None = None
    has_c2pa: bool = False
    troubles: list[str] = []


class _Budget:
    """How much may still be read into memory from one file, whatever it claims of itself."""

    def __init__(self, file: BinaryIO, raw: RawMarks) -> None:
        self._file = file
        self._raw = raw
        self._left = _MAX_TOTAL_BYTES

    def read(self, size: int, what: str) -> bytes | None:
        """Read a whole block; one that is too large or cut off is reported instead."""
        if size > min(_MAX_BLOCK_BYTES, self._left):
            self._raw.troubles.append(f"{what} of {size} bytes is too large to be read")
            return None
        self._left -= size
        data = self._file.read(size)
        if len(data) < size:
            self._raw.troubles.append(f"{what} is cut off")
            return None
        return data


def read_raw_marks(file: BinaryIO) -> RawMarks:
    """Read what a picture file holds beside its pixels.

    Raises:
        ImageError: It is not a picture in a known format.
        OSError: As the system says.
    """
    file.seek(0)
    found = sniff(file.read(SNIFF_BYTES))
    raw = RawMarks()
    match found:
        case ImageFormat.PNG:
            _read_png(file, raw)
        case ImageFormat.JPEG:
            _read_jpeg(file, raw)
        case ImageFormat.WEBP:
            _read_webp(file, raw)
        case ImageFormat.AVIF:
            _read_avif(file, raw)
        case None:
            raise ImageError("not a picture in a known format", code="image_not_an_image")
    return raw


# --- PNG ------------------------------------------------------------------------------------------------


def _read_png(file: BinaryIO, raw: RawMarks) -> None:
    budget = _Budget(file, raw)
    for kind, offset, length in png_chunks(file):
        if kind == b"caBX":
            raw.has_c2pa = True
        elif kind in {b"tEXt", b"zTXt", b"iTXt", b"eXIf"}:
            file.seek(offset)
            data = budget.read(length, f"PNG chunk {kind.decode()}")
            if data is not None and kind == b"eXIf":
                raw.exif = data
            elif data is not None:
                _read_text_chunk(kind, data, raw)


def _read_text_chunk(kind: bytes, data: bytes, raw: RawMarks) -> None:
    keyword, _, _ = data.partition(b"\0")
    is_ours = keyword == XMP_KEYWORD or keyword.upper() == b"AIGC" or _RAW_PROFILE.fullmatch(keyword)
    if not is_ours:
        return
    text = text_of_chunk(kind, data)
    if text is None:
        raw.troubles.append(f"PNG text {keyword.decode('latin-1')} cannot be unpacked")
    elif keyword == XMP_KEYWORD:
        raw.xmp.append(text)
    elif keyword.upper() == b"AIGC":
        raw.aigc_texts.append(_decode_text(text))
    else:
        _read_raw_profile(keyword, text, raw)


def text_of_chunk(kind: bytes, data: bytes) -> bytes | None:
    """Return the text of a text chunk, unpacked (PNG specification, 11.3.3); ``None`` when it cannot be."""
    _, _, rest = data.partition(b"\0")
    is_packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        is_packed = rest[:1] == b"\1"
        *_, rest = rest[2:].split(b"\0", 2)
    if not is_packed:
        return rest
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(rest, _MAX_BLOCK_BYTES)
    except zlib.error:
        return None
    return text if unpacker.eof else None


def _read_raw_profile(keyword: bytes, text: bytes, raw: RawMarks) -> None:
    """Read what ImageMagick makes of other formats' metadata: a name, a length, and hexadecimal digits."""
    try:
        _, _, *digits = text.split()
        data = bytes.fromhex(b"".join(digits).decode("ascii"))
    except ValueError:
        raw.troubles.append(f"PNG text {keyword.decode('latin-1')} is not hexadecimal")
        return
    kind = keyword.rpartition(b" ")[2].lower()
    if kind == b"xmp" or data.startswith(XMP_PREFIX):
        raw.xmp.append(data.removeprefix(XMP_PREFIX))
    elif kind == b"exif" or data.startswith(EXIF_PREFIX):
        raw.exif = raw.exif or data.removeprefix(EXIF_PREFIX)
    elif kind == b"iptc":
        raw.iptc = iptc_of_resources(data) or data


def _decode_text(text: bytes) -> str:
    """Decode a text that may be Latin-1, as tEXt is meant to be, and often is UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


# --- JPEG -----------------------------------------------------------------------------------------------


def jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Yield marker, offset and length of the content of each segment before the pixels."""
    offset = 2
    for _ in range(_MAX_BLOCKS):
        file.seek(offset)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF:  # noqa: PLR2004 -- a marker and a length
            return
        marker = head[1]
        if marker == 0xFF:  # noqa: PLR2004 -- a fill byte
            offset += 1
        elif marker in _LONE_MARKERS:
            offset += 2
        elif marker in _ENDS_OF_HEADERS:
            return
        else:
            length = int.from_bytes(head[2:])
            yield marker, offset + 4, length - 2
            offset += 2 + max(length, 2)


def is_baseline(file: BinaryIO) -> bool:
    """Tell whether a JPEG is baseline and not progressive, by the marker of its first frame."""
    for marker, _, _ in jpeg_segments(file):
        if marker in range(0xC0, 0xD0) and marker not in {0xC4, 0xC8, 0xCC}:
            return marker == _BASELINE
    return False


def _read_jpeg(file: BinaryIO, raw: RawMarks) -> None:
    budget = _Budget(file, raw)
    resources = b""
    for marker, offset, length in jpeg_segments(file):
        if marker not in _MARK_SEGMENTS:
            continue
        file.seek(offset)
        data = budget.read(length, f"JPEG segment {_MARK_SEGMENTS[marker]}")
        if data is None:
            continue
        if data.startswith(PHOTOSHOP_PREFIX):
            resources += data.removeprefix(PHOTOSHOP_PREFIX)
        else:
            _read_segment(marker, data, raw)
    if resources:
        raw.iptc = iptc_of_resources(resources)


def _read_segment(marker: int, data: bytes, raw: RawMarks) -> None:
    if data.startswith(XMP_PREFIX):
        raw.xmp.append(data.removeprefix(XMP_PREFIX))
    elif data.startswith(EXTENDED_XMP_PREFIX):
        raw.extended_xmp.append(data)
    elif data.startswith(EXIF_PREFIX):
        raw.exif = raw.exif or data.removeprefix(EXIF_PREFIX)
    elif marker == _COMMENT and data.startswith(AIGC_COMMENT):
        raw.aigc_comments.append(_decode_text(data.removeprefix(AIGC_COMMENT)))
    elif data.startswith(b"JP"):
        raw.has_c2pa = raw.has_c2pa or b"c2pa" in data


def iptc_of_resources(resources: bytes) -> bytes | None:
    """Find the IPTC records among Photoshop's image resources (8BIM blocks, the number 0x0404)."""
    offset = 0
    while resources[offset : offset + 4] == b"8BIM" and offset + 12 <= len(resources):
        number = int.from_bytes(resources[offset + 4 : offset + 6])
        # A name with its length before it, then the content with its own; each padded to an even number.
        name_bytes = resources[offset + 6] + 1
        start = offset + 6 + name_bytes + name_bytes % 2
        size = int.from_bytes(resources[start : start + 4])
        content = resources[start + 4 : start + 4 + size]
        if number == _IPTC_RESOURCE:
            return content or None
        offset = start + 4 + size + size % 2
    return None


# --- WebP and AVIF --------------------------------------------------------------------------------------


def webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, offset of the data and its length for each chunk of a RIFF file."""
    offset = 12
    for _ in range(_MAX_BLOCKS):
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8:  # noqa: PLR2004 -- the length of a head
            return
        kind, length = struct.unpack("<4sI", head)
        yield kind, offset + 8, length
        offset += 8 + length + length % 2


def _read_webp(file: BinaryIO, raw: RawMarks) -> None:
    budget = _Budget(file, raw)
    for kind, offset, length in webp_chunks(file):
        if kind == b"C2PA":
            raw.has_c2pa = True
        elif kind in {b"XMP ", b"EXIF"}:
            file.seek(offset)
            data = budget.read(length, f"WebP chunk {kind.decode().strip()}")
            if data is not None and kind == b"XMP ":
                raw.xmp.append(data)
            elif data is not None:
                raw.exif = raw.exif or data.removeprefix(EXIF_PREFIX)


def _read_avif(file: BinaryIO, raw: RawMarks) -> None:
    """Boxes at the top are looked at here; XMP and EXIF are items deep inside, which the decoder finds."""
    budget = _Budget(file, raw)
    for kind, offset, length in _boxes(file):
        if kind != b"uuid":
            continue
        file.seek(offset)
        owner = file.read(16)
        if owner == _C2PA_BOX:
            raw.has_c2pa = True
        elif owner == _XMP_BOX and (data := budget.read(length - 16, "AVIF box uuid")) is not None:
            raw.xmp.append(data)
    file.seek(0)
    content = BytesIO(file.read(_MAX_TOTAL_BYTES * 2))
    try:
        with find_reader(ImageFormat.AVIF)(content) as image:
            xmp, exif = image.info.get("xmp"), image.info.get("exif")
    except Exception as error:  # noqa: BLE001 -- a hostile file leads decoders to raise nearly anything
        raw.troubles.append(f"its items cannot be read ({type(error).__name__})")
        return
    if isinstance(xmp, bytes):
        raw.xmp.append(xmp)
    if isinstance(exif, bytes):
        raw.exif = exif.removeprefix(EXIF_PREFIX)


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, offset of the content and its length for each top-level box (ISO 14496-12)."""
    file.seek(0, 2)
    end, offset = file.tell(), 0
    for _ in range(_MAX_BLOCKS):
        file.seek(offset)
        head = file.read(16)
        if len(head) < 8:  # noqa: PLR2004 -- the length of a head
            return
        size, kind, start = int.from_bytes(head[:4]), head[4:8], offset + 8
        if size == 1:
            size, start = int.from_bytes(head[8:16]), offset + 16
        elif size == 0:
            size = end - offset
        if size < start - offset:
            return
        yield kind, start, offset + size - start
        offset += size


def find_reader(found: ImageFormat) -> "type[ImageFile]":
    """Return Pillow's class for one format.

    ``Image.open`` tries formats in turn and *warns* about pictures of a size that is refused here anyway.

    Raises:
        UnsupportedImageError: The installed Pillow cannot read it.
    """
    if found is ImageFormat.PNG:
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile
    if found is ImageFormat.JPEG:
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile
    if found is ImageFormat.WEBP:
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile
    from PIL.AvifImagePlugin import SUPPORTED, AvifImageFile

    if not SUPPORTED:
        raise UnsupportedImageError("an AVIF picture, which the installed Pillow cannot read")
    return AvifImageFile
