"""The journal's thread: one thread, one connection, commits shared by all that write at the same moment.

Nothing is reported as kept before it is on disk (WAL, ``synchronous=FULL``). A commit costs one fsync however
many steps it carries, so steps that arrive while one is under way go together into the next.
"""

import asyncio
import queue
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.events import NullSink, Sink, WarningRaised
from suno_cover_cli.journal.journal_file import DatabaseError, Failure, JournalFile, Operation, T

__all__ = ["Database", "DatabaseError"]

_LEAVE_TIMEOUT_S = 1.2
_MAX_GROUP = 500


class _Step:
    """One operation on its way to the thread, and where its result goes; nowhere for a posted one."""

    __slots__ = ("future", "operation")

    def __init__(self, operation: Operation[Any], future: "asyncio.Future[Any] | None") -> None:
        self.operation = operation
        self.future = future


class Database:
    """The journal's file. An async context manager: entering opens and migrates, leaving commits and closes.

    A file that is damaged, now or later, is repaired: it is kept under another name, and what can be read of it
    goes on. Leaving takes at most about a second; what could not be committed by then is lost.

    Args:
        path: The file; its folder is made (mode 0700) when missing.
        clock: Time.
        sink: Hears of damage that was met, as warnings with the codes ``journal_mended`` and ``row_damaged``.
    """

    def __init__(self, path: Path, *, clock: Clock | None = None, sink: Sink | None = None) -> None:
        self.path = path
        self._clock = clock or SystemClock()
        self._sink = sink or NullSink()
        self._steps: queue.SimpleQueue[_Step | None] = queue.SimpleQueue()
        self._is_open = False
        self._ended: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        self._ended = loop.create_future()
        # A daemon: a disk that never answers must not keep the process from ending.
        thread = threading.Thread(
            target=self._serve, args=(loop, opened, self._ended), name="journal", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            raise DatabaseError(f"the journal {self.path} cannot be used: {error}") from error
        await opened
        self._is_open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        self._steps.put(None)
        if self._ended is not None:
            await asyncio.wait({self._ended}, timeout=_LEAVE_TIMEOUT_S)

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation inside a transaction and return when its effect is on disk.

        An operation may be run twice, so it must have no effect but on the database.

        Raises:
            DatabaseError: It is not on disk.
            Exception: Whatever the operation raises; its effect is undone.
        """
        if not self._is_open:
            raise RuntimeError("the database is used outside its context")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._steps.put(_Step(operation, future))
        return await future

    def post(self, operation: Operation[Any]) -> None:
        """Run an operation when its turn comes, without waiting; its failure is not reported."""
        self._steps.put(_Step(operation, None))

    # --- the thread -------------------------------------------------------------------------------

    def _serve(
        self, loop: asyncio.AbstractEventLoop, opened: "asyncio.Future[Any]", ended: "asyncio.Future[Any]"
    ) -> None:
        def report(note: WarningRaised) -> None:
            # The loop may have closed meanwhile; then no caller is left to report to.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._sink.emit, note)

        file = JournalFile(self.path, clock=self._clock, report=report)
        try:
            file.open()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the caller that opens the journal must get an answer
            _settle_from_thread(loop, [(opened, Failure(error)), (ended, None)])
            return
        _settle_from_thread(loop, [(opened, None)])
        is_open = True
        while is_open:
            group, is_open = self._next_group()
            outcomes = file.transact([step.operation for step in group]) if group else []
            pairs = zip(group, outcomes, strict=True)
            _settle_from_thread(
                loop, [(step.future, outcome) for step, outcome in pairs if step.future is not None]
            )
        file.close(gives_back_room=True)
        _settle_from_thread(loop, [(ended, None)])

    def _next_group(self) -> tuple[list[_Step], bool]:
        """Wait for a step and take along whatever else has arrived. ``False``: it is time to close."""
        group: list[_Step] = []
        step = self._steps.get()
        while step is not None:
            group.append(step)
            if len(group) == _MAX_GROUP:
                return group, True
            try:
                step = self._steps.get_nowait()
            except queue.Empty:
                return group, True
        return group, False


def _settle_from_thread(
    loop: asyncio.AbstractEventLoop, outcomes: "list[tuple[asyncio.Future[Any], Any]]"
) -> None:
    try:
        loop.call_soon_threadsafe(_settle, outcomes)
    except RuntimeError:
        # The loop closed while this thread was still committing: what was handed in is on disk all the same.
        return


def _settle(outcomes: "list[tuple[asyncio.Future[Any], Any]]") -> None:
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, Failure):
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome)
