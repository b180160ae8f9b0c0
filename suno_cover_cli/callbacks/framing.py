"""Where each request of a connection begins, so that the parser is fed one at a time.

aiohttp's parser loses what came before a request that it refuses, when both lie in one segment: a good callback
would go unanswered because of what follows it. Nor does it say what it refused, so that is kept here.
"""

import math
import re
from typing import NamedTuple

from suno_cover_cli.callbacks.bodies import Headers

_REQUEST_LINE = re.compile(rb"([!-~]{1,64}) ([!-\xff]+) HTTP/1\.[01]\r?\n")
_END_OF_HEAD = b"\r\n\r\n"
_BLANK = re.compile(rb"[\r\n]*")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*0*([0-9]{1,19})[ \t]*\r\n")
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:[ \t]*[^\s]")
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}")
# Kept of the line before a chunk; its size is in the first few.
_MAX_LINE_BYTES = 16 * 1024


class UnreadRequest(NamedTuple):
    """What is known of a request that the parser refuses: a header it cannot read, a length given twice.

    Attributes:
        method: As sent.
        target: As sent.
        headers: The lines that are header lines, as sent.
        body: What came with the head.
    """

    method: str
    target: str
    headers: Headers
    body: bytes


class Framing:
    """Follows one connection.

    Args:
        kept_bytes: Of a request whose head the parser has not taken yet, how many bytes are kept.
    """

    def __init__(self, kept_bytes: int) -> None:
        self._kept_bytes = kept_bytes
        self._head = b""
        self._body_left = 0.0
        self._chunks: _Chunks | None = None
        # Of the request that comes in; None once the parser has taken its head.
        self._kept: bytes | None = b""

    @property
    def head_bytes(self) -> int:
        """How much there is of a head that is not whole."""
        return len(self._head)

    def accept(self, *, is_whole: bool) -> None:
        """The parser has taken the head, or the whole request: nothing of it is kept any more."""
        self._kept = None
        if is_whole:
            # A CONNECT has no body, whatever its header fields say.
            self._body_left, self._chunks = 0.0, None

    def refused(self) -> bytes:
        """Return what is kept of the request that the parser has refused."""
        return (self._kept or b"").lstrip(b"\r\n")

    def end_of_part(self, data: bytes, start: int) -> int:
        """Take in the part of ``data`` from ``start`` on that belongs to one request, and return its end.

        The head of a chunked request is a part of its own: a fault in its chunks would take the head with it.
        """
        if self._chunks is not None:
            end, is_over = self._chunks.advance(data, start)
            self._chunks = None if is_over else self._chunks
            return end
        end = start if self._body_left else self._take_head(data, start)
        body_bytes = int(min(self._body_left, len(data) - end))
        self._body_left -= body_bytes
        end += body_bytes
        if self._kept is not None and (room := self._kept_bytes - len(self._kept)) > 0:
            self._kept += data[start : min(end, start + room)]
        return end

    def _take_head(self, data: bytes, start: int) -> int:
        if not self._head:
            self._kept = b""
        end = self._end_of_head(data, start)
        if end < 0:
            self._head += data[start:]
            return len(data)
        self._begin_body(self._head + data[start:end])
        self._head = b""
        return end

    def _end_of_head(self, data: bytes, start: int) -> int:
        """Return where the head that goes on at ``start`` ends, or -1; blank lines before it are not its end."""
        blank = _BLANK.match(data, start)
        if blank is not None and not self._head.strip(b"\r\n"):
            found = data.find(_END_OF_HEAD, blank.end())
        else:
            # The end may lie across two pieces; what came before the last three bytes holds none.
            tail = self._head[1 - len(_END_OF_HEAD) :]
            across = (tail + data[start : start + len(_END_OF_HEAD) - 1]).find(_END_OF_HEAD)
            if across >= 0:
                return start + across + len(_END_OF_HEAD) - len(tail)
            found = data.find(_END_OF_HEAD, start)
        return found if found < 0 else found + len(_END_OF_HEAD)

    def _begin_body(self, head: bytes) -> None:
        # Lower case first: a pattern that begins with letters as they are is found many times quicker.
        head = head.lower()
        if _CODING.search(head) is not None:
            self._chunks = _Chunks()
        elif (length := _LENGTH.search(head)) is not None:
            self._body_left = float(length[1])


class _Chunks:
    """Finds the end of a chunked body (RFC 9112, 7.1)."""

    def __init__(self) -> None:
        self._line = b""
        self._chunk_left = 0.0
        self._is_in_trailer = False

    def advance(self, data: bytes, start: int) -> tuple[int, bool]:
        """Take in ``data`` from ``start`` on; return how far the body reaches in it, and whether it ends there."""
        while start < len(data):
            if self._chunk_left:
                step = int(min(self._chunk_left, len(data) - start))
                self._chunk_left -= step
                start += step
                continue
            newline = data.find(b"\n", start)
            self._line = (self._line + data[start : newline if newline >= 0 else len(data)])[:_MAX_LINE_BYTES]
            if newline < 0:
                break
            start = newline + 1
            line, self._line = self._line.rstrip(b"\r"), b""
            if self._is_in_trailer:
                if not line:
                    return start, True
            elif (size := _CHUNK_SIZE.match(line)) is None:
                # The parser refuses it, and the connection with it.
                self._chunk_left = math.inf
            elif int(size[0], 16):
                self._chunk_left = float(int(size[0], 16) + len(b"\r\n"))
            else:
                self._is_in_trailer = True
        return len(data), False


def parse_unread(head: bytes) -> UnreadRequest | None:
    """Read what was refused as far as it can be; ``None`` for bytes that do not begin like a request."""
    match = _REQUEST_LINE.match(head)
    if match is None:
        return None
    lines, _, body = head[match.end() :].partition(b"\r\n\r\n")
    pairs = (line.partition(b":") for line in lines.split(b"\r\n"))
    headers = tuple(
        (name.decode("latin-1"), value.strip().decode("latin-1")) for name, colon, value in pairs if name and colon
    )
    return UnreadRequest(match[1].decode("ascii"), match[2].decode("utf-8", "surrogateescape"), headers, body)
