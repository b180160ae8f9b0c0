"""``listen --forward-to``: every request goes on to the receivers behind us; the first one's answer goes back."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from suno_cover_cli.callbacks.delivery import CallbackSender
from suno_cover_cli.callbacks.exchanges import Answer, Delivery, Outcome
from suno_cover_cli.listen.events import ListenEvent

MAX_TARGETS = 16
_UNREACHABLE = Answer(502, b'{"status":"unreachable"}')
_TOO_SLOW = Answer(504, b'{"status":"too slow"}')
# What the further receivers still owe an answer to; the sender waits for none of them.
_MAX_HELD_BYTES = 32 * 1024 * 1024


class Forwarding:
    """Sends requests on. An async context manager: leaving ends the deliveries that no sender waits for.

    Args:
        senders: Entered; their time-out is :data:`~suno_cover_cli.callbacks.delivery.FORWARD_S`. The first one's
            answer is the sender's.
        on_delivery: Told what each of the others did.
    """

    def __init__(
        self, senders: Sequence[CallbackSender], *, on_delivery: Callable[[ListenEvent, Delivery], None]
    ) -> None:
        self._first, *self._others = senders
        self._on_delivery = on_delivery
        self._deliveries: set[asyncio.Task[None]] = set()
        self._held_bytes = 0

    async def __aenter__(self) -> Self:
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
            if self._held_bytes + len(event.request.body) <= _MAX_HELD_BYTES:
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
        request = event.request
        answered, rest = await self._first.relay(
            request.body, request.headers, method=request.method, query=request.query
        )
        event.delivery = answered
        if answered.status is None:
            return _TOO_SLOW if answered.outcome is Outcome.TIMED_OUT else _UNREACHABLE
        # The answer to HEAD has the length of a body and none.
        size = answered.size if rest is not None or request.method == "HEAD" else None
        return Answer(answered.status, answered.body, answered.headers, rest, size)

    async def _deliver(self, sender: CallbackSender, event: ListenEvent) -> None:
        request = event.request
        try:
            delivery = await sender.deliver(
                request.body, request.headers, method=request.method, query=request.query
            )
        finally:
            self._held_bytes -= len(request.body)
        self._on_delivery(event, delivery)
