"""Where each request of a connection begins, so that the parser is fed one at a time.

aiohttp's parser loses what came before a request that it refuses, when both lie in one segment: a good callback
would go unanswered because of what follows it. Nor does it say what it refused, so that is kept here.
"""

import math
import re
from collections import deque

_END_OF_HEAD = b"\r\n\r\n"
_BLANK = re.compile(rb"[\r\n]*")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*([0-9]{1,19})[ \t]*\r\n")
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:")


class Framing:
    """Follows one connection.

    Args:
        kept_bytes: Of a request that was not begun yet, how many bytes are kept.
    """

    def __init__(self, kept_bytes: int) -> None:
        self._kept_bytes = kept_bytes
        # Requests that the parser has seen and the server has not begun, the oldest first.
        self._waiting: deque[bytes] = deque()
        self._head = b""
        self._body_left = 0.0

    def split(self, data: bytes) -> list[bytes]:
        """Return what was received in pieces, cut where requests begin; behind a chunked one none is known."""
        pieces, start = [], 0
        while start < len(data):
            end = self._end_of_request(data, start)
            pieces.append(data[start:end])
            start = end
        return pieces

    def _end_of_request(self, data: bytes, start: int) -> int:
        """Take in the part of ``data`` from ``start`` on that belongs to one request, and return its end."""
        end = start
        if not self._body_left:
            if not self._head:
                self._waiting.append(b"")
            end = self._end_of_head(data, start)
            if end < 0:
                self._head += data[start:]
                self._keep(data, start, len(data))
                return len(data)
            self._body_left = _body_bytes(self._head + data[start:end])
            self._head = b""
        body_bytes = int(min(self._body_left, len(data) - end))
        self._body_left -= body_bytes
        self._keep(data, start, end + body_bytes)
        return end + body_bytes

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

    def _keep(self, data: bytes, start: int, end: int) -> None:
        # Without one that waits, these are bytes of a body that is being read.
        if self._waiting and (room := self._kept_bytes - len(self._waiting[-1])) > 0:
            self._waiting[-1] += data[start : min(end, start + room)]

    def begin(self) -> None:
        """The server has begun the oldest request that waits: nothing of it is kept any more."""
        if self._waiting:
            self._waiting.popleft()

    def take_refused(self) -> bytes:
        """Return what came since the last request that was begun: the parser refused it."""
        refused = b"".join(self._waiting).lstrip(b"\r\n")
        self._waiting.clear()
        return refused


def _body_bytes(head: bytes) -> float:
    """Return the size of the body that follows a head; infinite where only its end shows it."""
    # Lower case first: a pattern that begins with letters as they are is found many times quicker.
    head = head.lower()
    if _CODING.search(head) is not None:
        return math.inf
    length = _LENGTH.search(head)
    return 0.0 if length is None else float(length[1])
