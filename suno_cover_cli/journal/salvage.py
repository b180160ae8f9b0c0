"""Reads rows out of a damaged SQLite file: page by page, without the tree above them. Blocks.

Rows lie whole in the leaf pages of tables, whatever became of the schema, the indexes and the pages that lead to
them. So every page is looked at by itself, as ``.recover`` of SQLite's shell does, and what cannot be read costs
no more than itself. The layout: https://www.sqlite.org/fileformat2.html, sections 1.3 to 1.6, 2.1 and 4.
"""

import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

Cell = int | float | str | bytes | None

_HEADER_BYTES = 100
_USUAL_PAGE_BYTES = 4096
_PAGE_SIZES = frozenset(1 << n for n in range(9, 17))
_WAL_MAGICS = frozenset({0x377F0682, 0x377F0683})
_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_OTHER_KINDS = frozenset({0x00, 0x02, 0x05, 0x0A})
_LEAF_HEADER_BYTES = 8
_LARGEST_ROOT = slice(52, 56)
_MAX_ROW_BYTES = 64 * 1024 * 1024
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_FIRST_BLOB = 12


class Row(NamedTuple):
    """One row as it lies in the file: its rowid, and its columns in the order of its table.

    The column that is the rowid's other name is ``None``. Text that is not UTF-8 has surrogates in it.
    """

    rowid: int
    cells: list[Cell]


class _UnreadableError(Exception):
    """These bytes are not a row."""


class SalvagedFile:
    """The pages of a database file with those of its log laid over them. A context manager.

    Args:
        path: The database.
        logs: What was committed there and not moved yet is read too, the newest last.

    Raises:
        OSError: On entering: it cannot be read.
    """

    def __init__(self, path: Path, logs: Sequence[Path] = ()) -> None:
        self._path = path
        self._logs = logs
        self._newer: dict[int, bytes] = {}
        self._bytes: mmap.mmap | bytes = b""
        self._page_bytes = _USUAL_PAGE_BYTES
        self._usable_bytes = _USUAL_PAGE_BYTES

    def __enter__(self) -> Self:
        with self._path.open("rb") as file:
            if file.seek(0, 2):
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = bytes(self._bytes[:_HEADER_BYTES])
        logs = [log.read_bytes() for log in self._logs]
        self._page_bytes = _page_bytes_of(header, *logs)
        for log in logs:
            self._newer.update(_committed_pages(log, self._page_bytes))
        reserved_bytes = header[20] if len(header) == _HEADER_BYTES else 0
        # More is never reserved by anything in use; there it is damage.
        self._usable_bytes = self._page_bytes - (reserved_bytes if reserved_bytes in {0, 8, 32} else 0)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(self._bytes, mmap.mmap):
            self._bytes.close()

    def rows(self) -> Iterator[Row]:
        """Yield every row that can be read, in the order of the pages; a row may come in an older form as well."""
        without_rows = self._free_pages() | self._map_pages()
        # The numbers in a damaged log may be anything.
        beyond = sorted(number for number in self._newer if number > self._pages_in_file)
        for number in (*range(1, self._pages_in_file + 1), *beyond):
            if number not in without_rows:
                yield from self._rows_of(number)

    @property
    def _pages_in_file(self) -> int:
        return -(-len(self._bytes) // self._page_bytes)

    def _has_page(self, number: int) -> bool:
        return 1 < number <= self._pages_in_file or number in self._newer

    def _page(self, number: int) -> bytes:
        if (newer := self._newer.get(number)) is not None:
            return newer
        start = (number - 1) * self._page_bytes
        page = bytes(self._bytes[start : start + self._page_bytes])
        return page.ljust(self._page_bytes, b"\0")

    def _free_pages(self) -> set[int]:
        """Follow the list of pages that hold nothing any more, as far as it can be followed."""
        first = self._page(1)[:_HEADER_BYTES]
        free: set[int] = set()
        trunk = int.from_bytes(first[32:36])
        while self._has_page(trunk) and trunk not in free:
            free.add(trunk)
            page = self._page(trunk)
            trunk, count = struct.unpack(">II", page[:8])
            count = min(count, self._usable_bytes // 4 - 2)
            free.update(struct.unpack(f">{count}I", page[8 : 8 + 4 * count]))
        return free

    def _map_pages(self) -> set[int]:
        """Return the pages that say where others belong; a file that can give room back has them."""
        if not int.from_bytes(self._page(1)[_LARGEST_ROOT]):
            return set()
        return set(range(2, self._pages_in_file + 1, self._usable_bytes // 5 + 1))

    def _rows_of(self, number: int) -> Iterator[Row]:
        page = self._page(number)
        start = _HEADER_BYTES if number == 1 else 0
        # An unknown kind is damage: what lies there may be rows all the same, and the caller knows the tables.
        if page[start] in _OTHER_KINDS:
            return
        count = int.from_bytes(page[start + 3 : start + 5])
        pointers = page[start + _LEAF_HEADER_BYTES : start + _LEAF_HEADER_BYTES + 2 * count]
        for (place,) in struct.iter_unpack(">H", pointers[: len(pointers) // 2 * 2]):
            try:
                yield self._row_at(page, place)
            except (_UnreadableError, IndexError):
                continue

    def _row_at(self, page: bytes, place: int) -> Row:
        size, place = _varint(page, place)
        rowid, place = _varint(page, place)
        if not 1 < size <= _MAX_ROW_BYTES:
            raise _UnreadableError
        payload = self._payload(page, place, size)
        return Row(rowid - (1 << 64) if rowid >> 63 else rowid, _cells_of(payload))

    def _payload(self, page: bytes, place: int, size: int) -> bytes:
        usable = self._usable_bytes
        if size <= usable - 35:
            local = size
        else:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (usable - 4)
            local = least if local > usable - 35 else local
        payload = page[place : place + local]
        if len(payload) < local:
            raise _UnreadableError
        if local == size:
            return payload
        parts, left = [payload], size - local
        following, seen = int.from_bytes(page[place + local : place + local + 4]), set[int]()
        while left > 0:
            if following in seen or not self._has_page(following):
                raise _UnreadableError
            seen.add(following)
            overflow = self._page(following)
            part = overflow[4 : 4 + min(left, usable - 4)]
            parts.append(part)
            left -= len(part)
            following = int.from_bytes(overflow[:4])
        return b"".join(parts)


def _page_bytes_of(header: bytes, *logs: bytes) -> int:
    """Return the size of a page as the file or a log says; as it usually is where none can be believed."""
    said = [int.from_bytes(header[16:18]), *(int.from_bytes(log[8:12]) for log in logs)]
    sizes = [1 << 16 if size == 1 else size for size in said]
    return next((size for size in sizes if size in _PAGE_SIZES), _USUAL_PAGE_BYTES)


def count_committed(wal: Path) -> int:
    """Count the frames of a log up to the last commit in it, whatever their checksums say; 0 without a log."""
    try:
        with wal.open("rb") as file:
            log = file.read()
    except FileNotFoundError:
        return 0
    return len(_committed_frames(log, _page_bytes_of(b"", log)))


class _Frame(NamedTuple):
    number: int
    pages_after_commit: int
    salts: memoryview
    page: memoryview


def _committed_pages(log: bytes, page_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield the pages of a log, newer forms after older ones, up to the last commit in it."""
    for frame in _committed_frames(log, page_bytes):
        yield frame.number, bytes(frame.page)


def _committed_frames(log: bytes, page_bytes: int) -> list[_Frame]:
    """Return the frames of a log up to its last commit.

    What an earlier round left behind them has other salts; where others follow it is damage. Checksums are not
    looked at: a page with a flaw is still worth reading here.
    """
    view, first = memoryview(log), _WAL_HEADER_BYTES
    salts = view[16:24] if _is_sound(log[:_WAL_HEADER_BYTES]) else view[first + 8 : first + 16]
    frames = list[_Frame]()
    for start in range(first, len(log) - page_bytes - _FRAME_HEADER_BYTES + 1, _FRAME_HEADER_BYTES + page_bytes):
        number, pages_after_commit = struct.unpack(">II", view[start : start + 8])
        page = view[start + _FRAME_HEADER_BYTES : start + _FRAME_HEADER_BYTES + page_bytes]
        frames.append(_Frame(number, pages_after_commit, view[start + 8 : start + 16], page))
    while frames and not (frames[-1].pages_after_commit and frames[-1].salts == salts):
        frames.pop()
    return frames


def _is_sound(wal_header: bytes) -> bool:
    """Tell whether the checksum of a log's header is right."""
    if len(wal_header) < _WAL_HEADER_BYTES or int.from_bytes(wal_header[:4]) not in _WAL_MAGICS:
        return False
    order = ">" if wal_header[3] & 1 else "<"
    first, second = 0, 0
    for one, other in struct.iter_unpack(f"{order}II", wal_header[:24]):
        first = first + one + second & 0xFFFFFFFF
        second = second + other + first & 0xFFFFFFFF
    return struct.pack(">II", first, second) == wal_header[24:]


def _varint(page: bytes, place: int) -> tuple[int, int]:
    """Read a number of one to nine bytes; return it and the place behind it."""
    value = 0
    for step in range(8):
        byte = page[place + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 -- the bit that says there is more
            return value, place + step + 1
    return value << 8 | page[place + 8], place + 9


def _cells_of(payload: bytes) -> list[Cell]:
    header_bytes, place = _varint(payload, 0)
    if header_bytes > len(payload):
        raise _UnreadableError
    kinds = []
    while place < header_bytes:
        kind, place = _varint(payload, place)
        kinds.append(kind)
    cells = list[Cell]()
    for kind in kinds:
        cell, place = _cell_at(payload, place, kind)
        cells.append(cell)
    if place != len(payload):
        raise _UnreadableError
    return cells


def _cell_at(payload: bytes, place: int, kind: int) -> tuple[Cell, int]:
    cell: Cell
    if kind >= _FIRST_BLOB:
        size_bytes = (kind - _FIRST_BLOB) // 2
        raw = payload[place : place + size_bytes]
        cell = raw.decode("utf-8", "surrogateescape") if kind % 2 else raw
    elif kind in _INTEGER_BYTES:
        size_bytes = _INTEGER_BYTES[kind]
        raw = payload[place : place + size_bytes]
        cell = int.from_bytes(raw, signed=True)
    elif kind == 7:  # noqa: PLR2004 -- as the table of kinds has them
        size_bytes = 8
        raw = payload[place : place + size_bytes]
        cell = float(struct.unpack(">d", raw)[0]) if len(raw) == size_bytes else None
    elif kind in {0, 8, 9}:
        return {0: None, 8: 0, 9: 1}[kind], place
    else:
        raise _UnreadableError
    if len(raw) < size_bytes:
        raise _UnreadableError
    return cell, place + size_bytes
