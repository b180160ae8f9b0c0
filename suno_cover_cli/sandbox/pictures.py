"""The bytes of the sandbox's pictures.

One picture is drawn per process. Each image is that picture in colours of its own: the palette of an indexed
PNG is a chunk of 768 bytes, so a new cover costs a hash, two checksums and one copy.
"""

import asyncio
import hashlib
import io
import random
import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIDE = 512
# Below this there is no room for the palette and a picture worth the name.
MIN_IMAGE_BYTES = 4096
_LEVELS = 16
_SEED = 20_260_101


class PictureCache:
    """Draws pictures on demand; Pillow is imported by the first one.

    Args:
        image_bytes: Exact size of each PNG. The picture then has grain, so that its bytes are pixels to
            decode and not padding; ``None`` leaves a smooth picture of 512 x 512 pixels.
    """

    def __init__(self, image_bytes: int | None) -> None:
        self._image_bytes = image_bytes
        self._drawing = asyncio.Lock()
        self._png: tuple[bytes, bytes] | None = None
        self._jpeg: bytes | None = None

    async def png(self, name: str) -> bytes:
        """Return the PNG of that name: other names, other colours, other bytes.

        Args:
            name: 32 hex digits; also written into the file as its title.
        """
        if self._png is None:
            async with self._drawing:
                if self._png is None:
                    self._png = await asyncio.to_thread(_draw_png, self._image_bytes)
        head, tail = self._png
        return b"".join((head, _chunk(b"PLTE", _palette(name)), _title(name), tail))

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

    async def corrupt_png(self, name: str) -> bytes:
        """Return a PNG of the right length and beginning whose pixels cannot be decoded."""
        whole = await self.png(name)
        return whole[: len(whole) // 2].ljust(len(whole), b"\0")


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


def _draw_png(image_bytes: int | None) -> tuple[bytes, bytes]:
    """Return the parts of the PNG before and after what differs between images."""
    if image_bytes is None:
        return _split(_render(_SIDE, grain=False))
    differing = len(_chunk(b"PLTE", bytes(768))) + len(_title("0" * 32))
    empty_padding = len(_chunk(b"paDd", b""))
    side = int(image_bytes**0.5)
    while True:
        head, tail = _split(_render(side, grain=True))
        size = len(head) + differing + empty_padding + len(tail)
        if size <= image_bytes:
            return head, _chunk(b"paDd", bytes(image_bytes - size)) + tail
        # How well it deflates is known only now; the last hundredth makes sure that it fits.
        side = int(side * 0.99 * (image_bytes / size) ** 0.5)


def _render(side: int, *, grain: bool) -> bytes:
    """Draw rings, as on a record, as an indexed PNG whose index grows from the rim to the middle."""
    from PIL import Image, ImageChops, ImageDraw

    image = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(image)
    for level in range(1, _LEVELS):
        inset = side * level / (2 * _LEVELS)
        draw.ellipse((inset, inset, side - 1 - inset, side - 1 - inset), fill=level * _LEVELS)
    if grain:
        noise = random.Random(_SEED).randbytes(side * side)  # noqa: S311 -- grain, not a secret
        image = ImageChops.add(image, Image.frombytes("L", (side, side), noise).point(lambda v: v % _LEVELS))
    image.putpalette(bytes(768))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _draw_jpeg() -> bytes:
    from PIL import Image

    image = Image.open(io.BytesIO(_render(_SIDE, grain=False)))
    image.putpalette(_palette("jpeg"))
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


def _split(png: bytes) -> tuple[bytes, bytes]:
    """Cut a PNG into its header and what follows the palette."""
    start = png.index(b"PLTE") - 4
    return png[:start], png[start + 12 + int.from_bytes(png[start : start + 4]) :]


def _palette(name: str) -> bytes:
    """Return 256 colours from a dark one to a light one, both chosen by ``name``."""
    seed = hashlib.blake2b(name.encode(), digest_size=6).digest()
    dark, light = [value // 3 for value in seed[:3]], [255 - value // 3 for value in seed[3:]]
    ramps = [bytes((d * (255 - i) + li * i) // 255 for i in range(256)) for d, li in zip(dark, light, strict=True)]
    colours = bytearray(768)
    for channel, ramp in enumerate(ramps):
        colours[channel::3] = ramp
    return bytes(colours)


def _title(name: str) -> bytes:
    return _chunk(b"tEXt", b"Title\0sandbox cover " + name.encode())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
