"""Where each request of a connection begins, so that the parser is fed one at a time.

aiohttp's parser loses what came before a request that it refuses, when both lie in one segment: a good callback
would go unanswered because of what follows it. Nor does it say what it refused, so that is kept here.
"""

import math
import re
from typing import NamedTuple

from aiohttp.http_exceptions import BadHttpMethod, InvalidURLError, LineTooLong

from suno_cover_cli.callbacks.bodies import WORD_CHAR, Headers
from suno_cover_cli.callbacks.exchanges import RawHeaders

# Method, address and version, as far as a line that may be none of HTTP has them.
_BLANKS = re.compile(rb"[ \t]+")
_METHOD = re.compile(rb"[!-~\x80-\xff]*")
_ADDRESS = re.compile(rb"/|https?://", re.IGNORECASE)
_VERSION = re.compile(rb"[A-Za-z]{1,8}/[0-9.]{0,8}")
_FOREIGN = re.compile(rb"[\x80-\xff]")
_USUAL_VERSION = re.compile(rb"HTTP/1\.[01]")
_SHOWN_METHOD_CHARS = 64
_END_OF_HEAD = b"\r\n\r\n"
_BLANK = re.compile(rb"[\r\n]*")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*0*([0-9]{1,19})[ \t]*\r\n")
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:[ \t]*[^\s]")
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}")
_LINE_END = re.compile(rb"\r?\n")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
# A field may go on in the next line (RFC 9112, 5.2); what goes on like that is one line here.
_FOLD = re.compile(rb"\r?\n[ \t]+")
_NAME = re.compile(f"{WORD_CHAR}+".encode())
_CONTROL = re.compile(rb"[\0-\x08\x0a-\x1f\x7f]")
_CHUNKED = re.compile(rb"(.*,)?[ \t]*chunked", re.IGNORECASE | re.DOTALL)
# What the parser takes once only: it is no list (RFC 9110, 5.3). Proxies double such fields all the same.
_SINGLE = frozenset(
    {
        *(b"host", b"user-agent", b"server", b"etag", b"max-forwards"),
        *(b"content-type", b"content-location", b"content-range", b"content-length"),
    }
)
# Where the values differ, two readers see two requests: other bodies, or other hosts (RFC 9112, 11.2).
_EQUAL = ("content-length", "host")
_SHOWN_NAME_CHARS = 60
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

    Attributes:
        body_bytes: Of the last part, how many bytes at its end are those of a body that says its length.
    """

    def __init__(self, kept_bytes: int) -> None:
        self._kept_bytes = kept_bytes
        self._head = b""
        self._body_left = 0.0
        self.body_bytes = 0
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
            # The parser may know of an end where its header fields say otherwise.
            self._body_left, self._chunks = 0.0, None

    def refused(self) -> bytes:
        """Return what is kept of the request that the parser has refused."""
        return (self._kept or b"").lstrip(b"\r\n")

    def unread(self) -> UnreadRequest | None:
        """Return what is known of the request whose head is not here as a whole."""
        return _parse_unread(self.refused())

    def end_of_part(self, data: bytes, start: int) -> int:
        """Take in the part of ``data`` from ``start`` on that belongs to one request, and return its end.

        The head of a chunked request is a part of its own: a fault in its chunks would take the head with it.
        """
        if self._chunks is not None:
            end, is_over = self._chunks.advance(data, start)
            self._chunks = None if is_over else self._chunks
            return end
        end = start if self._body_left else self._take_head(data, start)
        body_bytes = self.body_bytes = int(min(self._body_left, len(data) - end))
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
        if head.lstrip(b"\r\n").startswith(b"CONNECT "):
            return  # it has no body, whatever its header fields say, nor has it one for the parser
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


def explain_refusal(error: Exception, came: bytes, max_fields: int) -> tuple[str, UnreadRequest | None]:
    """Return why the parser has refused a request, in our own words, and what is known of that request.

    Args:
        error: The parser's.
        came: From the first line on, as far as it came.
        max_fields: Of header fields, more are too many.
    """
    unread = _parse_unread(came)
    match error:
        case LineTooLong():
            return "a line of over 12 KiB", unread
        case _ if unread is None:
            return "not HTTP", None
        case BadHttpMethod():
            return "its method is not one of HTTP", unread
        case InvalidURLError() | ValueError():
            return fault_of(came, max_fields) or "its address cannot be read", unread
    return fault_of(came, max_fields) or "its header fields cannot be read", unread


def _parse_unread(head: bytes) -> UnreadRequest | None:
    """Read what was refused as far as it can be; ``None`` for bytes that do not begin like a request."""
    first, _, rest = head.partition(b"\n")
    method, target, _ = _parts_of_first(first)
    if _METHOD.fullmatch(method) is None or _ADDRESS.match(target) is None:
        return None
    lines, *following = _BLANK_LINE.split(rest, 1)
    body = following[0] if following else b""
    pairs = (line.partition(b":") for line in _LINE_END.split(_FOLD.sub(b" ", lines)))
    headers = tuple(
        (name.decode("latin-1"), value.strip().decode("latin-1")) for name, colon, value in pairs if name and colon
    )
    named = method.decode("utf-8", "replace")
    if len(named) > _SHOWN_METHOD_CHARS:
        # What is cut must not be taken for a method that can be sent again.
        named = f"{named[:_SHOWN_METHOD_CHARS]}\u2026"
    return UnreadRequest(named, target.decode("utf-8", "surrogateescape"), headers, body)


def _parts_of_first(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Return method, address and version of a first line; the address is all that lies between the others."""
    method, *rest = _BLANKS.split(line.strip(b" \t\r"), 1)
    target = rest[0] if rest else b""
    blank = max(target.rfind(b" "), target.rfind(b"\t"))
    if blank >= 0 and _VERSION.fullmatch(version := target[blank + 1 :]):
        return method, target[:blank].rstrip(b" \t"), version
    return method, target, b""


def fault_of(head: bytes, max_fields: int) -> str:
    """Say in our own words what is wrong with a head that the parser has refused; empty where nothing is seen.

    The parser's words differ from release to release, and repeat what was sent.

    Args:
        head: From the first line on, as far as it came; what follows it does no harm.
        max_fields: More are too many.
    """
    text, end, _ = head.partition(_END_OF_HEAD)
    first, *lines = (text + b"\r" if end else text).split(b"\n")
    if lines and not first.endswith(b"\r"):
        return "its first line ends in LF without CR"
    fields: list[tuple[str, bytes]] = []
    # A head of nothing else would hold up all others for a long time.
    for n, line in enumerate(lines[: max_fields + 1], 1):
        is_cut = n == len(lines) and not end
        if fault := _fault_of_line(line, fields[-1][0] if fields else "", is_cut=is_cut):
            return fault
        name, _, value = line.partition(b":")
        pair = name.decode("ascii")[:_SHOWN_NAME_CHARS], value.strip()
        fields += _said_so_far(pair, fields) if is_cut else [pair]
    if len(fields) > max_fields:
        return f"it has over {max_fields} header fields"
    values: dict[str, list[bytes]] = {}
    for field, said in fields:
        values.setdefault(field.lower(), []).append(said)
    if fault := _fault_between(values):
        return fault
    if end and first.endswith(b"1.1\r") and "host" not in values:
        return "it has no field Host"
    return _fault_of_first(first) if lines else ""


def _said_so_far(pair: tuple[str, bytes], before: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Return a field whose line goes on, unless it may yet say what it has to, or the same as one before it."""
    name, said = pair
    key = name.lower()
    if not said or any(key == other.lower() and value.startswith(said) for other, value in before):
        return []
    # A coding may yet end in the one that it has to end in.
    return [(name, said + b", chunked" if key == "transfer-encoding" else said)]


def _fault_of_first(line: bytes) -> str:
    """Say what is wrong with a first line, where nothing is with what follows it."""
    method, target, version = _parts_of_first(line)
    if _BLANKS.search(target):
        return "its address holds a blank"
    if _USUAL_VERSION.fullmatch(version) is None:
        return "its version of HTTP is not 1.0 or 1.1"
    is_plain = line.removesuffix(b"\r") == b" ".join((method, target, version))
    return "" if is_plain else "its first line has a blank too many"


def with_usual_head(head: bytes, max_fields: int) -> tuple[bytes, RawHeaders] | None:
    """Return a head that the parser takes, and the lines as sent, of one that it refuses for what does no harm.

    That is fields given again, and letters outside ASCII in the address, which curl sends as they were typed and
    servers take. ``None`` where another fault is seen, neither is there, or the head is not here as a whole.

    Args:
        head: From the first line on; what follows it does no harm.
        max_fields: More are too many.
    """
    text, end, _ = head.partition(_END_OF_HEAD)
    if not end or fault_of(head, max_fields):
        return None
    as_sent, *lines = text.split(b"\r\n")
    method, blank, rest = as_sent.partition(b" ")
    first = method + blank + _FOREIGN.sub(lambda found: b"%%%02X" % ord(found[0]), rest)
    seen: set[bytes] = set()
    once, fields = [first], []
    for line in lines:
        name, _, value = line.partition(b":")
        fields.append((name, value.strip(b" \t")))
        if name.lower() not in seen:
            once.append(line)
        seen |= {name.lower()} & _SINGLE
    is_changed = first != as_sent or len(once) <= len(lines)
    return (b"\r\n".join(once) + end, tuple(fields)) if is_changed else None


def _fault_of_line(line: bytes, before: str, *, is_cut: bool) -> str:
    """Say what is wrong with one header line; ``before`` is the name in the line before it."""
    name, colon, value = line.removesuffix(b"\r").partition(b":")
    if line.startswith((b" ", b"\t")):
        return (
            f"its field {before} is folded over two lines" if before else "a blank stands before its first field"
        )
    plain = name.rstrip(b" \t")
    # All of these are visible ASCII.
    shown = plain.decode("ascii")[:_SHOWN_NAME_CHARS] if _NAME.fullmatch(plain) else ""
    if not is_cut and not line.endswith(b"\r"):
        return f"its field {shown} ends in LF without CR" if shown and colon else "a line ends in LF without CR"
    if not shown:
        return "" if is_cut and line in {b"", b"\r"} else "a header line has no valid name"
    if not colon:
        return "" if is_cut else "a header line has no colon"
    if plain != name:
        return f"a blank stands before the colon of its field {shown}"
    return f"its field {shown} holds a control character" if _CONTROL.search(value.rstrip(b"\r")) else ""


def _fault_between(values: dict[str, list[bytes]]) -> str:
    """Say what is wrong with the values of fields, by names in lower case, or with fields beside each other."""
    lengths, codings = values.get("content-length", []), values.get("transfer-encoding", [])
    if lengths and codings:
        return "it has both Content-Length and Transfer-Encoding"
    if any(not length.isdigit() for length in lengths):
        return "its Content-Length is not a valid number of bytes"
    for name in _EQUAL:
        if len({*values.get(name, ())}) > 1:
            return f"its field {name.title()} is there more than once, with different values"
    if len(codings) > 1:
        return "its field Transfer-Encoding is there more than once"
    if any(not _CHUNKED.fullmatch(coding) for coding in codings):
        return "its Transfer-Encoding does not end in chunked"
    return "its Content-Length is too large" if any(int(length[:40]) >= 2**64 for length in lengths) else ""
