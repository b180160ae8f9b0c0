"""Which runs of the program are alive: each holds the lock on a file of its own for as long as it lives.

The system frees the lock with the process however that ends, SIGKILL and power cuts included, so no heartbeat
and no process id that may have been given to another is needed.
"""

import errno
import os
import re
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

if sys.platform != "win32":
    import fcntl

_TRIES = 10
_RUN = re.compile(r"[0-9a-f]{16}")


class RunLocks:
    """The locks of all runs of one user, and this run's own.

    Everything here blocks and is meant for a thread.

    Args:
        folder: Where the lock files are.

    Attributes:
        run: This run's name, random.
        folder: Where the lock files are.
    """

    def __init__(self, folder: Path) -> None:
        self.run = secrets.token_hex(8)
        self.folder = folder
        self._own: FileLock | None = None

    def acquire(self) -> None:
        """Show from now on that this run is alive.

        Raises:
            OSError: The file cannot be made.
            NotImplementedError: The file system has no locks.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TRIES):
            path = self._path(self.run)
            lock = FileLock(path, timeout=0, thread_local=False)
            with suppress(Timeout):
                lock.acquire()
                if path.exists():
                    self._own = lock
                    return
                lock.release()
            # A sweeping process took it for a dead run's between its making and its locking.
            self.run = secrets.token_hex(8)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def release(self) -> None:
        """Show that this run is over."""
        if self._own is not None:
            self._own.release()
            self._own = None
            with suppress(OSError):
                self._path(self.run).unlink()

    def is_alive(self, run: str) -> bool:
        """Tell whether a run holds its lock; remove what a dead one left.

        Two that ask at the same moment may take each other for the run: ask inside a transaction of the journal.
        What is not a lock, or cannot be read, holds nothing: a job that is run twice is not made twice, and one
        that a dead run held must not wait endlessly.
        """
        if run == self.run:
            return True
        # The name comes from the journal, which may be damaged.
        if not _RUN.fullmatch(run):
            return False
        path = self._path(run)
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return False
            return _is_held(path)
        except OSError:
            return False

    def sweep(self) -> bool:
        """Remove the locks of all dead runs, and tell whether there were any: they may have left more."""
        try:
            with os.scandir(self.folder) as entries:
                runs = [entry.name.removesuffix(".lock") for entry in entries if entry.name.endswith(".lock")]
        except OSError:
            return False
        dead = [run for run in runs if _RUN.fullmatch(run) and not self.is_alive(run)]
        return bool(dead)

    def _path(self, run: str) -> Path:
        return self.folder / f"{run}.lock"


def _is_held(path: Path) -> bool:
    """Tell whether a live run holds a lock; one that none holds is removed."""
    probe = FileLock(path, timeout=0, thread_local=False)
    try:
        probe.acquire()
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return _is_held_by_other(path)
    # Still held, so that its run, should it be starting this moment, notices; Windows removes no open file.
    with suppress(OSError):
        path.unlink()
    probe.release()
    with suppress(OSError):
        path.unlink()
    return False


def _is_held_by_other(path: Path) -> bool:
    """Tell whether a lock is held that belongs to another user: who may read it may ask."""
    if sys.platform != "win32":
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)
    return False
