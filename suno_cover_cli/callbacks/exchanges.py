"""What passes between a listener and the command that runs it: answers, and what was answered."""

from collections.abc import Awaitable, Callable
from typing import Protocol, Self

import msgspec

from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.content import ReceivedRequest

RawHeaders = tuple[tuple[bytes, bytes], ...]
"""Header lines in the order, spelling and bytes they are sent."""


class Rest(Protocol):
    """The rest of a long body, piece by piece. It raises ``OSError`` when there is a rest that cannot be had."""

    def __aiter__(self) -> Self:
        """Return itself."""
        ...

    async def __anext__(self) -> bytes:
        """Return the next piece."""
        ...

    async def aclose(self) -> None:
        """Be done with it."""
        ...


JSON_TYPE: RawHeaders = ((b"Content-Type", b"application/json"),)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a request is answered.

    Attributes:
        status: From 200 on.
        body: All of the body, or its beginning.
        headers: Without those about the connection and the framing, which are made anew.
        rest: Follows ``body``; it is closed whatever happens.
        size: Bytes of the body in all, where they are not those of ``body`` and known.
    """

    status: int = 200
    body: bytes = b'{"status":"received"}'
    headers: RawHeaders = JSON_TYPE
    rest: Rest | None = None
    size: int | None = None


RECEIVED = Answer()

Responder = Callable[[ReceivedRequest, Answer], Awaitable[Answer]]
"""Decides the answer to a request on an open path; may take its time.

Takes the request and what it would be answered otherwise.
"""


class Exchange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request and what it was answered.

    Attributes:
        method: As sent; empty, like all that follows, when the bytes were not HTTP.
        path: As requested, query included.
        headers: As sent.
        remote: See :class:`~suno_cover_cli.callbacks.content.ReceivedRequest`.
        ts: Epoch seconds at arrival.
        status: Of the answer; 0 when the connection was cut without one.
        reason: Why it does not count as a callback, in our own words; empty for one that does.
        latency_ms: From the end of the request's head to the end of the answer.
        request: What came, when it came on an open path.
        is_answer_lost: The answer did not get through, or not all of it.
    """

    method: str = ""
    path: str = ""
    headers: Headers = ()
    remote: str = ""
    ts: float
    status: int
    reason: str = ""
    latency_ms: float = 0.0
    request: ReceivedRequest | None = None
    is_answer_lost: bool = False
