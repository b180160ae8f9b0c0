"""The chunks of a PNG, and a PNG without those that Pillow refuses although no pixel is in them.

Pillow gives a whole picture up for a text or a colour profile that unpacks to more than 1 MiB, and for a wrong
checksum or length of a chunk beside the pixels (``MAX_TEXT_CHUNK``, ``crc`` and ``chunk_pHYs`` of its plugin).
The downloader saves such pictures, because every browser shows them.
"""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME_BYTES = 12
# More chunks than any picture has; each costs a look.
_MAX_CHUNKS = 100_000
# A copy is made only of what needs one, so plain text that is short stays.
_SHORT_TEXT_BYTES = 64 * 1024
_MAX_KEPT_BYTES = 16 * 1024 * 1024
_PILLOW_PROFILE_BYTES = 1024 * 1024
_ANCILLARY = 0x20
_LENGTHS = {b"pHYs": 9, b"cHRM": 32, b"gAMA": 4, b"sRGB": 1}


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, offset of the data and its length for each chunk; the file may be read in between."""
    offset = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8:  # noqa: PLR2004 -- the length of a head
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, offset + 8, length
        if kind == b"IEND":
            return
        offset += _FRAME_BYTES + length


def open_for_pillow(file: BinaryIO) -> tuple[BinaryIO, bytes | None]:
    """Return a picture as Pillow reads it: the file itself, or a copy without chunks that Pillow refuses.

    Args:
        file: Of any kind; what is not a PNG is returned as it is.

    Returns:
        What to read, from its start; and the colour profile that was taken out because it is large.
    """
    file.seek(0)
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        file.seek(0)
        return file, None
    kept, profile, is_whole = list[tuple[int, int]](), None, True
    for kind, offset, length in png_chunks(file):
        refused = kind[0] & _ANCILLARY and _is_refused(file, kind, offset, length)
        if refused and kind == b"iCCP":
            profile = _profile_of(file, offset, length)
        if refused:
            is_whole = False
        else:
            kept.append((offset - 8, length + _FRAME_BYTES))
    if is_whole:
        file.seek(0)
        return file, None
    copy = BytesIO()
    copy.write(_SIGNATURE)
    for start, length in kept:
        file.seek(start)
        copy.write(file.read(length))
    copy.seek(0)
    return copy, profile


def _is_refused(file: BinaryIO, kind: bytes, offset: int, length: int) -> bool:
    is_packed_text = kind in {b"zTXt", b"iTXt"}
    if is_packed_text or length > (_SHORT_TEXT_BYTES if kind == b"tEXt" else _MAX_KEPT_BYTES):
        return True
    if length != _LENGTHS.get(kind, length) or not _is_sound(file, kind, offset, length):
        return True
    return kind == b"iCCP" and len(_unpacked(file, offset, length)) > _PILLOW_PROFILE_BYTES


def _is_sound(file: BinaryIO, kind: bytes, offset: int, length: int) -> bool:
    file.seek(offset)
    data, checksum = file.read(length), file.read(4)
    return zlib.crc32(kind + data).to_bytes(4) == checksum


def _profile_of(file: BinaryIO, offset: int, length: int) -> bytes | None:
    if length > _MAX_KEPT_BYTES or not _is_sound(file, b"iCCP", offset, length):
        return None
    unpacked = _unpacked(file, offset, length)
    return unpacked if _PILLOW_PROFILE_BYTES < len(unpacked) <= _MAX_KEPT_BYTES else None


def _unpacked(file: BinaryIO, offset: int, length: int) -> bytes:
    """Return a colour profile, or a little more than may be kept of one; what cannot be unpacked is empty."""
    file.seek(offset)
    _, _, packed = file.read(length).partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], _MAX_KEPT_BYTES + 1)
    except zlib.error:
        return b""
