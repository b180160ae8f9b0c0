"""The inspector: requests as they come, what each was answered, and sending one again, changed or not.

The receiver of requests hands them in with :meth:`Inspector.show` and is asked to send one again; nothing here
knows how. What is kept has a bound in number and in bytes, and the oldest goes first. Values of headers that are
credentials never reach the page: they arrive masked, and a masked line that comes back means the value it masks.
"""

import asyncio
import binascii
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import OF_ONE_BODY
from suno_cover_cli.web.guard import PageError
from suno_cover_cli.web.server import Feed, Page

Headers = tuple[tuple[str, str], ...]
"""Names and values, in order."""

SEARCHED_CHARS = 1000
"""Of a body, what the page's search looks in."""

_MAX_BODY_BYTES = 6 * 1024 * 1024
_MAX_NUMBER_DIGITS = 18


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back.

    Attributes:
        status: HTTP status, or ``None`` without an answer.
        latency_ms: Until it was here.
        by: Who answered, or was to answer: an address, or empty for the listener itself.
        headers: Masked where they are credentials.
        body: As far as it is kept.
        error: Why there is no answer, or why it is not what the service wants; may be empty.
    """

    status: int | None
    latency_ms: float
    by: str = ""
    headers: Headers = ()
    body: bytes = b""
    error: str = ""


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    Attributes:
        ts: Epoch seconds at arrival.
        n: Its number in the record, or ``None``.
        method: As sent.
        path: As requested, without the query.
        query: What followed the ``?``.
        remote: Address of the sender.
        headers: As sent.
        masked: The same headers with the values masked that are credentials.
        body: The bytes as sent.
        sendable_headers: Those of the headers that can be sent again.
        sendable_body: The same of the body; ``None`` where it may not all be here.
        words: The beginning of what the body says, for the search; empty where it is not text.
        summary: What came, on one line.
        is_callback: A callback that was accepted.
        answer: What it was answered.
    """

    ts: float
    n: int | None
    method: str
    path: str
    query: str
    remote: str
    headers: Headers
    masked: Headers
    body: bytes
    sendable_headers: Headers
    sendable_body: bytes | None
    words: str
    summary: str
    is_callback: bool
    answer: Answer


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A request to send."""

    method: str
    query: str
    headers: Headers
    body: bytes


class ReplayWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser posts: which request to send again, where to, and what is changed; ``None`` is unchanged."""

    id: int
    to: str
    method: str | None = None
    query: str | None = None
    headers: list[tuple[str, str]] | None = None
    text: str | None = None


ReadText = Callable[[bytes, Headers], str | None]
"""Says what a body says: unpacked and decoded; ``None`` where it is not text. Blocks."""

SendAgain = Callable[[str, Again], Awaitable[Answer]]
"""Sends a request to one of the targets, by its name; whatever goes wrong is in the answer."""


class Inspector:
    """The page, and the requests it shows.

    Args:
        send_again: See :data:`SendAgain`.
        read_text: See :data:`ReadText`.
        targets: Name -> address: ``listener``, and each receiver that requests are sent on to, the first one as
            ``forward``.
        max_requests: Kept at most.
        max_bytes: Of their bodies and headers.

    Attributes:
        page: For a :class:`~suno_cover_cli.web.server.PageServer`.
        held_bytes: What is kept now.
    """

    def __init__(
        self,
        send_again: SendAgain,
        *,
        read_text: ReadText,
        targets: Mapping[str, str],
        max_requests: int = 500,
        max_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._send_again = send_again
        self._read_text = read_text
        self._targets = targets
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._kept: OrderedDict[int, Inspected] = OrderedDict()
        self._others: dict[int, list[Answer]] = {}
        self._last_id = 0
        self.held_bytes = 0
        self._feed = Feed()
        self.page = Page(
            document="inspector.html",
            reads={"requests": self._list, "request": self._load},
            writes={"replay": self._replay},
            feed=self._feed,
            max_body_bytes=_MAX_BODY_BYTES,
        )

    def show(self, request: Inspected) -> int:
        """Show a request that was answered, and return its number on the page; never blocks."""
        self._last_id += 1
        self._kept[self._last_id] = request
        self.held_bytes += _size_of(request)
        while len(self._kept) > self._max_requests or (self.held_bytes > self._max_bytes and len(self._kept) > 1):
            oldest_id, oldest = self._kept.popitem(last=False)
            self.held_bytes -= _size_of(oldest)
            self._others.pop(oldest_id, None)
        self._feed.publish("request", self._entry(self._last_id, request))
        return self._last_id

    def add_answer(self, request_id: int, answer: Answer) -> None:
        """Show what a further receiver answered to a request, in a line without its body; never blocks."""
        if request_id in self._kept:
            self._others.setdefault(request_id, []).append(msgspec.structs.replace(answer, headers=(), body=b""))
            self._feed.publish("answer", {"id": request_id})

    def _entry(self, request_id: int, request: Inspected) -> dict[str, object]:
        return {
            "id": request_id,
            "n": request.n,
            "ts": request.ts,
            "method": clean(request.method, 20),
            "target": clean(f"{request.path}{'?' if request.query else ''}{request.query}", 300),
            "summary": clean(request.summary, 300),
            "callback": request.is_callback,
            "status": request.answer.status,
            "size": len(request.body),
            # The page's search looks in here too.
            "words": clean(request.words, SEARCHED_CHARS),
        }

    async def _list(self, _: Mapping[str, str]) -> object:
        entries = [self._entry(request_id, request) for request_id, request in self._kept.items()]
        return {"requests": entries, "targets": self._targets, "most": self._max_requests}

    async def _load(self, query: Mapping[str, str]) -> object:
        given = query.get("id", "")
        if not (given.isascii() and given.isdecimal() and len(given) <= _MAX_NUMBER_DIGITS):
            raise PageError(400, "bad_request")
        request = self._find(int(given))
        text = await asyncio.to_thread(self._read_text, request.body, request.headers)
        return {
            "method": clean(request.method, 20),
            "path": clean(request.path, 8000),
            "query": request.query,
            "remote": request.remote,
            "ts": request.ts,
            "summary": clean(request.summary, 1000),
            "headers": request.masked,
            "body": _packed(request.body),
            "text": text,
            "answer": await self._written(request.answer),
            "others": [await self._written(answer) for answer in self._others.get(int(given), ())],
        }

    async def _replay(self, body: Any) -> object:
        try:
            wish = msgspec.convert(body, ReplayWish)
        except msgspec.ValidationError:
            raise PageError(400, "bad_request") from None
        request = self._find(wish.id)
        if wish.to not in self._targets:
            raise PageError(400, "no_such_target")
        method = request.method if wish.method is None else wish.method.strip().upper()
        text = None if wish.text is None else wish.text.encode("utf-8", "surrogatepass")
        sent = request.sendable_body if text is None else text
        if sent is None:
            raise PageError(400, "not_whole")
        again = Again(
            method=method,
            query=request.query if wish.query is None else wish.query,
            headers=request.sendable_headers if wish.headers is None else _unmasked(wish.headers, request),
            body=sent,
        )
        if not _can_be_sent(again):
            raise PageError(400, "cannot_be_sent")
        if text is not None:
            # What was typed is plain text, whatever the original was packed in.
            kept = tuple((name, value) for name, value in again.headers if name.lower() not in OF_ONE_BODY)
            again = msgspec.structs.replace(again, headers=kept)
        return await self._written(await self._send_again(wish.to, again))

    async def _written(self, answer: Answer) -> dict[str, object]:
        return {
            "status": answer.status,
            "latency_ms": round(answer.latency_ms, 1),
            "by": clean(answer.by, 300),
            "headers": answer.headers,
            "body": _packed(answer.body),
            # Nothing needs a thread to be read: of the further receivers no body is kept.
            "text": await asyncio.to_thread(self._read_text, answer.body, answer.headers) if answer.body else "",
            "error": clean(answer.error, 500),
        }

    def _find(self, request_id: int) -> Inspected:
        request = self._kept.get(request_id)
        if request is None:
            raise PageError(404, "unknown_request")
        return request


def _size_of(request: Inspected) -> int:
    headers = sum(len(name) + len(value) for name, value in (*request.headers, *request.answer.headers))
    # Masked headers come on top, and what objects weigh.
    bodies = len(request.body) + len(request.answer.body) + len(request.words)
    if request.sendable_body is not request.body:
        bodies += len(request.sendable_body or b"")
    return bodies + 2 * headers + 1000


def _packed(body: bytes) -> str:
    return binascii.b2a_base64(body, newline=False).decode()


def _unmasked(given: list[tuple[str, str]], request: Inspected) -> Headers:
    """Return headers as they were edited; a line that is as the page had it masked means the value behind it."""
    behind: dict[tuple[str, str], str] = {}
    for (name, value), (_, masked) in zip(request.headers, request.masked, strict=True):
        behind.setdefault((name.lower(), masked), value)
    return tuple((name, behind.get((name.lower(), value), value)) for name, value in given)


def _can_be_sent(again: Again) -> bool:
    """Tell whether this can be one HTTP request: nothing in it ends the line it stands in."""
    is_method = again.method.isascii() and again.method.isalpha() and len(again.method) <= 20  # noqa: PLR2004
    is_query = again.query.isascii() and again.query.isprintable() and " " not in again.query
    are_headers = all(
        name.isascii() and name.replace("-", "").replace("_", "").isalnum() and not set(value) & set("\r\n\0")
        for name, value in again.headers
    )
    return is_method and is_query and are_headers
