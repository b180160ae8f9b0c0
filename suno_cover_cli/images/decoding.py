"""Is a WebP or an AVIF whole? Told once it has come: by what it says of its own length, then by decoding it.

The decoder is a program of ours, see :mod:`decoder`. It ends with the save that started it.
"""

import os
import subprocess
import sys

from suno_cover_cli.base.environment import ChildEnviron
from suno_cover_cli.images.avif_boxes import check_boxes
from suno_cover_cli.images.decoder import End
from suno_cover_cli.images.kinds import (
    DamagedImageError,
    ImageFormat,
    ReadableFile,
    TooManyPixelsError,
    UnsupportedImageError,
)
from suno_cover_cli.images.stopping import Stop

MAX_MEMORY_BYTES = 200 * 1024 * 1024
"""What the decoder may take for one picture, beside itself."""

_DECODER = "suno_cover_cli.images.decoder"
_RIFF_HEAD_BYTES = 8
_WEBP_HEAD_BYTES = 30
_WEBP_PIXEL_BYTES = 12
_MIB = 1024 * 1024
_BY_HAND = "Run suno-cover resume in a while; if it stays, open the address in a browser to save it by hand."


def check_whole(
    image_format: ImageFormat, file: ReadableFile, *, stop: Stop, max_pixels: int, environ: ChildEnviron
) -> tuple[int, int]:
    """Check a file of one of the two formats and return its width and height. Blocks.

    Args:
        image_format: WebP or AVIF.
        file: At any place; it has a descriptor of its own.
        stop: Ends the decoder.
        max_pixels: Larger pictures are refused before they are decoded.
        environ: For the decoder.

    Raises:
        DamagedImageError: Cut off or not decodable.
        UnsupportedImageError: There is no decoder for it.
        TooManyPixelsError: More than ``max_pixels``, or more than :data:`MAX_MEMORY_BYTES` to decode.
    """
    file.seek(0)
    if image_format is ImageFormat.WEBP:
        _check_riff(file, max_pixels)
    else:
        check_boxes(file.read())
    file.seek(0)
    code, size = _decode(image_format, file, stop=stop, max_pixels=max_pixels, environ=environ)
    stop.check()
    shown = image_format.shown
    match code:
        case End.WHOLE:
            return size
        case End.TOO_MANY_PIXELS:
            raise TooManyPixelsError(f"the picture claims {size[0]} x {size[1]} pixels")
        case End.TOO_MUCH_MEMORY:
            raise _too_much_memory(shown, size)
        case End.NO_DECODER:
            raise UnsupportedImageError(f"a picture in the format {shown}, which the installed Pillow cannot read")
        case _ if image_format is ImageFormat.AVIF:
            raise DamagedImageError(
                "the AVIF picture is all there, but cannot be decoded here: damaged, or of a rare kind",
                hint=_BY_HAND,
            )
        case _:
            raise DamagedImageError(f"the {shown} picture is damaged: it cannot be decoded")


def _check_riff(file: ReadableFile, max_pixels: int) -> None:
    """Compare a WebP with what its head says (RFC 9649, 2.4 to 2.7).

    Raises:
        DamagedImageError: It is shorter.
        TooManyPixelsError: More than ``max_pixels``, or more than fit into memory.
    """
    head = file.read(_WEBP_HEAD_BYTES)
    size_bytes = file.seek(0, os.SEEK_END)
    # The byte that makes a length even may be missing at the very end.
    if len(head) < _WEBP_HEAD_BYTES or size_bytes + 1 < _RIFF_HEAD_BYTES + int.from_bytes(head[4:8], "little"):
        raise DamagedImageError("the WebP picture is cut off")
    width, height = _webp_size(head)
    if width * height > max_pixels:
        raise TooManyPixelsError(f"the picture claims {width} x {height} pixels")
    if width * height * _WEBP_PIXEL_BYTES + size_bytes > MAX_MEMORY_BYTES:
        raise _too_much_memory("WebP", (width, height))


def _webp_size(head: bytes) -> tuple[int, int]:
    match head[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return 1 + bits % 2**14, 1 + (bits >> 14) % 2**14
        case _:
            return int.from_bytes(head[26:28], "little") % 2**14, int.from_bytes(head[28:30], "little") % 2**14


def _too_much_memory(shown: str, size: tuple[int, int]) -> TooManyPixelsError:
    claim = f" of {size[0]} x {size[1]} pixels" if any(size) else ""
    return TooManyPixelsError(
        f"the {shown} picture{claim} takes more than {MAX_MEMORY_BYTES // _MIB} MiB to check"
    )


def _decode(
    image_format: ImageFormat, file: ReadableFile, *, stop: Stop, max_pixels: int, environ: ChildEnviron
) -> tuple[int, tuple[int, int]]:
    """Run the decoder; return its exit code and what it said of the picture's size."""
    child = subprocess.Popen(  # noqa: S603 -- our own program; what is foreign goes to its standard input
        # -P: a PIL.py in the current folder is not ours.
        [sys.executable, "-P", "-m", _DECODER, image_format.value, str(max_pixels), str(MAX_MEMORY_BYTES)],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
    )
    with stop.ending(child):
        said, _ = child.communicate()
        words = said.split()
    size = (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)  # noqa: PLR2004 -- width and height
    return child.returncode, size
