"""Where each request of a connection begins, so that the parser is fed one at a time.

aiohttp's parser loses what came before a request that it refuses, when both lie in one segment: a good callback
would go unanswered because of what follows it. Nor does it say what it refused, so that is kept here.
"""

import math
import re
from collections import deque
from collections.abc import Iterator

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*([0-9]{1,19})[ \t]*\r$")
_CODING = re.compile(rb"(?im)^transfer-encoding[ \t]*:")


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

    def split(self, data: bytes) -> Iterator[bytes]:
        """Yield what was received in pieces, cut where requests begin; behind a chunked one they are not known."""
        while data:
            piece_bytes = self._end_of_request(data)
            piece, data = data[:piece_bytes], data[piece_bytes:]
            yield piece

    def _end_of_request(self, data: bytes) -> int:
        """Take in the part of ``data`` that belongs to one request, and return its size."""
        head_bytes = 0
        if not self._body_left:
            if not self._head:
                self._waiting.append(b"")
            begun = len(self._head)
            self._head += data
            # Blank lines before a request are no end of it.
            blank = len(self._head) - len(self._head.lstrip(b"\r\n"))
            end = self._head.find(_END_OF_HEAD, max(begun - len(_END_OF_HEAD) + 1, blank))
            if end < 0:
                self._keep(data)
                return len(data)
            head_bytes = end + len(_END_OF_HEAD) - begun
            self._body_left = _body_bytes(self._head[: end + 2])
            self._head = b""
        body_bytes = int(min(self._body_left, len(data) - head_bytes))
        self._body_left -= body_bytes
        self._keep(data[: head_bytes + body_bytes])
        return head_bytes + body_bytes

    def _keep(self, piece: bytes) -> None:
        # Without one that waits, these are bytes of a body that is being read.
        if self._waiting and len(self._waiting[-1]) < self._kept_bytes:
            self._waiting[-1] += piece

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
    if _CODING.search(head) is not None:
        return math.inf
    length = _LENGTH.search(head)
    return 0.0 if length is None else float(length[1])
