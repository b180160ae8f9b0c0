"""The front cover among a song's tags, read and put there in place. The only module that knows mutagen. Blocks.

mutagen is an optional part (GPL-2 or later), imported when there is a song. All other tags and pictures stay as
they are: ID3 keeps its version, an ID3v1 tag its bytes, comments their order.
"""

import base64
import binascii
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.text import clean
from suno_cover_cli.release.audio import AudioFormat, SongError

if TYPE_CHECKING:
    from mutagen.id3 import ID3

_FRONT = 3
_ID3V1_BYTES = 128
_COMMENT_KEY = "metadata_block_picture"
_OLDEST_KEPT = 3


class CoverImage:
    """A picture as it goes into tags: a JPEG.

    Args:
        content: The file.
        width: Pixels.
        height: Pixels.
    """

    def __init__(self, content: bytes, *, width: int, height: int) -> None:
        self.content = content
        self.width = width
        self.height = height


def require_library() -> None:
    """Import what writes tags.

    Raises:
        UsageError: It is not installed; says how it gets there.
    """
    try:
        import mutagen  # noqa: F401 -- whether it is there
    except ImportError:
        raise UsageError(
            "embedding needs mutagen, which is not installed",
            code="no_mutagen",
            hint="Install it: pip install 'suno-cover[embed]' (with pipx: pipx inject suno-cover mutagen)",
        ) from None


def read_front_cover(stream: BinaryIO, audio_format: AudioFormat) -> bytes | None:
    """Return the front cover of a song, or ``None`` when it has none.

    Raises:
        SongError: Its tags cannot be read.
    """
    with _explained():
        return _READERS[audio_format](stream)


def put_front_cover(stream: BinaryIO, audio_format: AudioFormat, cover: CoverImage) -> None:
    """Put a front cover into a song in place of the one it has.

    Args:
        stream: Open for reading and writing; it is changed in place, so let it be a copy.
        audio_format: Of the song.
        cover: The picture.

    Raises:
        SongError: Its tags cannot be read, or have no room.
    """
    with _explained():
        _WRITERS[audio_format](stream, cover)


@contextmanager
def _explained() -> Iterator[None]:
    from mutagen import MutagenError

    try:
        yield
    except MutagenError as error:
        for cause in error.args:
            # A full disk is not a fault of the tags.
            if isinstance(cause, OSError):
                raise cause from None
        raise SongError(
            f"has tags that cannot be read or written: {clean(error, 200)}",
            code="bad_tags",
            hint="Repair the file first, for example with: ffmpeg -i song -c copy repaired",
        ) from None
    except (ValueError, KeyError, IndexError, TypeError, struct.error, OverflowError) as error:
        # A damaged song leads the library to raise nearly anything.
        raise SongError(
            f"has damaged tags ({type(error).__name__})",
            code="bad_tags",
            hint="Repair the file first, for example with: ffmpeg -i song -c copy repaired",
        ) from error


# --- ID3: mp3, wav, aiff ----------------------------------------------------------------------------------


def _front_frames(tags: "ID3") -> list[Any]:
    return [frame for frame in tags.getall("APIC") if frame.type == _FRONT]


def _read_mp3(stream: BinaryIO) -> bytes | None:
    from mutagen.id3 import ID3, ID3NoHeaderError

    stream.seek(0)
    try:
        tags = ID3(fileobj=stream, translate=False)
    except ID3NoHeaderError:
        return None
    return _content_of_frames(tags)


def _content_of_frames(tags: "ID3 | None") -> bytes | None:
    if tags is None:
        return None
    if tags.version < (2, _OLDEST_KEPT, 0):
        tags.update_to_v23()
    frames = _front_frames(tags)
    return bytes(frames[0].data) if frames else None


def _write_mp3(stream: BinaryIO, cover: CoverImage) -> None:
    from mutagen.id3 import ID3, ID3NoHeaderError

    old_tail = _id3v1_of(stream)
    stream.seek(0)
    try:
        tags = ID3(fileobj=stream, translate=False)
    except ID3NoHeaderError:
        tags = ID3()
    version = _put_frame(tags, cover)
    stream.seek(0)
    tags.save(fileobj=stream, v1=1, v2_version=version)
    if old_tail:
        # The library brings the old short tag into line with the new one, which may lack what the old one has.
        stream.seek(-_ID3V1_BYTES, 2)
        stream.write(old_tail)


def _id3v1_of(stream: BinaryIO) -> bytes:
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _ID3V1_BYTES))
    tail = stream.read()
    return tail if tail[:3] == b"TAG" and len(tail) == _ID3V1_BYTES else b""


def _put_frame(tags: "ID3", cover: CoverImage) -> int:
    """Put the picture among the frames; return the version in which they are to be written, 3 or 4.

    Version 2.3, which all players know, is for songs without tags and for those in the older 2.2, which the
    library reads and cannot write.
    """
    from mutagen.id3 import APIC, Encoding

    version = tags.version[1] if tags.version[1] >= _OLDEST_KEPT and len(tags) else _OLDEST_KEPT
    if tags.version < (2, _OLDEST_KEPT, 0):
        tags.update_to_v23()
    frames = _front_frames(tags)
    description = frames[0].desc if frames else ""
    if frames:
        del tags[frames[0].HashKey]
    frame = APIC(encoding=Encoding.LATIN1, mime="image/jpeg", type=_FRONT, desc=description, data=cover.content)
    if not description.isascii():
        frame.encoding = Encoding.UTF16
    # Two pictures may not share a description, whatever their kinds.
    while frame.HashKey in tags:
        frame.desc += " "
    tags.add(frame)
    return version


def _read_chunk_tags(stream: BinaryIO, audio_format: AudioFormat) -> Any:
    from mutagen.aiff import AIFF
    from mutagen.wave import WAVE

    stream.seek(0)
    return (WAVE if audio_format is AudioFormat.WAV else AIFF)(fileobj=stream, translate=False)


def _read_wav(stream: BinaryIO) -> bytes | None:
    return _content_of_frames(_read_chunk_tags(stream, AudioFormat.WAV).tags)


def _read_aiff(stream: BinaryIO) -> bytes | None:
    return _content_of_frames(_read_chunk_tags(stream, AudioFormat.AIFF).tags)


def _write_wav(stream: BinaryIO, cover: CoverImage) -> None:
    _write_chunk_tags(stream, cover, AudioFormat.WAV)


def _write_aiff(stream: BinaryIO, cover: CoverImage) -> None:
    _write_chunk_tags(stream, cover, AudioFormat.AIFF)


def _write_chunk_tags(stream: BinaryIO, cover: CoverImage, audio_format: AudioFormat) -> None:
    song = _read_chunk_tags(stream, audio_format)
    if song.tags is None:
        song.add_tags()
    version = _put_frame(song.tags, cover)
    stream.seek(0)
    song.tags.save(fileobj=stream, v2_version=version)


# --- FLAC, Ogg, Opus --------------------------------------------------------------------------------------


def _block_of(cover: CoverImage) -> Any:
    from mutagen.flac import Picture

    block = Picture()
    block.type, block.mime, block.data = _FRONT, "image/jpeg", cover.content
    block.width, block.height, block.depth = cover.width, cover.height, 24
    return block


def _read_flac(stream: BinaryIO) -> bytes | None:
    from mutagen.flac import FLAC

    stream.seek(0)
    return next((bytes(block.data) for block in FLAC(fileobj=stream).pictures if block.type == _FRONT), None)


def _write_flac(stream: BinaryIO, cover: CoverImage) -> None:
    from mutagen.flac import FLAC, Picture

    stream.seek(0)
    song = FLAC(fileobj=stream)
    block = _block_of(cover)
    for n, old in enumerate(song.metadata_blocks):
        if isinstance(old, Picture) and old.type == _FRONT:
            block.desc = old.desc
            song.metadata_blocks[n] = block
            break
    else:
        song.add_picture(block)
    stream.seek(0)
    song.save(fileobj=stream, deleteid3=False)


def _ogg_song(stream: BinaryIO, audio_format: AudioFormat) -> Any:
    from mutagen.oggopus import OggOpus
    from mutagen.oggvorbis import OggVorbis

    stream.seek(0)
    return (OggOpus if audio_format is AudioFormat.OPUS else OggVorbis)(fileobj=stream)


def _blocks_in_comments(song: Any) -> Iterator[tuple[int, Any]]:
    """Yield place and picture of the comments that hold pictures; those that cannot be read are passed over."""
    from mutagen.flac import Picture, error

    for n, (key, value) in enumerate(song.tags):
        if key.lower() == _COMMENT_KEY:
            try:
                block = Picture(base64.b64decode(value))
            except (error, ValueError, binascii.Error, struct.error):
                continue
            yield n, block


def _read_comments(stream: BinaryIO, audio_format: AudioFormat) -> bytes | None:
    song = _ogg_song(stream, audio_format)
    return next((bytes(block.data) for _, block in _blocks_in_comments(song) if block.type == _FRONT), None)


def _write_comments(stream: BinaryIO, cover: CoverImage, audio_format: AudioFormat) -> None:
    song = _ogg_song(stream, audio_format)
    block = _block_of(cover)
    old = next(((n, one) for n, one in _blocks_in_comments(song) if one.type == _FRONT), None)
    if old is not None:
        block.desc = old[1].desc
    entry = (_COMMENT_KEY.upper(), base64.b64encode(block.write()).decode("ascii"))
    if old is None:
        song.tags.append(entry)
    else:
        song.tags[old[0] : old[0] + 1] = [entry]
    stream.seek(0)
    song.save(fileobj=stream)


# --- MP4 --------------------------------------------------------------------------------------------------


def _read_m4a(stream: BinaryIO) -> bytes | None:
    from mutagen.mp4 import MP4

    stream.seek(0)
    tags = MP4(fileobj=stream).tags
    covers = tags.get("covr", []) if tags is not None else []
    return bytes(covers[0]) if covers else None


def _write_m4a(stream: BinaryIO, cover: CoverImage) -> None:
    """Put the picture first: MP4 knows no kinds of pictures, and players show the first."""
    from mutagen.mp4 import MP4, MP4Cover

    stream.seek(0)
    song = MP4(fileobj=stream)
    if song.tags is None:
        song.add_tags()
    others = list(song.tags.get("covr", []))[1:]
    song.tags["covr"] = [MP4Cover(cover.content, imageformat=MP4Cover.FORMAT_JPEG), *others]
    stream.seek(0)
    song.save(fileobj=stream)


_READERS: dict[AudioFormat, Callable[[BinaryIO], bytes | None]] = {
    AudioFormat.MP3: _read_mp3,
    AudioFormat.WAV: _read_wav,
    AudioFormat.AIFF: _read_aiff,
    AudioFormat.FLAC: _read_flac,
    AudioFormat.OGG: lambda stream: _read_comments(stream, AudioFormat.OGG),
    AudioFormat.OPUS: lambda stream: _read_comments(stream, AudioFormat.OPUS),
    AudioFormat.M4A: _read_m4a,
}
_WRITERS: dict[AudioFormat, Callable[[BinaryIO, CoverImage], None]] = {
    AudioFormat.MP3: _write_mp3,
    AudioFormat.WAV: _write_wav,
    AudioFormat.AIFF: _write_aiff,
    AudioFormat.FLAC: _write_flac,
    AudioFormat.OGG: lambda stream, cover: _write_comments(stream, cover, AudioFormat.OGG),
    AudioFormat.OPUS: lambda stream, cover: _write_comments(stream, cover, AudioFormat.OPUS),
    AudioFormat.M4A: _write_m4a,
}
