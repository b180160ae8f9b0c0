"""Pictures of every kind that covers may come as, made here: by hand, by Pillow, and by tools where they are."""

import functools
import io
import itertools
import random
import shutil
import struct
import subprocess
import zlib
from typing import Any

from PIL import Image, ImageFilter

SIGNATURE = b"\x89PNG\r\n\x1a\n"
EOI = b"\xff\xd9"
_SIZE = (144, 96)  # whole units of 16: nothing that is coded stays out of sight
_ODD_SIZE = (129, 97)
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """Return one chunk of a PNG; ``checksum`` may be a wrong one."""
    crc = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(
    colours: int = 2,
    depth: int = 8,
    *,
    size: tuple[int, int] = _SIZE,
    is_interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
    idat_bytes: int = 8192,
) -> bytes:
    """Return a noisy PNG of any colour type and depth, with further chunks before and after its pixels."""
    noise = random.Random(f"{colours}-{depth}")  # noqa: S311 -- noise, not a secret
    rows = bytearray()
    for x, y, dx, dy in _PASSES if is_interlaced else ((0, 0, 1, 1),):
        columns, count = -(-(size[0] - x) // dx), -(-(size[1] - y) // dy)
        for n in range(count if columns > 0 else 0):
            rows.append(n % 5)
            rows += noise.randbytes((columns * depth * _SAMPLES[colours] + 7) // 8)
    header = struct.pack(">IIBBBBB", *size, depth, colours, 0, 0, is_interlaced)
    palette = chunk(b"PLTE", noise.randbytes(3 * 2**depth)) if colours == 3 else b""
    packed = zlib.compress(bytes(rows), 1)
    pixels = b"".join(
        chunk(b"IDAT", packed[start : start + idat_bytes]) for start in range(0, len(packed), idat_bytes)
    )
    return SIGNATURE + chunk(b"IHDR", header) + before + palette + pixels + after + chunk(b"IEND", b"")


@functools.cache
def photo(mode: str = "RGB", size: tuple[int, int] = _SIZE) -> Image.Image:
    """Return something between noise and a flat field, as photographs are."""
    noise = random.Random(3).randbytes(size[0] * size[1] * 3)  # noqa: S311 -- noise, not a secret
    image = Image.frombytes("RGB", size, noise).filter(ImageFilter.GaussianBlur(2))
    return Image.blend(image, Image.radial_gradient("L").resize(size).convert("RGB"), 0.5).convert(mode)


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return what Pillow makes of a picture."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def pngs() -> dict[str, bytes]:
    """Return PNGs of every kind, and such as have something wrong beside their pixels."""
    kinds = {
        f"png colours {colours} depth {depth}{' interlaced' if is_interlaced else ''}": png(
            colours, depth, is_interlaced=is_interlaced
        )
        for colours, depths in _DEPTHS.items()
        for depth in depths
        for is_interlaced in (False, True)
    }
    large = zlib.compress(bytes(3 * 1024 * 1024))
    return kinds | {
        "png odd": png(size=_ODD_SIZE),
        "png odd, interlaced": png(0, 2, size=_ODD_SIZE, is_interlaced=True),
        "png of one pixel": png(size=(1, 1)),
        "png of one pixel, interlaced": png(size=(1, 1), is_interlaced=True),
        "png one wide": png(0, 1, size=(1, 999)),
        "png in parts of a byte": png(idat_bytes=1, size=(20, 20)),
        "png with an empty part": png(after=chunk(b"IDAT", b"")),
        "png with a profile of 3 MiB": png(before=chunk(b"iCCP", b"icc\0\0" + large)),
        "png with text of 3 MiB": png(before=chunk(b"zTXt", b"Comment\0\0" + large)),
        "png with foreign text of 3 MiB": png(after=chunk(b"iTXt", b"XML\0\1\0\0\0" + large)),
        "png with a wrong checksum of its text": png(before=chunk(b"tEXt", b"a\0b", 7)),
        "png with a wrong checksum of its profile": png(before=chunk(b"iCCP", b"x", 7)),
        "png with a wrong checksum at the end": png()[:-4] + bytes(4),
        "png with chunks cut short": png(before=chunk(b"pHYs", b"1") + chunk(b"cHRM", b"") + chunk(b"sRGB", b"")),
        "png with a chunk of its own": png(before=chunk(b"vpAg", bytes(9)), after=chunk(b"eXIf", b"garbage")),
        "png by Pillow": saved(photo(), "PNG", optimize=True),
        "png that moves": saved(photo(), "PNG", save_all=True, append_images=[photo().rotate(90)]),
    }


def jpegs() -> dict[str, bytes]:
    """Return JPEGs as Pillow makes them, and as libjpeg's own tools do where they are installed."""
    kinds = {}
    for mode, quality, subsampling, style in itertools.product(
        ("L", "RGB", "CMYK"), (30, 95), (0, 1, 2), ({}, {"optimize": True}, {"progressive": True})
    ):
        name = f"jpeg {mode} {quality} {subsampling} {''.join(style)}"
        kinds[name] = saved(photo(mode), "JPEG", quality=quality, subsampling=subsampling, **style)
    for restarts in ({"restart_marker_rows": 1}, {"restart_marker_blocks": 3}):
        kinds[f"jpeg with restarts {restarts}"] = saved(photo(), "JPEG", **restarts)
        kinds[f"jpeg with restarts {restarts}, progressive"] = saved(photo(), "JPEG", progressive=True, **restarts)
    for subsampling, style in itertools.product((0, 2), ({}, {"progressive": True})):
        name = f"jpeg odd {subsampling} {''.join(style)}"
        kinds[name] = saved(photo(size=_ODD_SIZE), "JPEG", subsampling=subsampling, **style)
    flat = Image.new("RGB", (700, 500), "black")
    kinds |= {
        "jpeg flat": saved(flat, "JPEG"),
        "jpeg flat, optimized": saved(flat, "JPEG", optimize=True),
        "jpeg flat, progressive": saved(flat, "JPEG", progressive=True),
        "jpeg of one pixel": saved(photo(size=(1, 1)), "JPEG"),
        "jpeg with an unreadable EXIF": saved(photo(), "JPEG", exif=b"Exif\0\0garbage"),
        "jpeg with a profile in parts": saved(photo(), "JPEG", icc_profile=bytes(200_000)),
        "jpeg with stray bytes between its parts": EOI.join(saved(photo(), "JPEG").rsplit(EOI, 1)).replace(
            b"\xff\xdb", b"stray\xff\xdb", 1
        ),
        "jpeg with fill bytes": saved(photo(), "JPEG").replace(b"\xff\xda", b"\xff\xff\xff\xda", 1),
        "jpeg with zeros before its end": saved(photo(), "JPEG").removesuffix(EOI) + bytes(40) + EOI,
    }
    tools = {
        "cjpeg, arithmetic": ("cjpeg", "-arithmetic"),
        "cjpeg, arithmetic and progressive": ("cjpeg", "-arithmetic", "-progressive"),
        "cjpeg, restarts": ("cjpeg", "-restart", "1", "-optimize"),
    }
    ppm = saved(photo(), "PPM")
    for name, command in tools.items():
        if shutil.which(command[0]):
            kinds[name] = subprocess.run(command, input=ppm, capture_output=True, check=True).stdout
    return kinds


def multi_pictures() -> dict[str, bytes]:
    """Return files of several pictures, as cameras and makers of gain maps write them."""
    extra = [photo().rotate(90), photo("L")]
    return {
        "mpo of two": saved(photo(), "MPO", save_all=True, append_images=extra[:1]),
        "mpo of three": saved(photo(), "MPO", save_all=True, append_images=extra),
    }


def others() -> dict[str, bytes]:
    """Return WebP and AVIF of each kind."""
    return {
        "webp": saved(photo(), "WEBP"),
        "webp lossless": saved(photo(), "WEBP", lossless=True),
        "webp see-through": saved(photo("RGBA"), "WEBP", exif=b"Exif\0\0garbage"),
        "webp that moves": saved(photo(), "WEBP", save_all=True, append_images=[photo().rotate(90)]),
        "avif": saved(photo(), "AVIF", speed=10),
        "avif see-through": saved(photo("RGBA"), "AVIF", speed=10, subsampling="4:4:4"),
        "avif that moves": saved(photo(), "AVIF", speed=10, save_all=True, append_images=[photo().rotate(90)]),
    }
