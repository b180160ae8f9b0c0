"""Events while they happen: that one came, which number it has in the record, what it was answered."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from suno_cover_cli.callbacks.content import ReceivedCallback
from suno_cover_cli.callbacks.exchanges import Exchange

# As many as an inbox remembers the first ones of.
_MAX_FIRSTS = 1000


class Forwarded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event that was sent on.

    Attributes:
        url: Where to.
        status: Of the receiver's answer; ``None`` when there was none.
        latency_ms: Until its answer, or until that was given up.
        trouble: What went wrong and what helps, in words of our own; empty when it answered with 2xx.
        said: The beginning of the answer of a receiver that failed.
    """

    url: str
    status: int | None
    latency_ms: float
    trouble: str = ""
    said: bytes = b""


class ListenEvent:
    """One callback on its way through the listener.

    Attributes:
        callback: What came.
        n: Its number in the record; ``None`` when it is not, or not yet, in there.
        duplicate_of: Number of the first one of its like.
        exchange: What it was answered, once it was.
        forwarded: What the receiver behind us said, if it was sent on.
        is_refused: It was not accepted: it is in no record and counts for nothing.
        is_shown: It has its number, or never gets one.
    """

    __slots__ = ("callback", "duplicate_of", "exchange", "forwarded", "is_refused", "is_shown", "n")

    def __init__(self, callback: ReceivedCallback, *, is_refused: bool = False) -> None:
        self.callback = callback
        self.n: int | None = None
        self.duplicate_of: int | None = None
        self.exchange: Exchange | None = None
        self.forwarded: Forwarded | None = None
        self.is_refused = is_refused
        self.is_shown = False


class EventView(Protocol):
    """Shows events. Nothing needs to be seen before ``flush``."""

    def show_arrival(self, event: ListenEvent) -> None:
        """Something came; its number is known."""
        ...

    def show_answer(self, event: ListenEvent, exchange: Exchange) -> None:
        """It was answered."""
        ...

    def show_stranger(self, exchange: Exchange) -> None:
        """Something came that is no callback."""
        ...

    def flush(self) -> None:
        """Let it be seen."""
        ...


class EventLog:
    """Joins what becomes known of each event, and has it shown.

    An arrival is shown once its number is known, so what is shown can be replayed; its answer goes out long
    before that.

    Args:
        view: Shows them.
        on_event: Told of each accepted event that was answered and shown; ``True`` means that it was the last
            one of interest.

    Attributes:
        record: Takes callbacks for the record, or ``None``: then they are numbered from 1.
        save: Begins to save the covers of a task, or ``None``.
        counts: ``events``, ``duplicates``, ``refused``, ``late``.
        strangers: Why -> how many.
    """

    def __init__(self, view: EventView, *, on_event: Callable[[ListenEvent], bool]) -> None:
        self.record: Callable[[ReceivedCallback], None] | None = None
        self.save: Callable[[str], None] | None = None
        self.counts: Counter[str] = Counter()
        self.strangers: Counter[str] = Counter()
        self._view = view
        self._on_event = on_event
        self._is_over = False
        # By identity: the ids that are shown are short enough to come up twice in a flood.
        self._pending: dict[int, ListenEvent] = {}
        self._firsts: OrderedDict[int, int | None] = OrderedDict()

    def take_arrival(self, callback: ReceivedCallback) -> ListenEvent:
        """Note an accepted callback that is about to be answered."""
        event = ListenEvent(callback)
        self._pending[id(callback)] = event
        if self.record is not None:
            self.record(callback)
        else:
            self._number(event, callback.n)
            self._view.flush()
        return event

    def take_numbers(self, callbacks: Sequence[ReceivedCallback], first: int | None) -> None:
        """Note the place of callbacks in the record; ``None`` when they have none. See :data:`OnWritten`."""
        for offset, callback in enumerate(callbacks):
            event = self._pending.get(id(callback))
            if event is not None:
                self._number(event, None if first is None else first + offset)
        self._view.flush()

    def take_exchange(self, exchange: Exchange) -> None:
        """Note what a request was answered; see :class:`~suno_cover_cli.callbacks.listener.CallbackListener`."""
        if exchange.callback is None:
            self.strangers[exchange.reason] += 1
            self._view.show_stranger(exchange)
            self._view.flush()
            return
        event = self._pending.get(id(exchange.callback))
        if event is None:
            event = ListenEvent(exchange.callback, is_refused=True)
            self._number(event, None)
        event.exchange = exchange
        if event.is_shown:
            self._finish(event, exchange)
            self._view.flush()

    @property
    def unanswered(self) -> int:
        """Events whose answer, or whose record, was cut off by the end."""
        return len(self._pending)

    def _number(self, event: ListenEvent, n: int | None) -> None:
        callback = event.callback
        event.n = n
        if callback.duplicate_of is not None:
            event.duplicate_of = self._firsts.get(callback.duplicate_of)
        elif not event.is_refused:
            self._firsts[callback.n] = n
            if len(self._firsts) > _MAX_FIRSTS:
                self._firsts.popitem(last=False)
        event.is_shown = True
        if not self._is_over:
            self._view.show_arrival(event)
        if event.exchange is not None:
            self._finish(event, event.exchange)

    def _finish(self, event: ListenEvent, exchange: Exchange) -> None:
        self._pending.pop(id(event.callback), None)
        if self._is_over:
            self.counts["late"] += 1
            return
        self._view.show_answer(event, exchange)
        if event.is_refused:
            self.counts["refused"] += 1
            return
        self.counts["events"] += 1
        self.counts["duplicates"] += event.callback.duplicate_of is not None
        if self.save is not None:
            self.save(event.callback.task_id)
        self._is_over = self._on_event(event)
