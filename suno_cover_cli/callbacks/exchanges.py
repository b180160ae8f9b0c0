"""What passes between a listener and the command that runs it: requests, their answers, what was answered.

The requests of one path wait in its inbox for their reader, in bounded room.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.content import CallbackContent, ReceivedRequest

RawHeaders = tuple[tuple[bytes, bytes], ...]
"""Header lines in the order, spelling and bytes they are sent."""

# Unread callbacks are wake-ups: when a flood on a known path fills the room, the latest news counts.
_MAX_UNREAD = 256
_MAX_UNREAD_BYTES = 2 * 1024 * 1024
_MAX_REMEMBERED = 1000
_IDS_AT_ONCE = 64
_OK = 200


class Outcome(StrEnum):
    """How a delivery ended; ``FAILED``: what came from the receiver is not an answer, or not all of one."""

    ANSWERED = "answered"
    UNREACHABLE = "unreachable"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one delivery.

    Attributes:
        url: Where to, without the query of the request.
        outcome: See :class:`Outcome`.
        status: Of the receiver's answer, also of one that did not come to its end; ``None`` without one.
        latency_ms: From the first attempt to connect to the end of the answer, or of what is kept of it, or to
            giving up.
        headers: Of the answer, those that go on to the sender.
        body: The first 64 KiB of the answer, as sent, untrusted.
        size: Bytes of the whole answer, where it is longer than ``body`` and that is known.
        error: Why there is no answer, or no end of it, one cleaned line; empty with a whole one.
        advice: What helps, for an answer other than 200 or none; may be empty.
    """

    url: str
    outcome: Outcome
    status: int | None = None
    latency_ms: float
    headers: RawHeaders = ()
    body: bytes = b""
    size: int | None = None
    error: str = ""
    advice: str = ""

    @property
    def answered(self) -> int | None:
        """Status of a whole answer; ``None`` without one."""
        return self.status if self.outcome is Outcome.ANSWERED else None

    @property
    def is_accepted(self) -> bool:
        """Whether the service would be content: 200, in time."""
        return self.answered == _OK


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


def decoded(headers: RawHeaders) -> Headers:
    """Return header lines as text, in their order: UTF-8 where all of them are, else Latin-1."""
    try:
        return tuple([(name.decode(), value.decode()) for name, value in headers])
    except UnicodeDecodeError:  # HTTP once meant Latin-1, and every byte is a letter there
        return tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])


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

Responder = Callable[[ReceivedRequest, Answer], Answer | Coroutine[Any, Any, Answer]]
"""Decides the answer to a request on an open path, at once or in its time.

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
        status: Of the answer.
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


class InboxClosedError(Exception):
    """The inbox, or its listener, was closed, and everything received before has been read."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Number, id and first of its like, as in :class:`~suno_cover_cli.callbacks.content.ReceivedRequest`."""

    n: int
    id: str
    duplicate_of: int | None


class CallbackInbox:
    """The requests that arrive on one path of a listener, in order.

    What says the same of the same task as one still unread is not kept twice; once read, the next one is
    delivered again, because the service may announce a job before its record is up to date.

    Args:
        path: See below.
        on_close: Told once that it closes.
        is_read: See below.

    Attributes:
        path: Where callbacks for this inbox arrive, ``/callback/<token>`` unless chosen.
        is_read: A job waits at :meth:`receive`: any POST wakes it. Otherwise nothing is kept for that.
        on_refused: Told of each callback that a signature refused.
    """

    def __init__(self, path: str, *, on_close: Callable[[], object], is_read: bool = True) -> None:
        self.path = path
        self._on_close = on_close
        self.is_read = is_read
        self.on_refused: Callable[[ReceivedRequest], None] = lambda _: None
        self._count = 0
        self._ids = _random_ids()
        # A plain dict finds its first key the slower the more were taken from its front.
        self._first_seen: OrderedDict[tuple[str, int, int], int] = OrderedDict()
        self._unread: OrderedDict[tuple[str, int], ReceivedRequest] = OrderedDict()
        self._unread_bytes = 0
        self._changed = asyncio.Event()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def receive(self) -> ReceivedRequest:
        """Wait for the next request. One reader at a time.

        Raises:
            InboxClosedError: No more will come.
        """
        while not self._unread:
            if self._is_closed:
                raise InboxClosedError
            self._changed.clear()
            await self._changed.wait()
        return self._take_first()

    def close(self) -> None:
        """Take nothing more: from now on the path is unknown to the listener."""
        if not self._is_closed:
            self._is_closed = True
            self._on_close()
            self._changed.set()

    def number(self, content: CallbackContent | None, body: bytes, *, is_accepted: bool) -> Place:
        """Number and name a request of this path, and tell whether it was here before. It is not delivered yet."""
        self._count += 1
        first = None
        if content is not None:
            # Python's hash is keyed with a secret of the process: two bodies cannot be made to collide.
            key = (content.task_id, content.code, hash(body))
            first = self._first_seen.get(key)
            if first is None and is_accepted:
                self._first_seen[key] = self._count
                if len(self._first_seen) > _MAX_REMEMBERED:
                    self._first_seen.popitem(last=False)
        return Place(self._count, next(self._ids), first)

    def deliver(self, request: ReceivedRequest) -> None:
        """Put an accepted request where :meth:`receive` finds it."""
        if self._is_closed or not self.is_read:
            return
        key = (request.task_id, 0 if request.content is None else request.content.code)
        if key in self._unread:
            return
        self._unread[key] = request
        self._unread_bytes += len(request.body)
        while len(self._unread) > _MAX_UNREAD or (
            len(self._unread) > 1 and self._unread_bytes > _MAX_UNREAD_BYTES
        ):
            self._take_first()
        self._changed.set()

    def _take_first(self) -> ReceivedRequest:
        _, request = self._unread.popitem(last=False)
        self._unread_bytes -= len(request.body)
        return request


def _random_ids() -> Iterator[str]:
    """Yield ids of 32 random bits, for which the system is asked now and then: asking takes as long as parsing."""
    while True:
        digits = secrets.token_hex(4 * _IDS_AT_ONCE)
        for start in range(0, len(digits), 8):
            yield f"evt_{digits[start : start + 8]}"
