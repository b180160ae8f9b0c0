"""What a file is, told by its first bytes, never by a header or a file name."""

import re
from enum import StrEnum
from io import BufferedRandom, BufferedReader

from suno_cover_cli.base.errors import ImageError

SNIFF_BYTES = 12
"""How many first bytes :func:`sniff` needs to know an accepted format."""

HEAD_BYTES = 512
"""How many first bytes :func:`name_foreign` looks at."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
# Containers of several codecs; which one it is, the compatible brands or the items tell.
_CONTAINER_BRANDS = frozenset({b"mif1", b"msf1", b"miaf"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"})

_RESUME = "Run suno-cover resume in a while; the image host answers with something else at the moment."
_BY_HAND = "Covers are saved as PNG, JPEG, WebP or AVIF. Open the address in a browser to save this one by hand."

_FOREIGN_PICTURES = (
    (re.compile(rb"GIF8[79]a"), "a GIF picture"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), "a TIFF picture"),
    (re.compile(rb"BM.{8}[\0-\xff]{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), "a BMP picture"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"), "a JPEG XL picture"),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    (re.compile(rb"8BPS\0[\1\2]"), "a Photoshop file"),
    (re.compile(rb"\0\0[\1\2]\0[^\0]"), "an icon file"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"\x8aMNG\r\n\x1a\n"), "an MNG animation"),
    (re.compile(rb"\x1aE\xdf\xa3"), "a video"),
)
_SVG = re.compile(rb"<svg[\s>:]", re.IGNORECASE)
_HTML = re.compile(
    rb"<(!doctype\s+html|html|head|body|meta|link|style|script|title|h[1-6]|p|a|br|hr|div|span|table|form|iframe|center)\b",
    re.IGNORECASE,
)
_ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,40})</Code>")
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


ReadableFile = BufferedRandom | BufferedReader


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

    @property
    def shown(self) -> str:
        """As people write it."""
        return "WebP" if self is ImageFormat.WEBP else self.value.upper()


class NotAnImageError(ImageError):
    """The first bytes are those of no accepted format; the message names what they are of.

    Attributes:
        is_lasting: It is a picture or document of its own, so asking again will bring the same.
    """

    code = "image_not_an_image"
    hint = _RESUME

    def __init__(self, message: str, *, hint: str | None = None, is_lasting: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_lasting = is_lasting


class DamagedImageError(ImageError):
    """It begins like a picture, but is cut off or cannot be decoded."""

    code = "image_truncated"
    hint = "Run suno-cover resume in a while: it fetches the missing picture again."


class UnsupportedImageError(ImageError):
    """An accepted format in a variant that cannot be checked here; the message names it."""

    code = "image_unsupported"
    hint = "Other programs may read it. Open the address in a browser to save it by hand."


class TooManyPixelsError(ImageError):
    """Decoding it would take more memory or time than any cover is worth."""

    code = "image_too_many_pixels"
    hint = "No cover is that large. Look at the address before you trust it."


def sniff(head: bytes | bytearray) -> ImageFormat | None:
    """Tell the format by the first :data:`SNIFF_BYTES` bytes, or ``None`` when they are of no known one.

    More bytes tell AVIF from HEIC where both use the brand of their common container.
    """
    if head.startswith(_PNG_SIGNATURE):
        return ImageFormat.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if head[4:8] == b"ftyp" and _is_avif(head):
        return ImageFormat.AVIF
    return None


def name_foreign(head: bytes | bytearray) -> NotAnImageError:
    """Say what bytes are that :func:`sniff` does not know, and what to do about it.

    Args:
        head: The first :data:`HEAD_BYTES` bytes, or all.
    """
    text = bytes(head)
    for bom in _BOMS:
        text = text.removeprefix(bom)
    text = text.lstrip().replace(b"\0", b"")
    if _HTML.match(text):
        return NotAnImageError(
            "a web page (HTML), not a picture", hint=f"Open the address in a browser. {_RESUME}"
        )
    picture = _name_picture(bytes(head))
    if picture is not None:
        return NotAnImageError(f"{picture}, which is not saved", hint=_BY_HAND, is_lasting=True)
    if text.startswith(b"<"):
        code = _ERROR_CODE.search(text)
        return NotAnImageError(f"an XML answer{f' ({code[1].decode()})' if code else ''}, not a picture")
    if text.startswith((b"{", b"[")):
        return NotAnImageError("a JSON answer, not a picture")
    if head and not head.strip(b"\0"):
        return NotAnImageError("nothing but zero bytes")
    return NotAnImageError("something that is not a picture in a known format")


def _is_avif(head: bytes | bytearray) -> bool:
    brand = bytes(head[8:12])
    if brand in _AVIF_BRANDS:
        return True
    return brand in _CONTAINER_BRANDS and not _HEIC_BRANDS & _compatible_brands(head)


def _compatible_brands(head: bytes | bytearray) -> set[bytes]:
    end = min(int.from_bytes(head[:4]), len(head))
    return {bytes(head[place : place + 4]) for place in range(16, end - 3, 4)}


def _name_picture(head: bytes) -> str | None:
    for pattern, name in _FOREIGN_PICTURES:
        if pattern.match(head):
            return name
    if head[4:8] == b"ftyp":
        brands = {head[8:12]} | _compatible_brands(head)
        return "a HEIC picture" if brands & (_HEIC_BRANDS | _CONTAINER_BRANDS) else "a video"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and _SVG.search(head):
        return "an SVG drawing"
    return None
