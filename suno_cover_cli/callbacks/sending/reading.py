"""A connection to a receiver: how answers are read from it."""

import asyncio
import re
import select
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpVersion11, RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import BadStatusLine, HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDict

from suno_cover_cli.callbacks.exchanges import RawHeaders
from suno_cover_cli.callbacks.sending.habits import Habits

KEPT_BYTES = 64 * 1024
"""Of an answer's body, what is kept to be shown."""

_MAX_HEAD_LINE_BYTES = 64 * 1024

READING: dict[str, Any] = {
    # Answers go on as they came, compressed or not.
    "auto_decompress": False,
    "read_bufsize": KEPT_BYTES,
    "max_line_size": _MAX_HEAD_LINE_BYTES,
    "max_field_size": _MAX_HEAD_LINE_BYTES,
    "max_headers": 2000,
}
"""How answers are read, on both kinds of connections."""

# Of a head in lower case: a pattern that begins with letters as they are is found many times quicker.
_CHUNKED = re.compile(rb"\ntransfer-encoding[ \t]*:[ \t]*chunked[ \t]*\r?(?=\n)")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r?(?=\n)")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)")
_BODILESS = re.compile(rb"HTTP/1\.[01] (?:1|204|304)")
_HTTP = b"HTTP/"
_INTERIM_STATUSES = {100, *range(102, 200)}  # 101 is the last answer of its connection
_WITHOUT_BODY = {*range(200), 204, 304}


class ConnectionLostError(aiohttp.ClientError):
    """The connection was lost while an answer was awaited.

    The client's own errors for it make the client send GET, PUT and others once more, whatever the connection.

    Attributes:
        reason: The system's, or ``None`` for a connection that was closed in order.
        has_begun: Something of the answer came.
        is_cut_head: What came is a part of a head.
        is_reused: The connection had served another request before.
    """

    def __init__(self, reason: OSError | None, *, has_begun: bool, is_cut_head: bool, is_reused: bool) -> None:
        super().__init__("the connection was lost")
        self.reason = reason
        self.has_begun = has_begun
        self.is_cut_head = is_cut_head
        self.is_reused = is_reused


class NoTunnelError(aiohttp.ClientError):
    """A proxy did not answer ``CONNECT`` as HTTP wants it; its cause says what came instead."""


class KeptAnswer(NamedTuple):
    """An answer whose head is here, with the names that aiohttp's has.

    Attributes:
        status: Of the answer.
        raw_headers: As sent.
        content: Its body.
        connection: It comes on this one.
    """

    status: int
    raw_headers: RawHeaders
    content: StreamReader
    connection: "AnswerReader"

    def close(self) -> None:
        """Close the connection, unless the answer is over: then it may serve another request already."""
        if not self.content.is_eof():
            self.connection.close()


class AnswerReader(ResponseHandler):
    """One connection. It reads loose answers as any browser and curl do, which aiohttp's parser refuses whole.

    One kind is followed by more than it announced, such as 204 with a body: what follows would be the head of
    another answer, and what came before lost with it. The other says its length twice (RFC 9110, 8.6), or beside
    chunks.

    Args:
        habits: Of the receiver.
        on_idle: Takes the connection once its answer is over; ``None`` where a client of aiohttp has it.
        patience_s: For an answer on such a connection, from the request on. The receiver then hears that no other
            request will come, as ``Connection: close`` says it before: one that waits for that hangs up, and ends
            an answer that did not say where it ends, or said it wrong.

    Attributes:
        loop: Runs it.
    """

    def __init__(
        self,
        habits: Habits,
        *,
        on_idle: "Callable[[AnswerReader], None] | None" = None,
        patience_s: float = 0.0,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(loop=self.loop)
        self._habits = habits
        self._on_idle = on_idle
        self._is_keeping = on_idle is not None
        self._is_reused = False
        self._look: Callable[[], bool] | None = None
        self._patience_s = patience_s
        self._ending: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
        """Expect an answer."""
        # What has come of a head that is not whole; None once what comes is for the parser as it is.
        self._head: bytes | None = b""
        self._surplus = b""
        self._is_noisy = False
        self._has_begun = False
        self._is_for_head = False
        self._is_answered = False
        self._is_taken = False
        self._body: StreamReader | None = None
        self._is_framed = False
        self._length = -1
        self._end_by_s = self.loop.time() + self._patience_s
        self._is_over = False
        self._mark = (0, 0)

    async def ask(self, line: str, headers: CIMultiDict[str], body: bytes) -> "KeptAnswer":
        """Send one request, and wait for the head of its answer.

        Args:
            line: The first one.
            headers: All of them.
            body: May be empty.

        Raises:
            ConnectionLostError: The connection was lost first.
            HttpProcessingError: What came is not HTTP.
            ValueError: A header cannot be sent.
        """
        self.set_response_params(read_until_eof=True, **READING)
        writer = StreamWriter(self, self.loop)
        await writer.write_headers(line, headers)
        # Not waited for: the answer may come before the receiver has taken, or read, all of it.
        await writer.write(body, drain=False)
        while True:
            message, content = await self.read()
            if message.code not in _INTERIM_STATUSES:
                self._is_taken = True
                if self._is_over:
                    self._hand_back()
                return KeptAnswer(message.code, message.raw_headers, content, self)

    def set_response_params(self, **params: Any) -> None:
        """See the base class; called before each request."""
        self._is_reused = self._is_over
        self._begin()
        self._is_for_head = params.get("skip_payload", False)
        super().set_response_params(**params)

    @property
    def should_close(self) -> bool:
        """Whether this connection is not to be used again."""
        return super().should_close or not self._habits.stays_open

    def is_connected(self) -> bool:
        """Tell whether a request may be sent here: what came after the last answer, or its end, forbids it."""
        if not super().is_connected() or self.should_close:
            return False
        if self._is_over and self.transport is not None:
            self._look = self._look or _make_look(self.transport)
            if self._look():
                self._habits.note_odd()
                return False
        return True

    def data_received(self, data: bytes) -> None:
        """Let the parser see a whole head, and with it an answer, before whatever follows."""
        if not data:
            if not self._is_over:
                # The parser goes on with what it kept while too much was waiting to be read.
                super().data_received(data)
            return
        if self._is_reused and not self._has_begun:
            data = self._cut_surplus(data)
        self._has_begun = self._has_begun or bool(data)
        while self._head is not None and data and not self._is_over:
            data = self._read_head(self._head + data)
        if data and self._is_over:
            self._refuse()
        elif data:
            super().data_received(data)
        if self._is_keeping and not self._is_over and self._ending is None:
            self._ending = self.loop.call_at(self._end_by_s, self._ask_to_end)

    def _read_head(self, data: bytes) -> bytes:
        """Give a head to the parser once it is whole; return what follows it."""
        self._head = data
        end = _END_OF_HEAD.search(data)
        if end is None:
            if len(data) > _MAX_HEAD_LINE_BYTES or not _HTTP.startswith(data[: len(_HTTP)]):
                self._release()
            return b""
        head, rest = data[: end.end()], data[end.end() :]
        self._head = b"" if _INTERIM.match(head) else None
        head, self._length = _with_one_length(head)
        if self._length >= 0 and not self._is_for_head and not _BODILESS.match(head):
            if len(rest) > self._length:
                self._habits.note_odd()
            else:
                head, rest = head + rest, b""  # nothing follows that answer
        super().data_received(head)
        return rest

    def _cut_surplus(self, data: bytes) -> bytes:
        """Return what came from where this answer begins: before that is more of the last one than announced."""
        data, self._surplus = self._surplus + data, b""
        start = data.find(_HTTP)
        if start == 0 or _HTTP.startswith(data):
            return data
        self._habits.note_odd()
        if start < 0:
            self._surplus = data[1 - len(_HTTP) :]
            self._is_noisy = self._is_noisy or not data.isspace()
        return data[start:] if start > 0 else b""

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the head of an answer from the parser, and see whether the connection may be kept after it."""
        message, body = data
        if self._is_over:
            self._refuse()
            return
        if message.code not in _INTERIM_STATUSES:
            self._is_answered = True
            self._habits.note_answer()
            self._look_at(message)
            self._body = body
            body.on_eof(self._note_end)
        super().feed_data(data, size)

    def _look_at(self, message: RawResponseMessage) -> None:
        if self._is_for_head or message.code in _WITHOUT_BODY:
            # A body may follow all the same.
            self.force_close()
        elif message.version >= HttpVersion11 and (message.chunked or hdrs.CONTENT_LENGTH in message.headers):
            self._is_framed = True
        else:
            self._habits.note_odd()
            self.force_close()

    def _ask_to_end(self) -> None:
        """Say that no other request will come. Late: some servers then cut even an answer under way."""
        self._habits.note_odd()
        if self._is_noisy and not self._has_begun:
            # It was no surplus of the last answer: no other came behind it.
            self.set_exception(BadStatusLine("not HTTP"))
        if self.transport is not None and not self.transport.is_closing():
            self.force_close()
            with suppress(OSError):  # the receiver was quicker, and hung up
                self.transport.write_eof()

    def _note_end(self) -> None:
        self._is_over = True
        self._mark = self._habits.mark()
        if self._is_framed:
            self._habits.note_framed()
        self._stop_waiting()
        if self._is_taken:
            self._hand_back()

    def _hand_back(self) -> None:
        if self._on_idle is not None:
            self._on_idle(self)

    def _stop_waiting(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def _refuse(self) -> None:
        """Be done with a connection on which more came than its answer."""
        self._habits.note_odd()
        self.force_close()
        if self.transport is not None:
            self.transport.close()

    def close(self) -> None:
        """Close the connection now: one that takes no more would keep what is unsent, and the end, waiting."""
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        super().close()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Replace the errors that would make the client send the request again."""
        if isinstance(exc, HttpProcessingError):
            if self._is_over:
                # More came, and it is not even the head of an answer.
                self._habits.note_odd()
            elif self._body is not None:
                # The base class leaves who reads it waiting.
                self._body.set_exception(aiohttp.ClientPayloadError("not the framing that was announced"))
        if isinstance(exc, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
            self._take_what_came()
            exc = ConnectionLostError(
                exc if isinstance(exc, OSError) else None,
                has_begun=self._has_begun,
                is_cut_head=self._head != b"",
                is_reused=self._is_reused,
            )
        super().set_exception(exc, exc if exc_cause is None else exc_cause)

    def eof_received(self) -> None:
        """See what is there of a head that breaks off."""
        if self._is_over and self._is_keeping and not super().should_close:
            self._habits.note_odd()
        self._release()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See the same where the connection is cut."""
        if exc is not None:
            self._take_what_came()
        self._stop_waiting()
        if self._is_keeping and self._is_answered:
            self._note_lost(exc)
        self._release()
        super().connection_lost(exc)

    def _take_what_came(self) -> None:
        """Read an answer that lies there when sending fails: who refuses a long body hangs up before its end."""
        transport = self.transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return
        with suppress(OSError), transport.get_extra_info("socket").dup() as wire:
            wire.settimeout(0)
            while not (self._is_over or self._reading_paused) and (data := wire.recv(KEPT_BYTES)):
                self.data_received(data)

    def _note_lost(self, exc: BaseException | None) -> None:
        if not self._is_over or super().should_close:
            self._habits.note_no_trial()
        elif exc is not None:
            self._habits.note_odd()
        else:
            self._habits.note_idle(self._mark)

    def _release(self) -> None:
        if self._head:
            held, self._head = self._head, None
            super().data_received(held)


def _with_one_length(head: bytes) -> tuple[bytes, int]:
    """Return the head of an answer with its length once, where it is the same each time; and that, or -1."""
    low = head.lower()
    first = _LENGTH.search(low)
    if first is None:
        return head, -1
    lengths = [first, *_LENGTH.finditer(low, first.end())]
    if _CHUNKED.search(low) is not None:  # which says itself where it ends (RFC 9112, 6.3)
        return _without(head, lengths), -1
    if len(lengths) > 1 and any(length[1] != first[1] for length in lengths):
        return head, -1
    return _without(head, lengths[1:]), int(first[1])


def _without(head: bytes, lines: Sequence[re.Match[bytes]]) -> bytes:
    for line in reversed(lines):
        head = head[: line.start()] + head[line.end() :]
    return head


def _make_look(transport: asyncio.BaseTransport) -> Callable[[], bool]:
    """Return what tells whether something came on a connection, or its end, that the loop has not seen yet."""
    number = transport.get_extra_info("socket").fileno()
    if sys.platform == "win32":
        return lambda: bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return lambda: bool(poll.poll(0))
