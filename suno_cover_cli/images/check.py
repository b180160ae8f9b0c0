"""Is this file a whole picture? Told by its bytes, never by a header or a file name.

The only module that knows Pillow, which is imported when the first picture is at hand. The formats are those
a cover can come in; Pillow's other decoders are never offered foreign bytes.
"""

import contextlib
import hashlib
import struct
import threading
import zlib
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedRandom, BufferedReader, BytesIO
from typing import TYPE_CHECKING

from suno_cover_cli.base.errors import ImageError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

SNIFF_BYTES = 12
"""How many first bytes :func:`sniff` needs at most."""

ReadableFile = BufferedRandom | BufferedReader | BytesIO

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BLOCK_BYTES = 64 * 1024
_LARGE_PIXELS = 8_000_000
_AVIF_BRANDS = frozenset({b"avif", b"avis", b"mif1"})


class ImageFormat(StrEnum):
    """Formats that are accepted; the value is the word in the job object."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    AVIF = "avif"

    @property
    def suffix(self) -> str:
        """File name extension, dot included."""
        return ".jpg" if self is ImageFormat.JPEG else f".{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a full check found. ``width`` and ``height`` are pixels, ``sha256`` is hex."""

    format: ImageFormat
    width: int
    height: int
    size_bytes: int
    sha256: str


class NotAnImageError(ImageError):
    """The first bytes are those of no accepted format."""

    code = "image_not_an_image"
    hint = "Run suno-cover resume in a while; the image host answers with something else at the moment."


class DamagedImageError(ImageError):
    """It begins like a picture, but is cut off or cannot be decoded."""

    code = "image_truncated"
    hint = "Run suno-cover resume in a while: it fetches the missing picture again."


class TooManyPixelsError(ImageError):
    """Decoding it would take more memory than any cover is worth."""

    code = "image_too_many_pixels"
    hint = "No cover is that large. Look at the address before you trust it."


def sniff(head: bytes | bytearray) -> ImageFormat | None:
    """Tell the format by the first :data:`SNIFF_BYTES` bytes, or ``None`` when they are of no known one."""
    if head.startswith(_PNG_SIGNATURE):
        return ImageFormat.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if head[4:8] == b"ftyp" and bytes(head[8:12]) in _AVIF_BRANDS:
        return ImageFormat.AVIF
    return None


class ImageChecker:
    """Checks whole files; one instance may be used by several threads at once.

    Args:
        max_pixels: Larger pictures are refused before memory is taken for them. At 4 bytes a pixel the
            default means 200 MB, and large ones are decoded one at a time. It lies below the number at
            which Pillow starts to warn, so Pillow's own limit never comes into play.
    """

    def __init__(self, max_pixels: int = 50_000_000) -> None:
        self._max_pixels = max_pixels
        self._large = threading.Lock()

    def check(self, file: ReadableFile) -> Picture:
        """Hash and decode a file from its first byte to its last. Blocks: for a thread, not for the loop.

        Raises:
            NotAnImageError: No accepted format.
            DamagedImageError: Cut off, or not decodable.
            TooManyPixelsError: More than ``max_pixels``.
        """
        file.seek(0)
        found = sniff(file.read(SNIFF_BYTES))
        if found is None:
            raise NotAnImageError("what came is not a picture in a known format")
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = file.tell()
        try:
            width, height = self._decode(found, file)
        except ImageError:
            raise
        except MemoryError as error:
            raise TooManyPixelsError("the picture does not fit into memory") from error
        except Exception as error:  # a hostile file leads decoders to raise nearly anything
            raise DamagedImageError(f"the {found.value} picture is cut off or damaged") from error
        return Picture(format=found, width=width, height=height, size_bytes=size_bytes, sha256=sha256)

    def _decode(self, found: ImageFormat, file: ReadableFile) -> tuple[int, int]:
        """Decode every pixel; return width and height."""
        from PIL.Image import DecompressionBombError

        reader = find_reader(found)
        try:
            if found is ImageFormat.PNG:
                _check_chunks(file)
            file.seek(0)
            with reader(file) as image:
                width, height = image.size
                if width * height > self._max_pixels:
                    raise TooManyPixelsError(f"the picture claims {width} x {height} pixels")
                with self._large if width * height > _LARGE_PIXELS else contextlib.nullcontext():
                    image.load()
        except DecompressionBombError as error:
            raise TooManyPixelsError("the picture claims far too many pixels") from error
        return width, height


def load_decoder() -> None:
    """Import what reads most covers, ahead of the first one. Blocks for tens of milliseconds."""
    find_reader(ImageFormat.PNG)


def _check_chunks(file: ReadableFile) -> None:
    """Read a PNG's chunks with their checksums up to the end mark: decoding its pixels looks at neither.

    Raises:
        ValueError, struct.error: It is cut off, or a bit has changed.
    """
    file.seek(len(_PNG_SIGNATURE))
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", file.read(8))
        checksum = zlib.crc32(kind)
        while length:
            block = file.read(min(length, _BLOCK_BYTES))
            if not block:
                raise ValueError("cut off within a chunk")
            checksum = zlib.crc32(block, checksum)
            length -= len(block)
        if file.read(4) != checksum.to_bytes(4):
            raise ValueError("wrong checksum")


def find_reader(found: ImageFormat) -> "type[ImageFile]":
    """Return Pillow's class for one format.

    Called by name instead of through ``Image.open``, which tries formats in turn and *warns* about pictures
    of a size that we refuse ourselves.
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
        raise NotAnImageError("an AVIF picture came, and the installed Pillow cannot read those")
    return AvifImageFile
