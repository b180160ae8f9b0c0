"""How the listener speaks HTTP: aiohttp's server with bounds on what a stranger may cost.

aiohttp's own bounds are on lines and on their number; what is added here is a bound on whole heads, a place
for each connection in the registry, answers in the listener's own shape, and silence: what clients do wrong is
counted by the listener, not logged.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from http.client import responses
from typing import cast

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

from suno_cover_cli.callbacks.bodies import MAX_BODY_BYTES, Headers
from suno_cover_cli.callbacks.connections import ConnectionLedger
from suno_cover_cli.callbacks.content import ReceivedCallback
from suno_cover_cli.callbacks.exchanges import Answer

# Node.js stops at 16 KiB of header lines as well; a real callback has about one.
_MAX_HEAD_BYTES = 16 * 1024
_MAX_LINE_BYTES = 8190
_READ_BYTES = 16 * 1024
# How long a refused sender may go on sending, so that it reads the refusal instead of a reset.
_LINGER_S = 2.0
# aiohttp's idle timer has one duration for everybody; the registry tells strangers from known senders.
_AIOHTTP_KEEPALIVE_S = 3600.0
_SERVER_NAME = "suno-cover"
_BODILESS = {204, 304}


class RefusalError(Exception):
    """Ends the reading of a request with an answer of our own."""

    def __init__(self, status: int, reason: str, *, callback: ReceivedCallback | None = None) -> None:
        super().__init__(reason)
        self.answer = Answer(status, msgspec.json.encode({"status": "refused", "reason": reason}))
        self.reason = reason
        self.callback = callback


class Connection(web.RequestHandler):
    """aiohttp's side of one connection, with a bound on unfinished heads and a way to be cut off."""

    __slots__ = ("_head_bytes", "_is_in_head", "_ledger", "_on_garbage", "_wire", "held_bytes")

    def __init__(
        self,
        server: web.Server,
        *,
        registry: ConnectionLedger,
        on_garbage: Callable[[int, str], None],
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
            lingering_time=_LINGER_S,
            read_bufsize=_READ_BYTES,
            # A compressed body stays as it came: unpacking is how a kilobyte becomes a gigabyte.
            auto_decompress=False,
        )
        self.held_bytes = 0
        self._head_bytes = 0
        self._is_in_head = True
        self._ledger = registry
        self._on_garbage = on_garbage
        self._wire: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place in the registry, and the way to give it up."""
        super().connection_made(transport)
        self._wire = cast("asyncio.Transport", transport)
        if hasattr(transport, "max_size"):
            # asyncio's selector transports read 256 KiB at a time. Blocks of that size, shrunk and freed, left
            # holes of 24 MiB in the heap after 100,000 hostile requests; this size left 8.
            transport.max_size = _READ_BYTES
        self._ledger.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place in the registry up."""
        self._ledger.closed(self)
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
            super().data_received(data)
        except ValueError:  # some releases of the parser let a URL's own error out
            self._cut("not HTTP")

    def _cut(self, reason: str) -> None:
        self._on_garbage(0, reason)
        self._ledger.closed(self)
        self.drop()

    def begin_request(self) -> None:
        """A head is complete; what follows belongs to its body."""
        self._is_in_head = False
        self._head_bytes = 0

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
            raise ConnectionError("half an answer is out already")
        if isinstance(exc, HttpProcessingError):
            refusal = RefusalError(400, "not HTTP")
            self._on_garbage(refusal.answer.status, refusal.reason)
        else:
            context = {"message": "A callback could not be answered", "exception": exc}
            asyncio.get_running_loop().call_exception_handler(context)
            refusal = RefusalError(500, "internal error")
        return WireAnswer(refusal.answer, must_close=True)


def make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    """Make the request of a head that is complete; aiohttp calls this."""
    cast("Connection", protocol).begin_request()
    loop = asyncio.get_running_loop()
    if message.path:
        with suppress(ValueError):  # a target such as http://[ in some releases
            return web.BaseRequest(message, payload, protocol, writer, task, loop)
    # The parser also lets a CONNECT without a target through, with None for its path and sometimes its URL.
    nowhere = message._replace(path="", url=URL("/"))
    return web.BaseRequest(nowhere, payload, protocol, writer, task, loop)


class WireAnswer(web.StreamResponse):
    """An answer of ours, written in one piece the first time aiohttp or the listener asks for it.

    aiohttp's own response builds its headers in ten steps, which took as long as all the rest of a callback.
    """

    def __init__(
        self, answer: Answer, *, content_type: str = "application/json", must_close: bool = False
    ) -> None:
        super().__init__(status=answer.status)
        self._answer = answer
        self._type = content_type
        self._stays_open = not must_close
        self._is_written = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection takes another request."""
        return self._stays_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the answer out.

        Raises:
            ConnectionError: The client hung up.
        """
        if self._is_written:
            return
        self._is_written = True
        self._stays_open = self._stays_open and request.keep_alive
        status, body = self._answer.status, self._answer.body
        head = (
            f"HTTP/1.1 {status} {responses.get(status, '')}\r\n"
            f"Date: {rfc822_formatted_time()}\r\nServer: {_SERVER_NAME}\r\n"
        )
        if status == 405:  # noqa: PLR2004 -- the one that has to say what is allowed
            head += "Allow: POST\r\n"
        if status not in _BODILESS:
            head += f"Content-Type: {self._type}\r\nContent-Length: {len(body)}\r\n"
        if not self._stays_open:
            head += "Connection: close\r\n"
        elif request.version < HttpVersion11:
            head += "Connection: keep-alive\r\n"
        if status in _BODILESS or request.method == "HEAD":
            body = b""
        await request.writer.write_eof(f"{head}\r\n".encode("ascii") + body)

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing more: the answer is out."""


async def read_body(request: web.BaseRequest, connection: Connection, registry: ConnectionLedger) -> bytes:
    """Read the body of a request that is worth reading.

    Raises:
        RefusalError: 413 above :data:`MAX_BODY_BYTES`, 400 when it breaks off or is framed wrongly.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RefusalError(413, "over 1 MiB")
    if request.content.is_eof():  # the usual case: it came in one piece with its head
        body = request.content.read_nowait()
    else:
        registry.waits(connection)
        try:
            body = await _read_pieces(request, connection, registry)
        except (ConnectionError, RuntimeError, HttpProcessingError, web.RequestPayloadError) as error:
            # RuntimeError is aiohttp's word for a connection that closed between two reads.
            raise RefusalError(400, "the body broke off") from error
        finally:
            registry.releases(connection)
    if len(body) > MAX_BODY_BYTES:
        raise RefusalError(413, "over 1 MiB")
    registry.answers(connection)
    return body


async def _read_pieces(request: web.BaseRequest, connection: Connection, registry: ConnectionLedger) -> bytes:
    """Read a body as it comes, one piece beyond the limit at most."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    pieces: list[bytes] = []
    while connection.held_bytes <= MAX_BODY_BYTES and (piece := await request.content.readany()):
        pieces.append(piece)
        registry.holds(connection, len(piece))
    return b"".join(pieces)


async def send(request: web.BaseRequest, answer: Answer) -> tuple[WireAnswer, bool]:
    """Write an answer out; also tell whether the client hung up before it."""
    # A body that nobody wants to read leaves no place to find the next request at.
    response = WireAnswer(answer, must_close=not request.content.is_eof())
    try:
        await response.prepare(request)
    except ConnectionError:
        return response, True
    return response, False


def plain_headers(request: web.BaseRequest) -> Headers:
    """Return the header lines as sent, in their order."""
    raw = request.raw_headers
    try:
        return tuple([(name.decode(), value.decode()) for name, value in raw])
    except UnicodeDecodeError:  # HTTP once meant Latin-1, and every byte is a letter there
        return tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])
