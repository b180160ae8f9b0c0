"""What the headers of a JPEG say: of the picture, of one scan of it, of further pictures in the same file."""

import struct
from dataclasses import dataclass
from typing import NamedTuple, Self

from suno_cover_cli.images.kinds import DamagedImageError, UnsupportedImageError

_PROGRESSIVE = frozenset({0xC2, 0xCA})
_STEPWISE = frozenset({0xC0, 0xC1, 0xC2})
# These libjpeg reads at once or not at all, and not every libjpeg does.
_AT_ONCE = {0xC3: "a lossless JPEG", 0xC9: "an arithmetic-coded JPEG", 0xCA: "an arithmetic-coded JPEG"}
_SAMPLE_BITS = 8
_COEFFICIENTS = 64
_BLOCK_SIDE = 8
_BLOCK_BYTES = 2 * _COEFFICIENTS
_MOST_SAMPLES = 4
_LARGEST_SIDE = 65_496  # of what libjpeg decodes, in whole blocks
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_PIXEL_BYTES = {"L": 1, "RGB": 4, "CMYK": 4}

_MPF = b"MPF\0"
_MP_ENTRIES_TAG = 0xB002


def damaged(what: str) -> DamagedImageError:
    """Return the error for a JPEG of which something is wrong."""
    return DamagedImageError(f"the JPEG picture is damaged: {what}")


class Component(NamedTuple):
    """Blocks of a colour plane: in a scan of its own, and in one with others, filled up to whole units."""

    blocks: int
    padded_blocks: int


class Scan(NamedTuple):
    """One pass over the picture.

    Attributes:
        components: The planes it brings.
        tables: Of each plane, the numbers of the code tables of its first coefficient and of the others.
        first: Number of the first coefficient of each block that it brings.
        last: Of the last one.
        high_bit: Down to which bit an earlier scan has brought them; 0 for none.
        low_bit: Down to which bit this one does.
    """

    components: tuple[int, ...]
    tables: tuple[tuple[int, int], ...]
    first: int
    last: int
    high_bit: int
    low_bit: int

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Read the header of a scan (T.81, B.2.3)."""
        end = 1 + 2 * body[0]
        first, last, bits = body[end : end + 3]
        tables = tuple((numbers // 16, numbers % 16) for numbers in body[2:end:2])
        return cls(tuple(body[1:end:2]), tables, first, last, bits // 16, bits % 16)


class Codes:
    """What a code of nothing but zero bits stands for, in each table of codes."""

    def __init__(self) -> None:
        self._meanings: dict[tuple[int, int], int] = {}

    def add(self, body: bytes) -> None:
        """Read tables (T.81, B.2.4.2). The shortest code is all zeros, and its meaning stands first."""
        place = 0
        while place < len(body):
            kind, number = divmod(body[place], 16)
            counts = body[place + 1 : place + 17]
            self._meanings[kind, number] = body[place + 17]
            place += 17 + sum(counts)

    def may_be_zeros(self, scan: Scan, *, is_progressive: bool) -> bool:
        """Tell whether a scan may go on for long with nothing but zero bits: where the picture is flat.

        Elsewhere so many zeros stand for a first coefficient, or others, that sink from block to block.
        """
        if scan.high_bit:
            return True  # bits of coefficients as they are
        first, last = (scan.first, scan.last) if is_progressive else (0, _COEFFICIENTS - 1)
        return all(
            (first > 0 or self._meanings.get((0, dc)) == 0)
            and (last == 0 or self._meanings.get((1, ac), 0) % 16 == 0)
            for dc, ac in scan.tables
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The picture.

    Attributes:
        rare_kind: What it is called, for kinds that libjpeg reads at once or not at all; else ``None``.
        coded_size: Width and height in whole blocks, as the picture is decoded here: little that is coded stays
            out of sight, and each scan has as many blocks as before.
        is_progressive: Scans bring some coefficients, or some bits of them.
        units: What a scan of several planes counts in.
    """

    width: int
    height: int
    rare_kind: str | None
    coded_size: tuple[int, int]
    is_progressive: bool
    components: dict[int, Component]
    units: int

    @classmethod
    def read(cls, marker: int, body: bytes) -> Self:
        """Read the header of a frame (T.81, B.2.2).

        Raises:
            UnsupportedImageError: A kind that libjpeg, as Pillow brings it, does not read.
            DamagedImageError: It makes no sense.
        """
        bits, height, width, count = struct.unpack(">BHHB", body[:6])
        _check_kind(marker, bits, height, count)
        planes = {body[place]: divmod(body[place + 1], 16) for place in range(6, 6 + 3 * count, 3)}
        factors = [factor for pair in planes.values() for factor in pair]
        if not width or len(planes) != count or not all(0 < factor <= _MOST_SAMPLES for factor in factors):
            raise damaged("its header makes no sense")
        across = _BLOCK_SIDE * max(pair[0] for pair in planes.values())
        down = _BLOCK_SIDE * max(pair[1] for pair in planes.values())
        units = _parts(width, across) * _parts(height, down)
        return cls(
            width=width,
            height=height,
            rare_kind=_AT_ONCE.get(marker),
            coded_size=(width, height) if marker in _AT_ONCE else (_whole_blocks(width), _whole_blocks(height)),
            is_progressive=marker in _PROGRESSIVE,
            components={
                name: Component(_parts(width * x, across) * _parts(height * y, down), units * x * y)
                for name, (x, y) in planes.items()
            },
            units=units,
        )

    @property
    def mode(self) -> str:
        """Pillow's word for what comes out of the decoder."""
        return _MODES[len(self.components)]

    def with_coded_size(self, body: bytes) -> bytes:
        """Return the body of the frame's header with :attr:`coded_size` in place of its own."""
        width, height = self.coded_size
        return body[:1] + struct.pack(">HH", height, width) + body[5:]

    def is_added_up(self, scan: Scan) -> bool:
        """Tell from the first scan whether others add to it, so that all coefficients are kept until the end."""
        return self.is_progressive or len(scan.components) < len(self.components)

    def count_units(self, scan: Scan) -> int:
        """Return how many units a scan has; restart markers count them."""
        return self.units if len(scan.components) > 1 else self.components[scan.components[0]].blocks

    def count_blocks(self, scan: Scan) -> int:
        """Return how many blocks a scan visits."""
        return sum(self.components[name].padded_blocks for name in scan.components)

    def memory_bytes(self, scale: int, *, keeps_coefficients: bool) -> int:
        """Return what one decoder takes: the picture that comes out, and all coefficients where they are kept."""
        pixels = _parts(self.width, scale) * _parts(self.height, scale)
        kept = _BLOCK_BYTES * sum(component.padded_blocks for component in self.components.values())
        return pixels * _PIXEL_BYTES[self.mode] + (kept if keeps_coefficients else 0)


class Progress:
    """Which bits of which coefficients have come, plane by plane."""

    def __init__(self, frame: Frame) -> None:
        self._is_progressive = frame.is_progressive
        # Of each coefficient the lowest bit that has come.
        self._low_bits = {name: [_COEFFICIENTS] * _COEFFICIENTS for name in frame.components}

    def add(self, scan: Scan) -> None:
        """Take down what a scan brings.

        Raises:
            DamagedImageError: It names planes or coefficients that do not exist.
        """
        first, last, low_bit = 0, _COEFFICIENTS - 1, 0
        if self._is_progressive:
            first, last, low_bit = scan.first, scan.last, scan.low_bit
        if not scan.components or not set(scan.components) <= set(self._low_bits) or last >= _COEFFICIENTS:
            raise damaged("a scan of it makes no sense")
        for name in scan.components:
            self._low_bits[name][first : last + 1] = [low_bit] * (last + 1 - first)

    @property
    def is_complete(self) -> bool:
        """Whether every bit has come."""
        return not any(map(any, self._low_bits.values()))


def further_starts(body: bytes, place: int) -> list[int]:
    """Return where the further pictures begin that a multi-picture segment lists (CIPA DC-007, 5.2.3).

    What it says of their lengths is often wrong.

    Args:
        body: Of an APP2 segment.
        place: Of the body within the file.

    Returns:
        Places within the file, in their order; none when the segment is of another kind or makes no sense, which
        is not held against the picture.
    """
    index = body.removeprefix(_MPF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(index[:4])
    if index == body or order is None:
        return []
    try:
        (start,) = struct.unpack_from(f"{order}I", index, 4)
        (count,) = struct.unpack_from(f"{order}H", index, start)
        fields = [struct.unpack_from(f"{order}HHII", index, start + 2 + 12 * n) for n in range(count)]
        length, table = next((length, value) for tag, _, length, value in fields if tag == _MP_ENTRIES_TAG)
        entries = struct.iter_unpack(f"{order}8xI4x", index[table : table + length])
        # Places are counted from the index; the first picture's is 0 because it is this one.
        return sorted(place + len(_MPF) + start for (start,) in entries if start)
    except (struct.error, StopIteration):
        return []


def _check_kind(marker: int, bits: int, height: int, count: int) -> None:
    kind = None
    if marker not in _STEPWISE and marker not in _AT_ONCE:
        kind = "a lossless or hierarchical JPEG of a rare kind"
    elif bits != _SAMPLE_BITS:
        kind = f"a JPEG of {bits} bits a sample"
    elif not height:
        kind = "a JPEG that gives its height at the end"
    elif count not in _MODES:
        kind = f"a JPEG of {count} colour planes"
    if kind is not None:
        raise UnsupportedImageError(f"{kind}, which cannot be checked here")


def _whole_blocks(side: int) -> int:
    return max(side, min(_parts(side, _BLOCK_SIDE) * _BLOCK_SIDE, _LARGEST_SIDE))


def _parts(whole: int, size: int) -> int:
    """Divide, rounding up."""
    return -(-whole // size)
