"""What the journal keeps of a job, and in which states a restart may find it."""

import os
import sqlite3
from enum import StrEnum
from functools import cache
from typing import Any

import msgspec

from suno_cover_cli.base.models import JobResult, Picked, json_text
from suno_cover_cli.base.settings import CallbackMode, LabelMode, is_loopback_url

SANDBOX_SERVICE = "sandbox"
"""Stands for the built-in sandbox as a service: its address is another one each time."""

MARK_DIGITS = 8
"""Of a mark of a key, how many name the random bytes it was made with, and how many the key."""


@cache  # asked of every row of a list; there are few services
def is_sandbox_service(service: str) -> bool:
    """Tell whether an imitation made a job: the built-in sandbox, or one that is served on this machine."""
    try:
        return service == SANDBOX_SERVICE or is_loopback_url(service)
    except ValueError:  # a damaged row
        return False


class RowState(StrEnum):
    """How far a job got, as far as a restart must know."""

    QUEUED = "queued"
    """Part of a batch whose turn has not come: the service cannot have heard of it from us."""
    SUBMITTING = "submitting"
    """Written before the POST: the service may or may not have the job. Submitting again is safe."""
    SUBMITTED = "submitted"
    """The cover task id is known."""
    PARTIAL = "partial"
    """The job is done; images are missing."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"

    @property
    def is_terminal(self) -> bool:
        """Whether ``resume`` has nothing left to do."""
        return self in {RowState.SUCCEEDED, RowState.FAILED, RowState.REJECTED}

    @property
    def is_pending(self) -> bool:
        """Whether the job is not known to have ended at the service."""
        return self in {RowState.QUEUED, RowState.SUBMITTING, RowState.SUBMITTED}


OptionValue = str | int | float | bool | None


class JobOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a restart takes over from the first run of a job.

    Fields may be added with a default; rows written before then have it. In a row, what is in ``tunnel`` stands
    beside the other fields: there it stood before there was more than one kind of tunnel.

    Attributes:
        callback: ``auto``, ``required`` or ``off``.
        name: Template of the file names.
        write_metadata: Facts about the job are written beside its covers.
        overwrite: Files that are there are replaced.
        label: ``add``: the AI label is added to the saved files.
        title: Of the song, where the user gave it.
        tunnel: Options of listener and tunnel that are not the default, by their names. What they mean is for the
            kind of tunnel to know.
    """

    callback: CallbackMode = "auto"
    name: str = "cover_{n}"
    write_metadata: bool = False
    overwrite: bool = False
    label: LabelMode = "keep"
    title: str | None = None
    tunnel: dict[str, OptionValue] = {}


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """The choice between a job's variants.

    Attributes:
        n: The variant, counted from 1; ``None``: none of them will do.
        path: Its file when it was chosen, absolute; ``None`` with ``n``.
        sha256: Of that file then, in hex: a file that has another one now is not what was chosen.
        picked_at: Epoch seconds.
    """

    n: int | None
    path: str | None = None
    sha256: str | None = None
    picked_at: float = 0.0

    @property
    def picked(self) -> Picked:
        """The choice as the job object has it."""
        return "none" if self.n is None else self.n


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the journal. ``id`` is 0 for a job that could not be written down.

    Times are epoch seconds; ``output`` is the absolute folder that receives the folder of the job.
    ``completed_at`` is the service's own word; ``updated_at`` is when the row last changed. ``pick`` belongs to
    the cover task, so every row of it has it; ``result.picked`` is always what ``pick`` says. ``key_mark`` is of
    the key that the last run of the job had; see :mod:`suno_cover_cli.journal.key_marks`.
    """

    id: int
    service: str
    provider: str
    music_task_id: str | None
    task_id: str | None
    state: RowState
    output: str
    options: JobOptions
    result: JobResult | None = None
    owner: str | None = None
    created_at: float = 0.0
    submitted_at: float | None = None
    completed_at: float | None = None
    updated_at: float = 0.0
    key_mark: str | None = None
    pick: Pick | None = None

    @property
    def is_of_sandbox(self) -> bool:
        """Whether an imitation of the service made it."""
        return is_sandbox_service(self.service)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a claim.

    Attributes:
        row: The job.
        is_busy: Another live run holds it: it is not ours.
        is_new: No run has submitted the job before, so the service cannot have heard of it from us.
        earlier: The row as the run before left it; ``row`` has folder and options of this run.
    """

    row: JobRow
    is_busy: bool = False
    is_new: bool = False
    earlier: JobRow | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A submit that was written down.

    Attributes:
        row: The job, with its cover task id.
        is_known: An earlier job has the same cover task: the service went on with that one.
    """

    row: JobRow
    is_known: bool = False


def are_of_two_keys(mark: str | None, other: str | None) -> bool:
    """Tell whether two marks are those of different keys, as far as that is known.

    It is not where one of them is missing or was made with random bytes that are lost since.
    """
    if mark is None or other is None:
        return False
    return mark != other and mark[:MARK_DIGITS] == other[:MARK_DIGITS]


_OPTIONS = msgspec.json.Decoder(dict[str, Any])
_OWN_OPTIONS = frozenset(JobOptions.__struct_fields__) - {"tunnel"}


def read_options(text: str) -> JobOptions:
    """Read the options of a row.

    Raises:
        ValueError: It holds something that no suno-cover has written.
    """
    own: dict[str, Any] = {}
    tunnel: dict[str, OptionValue] = {}
    for name, value in _OPTIONS.decode(text).items():
        if name in _OWN_OPTIONS:
            own[name] = value
        elif isinstance(value, OptionValue):
            tunnel[name] = value
    return msgspec.convert({**own, "tunnel": tunnel}, JobOptions)


def options_text(options: JobOptions) -> str:
    """Encode the options of a job for its row."""
    own = msgspec.to_builtins(options)
    return json_text({**own.pop("tunnel", {}), **own})


def path_cell(path: str) -> str | bytes:
    """Return a path as its column takes it: as bytes where it is not UTF-8, as Linux allows."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def insert_job(connection: sqlite3.Connection, row: JobRow) -> int:
    """Write a new job down; return the id of its row."""
    cells = {
        "service": row.service,
        "provider": row.provider,
        "music_task_id": row.music_task_id,
        "task_id": row.task_id,
        "state": row.state,
        "output": path_cell(row.output),
        "options": options_text(row.options),
        "owner": row.owner,
        "created_at": row.created_at,
        "submitted_at": row.submitted_at,
        "updated_at": row.updated_at,
        "key_mark": row.key_mark,
    }
    statement = f"INSERT INTO jobs ({', '.join(cells)}) VALUES ({', '.join('?' * len(cells))})"  # noqa: S608 -- names of ours
    return connection.execute(statement, list(cells.values())).lastrowid or 0


def record_images(connection: sqlite3.Connection, job_id: int, result: JobResult) -> dict[str, str]:
    """Write down which files a job has; return SHA-256 -> cover task id of another job with the same picture."""
    connection.execute("DELETE FROM images WHERE job_id = ?", (job_id,))
    connection.executemany(
        "INSERT INTO images (job_id, n, path, sha256) VALUES (?, ?, ?, ?)",
        [(job_id, n, path_cell(image.path), image.sha256) for n, image in result.variants.items()],
    )
    same: dict[str, str] = {}
    for image in result.images:
        found = connection.execute(
            "SELECT jobs.task_id FROM images JOIN jobs ON jobs.id = images.job_id"
            " WHERE images.sha256 = ? AND jobs.task_id <> ? LIMIT 1",
            (image.sha256, result.task_id),
        ).fetchone()
        if found is not None:
            same[image.sha256] = found[0]
    return same
