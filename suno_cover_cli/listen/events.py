"""Events while they happen: that one came, which number it has in the record, what it was answered."""

import binascii
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Delivery, Exchange, decoded
from suno_cover_cli.callbacks.kinds import CallbackKind
from suno_cover_cli.journal.recorder import Recordable
from suno_cover_cli.journal.recordings import ForwardReport, RecordedAnswer

# As many as an inbox remembers the first ones of.
_MAX_FIRSTS = 1000


class ListenEvent(msgspec.Struct, eq=False):
    """One request on its way through the listener: a callback, or what is none.

    Attributes:
        request: What came.
        n: Its number in the record; ``None`` when it is not, or not yet, in there.
        duplicate_of: Number of the first one of its like.
        exchange: What it was answered, once it was.
        answer: The same for the record.
        delivery: What the receiver behind us did, if it was sent on; of several, the one that answers.
        further: What further receivers did before it was shown.
        is_shown: It has its number, or never gets one.
        is_only_counted: A view has no room for it, nor for what it is answered.
    """

    request: ReceivedRequest
    n: int | None = None
    duplicate_of: int | None = None
    exchange: Exchange | None = None
    answer: RecordedAnswer | None = None
    delivery: Delivery | None = None
    further: tuple[Delivery, ...] = ()
    is_shown: bool = False
    is_only_counted: bool = False

    def take_exchange(self, exchange: Exchange) -> None:
        """Note what it was answered."""
        self.exchange = exchange
        self.answer = RecordedAnswer(
            status=exchange.status,
            latency_ms=in_thousandths(exchange.latency_ms),
            forward=None if self.delivery is None else report_delivery(self.delivery),
        )


class EventView(Protocol):
    """Shows events. Nothing needs to be seen before ``flush``."""

    def show_arrival(self, event: ListenEvent) -> None:
        """Something came; its number is known."""
        ...

    def show_answer(self, event: ListenEvent, exchange: Exchange) -> None:
        """It was answered."""
        ...

    def show_cut_off(self, event: ListenEvent) -> None:
        """The end came before its answer."""
        ...

    def show_delivery(self, event: ListenEvent, delivery: Delivery) -> None:
        """A further receiver was sent it, whose answer counts for nothing."""
        ...

    def show_unmatched(self, exchange: Exchange) -> None:
        """Something came to another path, or was no request at all."""
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
        on_event: Told of each accepted callback that was answered and shown; ``True`` means that it was the last
            one of interest.

    Attributes:
        record: Takes events for the record, or ``None``: then they are numbered from 1.
        record_answer: Takes the answer to an event that was recorded before it was given.
        save: Begins to save the covers of a task, or ``None``.
        report_unmatched: Told of what is for no open path, or ``None``.
        counts: ``events``, ``duplicates``, ``refused``, ``late``, and ``cut off``, of callbacks.
        not_callbacks: Why something was not a callback -> how many.
    """

    def __init__(self, view: EventView, *, on_event: Callable[[ListenEvent], bool]) -> None:
        self.record: Callable[[ListenEvent], None] | None = None
        self.record_answer: Callable[[int, RecordedAnswer], None] | None = None
        self.save: Callable[[str], None] | None = None
        self.report_unmatched: Callable[[Exchange], None] | None = None
        self.counts: Counter[str] = Counter()
        self.not_callbacks: Counter[str] = Counter()
        self._view = view
        self._on_event = on_event
        self._is_over = False
        # By identity: the ids that are shown are short enough to come up twice in a flood.
        self._pending: dict[int, ListenEvent] = {}
        self._firsts: OrderedDict[int, int | None] = OrderedDict()

    def take_arrival(self, request: ReceivedRequest) -> ListenEvent:
        """Note a request that is about to be answered."""
        event = ListenEvent(request)
        self._pending[id(request)] = event
        if self.record is not None:
            self.record(event)
        else:
            self._number(event, request.n)
            self._view.flush()
        return event

    def take_numbers(self, entries: Sequence[Recordable], first: int | None) -> None:
        """Note the place of events in the record; ``None`` when they have none. See :data:`OnWritten`."""
        for offset, entry in enumerate(entries):
            event = self._pending.get(id(entry.request))
            if event is not None:
                self._number(event, None if first is None else first + offset)
        self._view.flush()

    def take_exchange(self, exchange: Exchange) -> None:
        """Note what a request was answered; see :class:`~suno_cover_cli.callbacks.listener.CallbackListener`."""
        event = None if exchange.request is None else self._pending.get(id(exchange.request))
        if event is None:
            self.not_callbacks[exchange.reason] += 1
            self._view.show_unmatched(exchange)
            self._view.flush()
            if self.report_unmatched is not None:
                self.report_unmatched(exchange)
            return
        event.take_exchange(exchange)
        if event.is_shown:
            if event.n is not None and self.record_answer is not None and event.answer is not None:
                self.record_answer(event.n, event.answer)
            self._finish(event, exchange)
            self._view.flush()

    def take_delivery(self, event: ListenEvent, delivery: Delivery) -> None:
        """Note what a further receiver did with an event."""
        if not event.is_shown:
            # A quick receiver may be ahead of the record, which says what number the line has to name.
            event.further += (delivery,)
        elif not self._is_over:
            self._view.show_delivery(event, delivery)
            self._view.flush()

    @property
    def unanswered(self) -> int:
        """Events whose answer, or whose record, was cut off by the end."""
        return len(self._pending)

    def show_cut_off(self) -> None:
        """Show at the end what was not answered before it: a view may have waited for the answers."""
        if self._is_over:
            return
        for event in self._pending.values():
            self._view.show_cut_off(event)
            self.counts["cut off"] += event.request.content is not None
        self._view.flush()

    def _number(self, event: ListenEvent, n: int | None) -> None:
        request = event.request
        event.n = n
        if request.duplicate_of is not None:
            event.duplicate_of = self._firsts.get(request.duplicate_of)
        elif request.content is not None and not request.is_refused:
            self._firsts[request.n] = n
            if len(self._firsts) > _MAX_FIRSTS:
                self._firsts.popitem(last=False)
        event.is_shown = True
        if not self._is_over:
            self._view.show_arrival(event)
            for delivery in event.further:
                self._view.show_delivery(event, delivery)
        event.further = ()
        if event.exchange is not None:
            self._finish(event, event.exchange)

    def _finish(self, event: ListenEvent, exchange: Exchange) -> None:
        request = event.request
        self._pending.pop(id(request), None)
        if self._is_over:
            self.counts["late"] += 1
            return
        self._view.show_answer(event, exchange)
        if request.content is None:
            self.not_callbacks[request.reason] += 1
        elif request.is_refused:
            self.counts["refused"] += 1
        else:
            self.counts["events"] += 1
            self.counts["duplicates"] += request.duplicate_of is not None
            if self.save is not None and request.content.kind is CallbackKind.COVER:
                self.save(request.content.task_id)
            self._is_over = self._on_event(event)


def in_thousandths(value: float) -> float:
    """Round what is not negative to three digits; ``round`` writes it out in decimal first, which takes longer."""
    return int(value * 1000 + 0.5) / 1000


def report_delivery(delivery: Delivery) -> ForwardReport:
    """Make of a delivery what is recorded and printed of it."""
    return ForwardReport(
        url=delivery.url,
        status=delivery.status,
        latency_ms=round(delivery.latency_ms, 3),
        headers=joined_headers(decoded(delivery.headers)),
        body_b64=binascii.b2a_base64(delivery.body, newline=False).decode(),
        error="; ".join(filter(None, (delivery.error, delivery.advice))) if delivery.answered is None else None,
    )


def joined_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by name in lower case: several values are joined with commas, cookies with newlines."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        # A cookie's date holds a comma: joined by one, they could not be told apart (RFC 9110, 5.3).
        mark = "\n" if key == "set-cookie" else ", "
        joined[key] = f"{joined[key]}{mark}{value}" if key in joined else value
    return joined
