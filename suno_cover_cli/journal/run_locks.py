"""Which runs of the program are alive: each holds the lock on a file of its own for as long as it lives.

The system frees the lock with the process however that ends, SIGKILL and power cuts included, so no heartbeat
and no process id that may have been given to another is needed.
"""

import secrets
from pathlib import Path

from filelock import FileLock, Timeout


class RunLocks:
    """The locks of all runs of one user, and this run's own.

    Everything here blocks and is meant for a thread.

    Args:
        folder: Where the lock files are.

    Attributes:
        run: This run's name, random.
    """

    def __init__(self, folder: Path) -> None:
        self.run = secrets.token_hex(8)
        self._folder = folder
        self._own: FileLock | None = None

    def acquire(self) -> None:
        """Show from now on that this run is alive.

        Raises:
            OSError: The file cannot be made.
            NotImplementedError: The file system has no locks.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self._path(self.run), timeout=0, thread_local=False)
        lock.acquire()
        self._own = lock

    def release(self) -> None:
        """Show that this run is over."""
        if self._own is not None:
            self._own.release()
            self._own = None
            self._path(self.run).unlink(missing_ok=True)

    def is_alive(self, run: str) -> bool:
        """Tell whether a run holds its lock; remove what a dead one left.

        Two that ask at the same moment may take each other for the run: ask inside a transaction of the journal.
        """
        if run == self.run:
            return True
        path = self._path(run)
        if not path.exists():
            return False
        probe = FileLock(path, timeout=0, thread_local=False)
        try:
            probe.acquire()
        except Timeout:
            return True
        probe.release()
        path.unlink(missing_ok=True)
        return False

    def _path(self, run: str) -> Path:
        return self._folder / f"{run}.lock"
