"""Songs as bytes: which format a file is in, and a checksum of its sound alone. Blocks.

Tags are written by a library that knows many formats and changes files in place. That the sound came through is
not taken on its word: it is read here by other means, from the structure of each format, before and after.
"""

import hashlib
from collections.abc import Iterator
from enum import StrEnum
from typing import BinaryIO

from suno_cover_cli.release.audio_containers import (
    OGG_HEAD_BYTES,
    codec_of,
    hash_mp4,
    hash_ogg,
    hash_part,
    is_protected,
)

HEAD_BYTES = 64
_ID3_HEAD_BYTES = 10
_MAX_TAGS = 16
_MAX_CHUNKS = 100_000
_MAX_SYNC_SEARCH_BYTES = 64 * 1024
# MPEG audio: how heads of frames say version and layer, and kilobits a second of each layer by their number.
_MPEG_1, _RESERVED, _NO_RATE = 3, 1, 3
_LAYER_1, _LAYER_3 = 3, 1
_LAYERS = {_LAYER_1: 0, 2: 1, _LAYER_3: 2}
_BITRATES = (
    (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_LOW_BITRATES = (
    (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


class AudioFormat(StrEnum):
    """Formats that can carry a cover; the value is the usual extension, without a dot."""

    MP3 = "mp3"
    FLAC = "flac"
    M4A = "m4a"
    OGG = "ogg"
    OPUS = "opus"
    WAV = "wav"
    AIFF = "aiff"


class SongError(Exception):
    """A file that cannot take a cover.

    Attributes:
        reason: Why, in words that go on from the file's name: ``is empty``.
        code: Stable word for scripts.
        hint: What would help.
    """

    def __init__(self, reason: str, *, code: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.hint = hint


def damaged(reason: str) -> SongError:
    """Return the error for a file that is not built as its format asks."""
    return SongError(
        f"is damaged: {reason}",
        code="damaged_song",
        hint="Repair it first, for example with: ffmpeg -i song -c copy repaired",
    )


def find_format(file: BinaryIO) -> AudioFormat:
    """Tell the format of a song by its bytes.

    Raises:
        SongError: It is not a song, or one that cannot carry a cover.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head[:4] == b"OggS":
        return _find_ogg(file)
    if head[4:8] == b"ftyp":
        try:
            is_locked = is_protected(file)
        except ValueError as error:
            raise damaged(str(error)) from None
        if is_locked:
            raise SongError(
                "is protected against copying (DRM)", code="drm", hint="Use a file that you may change."
            )
        return AudioFormat.M4A
    if head[:4] in {b"RIFF", b"RF64", b"BW64"} and head[8:12] == b"WAVE":
        if head[:4] != b"RIFF":
            raise SongError(
                "is a WAV of more than 4 GiB, which has no room for tags",
                code="no_room",
                hint="Convert it to FLAC first: it is smaller and holds the same sound.",
            )
        return AudioFormat.WAV
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return AudioFormat.AIFF
    start = _skip_id3(file)
    file.seek(start)
    if file.read(4) == b"fLaC":
        return AudioFormat.FLAC
    return _find_mpeg(file, start, head)


def _find_ogg(file: BinaryIO) -> AudioFormat:
    file.seek(0)
    codec = codec_of(file.read(OGG_HEAD_BYTES))
    if codec == "vorbis":
        return AudioFormat.OGG
    if codec == "opus":
        return AudioFormat.OPUS
    raise SongError(
        "is an Ogg file with another codec than Vorbis or Opus",
        code="not_a_song",
        hint="Convert it to one of mp3, flac, m4a, ogg, opus, wav, aiff.",
    )


def _find_mpeg(file: BinaryIO, start: int, head: bytes) -> AudioFormat:
    file.seek(start)
    beginning = file.read(_MAX_SYNC_SEARCH_BYTES)
    if beginning[:1] == b"\xff" and len(beginning) > 1 and beginning[1] & 0xF6 == 0xF0:  # noqa: PLR2004 -- a sync word
        raise SongError(
            "is raw AAC, which has no room for a cover",
            code="not_a_song",
            hint="Put it into an M4A file first: ffmpeg -i song.aac -c copy song.m4a",
        )
    at = beginning.find(b"\xff")
    while at >= 0:
        length = _frame_bytes(beginning[at : at + 4])
        # One could stand anywhere by chance; where it ends the next one begins, or the file does.
        following = beginning[at + length : at + length + 4]
        if length and (_frame_bytes(following) or at + length == len(beginning) or following[:3] == b"TAG"):
            return AudioFormat.MP3
        at = beginning.find(b"\xff", at + 1)
    raise SongError(
        "is not a song in a format that can carry a cover" if head else "is empty",
        code="not_a_song",
        hint="Use one of mp3, flac, m4a, ogg, opus, wav, aiff.",
    )


def _frame_bytes(head: bytes) -> int:
    """Return the length of the MPEG audio frame that begins so (ISO 11172-3, 2.4.1.3); 0 when none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004 -- eleven bits are set
        return 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate, bitrate, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version == _RESERVED or layer not in _LAYERS or rate == _NO_RATE or bitrate in {0, 15}:
        return 0
    is_first = version == _MPEG_1
    samples_per_s = (44_100, 48_000, 32_000)[rate] >> {_MPEG_1: 0, 2: 1, 0: 2}[version]
    bits_per_s = (_BITRATES if is_first else _LOW_BITRATES)[_LAYERS[layer]][bitrate - 1] * 1000
    if layer == _LAYER_1:
        return (12 * bits_per_s // samples_per_s + padding) * 4
    samples = 576 if layer == _LAYER_3 and not is_first else 1152
    return samples // 8 * bits_per_s // samples_per_s + padding


# --- the sound alone --------------------------------------------------------------------------------------


def hash_sound(file: BinaryIO, audio_format: AudioFormat) -> str:
    """Return the SHA-256 of a song's sound and of what is needed to decode it, in hex; tags do not matter.

    Raises:
        SongError: The file is not built as its format asks.
    """
    digest = hashlib.sha256()
    try:
        match audio_format:
            case AudioFormat.MP3:
                _hash_mp3(file, digest)
            case AudioFormat.FLAC:
                _hash_flac(file, digest)
            case AudioFormat.WAV:
                _hash_chunks(file, digest, {b"fmt ", b"data"}, order="little")
            case AudioFormat.AIFF:
                _hash_chunks(file, digest, {b"COMM", b"SSND"}, order="big")
            case AudioFormat.OGG | AudioFormat.OPUS:
                hash_ogg(file, digest)
            case AudioFormat.M4A:
                hash_mp4(file, digest)
    except ValueError as error:
        raise damaged(str(error)) from None
    return digest.hexdigest()


def _skip_id3(file: BinaryIO) -> int:
    """Return where the tags in front of the sound end (ID3v2.4 structure, 3.1)."""
    start = 0
    for _ in range(_MAX_TAGS):
        file.seek(start)
        head = file.read(_ID3_HEAD_BYTES)
        if head[:3] != b"ID3" or len(head) < _ID3_HEAD_BYTES:
            break
        size = 0
        for value in head[6:10]:
            size = size << 7 | value & 0x7F
        footer = _ID3_HEAD_BYTES if head[5] & 0x10 else 0
        start += _ID3_HEAD_BYTES + size + footer
    return start


def _hash_mp3(file: BinaryIO, digest: "hashlib._Hash") -> None:
    start = _skip_id3(file)
    end = file.seek(0, 2)
    for _ in range(_MAX_TAGS):
        shorter = end - _tag_before(file, end)
        if shorter == end or shorter < start:
            break
        end = shorter
    if end <= start:
        raise ValueError("there is no sound in it")
    hash_part(file, digest, start, end - start)


def _tag_before(file: BinaryIO, end: int) -> int:
    """Return the size of a tag that ends there: ID3v1, APEv2 or Lyrics3; 0 when there is none."""
    at = max(0, end - 128)
    file.seek(at)
    tail = file.read(end - at)
    if tail[:3] == b"TAG" and len(tail) == 128:  # noqa: PLR2004 -- the size of ID3v1
        return 128
    if tail[-32:-24] == b"APETAGEX":
        # Its size does not count a header, which a flag announces.
        header = 32 if tail[-9] & 0x80 else 0
        return int.from_bytes(tail[-20:-16], "little") + header
    if tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        return int(tail[-15:-9]) + 15
    return 0


def _hash_flac(file: BinaryIO, digest: "hashlib._Hash") -> None:
    at = _skip_id3(file) + 4
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:  # noqa: PLR2004 -- the length of a head
            raise ValueError("it is cut off")
        size = int.from_bytes(head[1:])
        if head[0] & 0x7F == 0:
            hash_part(file, digest, at + 4, size)
        at += 4 + size
        if head[0] & 0x80:
            break
    end = file.seek(0, 2)
    if at >= end:
        raise ValueError("there is no sound in it")
    hash_part(file, digest, at, end - at)


def _chunks(file: BinaryIO, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and size of the chunks of a RIFF or IFF file."""
    at, end = 12, file.seek(0, 2)
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:  # noqa: PLR2004 -- the length of a head
            return
        size = int.from_bytes(head[4:], "little" if order == "little" else "big")
        if at + 8 + size > end:
            raise ValueError("it does not say how long it is, as a stream that was written to a pipe")
        yield head[:4], at + 8, size
        at += 8 + size + size % 2


def _hash_chunks(file: BinaryIO, digest: "hashlib._Hash", kinds: set[bytes], *, order: str) -> None:
    found = set()
    for kind, start, size in _chunks(file, order):
        if kind in kinds:
            found.add(kind)
            digest.update(kind)
            hash_part(file, digest, start, size)
    if found != kinds:
        raise ValueError("there is no sound in it")
