"""Decides what a callback is answered: 200, or what a bad receiver says, or what the one behind us says."""

from collections.abc import Awaitable, Callable

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.callbacks.content import ReceivedCallback
from suno_cover_cli.callbacks.exchanges import RECEIVED, Answer
from suno_cover_cli.listen.events import Forwarded, ListenEvent

# Callbacks that wait for a delay or a receiver are held in memory. The next one is told to come again.
_MAX_HELD_BYTES = 32 * 1024 * 1024
_BUSY = Answer(503, b'{"status":"busy"}')

Forward = Callable[[ReceivedCallback], Awaitable[tuple[Answer, Forwarded]]]
"""Sends a callback on; returns what to answer and what to tell."""


class Answers:
    """Answers accepted callbacks; see :data:`~suno_cover_cli.callbacks.exchanges.Responder`.

    Args:
        note_arrival: Told first.
        clock: Time.
        status: Instead of 200, or ``None``.
        delay_s: Before each answer.
        forward: Sends callbacks on, or ``None``.
    """

    def __init__(
        self,
        note_arrival: Callable[[ReceivedCallback], ListenEvent],
        *,
        clock: Clock,
        status: int | None = None,
        delay_s: float | None = None,
        forward: Forward | None = None,
    ) -> None:
        self._note_arrival = note_arrival
        self._clock = clock
        self._answer = RECEIVED if status is None else as_told(status)
        self._delay_s = delay_s
        self._forward = forward
        self._held_bytes = 0

    async def answer(self, callback: ReceivedCallback) -> Answer:
        """Return the answer to one callback, in its time."""
        if self._delay_s is None and self._forward is None:
            self._note_arrival(callback)
            return self._answer
        if self._held_bytes + len(callback.body) > _MAX_HELD_BYTES:
            return _BUSY
        self._held_bytes += len(callback.body)
        try:
            return await self._answer_later(self._note_arrival(callback))
        finally:
            self._held_bytes -= len(callback.body)

    async def _answer_later(self, event: ListenEvent) -> Answer:
        if self._delay_s is not None:
            await self._clock.sleep(self._delay_s)
        if self._forward is None:
            return self._answer
        answer, event.forwarded = await self._forward(event.callback)
        return answer


def as_told(status: int) -> Answer:
    """Return the answer of ``--answer STATUS``."""
    said = {"status": "received"} if status < 300 else {"status": "refused", "reason": "told to"}  # noqa: PLR2004
    return Answer(status, msgspec.json.encode(said))
