"""Decodes one WebP or AVIF picture from standard input; a program of its own, started by :mod:`decoding`.

Their decoders take a picture whole, cannot be stopped, and may take more memory than they should. Here they can
be ended at any time, and where the system can hold a program to its memory, it does.

Arguments: format, most pixels, most bytes of memory. Prints width and height. Exits with a member of :class:`End`.
"""

import os
import re
import sys
from enum import IntEnum
from typing import Any

# Bytes a pixel: a canvas, the one before it and the picture handed out (seen with libwebp 1.6).
_WEBP_PIXEL_BYTES = 12
# Code, libraries and stacks beside the picture.
_ROOM_BYTES = 128 * 1024 * 1024
_THREADS = 2


class End(IntEnum):
    """How it ended; any other code means that the decoder itself broke down."""

    WHOLE = 0
    DAMAGED = 3
    TOO_MANY_PIXELS = 4
    TOO_MUCH_MEMORY = 5
    NO_DECODER = 6


def main(image_format: str, max_pixels: int, max_memory_bytes: int) -> End:
    """Decode the first picture and say how large it is."""
    _limit_memory(max_memory_bytes + _ROOM_BYTES)
    codec = _find_codec(image_format)
    if codec is None:
        return End.NO_DECODER
    try:
        data = sys.stdin.buffer.read()
        size_bytes = len(data)
        is_webp = image_format == "webp"
        pixel_bytes = _WEBP_PIXEL_BYTES if is_webp else _avif_pixel_bytes(data)
        decoder = codec.WebPAnimDecoder(data) if is_webp else codec.AvifDecoder(data, "auto", _THREADS)
        del data
        (width, height), *_ = decoder.get_info()
        sys.stdout.write(f"{width} {height}\n")
        if width * height > max_pixels:
            return End.TOO_MANY_PIXELS
        if width * height * pixel_bytes + size_bytes > max_memory_bytes:
            return End.TOO_MUCH_MEMORY
        frame = decoder.get_next() if is_webp else decoder.get_frame(0)
    except MemoryError:
        return End.TOO_MUCH_MEMORY
    except Exception:  # noqa: BLE001 -- hostile bytes lead decoders to raise nearly anything
        return End.DAMAGED
    return End.WHOLE if frame else End.DAMAGED


def _avif_pixel_bytes(data: bytes) -> float:
    """Return how many bytes a pixel takes, by what the codec's boxes say (AV1 in ISO-BMFF 1.3, 2.3.3).

    Seen with libavif 1.4: the planes, twice what is handed out, and a little.
    """
    planes = 1.0
    for found in re.finditer(rb"av1C..(.)", data, re.DOTALL):
        flags = found[1][0]
        is_deep, is_grey, is_halved_across, is_halved_down = (flags >> bit & 1 for bit in (6, 4, 3, 2))
        colours = 0 if is_grey else 2 / (1 + is_halved_across) / (1 + is_halved_down)
        planes = max(planes, (1 + colours) * (1 + is_deep))
    if b"auxC" in data:  # see-through
        return planes * 4 / 3 + 2 * 4 + 1
    return planes + 2 * 3 + 1


def _find_codec(image_format: str) -> Any:
    """Return Pillow's own binding to a decoder: its classes for files take half as much memory again."""
    try:
        if image_format == "webp":
            from PIL import _webp

            return _webp
        from PIL import _avif
    except ImportError:
        return None
    return _avif


def _limit_memory(max_bytes: int) -> None:
    """Have the system refuse more, where it can; elsewhere the decoders' own claims are all there is."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))


if __name__ == "__main__":
    code = main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.flush()
    # A decoder that was refused memory may be unable to be taken to pieces.
    os._exit(code)
