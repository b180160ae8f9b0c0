"""Decides what a request is answered: what it deserves, what ``--answer`` says, or what the one behind us says."""

from collections.abc import Awaitable, Callable

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Answer
from suno_cover_cli.listen.events import ListenEvent

# Requests that wait for a delay or a receiver are held in memory. The next one is answered with 503.
_MAX_HELD_BYTES = 32 * 1024 * 1024
_BUSY = Answer(503, b'{"status":"busy"}', ((b"Content-Type", b"application/json"), (b"Retry-After", b"15")))

Forward = Callable[[ListenEvent], Awaitable[Answer]]
"""Sends an event on, notes what became of it, and returns what to answer."""


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

    async def answer(self, request: ReceivedRequest, deserved: Answer) -> Answer:
        """Return the answer to one request, in its time."""
        event = self._note_arrival(request)
        if request.is_refused:
            # What a wrong signature keeps out goes no further.
            return deserved
        if self._delay_s is None and self._forward is None:
            return self._answer or deserved
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
    said = {"status": "received"} if status < 300 else {"status": "refused", "reason": "told to"}  # noqa: PLR2004
    return Answer(status, msgspec.json.encode(said))
