"""A check that is no longer wanted ends, wherever it is."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class StoppedError(Exception):
    """The check was ended before it came to a result."""


class Stop:
    """Ends one check: its own steps at the next look, a program it waits for at once. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._child: subprocess.Popen[bytes] | None = None

    def set(self) -> None:
        """End the check."""
        with self._lock:
            self._is_set = True
            if self._child is not None:
                self._child.kill()

    def check(self) -> None:
        """Look whether to go on.

        Raises:
            StoppedError: No.
        """
        if self._is_set:
            raise StoppedError

    @contextmanager
    def ending(self, child: "subprocess.Popen[bytes]") -> Iterator[None]:
        """End a program, and wait for its end, when the check is stopped or the block is left."""
        try:
            with self._lock:
                self._child = child
                if self._is_set:
                    child.kill()
            yield
        finally:
            with self._lock:
                self._child = None
            with suppress(ProcessLookupError):
                child.kill()
            child.wait()
