"""One connection of the listener: requests and answers in turn, and bounds on what an unknown sender can cost.

aiohttp's own server runs a task for each connection and another one for each request, which took longer than all
the rest of a callback. Here a request is answered as soon as it is parsed, unless it has to wait for something.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy

from suno_cover_cli.callbacks.connections import ConnectionRegistry
from suno_cover_cli.callbacks.exchanges import RawHeaders
from suno_cover_cli.callbacks.framing import UnreadRequest, explain_refusal
from suno_cover_cli.callbacks.parsing import MAX_FIELDS, MAX_HEAD_BYTES, READ_BYTES, RequestReader

# What is longer is sent at once, to see whether the client takes it.
_MAX_UNSENT_BYTES = 16 * 1024
# Requests of one connection in one turn of the loop: a segment of 16 KiB can hold hundreds of them, and each of
# hundreds of connections has its turn before a callback that has just come.
_MAX_AT_ONCE = 4
_BAD_REQUEST = 400
# In this time, one that has hung up says so when something is sent to it: the tunnel's agent is on this machine.
_RESET_S = 0.005

Later = Coroutine[Any, Any, None]


class Request(msgspec.Struct, eq=False):
    """One request whose head is here; its body may still be on its way.

    Attributes:
        connection: Brought it.
        method: As sent.
        target: As sent: a path with its query, or a whole URL.
        headers: Name in any case -> values.
        raw_headers: As sent.
        payload: Its body.
        is_old: HTTP/1.0.
        stays_open: The client may send another request on this connection.
        is_answered: The answer was begun.
    """

    connection: "Connection"
    method: str
    target: str
    headers: CIMultiDictProxy[str]
    raw_headers: RawHeaders
    payload: StreamReader
    is_old: bool
    stays_open: bool
    is_answered: bool = False

    def finish(self) -> None:
        """End the connection, once the answer is written, if no other request can follow."""
        if not self.stays_open:
            self.connection.end()


class Refusal(NamedTuple):
    """What stands in the place of a request that could not be read.

    Attributes:
        connection: Brought it; no other request follows.
        status: To answer.
        reason: In our own words.
        unread: What is known of it, where it begins like a request.
    """

    connection: "Connection"
    status: int
    reason: str
    unread: UnreadRequest | None = None


class Connection(RequestReader):
    """One connection, whose requests are answered one after the other.

    Args:
        registry: Knows what each connection is waiting for.
        serve: Answers a request or a refusal, before it returns or in the coroutine that it returns.
        start: Runs such a coroutine, which does not raise.

    Attributes:
        held_bytes: Bytes of an unfinished body.
        is_half_closed: The client sends nothing more, and may wait for an answer or be gone.
        peer: Address of the other end; empty where it has none.
    """

    def __init__(
        self,
        *,
        registry: ConnectionRegistry,
        serve: Callable[[Request | Refusal], Later | None],
        start: Callable[[Later], "asyncio.Task[None]"],
    ) -> None:
        super().__init__()
        self.held_bytes = 0
        self.peer = ""
        self._connections = registry
        self._serve = serve
        self._start_task = start
        self._unsent: list[bytes] = []
        self._data = b""
        self._start = 0
        self._payload: StreamReader | None = None
        self._is_serving = False
        self._is_held = False
        # What still comes is not read: the connection is ending.
        self._is_over = False
        self.is_half_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place in the registry."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        if hasattr(transport, "max_size"):
            # asyncio's selector transports read 256 KiB at a time. Blocks of that size, shrunk and freed, left
            # holes of 24 MiB in the heap after 100,000 hostile requests; this size left 8.
            transport.max_size = READ_BYTES
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place in the registry up; the reader of a body learns that it broke off."""
        self._connections.closed(self)
        if self._framing.head_bytes and not self._is_over and self._framing.unread() is not None:
            self._give_up("its head broke off")
        self._is_over = True
        if self._payload is not None and self._is_unread():
            self._payload.set_exception(exc or ConnectionResetError("the client hung up"))
        # Both know this connection: thousands of them would wait for the garbage collector.
        del self._http
        self._payload = None
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        """Stay open for the answer that is owed to a client which has said that nothing more will come."""
        self.is_half_closed = self._is_serving and not self._is_unread() and not self._is_over
        return self.is_half_closed

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        if not self._is_over:
            self._data, self._start = self._data[self._start :] + data, 0
            self._go_on()

    def pause_reading(self) -> None:
        """A body waits for its reader; the parser has its piece and goes on to the end of that."""
        self._reading_paused = True
        self._hold()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 -- aiohttp's
        """The body was read."""
        self._reading_paused = False
        self._hold()

    def pause_writing(self) -> None:
        """The client reads no answers: it is waited for as if it were unknown."""
        super().pause_writing()
        self._connections.waits(self)

    def resume_writing(self) -> None:
        """The client has read its answers and gets the next one."""
        super().resume_writing()
        self._go_on()

    def write(self, data: bytes) -> None:
        """Send bytes, once this turn of the loop is over: with the answers to all others that came in it.

        A send that finds its client asleep pays for waking it, half of all that a callback costs. One that follows
        another finds it awake.

        Raises:
            ConnectionResetError: The client hung up.
        """
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the client hung up")
        if not self._unsent:
            self.loop.call_soon(self.flush)
        self._unsent.append(data)
        if len(data) > _MAX_UNSENT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send now what was written."""
        data = b"".join(self._unsent)
        self._unsent.clear()
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    async def wait_sent(self) -> bool:
        """Wait until the client has taken what was written; return whether it hung up instead."""
        self.flush()
        try:
            await self._drain_helper()
        except ConnectionError:
            return True
        if self.is_half_closed:
            await asyncio.sleep(_RESET_S)
        return self.transport is None or bool(_error_of(self.transport))

    def end(self) -> None:
        """Close once all that was written has gone out.

        A client that is still sending would see a reset instead of its answer: what it sends is read for a
        moment and thrown away.
        """
        is_read = not self._is_over and not self._is_unread()
        transport, self._is_over = self.transport, True
        self.flush()
        if transport is None:
            return
        if is_read:
            transport.close()
            return
        if not transport.get_write_buffer_size():
            with suppress(OSError):  # the client was quicker, and hung up
                transport.write_eof()
        self._connections.lingers(self)
        self._hold()

    def drop(self) -> None:
        """Cut the connection without waiting for what is unsent."""
        self._is_over = True
        self.flush()
        if self.transport is not None:
            self.transport.abort()

    def _give_up(self, reason: str) -> None:
        """Refuse a request whose head is not here as a whole."""
        self._is_over = True
        later = self._serve(Refusal(self, _BAD_REQUEST, reason, self._framing.unread()))
        if later is not None:
            self._start_task(later)

    def _go_on(self) -> None:
        """Parse and serve, as long as nothing has to be waited for and others get their turn."""
        parts = 0
        while self._start < len(self._data) and self._is_free():
            if parts == _MAX_AT_ONCE:
                self.loop.call_soon(self._go_on)
                break
            parts += 1
            end = self._framing.end_of_part(self._data, self._start)
            self._take_part(end)
            if self._framing.head_bytes > MAX_HEAD_BYTES and not self._is_over:
                self._give_up("a head of over 16 KiB")
        if self._is_over or self._start == len(self._data):
            self._data, self._start = b"", 0
        self._hold()

    def _is_free(self) -> bool:
        """Whether the next bytes can be parsed: those of the body that is being read, or of a new request."""
        if self._is_over:
            return False
        return self._is_unread() or not (self._is_serving or self.writing_paused)

    def _is_unread(self) -> bool:
        """Whether a body is still on its way."""
        return self._payload is not None and not self._payload.is_eof()

    def _take_part(self, end: int) -> None:
        """Parse up to ``end``, and serve what begins there."""
        arrivals: Sequence[Request | Refusal]
        # Moved on before it is parsed: whatever asks meanwhile sees what is left, and need not stop reading.
        piece, self._start = self._data[self._start : end], end
        try:
            arrivals = [self._request_of(*read) for read in self._parse(piece)]
        except (HttpProcessingError, ValueError) as error:  # some releases of the parser let a URL's own error out
            arrivals = self._refuse(error, self._data[end:])
        for arrival in arrivals:
            later = self._serve(arrival)
            if later is not None:
                self._is_serving = True
                self._start_task(later).add_done_callback(self._served)

    def _request_of(self, message: RawRequestMessage, payload: StreamReader) -> Request:
        method, self._method = self._method or message.method, ""
        lines, self._lines = message.raw_headers if self._lines is None else self._lines, None
        self._framing.accept(is_whole=payload.is_eof())
        self._payload = payload
        return Request(
            connection=self,
            method=method,
            # The parser lets a CONNECT without a target through, with None for its path.
            target=message.path or "",
            headers=message.headers,
            raw_headers=lines,
            payload=payload,
            is_old=message.version < HttpVersion11,
            stays_open=not message.should_close,
        )

    def _refuse(self, error: HttpProcessingError | ValueError, following: bytes) -> list[Refusal]:
        """Stop at what the parser cannot read: within a body it ends that body, else it stands for a request."""
        self._is_over = True
        if self._payload is not None and self._is_unread():
            self._payload.set_exception(error)
            return []
        # Without a length that can be read, what follows the head is all that is known of its body.
        came = self._framing.refused() + following
        return [Refusal(self, _BAD_REQUEST, *explain_refusal(error, came, MAX_FIELDS))]

    def _served(self, _: "asyncio.Task[None]") -> None:
        self._is_serving = False
        self._go_on()
        if self.is_half_closed and not self._is_serving and not self._is_over:
            self.end()

    def _hold(self) -> None:
        """Read no further while what is here has to be worked through first."""
        is_held = (self._reading_paused or self._start < len(self._data)) and not self._is_over
        if is_held != self._is_held and self.transport is not None:
            self._is_held = is_held
            if is_held:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()


def _error_of(transport: asyncio.BaseTransport) -> int:
    """Return the number of what the system holds against a connection that is not read any more, or 0."""
    with suppress(OSError):
        error: int = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return error
    return errno.EBADF
