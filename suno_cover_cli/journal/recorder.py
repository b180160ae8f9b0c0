"""Writes events down behind the back of the answers: nobody who calls us waits for our disk."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.callbacks.content import ReceivedCallback
from suno_cover_cli.journal.database import DatabaseError
from suno_cover_cli.journal.recordings import RecordingStore

_MAX_WAITING = 10_000
_MAX_WAITING_BYTES = 32 * 1024 * 1024
# A commit costs nearly the same for one event as for many. The larger the crowd that came, the longer the next one
# is let gather: by a millisecond an event, which nobody notices until there are hundreds.
_GATHER_S_PER_EVENT = 0.001
_LONGEST_GATHER_S = 0.5
_LEAVING_S = 1.0

OnWritten = Callable[[Sequence[ReceivedCallback], int | None], None]
"""Takes callbacks and the number of the first one in the record; ``None`` when they are not in it."""


class Recorder:
    """Records callbacks in the order they came, many with one commit.

    An async context manager: leaving waits at most a second for what is still to be written.

    Args:
        store: Where they go.
        clock: Time.
        on_written: Told of every callback handed in, once, whatever became of it. It must not raise.
        on_trouble: Told why something is not recorded; the same reason once.
    """

    def __init__(
        self,
        store: RecordingStore,
        *,
        clock: Clock,
        on_written: OnWritten,
        on_trouble: Callable[[DatabaseError], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_written = on_written
        self._on_trouble = on_trouble
        self._told: set[str] = set()
        self._waiting: deque[ReceivedCallback] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._leaving = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write_all(), name="recorder")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._leaving.set()
        try:
            # The machine's own seconds: what is waited for is its disk.
            async with asyncio.timeout(_LEAVING_S):
                await self._idle.wait()
        except TimeoutError:
            self._tell(DatabaseError("the last events could not be recorded in time", code="not_recorded"))
        finally:
            self._writer.cancel()
            await asyncio.wait({self._writer})

    def record(self, callback: ReceivedCallback) -> None:
        """Take one callback; never blocks. When the disk falls behind, the oldest that waits goes unrecorded."""
        self._waiting.append(callback)
        self._waiting_bytes += len(callback.body)
        while len(self._waiting) > _MAX_WAITING or self._waiting_bytes > _MAX_WAITING_BYTES:
            oldest = self._waiting.popleft()
            self._waiting_bytes -= len(oldest.body)
            self._on_written([oldest], None)
            reason = "events arrive faster than the disk takes them: not all are recorded"
            self._tell(DatabaseError(reason, code="not_recorded", hint="They were answered all the same."))
        self._idle.clear()
        self._news.set()

    async def _write_all(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._waiting, self._waiting_bytes = list(self._waiting), deque(), 0
            first = None
            try:
                first = await self._store.add(batch)
            except DatabaseError as error:
                self._tell(error)
            finally:
                # Cancelled here, the batch may be on disk or not: it is told as if it were not.
                self._on_written(batch, first)
            if not self._waiting:
                self._idle.set()
            else:
                gather_s = min(_GATHER_S_PER_EVENT * len(batch), _LONGEST_GATHER_S)
                with suppress(TimeoutError):
                    await within(self._clock, gather_s, self._leaving.wait())

    def _tell(self, error: DatabaseError) -> None:
        if error.message not in self._told:
            self._told.add(error.message)
            self._on_trouble(error)
