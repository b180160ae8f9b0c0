"""What passes between a listener and the command that runs it: answers, and what was answered."""

from collections.abc import Awaitable, Callable

import msgspec

from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.content import ReceivedCallback


class Answer(msgspec.Struct, frozen=True):
    """What a request is answered; ``body`` is JSON."""

    status: int = 200
    body: bytes = b'{"status":"received"}'


RECEIVED = Answer()

Responder = Callable[[ReceivedCallback], Awaitable[Answer]]
"""Decides the answer to an accepted callback; may take its time."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request and what it was answered.

    Attributes:
        method: As sent; empty, like all that follows, when the bytes were not HTTP.
        path: As requested, query included.
        headers: As sent.
        body: As sent; empty where the head alone led to the answer.
        remote: Address of the peer: the tunnel's agent, as a rule.
        ts: Epoch seconds at arrival.
        status: Of the answer; 0 when the connection was cut without one.
        reason: Why it was refused, in words of our own; empty when it was accepted.
        latency_ms: From the end of the request's head to the end of the answer.
        callback: What it said, if it was a callback, accepted or not.
        is_answer_lost: The client hung up before it had its answer.
    """

    method: str = ""
    path: str = ""
    headers: Headers = ()
    body: bytes = b""
    remote: str = ""
    ts: float
    status: int
    reason: str = ""
    latency_ms: float = 0.0
    callback: ReceivedCallback | None = None
    is_answer_lost: bool = False
