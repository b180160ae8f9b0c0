"""Decides what a request is answered: what it deserves, what ``--answer`` says, or what the one behind us says."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.callbacks.connections import descriptor_room
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Answer, Delivery, Outcome
from suno_cover_cli.callbacks.sending.delivery import CallbackSender
from suno_cover_cli.listen.events import ListenEvent

# Requests that wait for a delay or a receiver are held in memory; the next one is answered with 503. As much again
# is held for the further receivers, which the sender does not wait for; the next one is left out.
_MAX_HELD_BYTES = 32 * 1024 * 1024
# Each of them has a connection, though its sender may have hung up; so has each on its way to a further receiver.
_MAX_UNDER_WAY = 512
_BUSY = Answer(503, b'{"status":"busy"}', ((b"Content-Type", b"application/json"), (b"Retry-After", b"15")))

Forward = Callable[[ListenEvent], Awaitable[Answer]]
"""Sends an event on, notes what became of it, and returns what to answer."""

MAX_TARGETS = 16
"""Receivers of one ``listen``."""

_NO_ANSWER = Answer(502, b'{"status":"no answer"}')
_TOO_SLOW = Answer(504, b'{"status":"too slow"}')


class Answers:
    """Answers requests; see :data:`~suno_cover_cli.callbacks.exchanges.Responder`.

    Args:
        note_arrival: Told first.
        clock: Time.
        status: For every request with an acceptable signature, or ``None``.
        delay_s: Before each answer.
        forward: Sends them on, or ``None``.
    """

    def __init__(
        self,
        note_arrival: Callable[[ReceivedRequest], ListenEvent],
        *,
        clock: Clock,
        status: int | None = None,
        delay_s: float | None = None,
        forward: Forward | None = None,
    ) -> None:
        self._note_arrival = note_arrival
        self._clock = clock
        self._answer = None if status is None else as_told(status)
        self._delay_s = delay_s
        self._forward = forward
        self._held_bytes = 0

    def answer(self, request: ReceivedRequest, deserved: Answer) -> Answer | Coroutine[Any, Any, Answer]:
        """Return the answer to one request, or what will return it in its time."""
        event = self._note_arrival(request)
        if request.is_refused:
            # What a wrong signature keeps out goes no further.
            return deserved
        if self._delay_s is None and self._forward is None:
            return self._answer or deserved
        return self._answer_later(event, deserved)

    async def _answer_later(self, event: ListenEvent, deserved: Answer) -> Answer:
        request = event.request
        if self._held_bytes + len(request.body) > _MAX_HELD_BYTES:
            return _BUSY
        self._held_bytes += len(request.body)
        try:
            if self._delay_s is not None:
                await self._clock.sleep(self._delay_s)
            # Half a body is not what the sender meant to say.
            if self._forward is None or not request.is_whole:
                return self._answer or deserved
            return await self._forward(event)
        finally:
            self._held_bytes -= len(request.body)


def as_told(status: int) -> Answer:
    """Return the answer of ``--answer STATUS``."""
    said = {"status": "received"} if status < 300 else {"status": "refused", "reason": "set by --answer"}  # noqa: PLR2004
    return Answer(status, msgspec.json.encode(said))


class Forwarding:
    """Sends requests on. An async context manager: leaving ends the deliveries that no sender waits for.

    Args:
        senders: Entered; their time-out is :data:`~suno_cover_cli.callbacks.sending.delivery.FORWARD_S`. The
            first one's answer is the sender's.
        on_delivery: Told what each of the others did.
    """

    def __init__(
        self, senders: Sequence[CallbackSender], *, on_delivery: Callable[[ListenEvent, Delivery], None]
    ) -> None:
        self._first, *self._others = senders
        self._on_delivery = on_delivery
        self._deliveries: set[asyncio.Task[None]] = set()
        self._held_bytes = 0
        self._under_way = 0

    async def __aenter__(self) -> Self:
        # The listener needs twice as many for those that it has accepted.
        self._room = descriptor_room(4 * _MAX_UNDER_WAY) // 4
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for delivery in self._deliveries:
            delivery.cancel()
        if self._deliveries:
            await asyncio.wait(self._deliveries)

    async def forward(self, event: ListenEvent) -> Answer:
        """See :data:`~suno_cover_cli.listen.answers.Forward`."""
        for sender in self._others:
            has_bytes = self._held_bytes + len(event.request.body) <= _MAX_HELD_BYTES
            if has_bytes and len(self._deliveries) < self._room:
                self._held_bytes += len(event.request.body)
                delivery = asyncio.create_task(self._deliver(sender, event))
                self._deliveries.add(delivery)
                delivery.add_done_callback(self._deliveries.discard)
            else:
                error = "was left out: too many requests are waiting for it"
                left_out = Delivery(
                    url=sender.target.url, outcome=Outcome.UNREACHABLE, latency_ms=0.0, error=error
                )
                self._on_delivery(event, left_out)
        if self._under_way >= self._room:
            return _BUSY
        request = event.request
        self._under_way += 1
        try:
            event.delivery, answer = await self._first.relay(
                request.body, request.headers, method=request.method, query=request.query
            )
        finally:
            self._under_way -= 1
        if answer is None:
            return _TOO_SLOW if event.delivery.outcome is Outcome.TIMED_OUT else _NO_ANSWER
        return answer

    async def _deliver(self, sender: CallbackSender, event: ListenEvent) -> None:
        request = event.request
        try:
            delivery = await sender.deliver(
                request.body, request.headers, method=request.method, query=request.query
            )
        finally:
            self._held_bytes -= len(request.body)
        self._on_delivery(event, delivery)
