"""Writes requests down behind the back of the answers: no caller waits for our disk."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.journal.database import DatabaseError
from suno_cover_cli.journal.recordings import RecordedAnswer, RecordingStore

_MAX_WAITING = 10_000
_MAX_WAITING_BYTES = 32 * 1024 * 1024
# A commit costs nearly the same for one event as for many. The larger the crowd that came, the longer the next one
# is let gather: by a millisecond an event, which goes unnoticed until there are hundreds.
_GATHER_S_PER_EVENT = 0.001
_LONGEST_GATHER_S = 0.1
# Answers go out on the same loop, under the same lock of the interpreter: what is made of thousands of events at
# once, they would wait for.
_MAX_SLICE = 16
_LEAVING_S = 1.0


class Recordable(Protocol):
    """A request on its way through a listener; compared by identity."""

    @property
    def request(self) -> ReceivedRequest:
        """What came."""
        ...

    @property
    def answer(self) -> RecordedAnswer | None:
        """What it was answered, once it was."""
        ...


OnWritten = Callable[[Sequence[Recordable], int | None], None]
"""Takes requests and the number of the first one in the record; ``None`` when they are not in it."""


class Recorder:
    """Records requests in the order they came, many with one commit, and what they were answered.

    As a rule the answer is known when the request is written, and is written with it; else it is added later.

    An async context manager: leaving waits at most a second for what is still to be written.

    Args:
        store: Where they go.
        clock: Time.
        on_written: Told of every request handed in, once, whatever became of it. It must not raise.
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
        self._waiting: deque[Recordable] = deque()
        self._waiting_bytes = 0
        self._answers: OrderedDict[int, RecordedAnswer] = OrderedDict()
        self._answers_bytes = 0
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

    def record(self, entry: Recordable) -> None:
        """Take one request; never blocks. When the disk falls behind, the oldest that waits goes unrecorded."""
        self._waiting.append(entry)
        self._waiting_bytes += len(entry.request.body)
        while len(self._waiting) > _MAX_WAITING or self._waiting_bytes > _MAX_WAITING_BYTES:
            oldest = self._waiting.popleft()
            self._waiting_bytes -= len(oldest.request.body)
            self._on_written([oldest], None)
            self._report_overflow()
        if not self._news.is_set():
            self._wake()

    def record_answer(self, n: int, answer: RecordedAnswer) -> None:
        """Take what a request that is written already was answered; never blocks."""
        self._answers[n] = answer
        self._answers_bytes += _size_of(answer)
        while len(self._answers) > _MAX_WAITING or self._answers_bytes > _MAX_WAITING_BYTES:
            _, oldest = self._answers.popitem(last=False)
            self._answers_bytes -= _size_of(oldest)
            self._report_overflow()
        self._wake()

    def _wake(self) -> None:
        self._idle.clear()
        self._news.set()

    def _report_overflow(self) -> None:
        reason = "events arrive faster than the disk takes them: not all are recorded"
        self._tell(DatabaseError(reason, code="not_recorded", hint="They were all answered."))

    async def _write_all(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._waiting, self._waiting_bytes = list(self._waiting), deque(), 0
            answers, self._answers, self._answers_bytes = list(self._answers.items()), OrderedDict(), 0
            await self._write(batch, answers)
            if not self._waiting and not self._answers:
                self._idle.set()
                continue
            gather_s = min(_GATHER_S_PER_EVENT * len(batch), _LONGEST_GATHER_S)
            with suppress(TimeoutError):
                await within(self._clock, gather_s, self._leaving.wait())

    async def _write(self, batch: Sequence[Recordable], answers: Sequence[tuple[int, RecordedAnswer]]) -> None:
        # Taken now: answers go on arriving while these are written.
        rows = [(entry.request, entry.answer) for entry in batch]
        first: int | None = None
        reported = 0
        try:
            try:
                first = await self._store.add(rows, answers)
            except DatabaseError as error:
                self._tell(error)
            for part in _slices(batch):
                self._on_written(part, None if first is None else first + reported)
                reported += len(part)
                await asyncio.sleep(0)
        finally:
            # Cancelled before the write came back, it may be on disk or not: it is reported as if it were not.
            if reported < len(batch):
                self._on_written(batch[reported:], None if first is None else first + reported)
        if first is not None:
            self._catch_up(batch, rows, first)

    def _catch_up(
        self,
        batch: Sequence[Recordable],
        rows: Sequence[tuple[ReceivedRequest, RecordedAnswer | None]],
        first: int,
    ) -> None:
        """Take the answers that were given while their requests were being written."""
        for n, (entry, (_, written)) in enumerate(zip(batch, rows, strict=True), first):
            if written is None and entry.answer is not None:
                self.record_answer(n, entry.answer)

    def _tell(self, error: DatabaseError) -> None:
        if error.message not in self._told:
            self._told.add(error.message)
            self._on_trouble(error)


def _slices(batch: Sequence[Recordable]) -> Iterator[Sequence[Recordable]]:
    return (batch[start : start + _MAX_SLICE] for start in range(0, len(batch), _MAX_SLICE))


def _size_of(answer: RecordedAnswer) -> int:
    return 0 if answer.forward is None else len(answer.forward.body_b64)
