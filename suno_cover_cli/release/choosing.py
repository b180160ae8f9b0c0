"""Which cover of a job is meant: the one that was picked, as it was then, or an error that says what to do.

And what labels the covers of a job carry, picked or not.
"""

import asyncio
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from suno_cover_cli.base.errors import ImageError, NotPickedError, RequirementError, UsageError
from suno_cover_cli.base.models import SavedImage
from suno_cover_cli.base.task_ids import describe_unknown
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.history import JobHistory, RowFilter
from suno_cover_cli.journal.rows import JobRow, RowState
from suno_cover_cli.release.marks import Mark, read_marks
from suno_cover_cli.release.measures import Measures, measure_picture
from suno_cover_cli.release.pictures import SONG_SUFFIXES

FileState = Literal["ok", "changed", "missing"]
"""How the file of a cover is found: as it was, with other content, or not at all."""

_PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif"})


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One picture to export or embed.

    Attributes:
        path: Of its file.
        name: What to call files made from it; empty for a file that was named itself.
        row: The job whose cover it is, or ``None``.
    """

    path: Path
    name: str = ""
    row: JobRow | None = None


def is_file_name(word: str) -> bool:
    """Tell whether an argument means a file and not a job; ids look like neither."""
    suffix = Path(word).suffix.lower()
    return "/" in word or "\\" in word or suffix in _PICTURE_SUFFIXES | SONG_SUFFIXES or _is_file(word)


def _is_file(word: str) -> bool:
    """Tell whether there is a file of this name; what is too long for a name, or hidden from us, is none."""
    return os.path.isfile(word)  # noqa: PTH113 -- the method of a path raises what this one answers


def variants_of(row: JobRow) -> dict[int, SavedImage]:
    """Return the saved covers of a job by their numbers, from 1."""
    return {} if row.result is None else row.result.variants


async def find_job(history: JobHistory, task_id: str, *, takes_files: bool = False) -> JobRow:
    """Find a job that has covers.

    Args:
        history: The journal.
        task_id: Music or cover task id.
        takes_files: A picture file would do as well, and the message says so.

    Raises:
        UsageError: The journal does not know it, or it has no covers.
    """
    row = await history.find_job(task_id)
    shown = clean(task_id, 128)
    if row is None and not takes_files and await asyncio.to_thread(_is_file, task_id):
        raise await _file_given(history, Path(task_id))
    if row is None:
        others = "; a picture file may be given instead" if takes_files else ""
        raise UsageError(
            describe_unknown(task_id),
            code="unknown_job",
            hint=f"suno-cover history lists those it knows{others}.",
        )
    if not variants_of(row):
        raise UsageError(f"no cover of {shown} is saved", code="no_covers", hint=_way_to_covers(row))
    return row


def _way_to_covers(row: JobRow) -> str:
    """Say how a job without covers gets some."""
    if row.state is RowState.FAILED:
        return "The service ended the job as failed; run generate again."
    if row.state is RowState.REJECTED:
        return f"The service refused the job; see: suno-cover history {row.music_task_id or row.task_id}"
    again = f"suno-cover wait {row.task_id}" if row.task_id else "suno-cover resume"
    return f"Fetch them with: {again}"


async def _file_given(history: JobHistory, path: Path) -> UsageError:
    """Return the error for a file where only an id will do: the file of a cover leads to its job."""
    hint = "suno-cover history lists the jobs."
    with suppress(OSError):
        sha256 = await asyncio.to_thread(_hash_of, path)
        async for row in history.find(RowFilter(has_covers=True, cover_sha256=sha256), limit=1):
            n = next((n for n, image in variants_of(row).items() if image.sha256 == sha256), None)
            if n is not None:
                hint = f"It is variant {n} of {name_of(row)}: give {name_of(row)} instead."
    return UsageError(f"{clean(path, 400)} is a file, not the id of a job", code="unknown_job", hint=hint)


def path_of(row: JobRow, image: SavedImage) -> Path:
    """Return where a cover is. The job object holds its path as it was seen from the folder of that run."""
    given = Path(image.path)
    if given.is_absolute() or row.task_id is None:
        return given
    return Path(row.output) / row.task_id / given.name


def find_variant(row: JobRow, n: int) -> SavedImage:
    """Return one variant of a job.

    Raises:
        UsageError: There is none of this number.
    """
    variants = variants_of(row)
    if n in variants:
        return variants[n]
    numbers = ", ".join(map(str, variants))
    raise UsageError(
        f"{name_of(row)} has no variant {n}",
        code="no_such_variant",
        hint=f"There {'is' if len(variants) == 1 else 'are'} {numbers}; none rejects all of them.",
    )


async def find_picked(history: JobHistory, task_id: str) -> Source:
    """Return the cover of a job: the one that was picked, or the only one.

    Raises:
        UsageError: No such job, or it has no covers.
        NotPickedError: There are several and none was picked, or none of them will do.
        RequirementError: The file is gone, or is not what was picked.
    """
    row = await find_job(history, task_id, takes_files=True)
    variants, name = variants_of(row), name_of(row)
    asked = len(variants) + (len(row.result.failed_images) if row.result is not None else 0)
    if row.pick is None:
        if asked > 1:
            raise NotPickedError(
                f"{name} has {asked} variants, and none is picked",
                hint=f"Pick one with: suno-cover pick {name} (or add --auto)",
            )
        (image,) = variants.values()
        return Source(path=await check_file(path_of(row, image), image.sha256, row), name=name, row=row)
    if row.pick.n is None or row.pick.path is None or row.pick.sha256 is None:
        raise NotPickedError(
            f"no variant of {name} is to be used: you picked none",
            hint=f"To use one after all: suno-cover pick {name} N",
        )
    path = picked_path(row) or Path(row.pick.path)
    return Source(path=await check_file(path, row.pick.sha256, row), name=name, row=row)


def picked_path(row: JobRow) -> Path | None:
    """Return where the picked cover of a job is; ``None`` when none is picked, or none of them will do."""
    if row.pick is None or row.pick.n is None or row.pick.path is None:
        return None
    saved = variants_of(row).get(row.pick.n)
    if saved is not None and saved.sha256 == row.pick.sha256:
        # Where it was saved last: the job may have been saved again since, into another folder.
        return path_of(row, saved)
    return Path(row.pick.path)


def file_state(path: Path, sha256: str | None) -> FileState:
    """Look whether a cover is on disk as it was. Blocks.

    Args:
        path: Of the file.
        sha256: Of the file then, hex.
    """
    try:
        return "ok" if _hash_of(path) == sha256 else "changed"
    except OSError:
        return "missing"


async def check_file(path: Path, sha256: str, row: JobRow) -> Path:
    """Make sure that a cover is on disk as it was saved; return its path.

    Args:
        path: Of the file.
        sha256: Of the file when it was saved, hex.
        row: The job, for the message.

    Raises:
        RequirementError: It is gone or changed.
    """
    if await hash_cover(path, row, takes_files=True) != sha256:
        raise RequirementError(
            f"the cover of {name_of(row)} was changed since it was saved: {clean(path, 400)}",
            code="cover_changed",
            hint=f"Pick it again with: suno-cover pick {name_of(row)} N, or give the file itself.",
        )
    return path


async def hash_cover(path: Path, row: JobRow, *, takes_files: bool = False) -> str:
    """Return the SHA-256 of a cover as it is now, which may not be what was saved, in hex.

    Args:
        path: Of the file.
        row: The job, for the message.
        takes_files: Another file would do as well, and the message says so.

    Raises:
        RequirementError: It is gone.
    """
    try:
        return await asyncio.to_thread(_hash_of, path)
    except OSError as error:
        raise RequirementError(
            f"the cover of {name_of(row)} is not where it was saved: {clean(path, 400)} ({error.strerror})",
            code="cover_gone",
            hint=f"Fetch it again with: suno-cover wait {row.task_id}{', or give the file itself' * takes_files}.",
        ) from None


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def measure_variants(row: JobRow) -> dict[int, Measures]:
    """Measure all variants of a job.

    Raises:
        UsageError: One cannot be read.
        RequirementError: One is not a picture any more.
    """
    return {
        n: await asyncio.to_thread(measure_picture, path_of(row, image)) for n, image in variants_of(row).items()
    }


def best_of(measures: dict[int, Measures]) -> int:
    """Return the variant with most contrast and edges when it is small; of equals the first."""
    return max(measures, key=lambda n: (measures[n].score, -n))


def name_of(row: JobRow) -> str:
    """Name a job as the user knows it."""
    return clean(row.music_task_id or row.task_id or "-", 128)


class CarriedMarks(msgspec.Struct, frozen=True, kw_only=True):
    """Marks of one cover.

    Attributes:
        n: Number of the variant.
        file: Name of the file.
        is_changed: The file is not what was saved.
        marks: What it carries.
        troubles: What could not be read, in words; the file itself among it when it is gone.
    """

    n: int
    file: str
    is_changed: bool = False
    marks: tuple[Mark, ...] = ()
    troubles: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say it on one line."""
        parts = [*(mark.describe() for mark in self.marks), *self.troubles]
        changed = " (changed since it was saved)" if self.is_changed else ""
        return f"{clean(self.file, 200)}{changed}: {'; '.join(parts) or 'no label'}"

    def entry(self) -> dict[str, Any]:
        """Return it as scripts read it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


async def carried_marks(row: JobRow) -> list[CarriedMarks]:
    """Read the marks of every saved cover of a job."""
    found = []
    for n, image in variants_of(row).items():
        path = path_of(row, image)
        is_changed = await asyncio.to_thread(file_state, path, image.sha256) == "changed"
        carried = CarriedMarks(n=n, file=path.name, is_changed=is_changed)
        try:
            marks = await asyncio.to_thread(read_marks, path)
        except ImageError as error:
            found.append(msgspec.structs.replace(carried, troubles=(clean(error.message, 200),)))
            continue
        found.append(msgspec.structs.replace(carried, marks=marks.found, troubles=marks.troubles))
    return found
