"""Is everything there that an AVIF file speaks of? Its boxes say where each part of the picture lies.

A decoder asks for the parts it needs and no others, and takes what is missing at the end for an end (ISO/IEC
14496-12, 4.2 and 8.11; AV1 Image File Format 1.1).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from suno_cover_cli.images.kinds import DamagedImageError

_HEAD_BYTES = 8
_LARGE_HEAD_BYTES = 16
_KNOWN = frozenset(
    {b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"idat", b"free", b"skip", b"uuid", b"styp", b"sidx"}
)
_TO_THE_END, _LARGE = 0, 1
_IN_FILE = 0
_MAX_EXTENTS = 100_000


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
