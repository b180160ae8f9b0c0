"""What survives the sandbox: an append-only file of JSON lines.

A line is one fact: a submit came, a job was made, a delivery is over. A process that was killed may have left
half a line; it is dropped, because it was never sent to a client. Nothing is ever taken out of the file: another
sandbox may be writing to it.
"""

import asyncio
from pathlib import Path
from typing import Self

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.sandbox.jobs import JobRegistry


class SubmitLine(msgspec.Struct, frozen=True, kw_only=True, tag="submit", tag_field="type"):
    """A submit came in, whatever it was answered."""

    music_task_id: str


class JobLine(msgspec.Struct, frozen=True, kw_only=True, tag="job", tag_field="type"):
    """A job was made."""

    music_task_id: str
    task_id: str
    callback_url: str
    created_at: float


class SettledLine(msgspec.Struct, frozen=True, kw_only=True, tag="settled", tag_field="type"):
    """One delivery of a job is over: answered, given up or not allowed."""

    task_id: str
    status: int


Line = SubmitLine | JobLine | SettledLine

_LINE_START = b'{"type":"'


def read_ledger(path: Path) -> list[Line]:
    """Read the facts of a state file; an absent file has none.

    Raises:
        UsageError: A line is none of ours, or the file cannot be read.
    """
    try:
        rows = path.read_bytes().split(b"\n") if path.exists() else [b""]
    except OSError as error:
        raise UsageError(f"cannot read the state file {path}: {error.strerror}") from error
    decoder = msgspec.json.Decoder(Line)
    lines: list[Line] = []
    for number, row in enumerate(rows[:-1], start=1):
        try:
            lines.append(decoder.decode(row))
        except msgspec.DecodeError as error:
            if isinstance(error, msgspec.ValidationError) or not _is_half_a_line(row):
                raise UsageError(
                    f"line {number} of {path} is not a sandbox's: {error}",
                    hint="give the sandbox another state file, or remove this one",
                ) from error
    return lines


def _is_half_a_line(row: bytes) -> bool:
    return row.startswith(_LINE_START) or _LINE_START.startswith(row)


class Registry:
    """Keeps the facts of a :class:`JobRegistry` on disk. Entering fills the book from the file.

    Args:
        path: The file, or ``None`` to keep nothing.
        book: Where the facts of earlier processes go.

    Raises:
        UsageError: On entering, when the file is not ours or cannot be written.
    """

    def __init__(self, path: Path | None, book: JobRegistry) -> None:
        self._path = path
        self._book = book
        self._pending: list[bytes] = []
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        if self._path is not None:
            for line in await asyncio.to_thread(_open_ledger, self._path):
                _restore(self._book, line)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.commit()

    async def commit(self, *lines: Line) -> None:
        """Return once ``lines`` are with the operating system, which outlives a killed process.

        A writer takes along what has gathered meanwhile: one write for many requests.
        """
        if self._path is None:
            return
        self._pending.extend(msgspec.json.encode(line) + b"\n" for line in lines)
        async with self._writing:
            if self._pending:
                batch, self._pending = b"".join(self._pending), []
                await asyncio.to_thread(_append, self._path, batch)


def _open_ledger(path: Path) -> list[Line]:
    """Read the file, and see to it that the next line does not continue half a one."""
    lines = read_ledger(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            if content and not content.endswith(b"\n"):
                file.write(b"\n")
    except OSError as error:
        raise UsageError(f"cannot write the state file {path}: {error.strerror}") from error
    return lines


def _append(path: Path, batch: bytes) -> None:
    with path.open("ab") as file:
        file.write(batch)


def _restore(book: JobRegistry, line: Line) -> None:
    match line:
        case SubmitLine(music_task_id=music_task_id):
            book.count_submit(music_task_id)
        case JobLine(music_task_id=music_task_id, callback_url=callback_url, created_at=created_at):
            # Two sandboxes on one file may both have made it; it is the same job.
            if book.find_by_music(music_task_id) is None:
                book.make(music_task_id, callback_url, created_at=created_at)
        case SettledLine(task_id=task_id):
            if task_id not in book.jobs:
                raise UsageError(f"the state file settles {task_id!r}, a job it never made")
            book.jobs[task_id].settled += 1
