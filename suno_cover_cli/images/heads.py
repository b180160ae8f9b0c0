"""Answers of servers that are loose with HTTP, made strict before aiohttp's parser sees them.

That parser refuses an answer whole for what browsers and curl step over: a length given twice, a line that is
not a field, bytes behind the body. Here the head of each answer is read as they do, and written anew with the
few fields that matter; the body is framed by what the head means (RFC 9112, 2.2, 5.1, 6.1 to 6.3 and 7.1).
"""

import functools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler

_MAX_HEAD_BYTES = 512 * 1024
_MAX_CHUNK_LINE_BYTES = 8 * 1024
_STATUS = re.compile(rb"\s*(?:HTTP/(\d)(?:\.(\d))?|ICY)\s+0*(\d{3})(?!\d)", re.IGNORECASE)
_HEAD_END = re.compile(rb"\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"\+?(\d{1,18})")
_CHUNK_SIZE = re.compile(rb"\r?\n?[ \t]*([0-9a-fA-F]{1,16})[^\r\n]*\r?\n")
_TRAILERS = re.compile(rb"(?:[^\r\n]+\r?\n)*\r?\n")
_KEPT = frozenset({b"content-type", b"content-encoding", b"content-range", b"etag", b"location", b"retry-after"})
_LISTS = frozenset({b"content-encoding", b"transfer-encoding", b"connection", b"content-length"})
_READ = _KEPT | _LISTS
_NO_BODY = frozenset({b"204", b"304"})
_SWITCHING = b"101"


class LooseConnector(aiohttp.TCPConnector):
    """A connector whose connections take answers that are loose with HTTP."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # aiohttp has no setting for this; every version so far gets its connections from here.
        handler: type[ResponseHandler] = _LooseHandler
        self._factory = functools.partial(handler, loop=self._loop)


class _LooseHandler(ResponseHandler):
    """One connection; each request on it begins a new answer."""

    _answer: "_Answer | None" = None

    def set_response_params(self, **params: Any) -> None:
        """A request has been sent."""
        self._answer = _Answer()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Bytes have come; none at all when aiohttp goes on with what it has put aside."""
        if self._answer is None or not data:
            super().data_received(data)
            return
        passed_on = self._answer.feed(data)
        if passed_on:
            super().data_received(passed_on)
        if self._answer.has_stray_bytes:
            # Extra bytes after an answer look like the next one.
            self.force_close()
            if self.transport is not None:
                self.transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is over; aiohttp would throw away what of an announced length has come and is unread."""
        if self._answer is not None and self._answer.has_length and self._payload is not None:
            self._payload.feed_eof()  # the reader compares the length
            self._payload = self._parser = None
        super().connection_lost(exc)


class _Answer:
    """One answer on its way from the wire to the parser.

    Attributes:
        has_stray_bytes: Something followed it.
        has_length: Its body is of a length that was announced.
    """

    def __init__(self) -> None:
        self.has_stray_bytes = self.has_length = False
        self._rest = bytearray()
        self._out = bytearray()
        self._is_over = False
        # Of a body, or of a chunk, whose length is known: what has still to come of it.
        self._left = 0
        self._reading = self._read()
        next(self._reading)

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the wire and return those for the parser."""
        if len(data) < self._left:  # the middle of a large picture: it passes as it is
            self._left -= len(data)
            return data
        if not self._is_over:
            self._rest += data
            try:
                next(self._reading)
            except StopIteration:
                self._is_over = True
                self.has_stray_bytes = bool(self._rest)
        else:
            self.has_stray_bytes = True
        out, self._out = bytes(self._out), bytearray()
        return out

    def _read(self) -> Iterator[None]:
        """Read one answer, however it is cut into pieces; each ``yield`` waits for more."""
        yield
        head = _Head(b"100", b"1", {})
        while head.status.startswith(b"1") and head.status != _SWITCHING:
            while (end := _HEAD_END.search(self._rest, _blank_start(self._rest))) is None:
                if len(self._rest) > _MAX_HEAD_BYTES:
                    yield from self._pass_on_all()
                yield
            read = _Head.read(bytes(self._rest[: end.end()]))
            if read is None:
                yield from self._pass_on_all()
                return
            del self._rest[: end.end()]
            head = read
        self._out += head.write()
        if head.status in _NO_BODY:
            return
        if head.is_chunked:
            yield from self._pass_on_chunks()
        elif head.length is None:
            yield from self._pass_on_all()
        else:
            self.has_length = True
            yield from self._pass_on(head.length)

    def _pass_on_all(self) -> Iterator[None]:
        """What there is no end to but that of the connection."""
        while True:
            self._out += self._rest
            self._rest.clear()
            yield

    def _pass_on(self, length: int) -> Iterator[None]:
        self._left = length
        while self._left:
            passed = self._rest[: self._left]
            self._out += passed
            self._left -= len(passed)
            del self._rest[: len(passed)]
            if self._left:
                yield

    def _pass_on_chunks(self) -> Iterator[None]:
        """Frame chunks anew: their sizes are read as loosely as the head."""
        size = -1
        while size:
            while (match := _CHUNK_SIZE.match(self._rest)) is None:
                if len(self._rest) > _MAX_CHUNK_LINE_BYTES:
                    yield from self._pass_on_all()
                yield
            size = int(match[1], 16)
            del self._rest[: match.end()]
            if size:
                self._out += b"%x\r\n" % size
                yield from self._pass_on(size)
                self._out += b"\r\n"
        self._out += b"0\r\n\r\n"
        # Fields may follow the last chunk, and say nothing that matters.
        while not _TRAILERS.match(self._rest):
            yield
        self._rest.clear()


class _Head(NamedTuple):
    """Status line and fields of an answer: the last digit of the version, each field by its name in lower case.

    Attributes:
        is_chunked: The body comes in chunks; then a length says nothing.
        length: Of the body; ``None`` when no length is given, or several that differ.
    """

    status: bytes
    version: bytes
    fields: dict[bytes, bytes]
    is_chunked: bool = False
    length: int | None = None

    @classmethod
    def read(cls, head: bytes) -> "_Head | None":
        """Read a head up to its empty line; ``None`` when it does not begin as HTTP does."""
        match = _STATUS.match(head)
        if match is None:
            return None
        fields: dict[bytes, bytes] = {}
        for line in _LINE_END.split(_FOLD.sub(b" ", head[match.end() :]))[1:]:
            name, colon, value = line.partition(b":")
            name = name.strip().lower()
            if not colon or name not in _READ:
                continue
            value = _CONTROL.sub(b"", value).strip()
            if name in fields and name in _LISTS:
                fields[name] += b", " + value
            else:
                fields.setdefault(name, value)
        is_old = match[1] is None or (match[1] == b"1" and match[2] == b"0") or match[1] == b"0"
        return cls(
            match[3],
            b"0" if is_old else b"1",
            fields,
            is_chunked=b"chunked" in fields.get(b"transfer-encoding", b"").lower(),
            length=_length_of(fields.get(b"content-length", b"")),
        )

    def write(self) -> bytes:
        """Write the head anew."""
        lines = [b"HTTP/1.%b %b -" % (self.version, self.status)]
        lines += [b"%b: %b" % (name, value) for name, value in self.fields.items() if name in _KEPT]
        if self.is_chunked:
            lines.append(b"transfer-encoding: chunked")
        elif self.length is not None and self.status not in _NO_BODY:
            lines.append(b"content-length: %d" % self.length)
        if self.is_chunked or self.length is not None or self.status in _NO_BODY:
            lines += [b"connection: " + self.fields[b"connection"]] if b"connection" in self.fields else []
        else:
            lines.append(b"connection: close")
        return b"\r\n".join([*lines, b"", b""])


def _length_of(value: bytes) -> int | None:
    """Return the one length that is given, once or several times over; ``None`` when there is no such."""
    matches = [_LENGTH.fullmatch(one.strip()) for one in value.split(b",")]
    lengths = {int(match[1]) if match is not None else None for match in matches}
    return lengths.pop() if len(lengths) == 1 else None


def _blank_start(rest: bytearray) -> int:
    """Return where the first line with something in it begins."""
    return len(rest) - len(rest.lstrip(b"\r\n"))
