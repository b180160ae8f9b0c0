"""The sound inside containers whose tags move it: MP4 and Ogg. Blocks.

Of an MP4 (ISO 14496-12) the samples that its tables point to, wherever they lie; of an Ogg (RFC 3533) its pages,
but for what changes when a comment grows.
"""

import hashlib
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

_MAX_BOXES = 100_000
_MAX_TABLE_BYTES = 256 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
_PROTECTED = frozenset({b"drms", b"drmi", b"enca", b"encv", b"p608"})
_TABLES = frozenset({b"stsd", b"stts", b"stsc", b"stsz", b"stco", b"co64"})
_BASE_OFFSET_FLAG = 1

Box = tuple[bytes, int, int]
"""Kind, start of the content, its end."""

OGG_HEAD_BYTES = 512
"""How much of the beginning :func:`codec_of` needs."""

_PAGE_HEAD = struct.Struct("<4sBBqIIIB")
_HEADERS = {"vorbis": 3, "opus": 2}
_COMMENT_PACKET = 1
_REVERSED_BITS = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def is_protected(file: BinaryIO) -> bool:
    """Tell whether a file is protected against copying, as ``.m4p`` files are."""
    for kind, start, end in _walk(file, 0, file.seek(0, 2)):
        if kind == b"ftyp":
            file.seek(start)
            if file.read(4) == b"M4P ":
                return True
        if kind == b"stsd":
            file.seek(start + 12)
            if file.read(min(4, end - start)) in _PROTECTED:
                return True
    return False


def hash_mp4(file: BinaryIO, digest: "hashlib._Hash") -> None:
    """Feed a checksum with the samples of every track, in the order of its tables, and with what decodes them.

    Where samples lie in the file does not count: they move when tags grow.

    Raises:
        ValueError: The tables do not fit the file.
    """
    end = file.seek(0, 2)
    tables: list[dict[bytes, bytes]] = []
    has_samples = False
    fragment_start = 0
    for kind, start, stop in _walk(file, 0, end):
        if kind == b"trak":
            tables.append({})
        elif kind in _TABLES and tables:
            tables[-1][b"stco" if kind == b"co64" else kind] = _table(file, kind, start, stop)
        elif kind == b"moof":
            fragment_start, has_samples = start - 8, True
        elif kind in {b"tfhd", b"trun", b"tfdt"} and has_samples:
            _hash_fragment(_read(file, start, stop - start), kind, fragment_start, digest)
        elif kind == b"mdat" and has_samples:
            # Fragments lie in front of the samples that they describe.
            hash_part(file, digest, start, stop - start)
    for table in tables:
        has_samples = _hash_track(file, table, digest) or has_samples
    if not has_samples:
        raise ValueError("there is no sound in it")


def _hash_track(file: BinaryIO, table: dict[bytes, bytes], digest: "hashlib._Hash") -> bool:
    """Feed the samples of one track; return whether there are any."""
    digest.update(table.get(b"stsd", b"") + table.get(b"stts", b""))
    if not {b"stsc", b"stsz", b"stco"} <= set(table):
        return False
    offsets = array("Q")
    offsets.frombytes(table[b"stco"])
    if sys.byteorder == "little":
        offsets.byteswap()
    for offset, size in zip(offsets, _chunk_sizes(table[b"stsc"], table[b"stsz"], len(offsets)), strict=True):
        digest.update(size.to_bytes(8))
        hash_part(file, digest, offset, size)
    return len(offsets) > 0


def _chunk_sizes(stsc: bytes, stsz: bytes, count: int) -> Iterator[int]:
    """Yield the size of each chunk: which has how many samples, and how large each of them is."""
    runs = _numbers(stsc[8:])
    even_size, samples = int.from_bytes(stsz[4:8]), int.from_bytes(stsz[8:12])
    sizes = array("I") if even_size else _numbers(stsz[12 : 12 + 4 * samples])
    at, run, per_chunk = 0, 0, 0
    for chunk in range(1, count + 1):
        while run + 2 < len(runs) and runs[run] <= chunk:
            per_chunk = runs[run + 1]
            run += 3
        if even_size:
            yield even_size * per_chunk
        else:
            if at + per_chunk > len(sizes):
                raise ValueError("its tables contradict each other")
            yield sum(sizes[at : at + per_chunk])
        at += per_chunk


def _numbers(data: bytes) -> "array[int]":
    found = array("I")
    found.frombytes(data[: len(data) // 4 * 4])
    if sys.byteorder == "little":
        found.byteswap()
    return found


def _table(file: BinaryIO, kind: bytes, start: int, end: int) -> bytes:
    """Read a table; offsets of chunks come out as 64-bit numbers, without the head."""
    data = _read(file, start, end - start)
    if kind not in {b"stco", b"co64"}:
        return data
    count = int.from_bytes(data[4:8])
    if kind == b"co64":
        return data[8 : 8 + 8 * count]
    wide = array("Q", _numbers(data[8 : 8 + 4 * count]))
    if sys.byteorder == "little":
        wide.byteswap()
    return wide.tobytes()


def _hash_fragment(data: bytes, kind: bytes, fragment_start: int, digest: "hashlib._Hash") -> None:
    """Feed what describes samples in a fragment; an absolute offset counts from where the fragment lies."""
    if kind == b"tfhd" and int.from_bytes(data[1:4]) & _BASE_OFFSET_FLAG:
        base = int.from_bytes(data[8:16]) - fragment_start
        data = data[:8] + base.to_bytes(8, signed=True) + data[16:]
    digest.update(kind + data)


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    if size > _MAX_TABLE_BYTES:
        raise ValueError("a table in it is too large")
    file.seek(start)
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it is cut off")
    return data


def hash_part(file: BinaryIO, digest: "hashlib._Hash", start: int, size: int) -> None:
    """Feed a checksum with a part of a file.

    Raises:
        ValueError: The file ends before it.
    """
    file.seek(start)
    while size:
        block = file.read(min(size, _BLOCK_BYTES))
        if not block:
            raise ValueError("it is cut off")
        digest.update(block)
        size -= len(block)


def _walk(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[Box]:
    """Yield the boxes of a file, those that hold others before what is in them."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        head = file.read(16)
        size, kind, content = int.from_bytes(head[:4]), head[4:8], start + 8
        if size == 1:
            size, content = int.from_bytes(head[8:16]), start + 16
        elif size == 0:
            size = end - start
        if size < content - start or start + size > end:
            raise ValueError("it is cut off")
        yield kind, content, start + size
        if kind in _CONTAINERS and depth < len(_CONTAINERS):
            yield from _walk(file, content, start + size, depth + 1)
        start += size


class _Page(msgspec.Struct, frozen=True):
    """One page: its head without number and checksum, its lengths of segments, its content."""

    flags: int
    position: int
    serial: int
    segments: bytes
    body: bytes


def codec_of(head: bytes) -> str:
    """Tell the codec of the first stream by the beginning of a file: ``vorbis``, ``opus``, or empty."""
    start = _PAGE_HEAD.size + (head[26] if len(head) > _PAGE_HEAD.size else 0)
    packet = head[start:]
    if packet.startswith(b"\x01vorbis"):
        return "vorbis"
    return "opus" if packet.startswith(b"OpusHead") else ""


def hash_ogg(file: BinaryIO, digest: "hashlib._Hash") -> None:
    """Feed a checksum with all that is sound, in any of a file's streams.

    Pages are renumbered when the comment grows, so their numbers do not count; their checksums are verified.

    Raises:
        ValueError: A page is damaged, or the file is cut off.
    """
    file.seek(0)
    headers_left: dict[int, int] = {}
    packets: dict[int, int] = {}
    for page in _pages(file):
        if page.serial not in headers_left:
            codec = codec_of(bytes(26) + bytes((len(page.segments),)) + page.segments + page.body)
            headers_left[page.serial] = _HEADERS.get(codec, 0)
            packets[page.serial] = 0
        if headers_left[page.serial]:
            _hash_headers(page, headers_left, packets, digest)
        else:
            digest.update(struct.pack("<BqI", page.flags, page.position, page.serial) + page.segments)
            digest.update(page.body)
    if not headers_left or any(headers_left.values()):
        raise ValueError("it is cut off")


def _hash_headers(
    page: _Page, headers_left: dict[int, int], packets: dict[int, int], digest: "hashlib._Hash"
) -> None:
    """Feed what is needed to decode; the comment, which is the second packet of each stream, is passed over."""
    at = 0
    for length in page.segments:
        if packets[page.serial] != _COMMENT_PACKET:
            digest.update(page.body[at : at + length])
        at += length
        if length < 255:  # noqa: PLR2004 -- a shorter segment ends a packet
            packets[page.serial] += 1
            headers_left[page.serial] -= 1
            if headers_left[page.serial] == 0 and at < len(page.body):
                raise ValueError("sound begins in the middle of a page")


def _pages(file: BinaryIO) -> Iterator[_Page]:
    while head := file.read(_PAGE_HEAD.size):
        if len(head) < _PAGE_HEAD.size or head[:4] != b"OggS":
            raise ValueError("it is cut off, or something else follows in it")
        _, _, flags, position, serial, _, checksum, count = _PAGE_HEAD.unpack(head)
        segments = file.read(count)
        size = sum(segments)
        body = file.read(size)
        if len(segments) < count or len(body) < size:
            raise ValueError("it is cut off")
        if _checksum_of(head[:22] + bytes(4) + head[26:] + segments + body) != checksum:
            raise ValueError("a page of it is damaged")
        yield _Page(flags, position, serial, segments, body)


def _checksum_of(page: bytes) -> int:
    """Return Ogg's CRC-32: zlib's polynomial with the bits the other way round, from zero, not inverted."""
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED_BITS), "big")
