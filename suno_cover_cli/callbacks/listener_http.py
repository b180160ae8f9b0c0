"""How the listener speaks HTTP: aiohttp's server with bounds on what an unknown sender can cost.

aiohttp's own bounds are on lines and on their number; what is added here is a bound on whole heads, a place
for each connection in the registry, answers in the listener's own shape, and silence: what clients do wrong is
counted by the listener, not logged.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from functools import lru_cache
from http.client import responses
from typing import NamedTuple, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong
from aiohttp.streams import StreamReader
from yarl import URL

from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.connections import ConnectionRegistry
from suno_cover_cli.callbacks.exchanges import JSON_TYPE, Answer, RawHeaders
from suno_cover_cli.callbacks.framing import Framing
from suno_cover_cli.callbacks.verdict import BodyFault, refusal

# Node.js stops at 16 KiB of header lines as well; a real callback has about one.
_MAX_HEAD_BYTES = 16 * 1024
# Callback addresses carry queries, of 8 KiB where each holds a token; so do header fields.
_MAX_LINE_BYTES = 12 * 1024
_READ_BYTES = 16 * 1024
# Proxies add fields of their own; what all of them may take is bounded above.
_MAX_FIELDS = 1000
# How long a refused sender may go on sending, so that it reads the refusal instead of a reset.
_LINGER_S = 2.0
# aiohttp's idle timer has one duration for everybody; the registry tells known senders from others.
_AIOHTTP_KEEPALIVE_S = 3600.0
_SERVER_NAME = "suno-cover"
_BODILESS = {204, 304}
# What aiohttp calls the request that stands for one it could not read.
_UNREAD = "UNKNOWN"
_REQUEST_LINE = re.compile(rb"([!-~]{1,64}) ([!-\xff]+) HTTP/1\.[01]\r?\n")
_NOWHERE = URL("/")
_AUTHORITY = re.compile(r"https?://[^/]*", re.IGNORECASE)


class Connection(web.RequestHandler):
    """aiohttp's side of one connection, with a bound on unfinished heads and a way to be cut off.

    Attributes:
        held_bytes: Bytes of an unfinished body.
        peer: Address of the other end; empty where it has none.
    """

    __slots__ = (
        "_connections",
        "_framing",
        "_head_bytes",
        "_is_in_head",
        "_on_garbage",
        "_wire",
        "held_bytes",
        "peer",
    )

    def __init__(
        self,
        server: web.Server,
        *,
        registry: ConnectionRegistry,
        on_garbage: "Callable[[int, str, UnreadRequest | None], None]",
        log: logging.Logger,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_AIOHTTP_KEEPALIVE_S,
            logger=log,
            access_log=log,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_FIELDS,
            lingering_time=_LINGER_S,
            read_bufsize=_READ_BYTES,
            # A compressed body stays as it came: unpacking is how a kilobyte becomes a gigabyte.
            auto_decompress=False,
        )
        self.held_bytes = 0
        self._head_bytes = 0
        self._framing = Framing(_MAX_HEAD_BYTES)
        self._is_in_head = True
        self._connections = registry
        self._on_garbage = on_garbage
        self._wire: asyncio.Transport | None = None
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place in the registry, and the way to give it up."""
        super().connection_made(transport)
        self._wire = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        if hasattr(transport, "max_size"):
            # asyncio's selector transports read 256 KiB at a time. Blocks of that size, shrunk and freed, left
            # holes of 24 MiB in the heap after 100,000 hostile requests; this size left 8.
            transport.max_size = _READ_BYTES
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place in the registry up."""
        self._connections.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless this head has grown beyond all use."""
        # Judged before adding: the segment that ends a head may carry a body with it.
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._cut("endless head")
            return
        if self._is_in_head:
            self._head_bytes += len(data)
        try:
            for piece in self._framing.split(data):
                super().data_received(piece)
        except ValueError:  # some releases of the parser let a URL's own error out
            self._cut("not HTTP")

    def _cut(self, reason: str) -> None:
        self._on_garbage(0, reason, None)
        self._connections.closed(self)
        self.drop()

    def begin_request(self) -> None:
        """A head is complete; what follows belongs to its body."""
        self._is_in_head = False
        self._head_bytes = 0
        self._framing.begin()

    def end_request(self) -> None:
        """The next bytes are a new head."""
        self._is_in_head = True

    def drop(self) -> None:
        """Cut the connection without waiting for what is unsent."""
        if self._wire is not None:
            self._wire.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002 -- aiohttp's signature
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- the same; it quotes what was sent
    ) -> web.StreamResponse:
        """Answer what never became a request with 400; a fault of our own is the event loop's to report."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer was sent already")
        if isinstance(exc, HttpProcessingError):
            unread = parse_unread(self._framing.take_refused(), self.peer)
            reason = _reason_of(exc, is_request=unread is not None)
            self._on_garbage(400, reason, unread)
            return WireAnswer(refusal(400, reason), must_close=True)
        context = {"message": "A callback could not be answered", "exception": exc}
        asyncio.get_running_loop().call_exception_handler(context)
        return WireAnswer(refusal(500, "internal error"), must_close=True)


def make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    """Make the request of a head that is complete; aiohttp calls this."""
    if message.method != _UNREAD:
        cast("Connection", protocol).begin_request()
    loop = asyncio.get_running_loop()
    if not message.path:
        # The parser also lets a CONNECT without a target through, with None for its path and sometimes its URL.
        message = message._replace(path="", url=_NOWHERE)
    try:
        return web.BaseRequest(message, payload, protocol, writer, task, loop)
    except ValueError:  # a target such as http://[ in some releases
        nowhere = message._replace(path="", url=_NOWHERE)
        return web.BaseRequest(nowhere, payload, protocol, writer, task, loop)


class UnreadRequest(NamedTuple):
    """What is known of a request that the parser refuses: a method it does not know, a length given twice.

    Attributes:
        method: As sent.
        target: As sent.
        headers: The lines that are header lines, as sent.
        body: What came with the head.
        peer: Address of the peer.
    """

    method: str
    target: str
    headers: Headers
    body: bytes
    peer: str


def parse_unread(head: bytes, peer: str) -> UnreadRequest | None:
    """Read what was refused as far as it can be; ``None`` for bytes that do not begin like a request."""
    match = _REQUEST_LINE.match(head)
    if match is None:
        return None
    lines, _, body = head[match.end() :].partition(b"\r\n\r\n")
    pairs = (line.partition(b":") for line in lines.split(b"\r\n"))
    headers = tuple(
        (name.decode("latin-1"), value.strip().decode("latin-1")) for name, colon, value in pairs if name and colon
    )
    return UnreadRequest(
        match[1].decode("ascii"), match[2].decode("utf-8", "surrogateescape"), headers, body, peer
    )


def _reason_of(error: HttpProcessingError, *, is_request: bool) -> str:
    match error:
        case LineTooLong():
            return "a line of over 12 KiB"
        case _ if not is_request:
            return "not HTTP"
        case BadHttpMethod():
            return "its method is not one of HTTP"
        case InvalidURLError():
            return "its address cannot be read"
    return "its header fields cannot be read"


class WireAnswer(web.StreamResponse):
    """An answer of ours, written the first time aiohttp or the listener asks for it; in one piece as a rule.

    aiohttp's own response builds its headers in ten steps, which took as long as all the rest of a callback. Of
    what it is made of nothing is asked for here but the three members below, so it is not set up.
    """

    def __init__(
        self, answer: Answer, *, must_close: bool = False, on_progress: Callable[[], None] = lambda: None
    ) -> None:
        self._answer = answer
        self._stays_open = not must_close
        self._on_progress = on_progress
        self._is_written = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection takes another request."""
        return self._stays_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the answer out.

        Raises:
            ConnectionError: The client hung up.
            OSError: The rest of the answer cannot be had.
        """
        if self._is_written:
            return
        self._is_written = True
        answer, is_old = self._answer, request.version < HttpVersion11
        is_bodiless = answer.status in _BODILESS or request.method == "HEAD"
        rest = None if is_bodiless else answer.rest
        is_endless = rest is not None and answer.size is None
        self._stays_open = self._stays_open and request.keep_alive and not (is_endless and is_old)
        make_lines = _own_lines if answer.headers is JSON_TYPE else _lines
        head = make_lines(answer.status, answer.headers, rfc822_formatted_time())
        if is_endless:
            head += b"" if is_old else b"Transfer-Encoding: chunked\r\n"
        elif answer.status not in _BODILESS:
            head += b"Content-Length: %d\r\n" % (len(answer.body) if answer.size is None else answer.size)
        if not self._stays_open:
            head += b"Connection: close\r\n"
        elif is_old:
            head += b"Connection: keep-alive\r\n"
        head += b"\r\n"
        if rest is None:
            await request.writer.write_eof(head if is_bodiless else head + answer.body)
            return
        await request.writer.write(head)
        if is_endless and not is_old:
            request.writer.enable_chunking()
        await request.writer.write(answer.body)
        async for piece in rest:
            self._on_progress()
            await request.writer.write(piece)
        await request.writer.write_eof()

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing more: the answer is out."""


def _lines(status: int, headers: RawHeaders, date: str) -> bytes:
    """Return the lines of a head that are neither about the connection nor about the framing."""
    lines = [f"HTTP/1.1 {status} {responses.get(status, '')}".encode("ascii")]
    if not any(name.lower() == b"date" for name, _ in headers):
        lines.append(f"Date: {date}\r\nServer: {_SERVER_NAME}".encode("ascii"))
    lines += [b"%b: %b" % line for line in headers]
    return b"\r\n".join([*lines, b""])


# Those of our own answers are the same for a second.
_own_lines = lru_cache(maxsize=8)(_lines)


async def read_body(
    request: web.BaseRequest, connections: ConnectionRegistry, *, max_bytes: int
) -> tuple[bytes, BodyFault | None]:
    """Read the body of a request on an open path; also return what is wrong when that is not all of it."""
    connection = cast("Connection", request.protocol)
    payload = request.content
    if payload.is_eof():  # the usual case: it came in one piece with its head
        body = payload.read_nowait()
    elif (request.content_length or 0) > max_bytes:
        return b"", _too_large(max_bytes)
    else:
        pieces: list[bytes] = []
        connections.waits(connection)
        try:
            await _read_pieces(request, connections, pieces, max_bytes)
        except (ConnectionError, RuntimeError, HttpProcessingError, web.RequestPayloadError):
            # RuntimeError is aiohttp's word for a connection that closed between two reads.
            return b"".join(pieces), BodyFault(400, "the body broke off")
        finally:
            connections.releases(connection)
        body = b"".join(pieces)
    if len(body) > max_bytes:
        return body[:max_bytes], _too_large(max_bytes)
    connections.answers(connection)
    return body, None


def _too_large(max_bytes: int) -> BodyFault:
    return BodyFault(413, f"over {max_bytes // 1024**2} MiB")


async def _read_pieces(
    request: web.BaseRequest, connections: ConnectionRegistry, pieces: list[bytes], max_bytes: int
) -> None:
    """Read a body as it comes, one piece beyond the limit at most."""
    connection = cast("Connection", request.protocol)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    while connection.held_bytes <= max_bytes and (piece := await request.content.readany()):
        pieces.append(piece)
        connections.holds(connection, len(piece))


async def send(
    request: web.BaseRequest, answer: Answer, *, must_close: bool, on_progress: Callable[[], None]
) -> tuple[WireAnswer, bool]:
    """Write an answer out; also tell whether it did not get through as a whole.

    Args:
        request: Is answered.
        answer: The answer; its rest is closed whatever happens.
        must_close: The connection ends with it.
        on_progress: Told whenever the client has taken a piece of a long one.
    """
    response = WireAnswer(answer, must_close=must_close, on_progress=on_progress)
    try:
        await response.prepare(request)
    except OSError:
        # Half an answer must not look like a whole one: the end of the connection says so in every framing.
        if answer.rest is not None:
            cast("Connection", request.protocol).drop()
        return response, True
    finally:
        if answer.rest is not None:
            await answer.rest.aclose()
    return response, False


def plain_path(target: str) -> str:
    """Return the path of a request's target, which may be a whole URL (RFC 9112, 3.2.2), without its query."""
    path = target.partition("?")[0]
    return path if path.startswith("/") else _AUTHORITY.sub("", path, count=1)


def plain_headers(request: web.BaseRequest) -> Headers:
    """Return the header lines as sent, in their order."""
    raw = request.raw_headers
    try:
        return tuple([(name.decode(), value.decode()) for name, value in raw])
    except UnicodeDecodeError:  # HTTP once meant Latin-1, and every byte is a letter there
        return tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])
