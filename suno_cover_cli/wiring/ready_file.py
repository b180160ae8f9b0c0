"""The file of ``--ready-file``: it appears once the command is ready, goes with it, and is never half written."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from suno_cover_cli.base.errors import UsageError, disk_hint, reason_of
from suno_cover_cli.base.files import replace_file


class ReadyFile:
    """An async context manager: entering removes the file of an earlier run, leaving removes ours.

    The folder is made when it is missing.

    Args:
        path: The file, or ``None``: then nothing happens at all.

    Raises:
        UsageError: On entering, when the file cannot be there.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._content: bytes | None = None

    async def __aenter__(self) -> Self:
        if self._path is not None:
            await asyncio.to_thread(_clear, self._path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is not None and self._content is not None:
            await asyncio.to_thread(_remove, self._path, self._content)

    async def publish(self, text: str) -> None:
        """Write the file; a process that waits for it never reads half of it.

        Raises:
            UsageError: It cannot be written.
        """
        if self._path is not None:
            self._content = text.encode()
            await asyncio.to_thread(_write, self._path, self._content)


def _clear(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    if not os.access(path.parent, os.W_OK):
        raise _unwritable(path, PermissionError("permission denied"))


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise _unwritable(path, error) from None


def _remove(path: Path, content: bytes) -> None:
    # One that another run has written meanwhile is that run's.
    with suppress(OSError):
        if path.read_bytes() == content:
            path.unlink()


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write {path}: {reason_of(error)}", hint=disk_hint(error, "Give --ready-file another path.")
    )
