"""Writes whole lines to a stream from a thread of its own: a reader that stands still holds up nothing else."""

import asyncio
import contextlib
import errno
import os
import queue
import threading
from collections.abc import Callable
from typing import BinaryIO

_STOP = None
_WRITTEN_S = 2.0
# EINVAL is what Windows says of a pipe whose reader left.
_READER_LEFT = {errno.EPIPE, errno.ECONNRESET, errno.EINVAL}


class LineWriter:
    """Writes whole lines to stdout from a thread, flushed one by one.

    Args:
        stream: Binary stream.
        on_closed: Called once from the thread when no more can be written.

    Attributes:
        is_closed: No more can be written: the reader is gone, or there was a failure.
        failure: Why nothing can be written although the reader did not leave, such as a full disk.
    """

    def __init__(self, stream: BinaryIO, on_closed: Callable[[], None]) -> None:
        self._stream = stream
        self._on_closed = on_closed
        self._lines: queue.SimpleQueue[bytes | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="stdout", daemon=True)
        self._is_started = False
        # Each is counted up by one thread alone.
        self._queued_bytes = 0
        self._written_bytes = 0
        self.is_closed = False
        self.failure: OSError | None = None

    @property
    def waiting_bytes(self) -> int:
        """How much the reader has still to take."""
        return self._queued_bytes - self._written_bytes

    def write_line(self, line: str) -> None:
        """Queue one line; never blocks."""
        if not self._is_started:
            self._is_started = True
            self._thread.start()
        raw = _encoded(line) + b"\n"
        self._queued_bytes += len(raw)
        self._lines.put(raw)

    async def wait_written(self) -> None:
        """Wait until all lines so far are written; two seconds at most, as a reader may stand still."""
        if not self._is_started:
            return
        loop = asyncio.get_running_loop()
        written = asyncio.Event()

        def report() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits any longer
                loop.call_soon_threadsafe(written.set)

        self._lines.put(report)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WRITTEN_S):
                await written.wait()

    def drain(self) -> None:
        """Wait as :meth:`wait_written` does, for what is written elsewhere next. Blocks."""
        if self.waiting_bytes and not self.is_closed:
            written = threading.Event()
            self._lines.put(written.set)
            written.wait(_WRITTEN_S)

    def finish(self, timeout_s: float | None = None) -> None:
        """Wait until everything is written, at most ``timeout_s`` seconds."""
        if self._is_started:
            self._lines.put(_STOP)
            self._thread.join(timeout_s)

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not _STOP:
            if callable(line):
                line()
                continue
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno not in _READER_LEFT:
                    self.failure = error
                self.is_closed = True
                self._silence()
                # A stream that was closed from the start: the caller may still want what is saved.
                if not (isinstance(error, OSError) and error.errno == errno.EBADF):
                    self._on_closed()
                return
            self._written_bytes += len(line)

    def _silence(self) -> None:
        """Point the stream at nothing, or the interpreter complains when it flushes at exit."""
        try:
            fd = self._stream.fileno()
        except (OSError, ValueError):
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fd)
        os.close(null)


def _encoded(line: str) -> bytes:
    """Encode a line; the bytes of a path that is not UTF-8, as Linux allows, come out as they are on the disk."""
    try:
        return line.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return line.encode("utf-8", "backslashreplace")
