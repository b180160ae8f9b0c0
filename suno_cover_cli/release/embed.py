"""The cover put into a song: a copy is tagged, its sound compared, then it takes the song's place. Blocks.

At every moment there is a whole song under the song's name: the old one, or the new one.
"""

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from suno_cover_cli.base.errors import (
    RequirementError,
    SunoCoverError,
    UsageError,
    disk_code,
    disk_hint,
    reason_of,
)
from suno_cover_cli.base.files import FileTakenError, PendingFile, copy_content, make_folders, sweep_parts
from suno_cover_cli.base.text import clean
from suno_cover_cli.release.audio import AudioFormat, SongError, find_format, hash_sound
from suno_cover_cli.release.export import MarksReport
from suno_cover_cli.release.labels import carry_into_jpeg
from suno_cover_cli.release.pictures import open_picture, size_of
from suno_cover_cli.release.profiles import DEFAULT_DPI
from suno_cover_cli.release.rendering import encode
from suno_cover_cli.release.tags import CoverImage, put_front_cover, read_front_cover, require_library

Tagger = Callable[[BinaryIO, AudioFormat, CoverImage], None]
"""Puts a front cover into a copy of a song, in place: :func:`~suno_cover_cli.release.tags.put_front_cover`."""

Action = Literal["embedded", "replaced", "unchanged"]

_MAX_BACKUPS = 1000
_ANY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

DEFAULT_MAX_EDGE = 1400
"""Pixels of the longer side of an embedded picture: enough for every player, light for every song."""

# Time to put a picture into Ogg and Opus grows with the square of its size: this much takes a tenth of a second.
_MAX_COVER_BYTES = 2_000_000


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """A picture made ready for songs.

    Attributes:
        image: What goes into the tags.
        source: Path of the picture it was made from.
        source_sha256: Of that file, hex.
        marks: What became of labels.
        warnings: What to know, one sentence each.
    """

    image: CoverImage
    source: str
    source_sha256: str
    marks: MarksReport
    warnings: list[str]


def prepare_cover(source: Path, *, max_edge: int = DEFAULT_MAX_EDGE) -> Cover:
    """Make a picture ready for songs: a plain JPEG, no side longer than ``max_edge`` pixels, labels kept.

    Raises:
        UsageError: It cannot be read.
        RequirementError: It is not a picture, damaged, or too large.
    """
    with open_picture(source) as picture:
        facts, raw = picture.facts, picture.raw
        scale = min(1.0, max_edge / max(facts.width, facts.height))
        width, height = max(1, round(facts.width * scale)), max(1, round(facts.height * scale))
        image = picture.load((0, 0, facts.width, facts.height), (width, height))
        warnings = list(picture.notes)
    report: MarksReport

    def with_marks(jpeg: bytes) -> bytes:
        nonlocal report
        made, marks = carry_into_jpeg(jpeg, raw, width=width, height=height, dpi=DEFAULT_DPI)
        report = MarksReport(kept=marks.kept, lost=marks.lost, added=marks.added)
        warnings[len(picture.notes) :] = marks.warnings
        return made

    content = encode(image, dpi=DEFAULT_DPI, max_bytes=_MAX_COVER_BYTES, source=source, finish=with_marks).content
    return Cover(
        image=CoverImage(content, width=width, height=height),
        source=str(source),
        source_sha256=facts.sha256,
        marks=report,
        warnings=warnings,
    )


class EmbedWishes(msgspec.Struct, frozen=True, kw_only=True):
    """How a cover goes into songs.

    Attributes:
        out: Folder for the tagged songs; ``None`` tags the songs themselves.
        backup: The song as it was stays beside it.
        replace: A larger picture that is there is replaced too.
        overwrite: Files that are there in ``out`` are replaced.
        dry_run: Look, and change nothing.
    """

    out: Path | None = None
    backup: bool = False
    replace: bool = False
    overwrite: bool = False
    dry_run: bool = False


class OldCover(msgspec.Struct, frozen=True, kw_only=True):
    """The front cover that a song had; sizes are ``None`` where it cannot be decoded."""

    width: int | None
    height: int | None
    bytes: int


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """One song as scripts read it.

    Attributes:
        v: Version of this shape; keys may be added.
        type: Always ``embed``.
        path: Of the song with the cover.
        song: As it was given.
        format: Of the song.
        action: What was done, or with ``dry_run`` would have been.
        dry_run: Nothing was changed.
        cover: Path of the picture.
        cover_sha256: Of that file, hex.
        width: Of the embedded picture, in pixels.
        height: The same.
        bytes: Size of the embedded picture.
        previous: The front cover before.
        audio_sha256: Of the sound alone, the same before and after.
        backup: Where the song as it was stays, or ``None``.
        marks: What became of labels.
        warnings: What to know, one sentence each.
    """

    v: Literal[1] = 1
    type: Literal["embed"] = "embed"
    path: str
    song: str
    format: AudioFormat
    action: Action
    dry_run: bool
    cover: str
    cover_sha256: str
    width: int
    height: int
    bytes: int
    previous: OldCover | None
    audio_sha256: str
    backup: str | None
    marks: MarksReport
    warnings: list[str]


def embed_cover(
    song: Path,
    cover: Cover,
    wishes: EmbedWishes,
    *,
    put: Tagger = put_front_cover,
    promised: Collection[Path] = (),
) -> Embedded:
    """Put a cover into a song.

    Args:
        song: The song; behind a link, what the link leads to is tagged and the link stays.
        cover: The picture.
        wishes: See :class:`EmbedWishes`.
        put: Writes the tags.
        promised: Files that a dry run has said it would write; they count as if they were there.

    Raises:
        UsageError: There is no such song, it is read-only, or a file of the name is there.
        RequirementError: It is not a song in a known format, protected, or has a larger cover.
        SunoCoverError: It cannot be written, or its sound would not have come through.
    """
    require_library()
    with _explained(song), _opened(song) as (target, original):
        audio_format = find_format(original)
        if wishes.out is None and not stat.S_IMODE(os.fstat(original.fileno()).st_mode) & _ANY_WRITE:
            hint = "Allow changes with chmod u+w, or leave it alone and add --out DIR."
            raise UsageError(f"{clean(song, 400)} is read-only", code="read_only", hint=hint)
        sound = hash_sound(original, audio_format)
        previous = read_front_cover(original, audio_format)
        action = _decide(song, previous, cover, wishes)
        path = song if wishes.out is None else wishes.out / song.name
        # In a folder of copies every name has to be free, which a dry run has to find out as well.
        if wishes.out is not None and not wishes.overwrite and (path in promised or os.path.lexists(path)):
            raise FileTakenError(path)
        links = os.fstat(original.fileno()).st_nlink
        backup = None
        if not wishes.dry_run and (action != "unchanged" or wishes.out is not None):
            job = _Tagging(target, original, audio_format, cover.image, sound)
            backup = job.run(target if wishes.out is None else path, wishes, put)
    warnings = list(cover.warnings)
    if links > 1 and backup is None and wishes.out is None and action != "unchanged":
        warnings.append("it has other names (hard links): under those it is unchanged")
    return Embedded(
        path=str(path),
        song=str(song),
        format=audio_format,
        action=action,
        dry_run=wishes.dry_run,
        cover=cover.source,
        cover_sha256=cover.source_sha256,
        width=cover.image.width,
        height=cover.image.height,
        bytes=len(cover.image.content),
        previous=None if previous is None else _measured(previous),
        audio_sha256=sound,
        backup=None if backup is None else str(backup),
        marks=cover.marks,
        warnings=warnings,
    )


def _decide(song: Path, previous: bytes | None, cover: Cover, wishes: EmbedWishes) -> Action:
    """Say what is to be done about the cover that is there.

    Raises:
        RequirementError: It is larger, and may not be replaced.
    """
    if previous is None:
        return "embedded"
    if hashlib.sha256(previous).digest() == hashlib.sha256(cover.image.content).digest():
        return "unchanged"
    old = _measured(previous)
    new_pixels = cover.image.width * cover.image.height
    if not wishes.replace and old.width and old.height and old.width * old.height > new_pixels:
        raise RequirementError(
            f"{clean(song, 400)} has a larger cover: {old.width} x {old.height} pixels, "
            f"the new one {cover.image.width} x {cover.image.height}",
            code="larger_cover",
            hint="Add --replace to replace it anyway, or --max-edge for a larger new one.",
        )
    return "replaced"


def _measured(content: bytes) -> OldCover:
    width, height = size_of(content) or (None, None)
    return OldCover(width=width, height=height, bytes=len(content))


class _Tagging:
    """One song on its way: copy, tag, compare, publish.

    Args:
        target: The song's file, links followed.
        original: That file, open.
        audio_format: Of the song.
        image: The picture.
        sound: Checksum of its sound.
    """

    def __init__(
        self, target: Path, original: BufferedReader, audio_format: AudioFormat, image: CoverImage, sound: str
    ) -> None:
        self._target = target
        self._original = original
        self._format = audio_format
        self._image = image
        self._sound = sound
        self._before = os.fstat(original.fileno())

    def run(self, path: Path, wishes: EmbedWishes, put: Tagger) -> Path | None:
        """Write the tagged song; return where the song as it was stays, if anywhere."""
        make_folders(path.parent)
        sweep_parts(path.parent)
        with PendingFile(path) as pending:
            copy_content(self._original, pending.stream)
            put(pending.stream, self._format, self._image)
            pending.stream.flush()
            self._compare(pending.stream)
            self._take_over(pending)
            if wishes.out is not None:
                pending.publish(overwrite=wishes.overwrite)
                return None
            if _version_of(self._target.stat()) != _version_of(self._before):
                raise SunoCoverError(
                    f"{clean(self._target, 400)} was changed by another program meanwhile: nothing was written",
                    code="song_changed",
                    hint="Run the command again.",
                )
            backup = _keep(self._target) if wishes.backup else None
            pending.publish()
            return backup

    def _compare(self, stream: BinaryIO) -> None:
        """Hold the copy against the original: the same sound, and the picture where players look for it."""
        try:
            is_whole = hash_sound(stream, self._format) == self._sound
        except SongError:
            is_whole = False
        if not is_whole or read_front_cover(stream, self._format) != self._image.content:
            raise SunoCoverError(
                f"the sound of {clean(self._target, 400)} would have changed: nothing was written",
                code="sound_changed",
                hint="The song may be damaged. Repair it first, for example with: ffmpeg -i song -c copy repaired",
            )

    def _take_over(self, pending: PendingFile) -> None:
        """Give the copy what belongs to the file and not to its content, as far as the system lets us.

        The time of its last change is new, because its content is: players and backups look at that.
        """
        with suppress(OSError):
            shutil.copystat(self._target, pending.path)
        with suppress(OSError):
            os.utime(pending.path)
        if sys.platform != "win32":
            with suppress(OSError):
                os.chown(pending.path, self._before.st_uid, self._before.st_gid)


def _version_of(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _keep(target: Path) -> Path:
    """Give the song as it is a second name that is free: ``song.mp3.bak``, ``song.mp3.bak2`` ...

    Raises:
        OSError: As the system says.
    """
    for n in range(1, _MAX_BACKUPS):
        backup = target.with_name(f"{target.name}.bak{'' if n == 1 else n}")
        try:
            os.link(target, backup)
        except FileExistsError:
            continue
        except (OSError, NotImplementedError):
            # Where a file system knows no second names, a copy does; it is written aside like every file.
            if backup.exists():
                continue
            with target.open("rb") as original, PendingFile(backup) as pending:
                copy_content(original, pending.stream)
                with suppress(OSError):
                    shutil.copystat(target, pending.path)
                pending.publish(overwrite=False)
        return backup
    raise UsageError(f"there are {_MAX_BACKUPS} backups of {clean(target, 400)}", hint="Remove some of them.")


@contextmanager
def _opened(song: Path) -> Iterator[tuple[Path, BufferedReader]]:
    """Open what a path leads to, for reading; yield the file's own path too."""
    try:
        target = song.resolve(strict=True)
    except RuntimeError:
        raise UsageError(
            f"{clean(song, 400)} is a link that leads in a circle", code="unreadable_file", hint="Check the path."
        ) from None
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(target, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{clean(song, 400)} is not a file", code="unreadable_file", hint="Check the path.")
    with os.fdopen(descriptor, "rb") as original:
        yield target, original


@contextmanager
def _explained(song: Path) -> Iterator[None]:
    """Say which song it was, whatever went wrong."""
    shown = clean(song, 400)
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"there is no {shown}", code="unreadable_file", hint="Check the path.") from None
    except FileTakenError:
        raise UsageError(
            f"a file of the name {clean(song.name, 400)} is there already",
            code="file_exists",
            hint="Add --overwrite to replace it, or choose another folder with --out.",
        ) from None
    except SongError as error:
        raise RequirementError(f"{shown} {error.reason}", code=error.code, hint=error.hint) from None
    except OSError as error:
        raise SunoCoverError(
            f"cannot change {shown}: {reason_of(error)}",
            code=disk_code(error, "song_unwritable"),
            hint=f"The song is as it was. {disk_hint(error, 'Fix the permissions, or add --out DIR.')}",
        ) from None
