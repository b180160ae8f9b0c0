"""The bytes of the sandbox's pictures.

A cover of each style is drawn once a process, when the first one is asked for. Each image is that cover in colours
of its own with its title in the middle: the palette of an indexed PNG is a chunk of 768 bytes, and only the rows
with the title are packed anew. Where the size of the file is given there is one picture of noisy rings without a
title, so a new image costs a hash, two checksums and one copy.
"""

import asyncio
import hashlib
import io
import random
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from suno_cover_cli.base.text import clean

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIDE = 1024
_TITLE_ROWS = (440, 584)
_TITLE_SIZE = 92
_LEAST_TITLE_SIZE = 24
_MAX_TITLE_CHARS = 40
_STYLES = 2
# By the names under which systems keep fonts that can write Chinese; Pillow knows where to look.
_WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc")
# Below this there is no room for the palette and a picture worth the name.
MIN_IMAGE_BYTES = 4096
_LEVELS = 16
_SEED = 20_260_101


class PictureCache:
    """Draws pictures on demand; Pillow is imported by the first one.

    Args:
        image_bytes: Exact size of each PNG. The picture then has grain, so that its bytes are pixels to
            decode and not padding; ``None`` makes covers of 1024 x 1024 pixels with a title.
    """

    def __init__(self, image_bytes: int | None) -> None:
        self._image_bytes = image_bytes
        self._drawing = asyncio.Lock()
        self._png: tuple[bytes, bytes] | None = None
        self._jpeg: bytes | None = None

    async def png(self, name: str, *, title: str = "", n: int = 0) -> bytes:
        """Return the PNG of that name: other names, other colours, other bytes.

        Args:
            name: 32 hex digits; also written into the file as its title.
            title: What stands on the cover.
            n: Which image of a job it is: neighbours are drawn in different styles.
        """
        if self._image_bytes is None:
            cover = await self._drawn(n % _STYLES)
            return await asyncio.to_thread(cover.png, name, title)
        if self._png is None:
            async with self._drawing:
                if self._png is None:
                    self._png = await asyncio.to_thread(_draw_png, self._image_bytes)
        head, tail = self._png
        return b"".join((head, _chunk(b"PLTE", _palette(name)), _title(name), tail))

    async def _drawn(self, style: int) -> "_DrawnCover":
        if style not in _drawn_covers:
            async with self._drawing:
                if style not in _drawn_covers:
                    _drawn_covers[style] = await asyncio.to_thread(_DrawnCover, style)
        return _drawn_covers[style]

    async def jpeg(self, name: str) -> bytes:
        """Return a JPEG of that name: the same picture, other bytes."""
        if self._jpeg is None:
            async with self._drawing:
                if self._jpeg is None:
                    self._jpeg = await asyncio.to_thread(_draw_jpeg)
        # A comment segment goes after the JFIF header, which has to come first.
        first_end = 4 + int.from_bytes(self._jpeg[4:6])
        comment = b"\xff\xfe" + struct.pack(">H", 2 + len(name)) + name.encode()
        return self._jpeg[:first_end] + comment + self._jpeg[first_end:]


class _DrawnCover:
    """A cover without title, its rows above and below the title packed once and for all.

    Args:
        style: 0 for a sun over a plain, 1 for circles that overlap.
    """

    def __init__(self, style: int) -> None:
        picture = _draw_plain() if style == 0 else _draw_circles()
        top, bottom = _TITLE_ROWS
        self._band = picture.crop((0, top, _SIDE, bottom))
        self._below_rows = _rows_of(picture.crop((0, bottom, _SIDE, _SIDE)))
        above = _rows_of(picture.crop((0, 0, _SIDE, top)))
        packer = zlib.compressobj(6)
        # A full flush ends a part so that another may follow it, whatever that is.
        self._above = packer.compress(above) + packer.flush(zlib.Z_FULL_FLUSH)
        self._above_sum = zlib.adler32(above)
        self._below = _packed(self._below_rows, zlib.Z_FINISH)

    def png(self, name: str, title: str) -> bytes:
        """Return the cover with a title, in the colours of a name."""
        band = _rows_of(_with_title(self._band, title))
        checksum = zlib.adler32(self._below_rows, zlib.adler32(band, self._above_sum))
        pixels = self._above + _packed(band, zlib.Z_FULL_FLUSH) + self._below + struct.pack(">I", checksum)
        header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 3, 0, 0, 0)
        chunks = (_chunk(b"IHDR", header), _chunk(b"PLTE", _palette(name)), _title(name), _chunk(b"IDAT", pixels))
        return b"".join((_SIGNATURE, *chunks, _chunk(b"IEND", b"")))


_drawn_covers: dict[int, _DrawnCover] = {}
"""By style; the same for every sandbox of the process."""


def _packed(rows: bytes, end: int) -> bytes:
    """Pack rows without the head and the checksum that a stream of their own would have."""
    packer = zlib.compressobj(6, wbits=-15)
    return packer.compress(rows) + packer.flush(end)


def _rows_of(image: "Image") -> bytes:
    """Return the rows of a picture as PNG wants them: a zero, for no filter, before each."""
    pixels = image.tobytes()
    return b"".join(b"\0" + pixels[at : at + image.width] for at in range(0, len(pixels), image.width))


def _draw_plain() -> "Image":
    """Draw a striped sun above a plain with lines that meet at the horizon."""
    from PIL import Image, ImageDraw

    image = Image.linear_gradient("L").resize((_SIDE, _SIDE)).point(lambda value: 8 + value // 3)
    draw = ImageDraw.Draw(image)
    horizon, middle = 700, _SIDE // 2
    draw.ellipse((middle - 300, 90, middle + 300, 690), fill=215)
    for n in range(7):
        height = 8 + 5 * n
        draw.rectangle(
            (middle - 300, 600 - 50 * n, middle + 300, 600 - 50 * n + 32 - height // 2), fill=90 - 6 * n
        )
    draw.rectangle((0, horizon, _SIDE, _SIDE), fill=24)
    for n in range(-12, 13):
        draw.line((middle + n * 22, horizon, middle + n * 190, _SIDE), fill=165, width=3)
    for n in range(1, 9):
        y = horizon + round((_SIDE - horizon) * (n / 8) ** 2)
        draw.line((0, y, _SIDE, y), fill=165, width=3)
    return image


def _draw_circles() -> "Image":
    """Draw circles that lighten each other where they overlap."""
    from PIL import Image, ImageChops, ImageDraw

    image = Image.new("L", (_SIDE, _SIDE), 14)
    places = random.Random(_SEED)  # noqa: S311 -- a drawing, not a secret
    for n in range(14):
        layer = Image.new("L", (_SIDE, _SIDE), 0)
        radius, x, y = places.randint(90, 300), places.randint(0, _SIDE), places.randint(0, _SIDE)
        draw = ImageDraw.Draw(layer)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=30 + 6 * (n % 7))
        draw.ellipse((x - radius // 2, y - radius // 2, x + radius // 2, y + radius // 2), fill=10 + 9 * (n % 5))
        image = ImageChops.add(image, layer)
    return image


def _with_title(band: "Image", title: str) -> "Image":
    """Write a title into the middle of a strip, as large as it has room for."""
    from PIL import ImageDraw

    shown = clean(title, _MAX_TITLE_CHARS).replace("-", " ").replace("_", " ").upper()
    if not shown:
        return band
    written = band.point(lambda value: value // 3)
    draw = ImageDraw.Draw(written)
    size = _TITLE_SIZE
    font = _font_for(shown, size)
    while size > _LEAST_TITLE_SIZE and draw.textlength(shown, font=font) > _SIDE * 0.9:
        size -= 8
        font = _font_for(shown, size)
    draw.text((_SIDE // 2, band.height // 2), shown, font=font, fill=255, anchor="mm")
    return written


def _font_for(text: str, size: int) -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    if not text.isascii():
        for name in _WIDE_FONTS:
            with suppress(OSError):
                return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def draw_bomb() -> bytes:
    """Return a valid PNG of 30,000 x 30,000 pixels in about 110 kB.

    The rows are all zero: one compressed mebibyte of them, flushed so that it stands alone, is repeated.
    """
    side = 30_000
    total = side * (1 + side // 8)
    squeezer = zlib.compressobj(9)
    block = squeezer.compress(bytes(1 << 20)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    again = zlib.compressobj(9, wbits=-15)
    repeat = again.compress(bytes(1 << 20)) + again.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, wbits=-15)
    last = rest.compress(bytes(total % (1 << 20))) + rest.flush()
    # Adler-32 of n zero bytes: the low sum stays 1, the high one counts to n.
    checksum = struct.pack(">I", (total % 65521) << 16 | 1)
    pixels = block + repeat * (total // (1 << 20) - 1) + last + checksum
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _draw_png(image_bytes: int) -> tuple[bytes, bytes]:
    """Return the parts of the PNG before and after what differs between images."""
    differing = len(_chunk(b"PLTE", bytes(768))) + len(_title("0" * 32))
    empty_padding = len(_chunk(b"paDd", b""))
    side = int(image_bytes**0.5)
    while True:
        head, tail = _split(_render(side))
        size = len(head) + differing + empty_padding + len(tail)
        if size <= image_bytes:
            return head, _chunk(b"paDd", bytes(image_bytes - size)) + tail
        # How well it deflates is known only now; the last hundredth makes sure that it fits.
        side = int(side * 0.99 * (image_bytes / size) ** 0.5)


def _render(side: int) -> bytes:
    """Draw grainy rings, as on a record, as an indexed PNG whose index grows from the rim to the middle."""
    from PIL import Image, ImageChops, ImageDraw

    image = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(image)
    for level in range(1, _LEVELS):
        inset = side * level / (2 * _LEVELS)
        draw.ellipse((inset, inset, side - 1 - inset, side - 1 - inset), fill=level * _LEVELS)
    noise = random.Random(_SEED).randbytes(side * side)  # noqa: S311 -- grain, not a secret
    image = ImageChops.add(image, Image.frombytes("L", (side, side), noise).point(lambda v: v % _LEVELS))
    image.putpalette(bytes(768))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _draw_jpeg() -> bytes:
    image = _draw_plain()
    image.putpalette(_palette("jpeg"))
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


def _split(png: bytes) -> tuple[bytes, bytes]:
    """Cut a PNG into its header and what follows the palette."""
    start = png.index(b"PLTE") - 4
    return png[:start], png[start + 12 + int.from_bytes(png[start : start + 4]) :]


def _palette(name: str) -> bytes:
    """Return 256 colours from a dark one over a strong one to a light one, all chosen by ``name``."""
    seed = hashlib.blake2b(name.encode(), digest_size=9).digest()
    stops = (
        [value // 5 for value in seed[:3]],
        [60 + value * 3 // 4 for value in seed[3:6]],
        [255 - value // 4 for value in seed[6:]],
    )
    colours = bytearray()
    for index in range(256):
        first, second = (stops[0], stops[1]) if index < 128 else (stops[1], stops[2])  # noqa: PLR2004 -- half of them
        part = index % 128
        colours += bytes((a * (127 - part) + b * part) // 127 for a, b in zip(first, second, strict=True))
    return bytes(colours)


def _title(name: str) -> bytes:
    return _chunk(b"tEXt", b"Title\0sandbox cover " + name.encode())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
