"""Is a WebP or an AVIF whole? Told once it has come: by what it says of its own lengths, then by decoding it.

A decoder asks for the parts of an AVIF it needs and no others, and takes what is missing at the end for an end; so
its boxes are looked at first (ISO/IEC 14496-12, 4.2 and 8.11; AV1 Image File Format 1.1). The decoder is a program
of ours, see :mod:`decoder`. It ends with the save that started it.
"""

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.images.decoder import End
from suno_cover_cli.images.kinds import (
    DamagedImageError,
    ImageFormat,
    ReadableFile,
    TooManyPixelsError,
    UnsupportedImageError,
)

MAX_MEMORY_BYTES = 200 * 1024 * 1024
"""What the decoder may take for one picture, beside itself."""

_DECODER = "suno_cover_cli.images.decoder"
_RIFF_HEAD_BYTES = 8
_WEBP_HEAD_BYTES = 30
_WEBP_PIXEL_BYTES = 12
_MIB = 1024 * 1024
_BY_HAND = (
    "Run suno-cover resume in a while; if it happens again, open the address in a browser to save it by hand."
)
# Of the boxes of an AVIF.
_HEAD_BYTES = 8
_LARGE_HEAD_BYTES = 16
_KNOWN = frozenset(
    {b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"idat", b"free", b"skip", b"uuid", b"styp", b"sidx"}
)
_TO_THE_END, _LARGE = 0, 1
_IN_FILE = 0
_MAX_EXTENTS = 100_000


class StoppedError(Exception):
    """The check was ended before it came to a result."""


class Stop:
    """Ends one check: its own steps at the next look, a program it waits for at once. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._child: subprocess.Popen[bytes] | None = None

    def set(self) -> None:
        """End the check."""
        with self._lock:
            self._is_set = True
            if self._child is not None:
                self._child.kill()

    def check(self) -> None:
        """Look whether to go on.

        Raises:
            StoppedError: No.
        """
        if self._is_set:
            raise StoppedError

    @contextmanager
    def ending(self, child: "subprocess.Popen[bytes]") -> Iterator[None]:
        """End a program, and wait for its end, when the check is stopped or the block is left."""
        try:
            with self._lock:
                self._child = child
                if self._is_set:
                    child.kill()
            yield
        finally:
            with self._lock:
                self._child = None
            with suppress(ProcessLookupError):
                child.kill()
            child.wait()


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


class _Box(NamedTuple):
    kind: bytes
    start: int
    end: int


def check_boxes(data: bytes) -> None:
    """See that all parts of a picture, or of a moving one, lie within the file.

    Args:
        data: All of it.

    Raises:
        DamagedImageError: A part is missing, or the file does not say where they are.
    """
    has_list = False
    for box in _walk(data):
        has_list = has_list or box.kind in {b"meta", b"moov"}
        if box.kind != b"meta":
            continue
        for inner in _inside(data, box.start + 4, box.end):
            if inner.kind == b"iloc" and any(
                end > len(data) for _, end in _read_locations(data[inner.start : inner.end])
            ):
                raise DamagedImageError("the AVIF picture is cut off: a part of it lies beyond its end")
    if not has_list:
        raise DamagedImageError("the AVIF picture is cut off: it does not say where its parts are")


def _walk(data: bytes) -> Iterator[_Box]:
    """Yield the outermost boxes; stray bytes behind them are neither a box nor a fault."""
    place = 0
    while place + _HEAD_BYTES <= len(data):
        box = _box_at(data, place, len(data))
        if box.kind not in _KNOWN:
            return
        if box.end > len(data):
            raise DamagedImageError("the AVIF picture is cut off")
        yield box
        place = max(box.end, place + _HEAD_BYTES)


def _inside(data: bytes, place: int, end: int) -> Iterator[_Box]:
    while place + _HEAD_BYTES <= end:
        box = _box_at(data, place, end)
        if box.end > end:
            raise DamagedImageError("the AVIF picture is damaged: a part of it is larger than the whole")
        yield box
        place = max(box.end, place + _HEAD_BYTES)


def _box_at(data: bytes, place: int, end: int) -> _Box:
    size, kind = struct.unpack_from(">I4s", data, place)
    start = place + _HEAD_BYTES
    if size == _LARGE and place + _LARGE_HEAD_BYTES <= end:
        (size,) = struct.unpack_from(">Q", data, start)
        start = place + _LARGE_HEAD_BYTES
    return _Box(kind, start, end if size == _TO_THE_END else place + size)


def _read_locations(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield the extents of all items that lie in the file itself (14496-12, 8.11.3).

    Raises:
        DamagedImageError: They make no sense.
    """
    if len(body) < 6:  # noqa: PLR2004 -- what stands before the first number
        raise DamagedImageError("the AVIF picture is damaged: its list of parts ends early")
    version, sizes = body[0], body[4:6]
    offset_bytes, length_bytes, base_bytes, index_bytes = (*divmod(sizes[0], 16), *divmod(sizes[1], 16))
    wide = version == 2  # noqa: PLR2004 -- the version in which numbers of items grew
    fields = _Fields(body, 6)
    left = _MAX_EXTENTS
    for _ in range(fields.take(4 if wide else 2)):
        fields.take(4 if wide else 2)  # number of the item
        construction = fields.take(2) % 16 if version else _IN_FILE
        fields.take(2)  # of the file it lies in; this one, always
        base = fields.take(base_bytes)
        for _ in range(fields.take(2)):
            fields.take(index_bytes if version else 0)
            start = base + fields.take(offset_bytes)
            length = fields.take(length_bytes)
            left -= 1
            if left < 0:
                raise DamagedImageError("the AVIF picture is damaged: it has more parts than any picture")
            if construction == _IN_FILE:
                yield start, start + length


class _Fields:
    """Numbers of varying width, one after the other."""

    def __init__(self, body: bytes, place: int) -> None:
        self._body = body
        self._place = place

    def take(self, width: int) -> int:
        """Return the next number, ``width`` bytes wide; 0 for no bytes."""
        start, self._place = self._place, self._place + width
        if self._place > len(self._body):
            raise DamagedImageError("the AVIF picture is damaged: its list of parts ends early")
        return int.from_bytes(self._body[start : self._place])
