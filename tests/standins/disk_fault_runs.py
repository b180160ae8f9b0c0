"""Saves a cover again and again while one call of the system fails each time; prints what became of it as JSON.

``disk_fault_runs.py FOLDER``; preloaded with ``disk_faults.c`` where that could be built, else the calls are
replaced within Python, which misses what Python's own files do.
"""

import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.images.files import ImageFolder
from tests.image_fixtures import CHECKER, find, names_in, put

ERRNOS = (
    *("EPERM", "ENOENT", "EIO", "EBADF", "ENOMEM", "EACCES", "EEXIST", "EXDEV", "EINVAL", "ENFILE", "EMFILE"),
    *("ENOTTY", "EFBIG", "ENOSPC", "EROFS", "EMLINK", "ENAMETOOLONG", "ENOSYS", "ENOTSUP", "EDQUOT", "ESTALE"),
)
PRELOADED = (
    "fsync folder",
    "fsync file",
    "link",
    "rename",
    "unlink",
    "mkdir",
    "flock",
    "write",
    "open folder",
    "create",
)
REPLACED = {"fsync file": "fsync", "link": "link", "mkdir": "mkdir", "rename": "rename", "unlink": "unlink"}


class Preloaded:
    """Faults in the system's own calls."""

    calls = PRELOADED

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)

    def arm(self, call: str, number: int, nth: int) -> None:
        """Let the nth call fail, or all with 0."""
        self._library.faults_arm(call.encode(), number, nth)

    def disarm(self) -> int:
        """Let none fail; return how many there were."""
        return int(self._library.faults_disarm())


class Replaced:
    """Faults in Python's functions for them."""

    calls = tuple(REPLACED)

    def __init__(self) -> None:
        self._undo: Callable[[], None] = lambda: None
        self._seen = 0

    def arm(self, call: str, number: int, nth: int) -> None:
        """Let the nth call fail, or all with 0."""
        name = REPLACED[call]
        real = getattr(os, name)
        self._seen = 0

        def failing(*args: Any, **options: Any) -> Any:
            self._seen += 1
            if number and nth in {0, self._seen}:
                raise OSError(number, os.strerror(number))
            return real(*args, **options)

        setattr(os, name, failing)
        self._undo = lambda: setattr(os, name, real)

    def disarm(self) -> int:
        """Let none fail; return how many there were."""
        self._undo()
        return self._seen


def save(folder: Path, *, overwrite: bool) -> str:
    """Save a cover and make its name durable; return ``saved`` or the code of what went wrong."""
    try:
        put(folder / "id", overwrite=overwrite)
        files = ImageFolder(folder / "id", CHECKER)
        files.sync()
        files.sync_above()
    except ImageError as error:
        return error.code
    return "saved"


def main(root: Path) -> None:
    """Go through all calls and all errors."""
    faults = Preloaded() if hasattr(ctypes.CDLL(None), "faults_arm") else Replaced()
    outcomes = []
    for overwrite in (False, True):
        for call in faults.calls:
            faults.arm(call, 0, 0)
            save(root / f"count {call} {overwrite}", overwrite=overwrite)
            count = faults.disarm()
            for name in ERRNOS:
                for nth in range(count + 1):
                    folder = root / f"{call} {name} {nth} {overwrite}"
                    folder.mkdir()
                    faults.arm(call, getattr(errno, name), nth)
                    ended = save(folder, overwrite=overwrite)
                    faults.disarm()
                    named = find(folder / "id") is not None
                    again = save(folder, overwrite=overwrite)
                    outcomes.append([call, name, nth, overwrite, ended, named, again, names_in(folder)])
    sys.stdout.write(json.dumps({"faults": type(faults).__name__, "outcomes": outcomes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
