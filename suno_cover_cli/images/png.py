"""Is a PNG whole? Told while its bytes arrive, without a decoder and in less than a megabyte of memory.

A PNG's pixels are one zlib stream, spread over its ``IDAT`` chunks. They are all there when the stream unpacks to
as many bytes as the header's width, height and depth ask for, each row beginning with a filter that exists; the
checksums of these chunks say that no bit of them has changed (PNG specification, third edition, 5, 7 and 9).
Text, profiles and whatever else lies beside the pixels is stepped over, however large or wrong it is.
"""

import struct
import zlib
from collections.abc import Callable, Generator

from suno_cover_cli.images.kinds import DamagedImageError, TooManyPixelsError, UnsupportedImageError

_SIGNATURE_BYTES = 8
_HEADER_BYTES = 13
_MAX_PALETTE_BYTES = 768
_MAX_CHUNK_BYTES = 2**31 - 1
_PIECE_BYTES = 256 * 1024
_FILTERS = bytes(range(5))

# Colour type -> samples a pixel, and the depths it may have.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_INDEXED = 3
# First column, first row, step between columns, step between rows of each pass of an interlaced picture.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

_Asking = Generator[tuple[int, int], memoryview, None]
"""Yields how many bytes it wants, at least and at most, and is sent them."""


class PngCheck:
    """Looks at one PNG, piece by piece.

    Args:
        max_pixels: Larger pictures are refused when their header has come.
        check_stopped: Called between pieces of work; raises to end it.

    Attributes:
        size: Width and height in pixels, once the header has come.
    """

    def __init__(self, max_pixels: int, check_stopped: Callable[[], None]) -> None:
        self.size = (0, 0)
        self._max_pixels = max_pixels
        self._check_stopped = check_stopped
        self._pixels: _Pixels | None = None
        self._has_palette = False
        self._is_over = False
        self._rest = b""
        self._parser = self._parse()
        self._wanted = next(self._parser)

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next bytes of the file; what follows the end mark is of no concern.

        Raises:
            DamagedImageError: They cannot be part of a whole picture.
            TooManyPixelsError: More than ``max_pixels``.
            UnsupportedImageError: Apple's variant, which nothing else reads.
        """
        if self._is_over:
            return
        # Most is passed on as it lies there: a copy would hold the interpreter's lock for as long as it takes.
        left = memoryview(self._rest + data if self._rest else data)
        while len(left) >= self._wanted[0] and not self._is_over:
            piece, left = left[: self._wanted[1]], left[self._wanted[1] :]
            try:
                self._wanted = self._parser.send(piece)
            except StopIteration:
                self._is_over = True
        self._rest = bytes(left)

    def finish(self) -> tuple[int, int]:
        """Return width and height once the file is over.

        Raises:
            DamagedImageError: Its end mark has not come.
        """
        if not self._is_over:
            raise DamagedImageError("the PNG picture is cut off")
        return self.size

    def _parse(self) -> _Asking:
        """Read chunks up to the end mark."""
        yield _SIGNATURE_BYTES, _SIGNATURE_BYTES
        kind = b""
        while kind != b"IEND":
            self._check_stopped()
            length, kind = struct.unpack(">I4s", (yield 8, 8))
            if length > _MAX_CHUNK_BYTES or not kind.isalpha():
                raise DamagedImageError("the PNG picture is damaged: a part of it has no sensible name or size")
            if kind == b"CgBI":
                raise UnsupportedImageError("a PNG in the form that only Apple's devices read (CgBI)")
            if (self._pixels is None) != (kind == b"IHDR"):
                raise DamagedImageError("the PNG picture is damaged: its header is missing or comes twice")
            yield from self._read_chunk(kind, length)
        if self._pixels is None or not self._pixels.is_complete:
            raise DamagedImageError("the PNG picture is damaged: pixels are missing")

    def _read_chunk(self, kind: bytes, length: int) -> _Asking:
        checksum = zlib.crc32(kind)
        if kind == b"IHDR" or (kind == b"PLTE" and self._pixels is not None and self._pixels.needs_palette):
            if length > _MAX_PALETTE_BYTES:
                raise DamagedImageError("the PNG picture is damaged: its header or palette is too long")
            data = yield length, length
            checksum = zlib.crc32(data, checksum)
            self._take_header(kind, data)
        elif kind == b"IDAT" and self._pixels is not None:
            if self._pixels.needs_palette and not self._has_palette:
                raise DamagedImageError("the PNG picture is damaged: its palette is missing")
            while length:
                data = yield 1, length
                length -= len(data)
                checksum = zlib.crc32(data, checksum)
                self._pixels.feed(data)
        else:
            if kind[:1].isupper() and kind not in {b"IEND", b"PLTE"}:
                raise DamagedImageError("the PNG picture is damaged: a part of it is of an unknown kind")
            while length:
                length -= len((yield 1, length))
            # Not pixels, so no reason to refuse them, whatever the checksum says.
            yield 4, 4
            return
        if (yield 4, 4) != checksum.to_bytes(4):
            raise DamagedImageError("the PNG picture is damaged: a checksum of its pixels is wrong")

    def _take_header(self, kind: bytes, data: memoryview) -> None:
        if kind == b"PLTE":
            self._has_palette = len(data) > 0 and len(data) % 3 == 0
            return
        if len(data) != _HEADER_BYTES:
            raise DamagedImageError("the PNG picture is damaged: its header has the wrong length")
        width, height, depth, colours, packing, filtering, interlacing = struct.unpack(">IIBBBBB", data)
        if not width or not height or depth not in _DEPTHS.get(colours, ()) or packing or filtering:
            raise DamagedImageError("the PNG picture is damaged: its header makes no sense")
        if width * height > self._max_pixels:
            raise TooManyPixelsError(f"the picture claims {width} x {height} pixels")
        self.size = (width, height)
        self._pixels = _Pixels(
            width,
            height,
            depth * _SAMPLES[colours],
            is_interlaced=bool(interlacing),
            needs_palette=colours == _INDEXED,
            check_stopped=self._check_stopped,
        )


class _Pixels:
    """Unpacks the pixels and counts them; none is kept."""

    def __init__(
        self,
        width: int,
        height: int,
        pixel_bits: int,
        *,
        is_interlaced: bool,
        needs_palette: bool,
        check_stopped: Callable[[], None],
    ) -> None:
        self.needs_palette = needs_palette
        self._check_stopped = check_stopped
        self._unpacking = zlib.decompressobj()
        passes = _PASSES if is_interlaced else ((0, 0, 1, 1),)
        sizes = [((width - x + dx - 1) // dx, (height - y + dy - 1) // dy) for x, y, dx, dy in passes]
        # Bytes a row, with the byte that names its filter, and bytes in all of each pass that has pixels.
        rows = [(1 + (columns * pixel_bits + 7) // 8, count) for columns, count in sizes if columns and count]
        self._passes = [(row_bytes, row_bytes * count) for row_bytes, count in reversed(rows)]
        self._row_bytes, self._left = self._passes.pop()
        self._to_next_row = 0

    @property
    def is_complete(self) -> bool:
        """Whether every row has come."""
        return not self._left

    def feed(self, data: bytes | memoryview) -> None:
        """Unpack the next bytes of the stream; what follows the last row is of no concern.

        Raises:
            DamagedImageError: They do not unpack, or to no rows.
        """
        while self._left:
            self._check_stopped()
            try:
                rows = self._unpacking.decompress(data, min(_PIECE_BYTES, self._left))
            except zlib.error as error:
                raise DamagedImageError("the PNG picture is damaged: its pixels cannot be unpacked") from error
            data = self._unpacking.unconsumed_tail
            self._count(rows)
            if not data and len(rows) < _PIECE_BYTES:
                return

    def _count(self, rows: bytes) -> None:
        filters = rows[self._to_next_row :: self._row_bytes]
        if filters.translate(None, _FILTERS):
            raise DamagedImageError("the PNG picture is damaged: its rows make no sense")
        self._to_next_row = (self._to_next_row - len(rows)) % self._row_bytes
        self._left -= len(rows)
        if not self._left and self._passes:
            self._row_bytes, self._left = self._passes.pop()
            self._to_next_row = 0
