"""The sound of an Ogg file (RFC 3533): its pages, but for what changes when a comment grows. Blocks."""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

OGG_HEAD_BYTES = 512
"""How much of the beginning :func:`codec_of` needs."""

_PAGE_HEAD = struct.Struct("<4sBBqIIIB")
_HEADERS = {"vorbis": 3, "opus": 2}
_COMMENT_PACKET = 1
_REVERSED_BITS = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


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
