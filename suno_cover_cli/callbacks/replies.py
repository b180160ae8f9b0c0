"""Reading the body of a request, and writing its answer."""

import re
from collections.abc import Callable
from functools import lru_cache
from http.client import responses

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import HttpProcessingError

from suno_cover_cli.callbacks.connections import ConnectionRegistry
from suno_cover_cli.callbacks.exchanges import JSON_TYPE, Answer, RawHeaders, Rest
from suno_cover_cli.callbacks.verdict import BodyFault
from suno_cover_cli.callbacks.wire import Connection, Request

_SERVER_NAME = "suno-cover"
_BODILESS = {204, 304}
_AUTHORITY = re.compile(r"https?://[^/]*", re.IGNORECASE)


async def read_body(
    request: Request, connections: ConnectionRegistry, *, max_bytes: int
) -> tuple[bytes, BodyFault | None]:
    """Read a body that is still on its way; also return what is wrong when that is not all of it."""
    # Python reads numbers of at most 4,300 digits, and a header field has room for more zeros.
    if int(request.headers.get("Content-Length", "").lstrip("0") or 0) > max_bytes:
        return b"", _too_large(max_bytes)
    pieces: list[bytes] = []
    connections.waits(request.connection)
    try:
        await _read_pieces(request, connections, pieces, max_bytes)
    except (ConnectionError, RuntimeError, HttpProcessingError) as error:
        # RuntimeError is aiohttp's word for a connection that closed between two reads. The body keeps it, and its
        # frames keep the body: that circle would wait for the garbage collector.
        error.__traceback__ = None
        return b"".join(pieces), BodyFault(400, "the body broke off")
    finally:
        connections.releases(request.connection)
    return bounded(b"".join(pieces), max_bytes)


def bounded(body: bytes, max_bytes: int) -> tuple[bytes, BodyFault | None]:
    """Return so much of a body as is taken, and what is wrong when that is not all of it."""
    return (body, None) if len(body) <= max_bytes else (body[:max_bytes], _too_large(max_bytes))


def _too_large(max_bytes: int) -> BodyFault:
    return BodyFault(413, f"over {max_bytes // 1024**2} MiB")


async def _read_pieces(
    request: Request, connections: ConnectionRegistry, pieces: list[bytes], max_bytes: int
) -> None:
    """Read a body as it comes, one piece beyond the limit at most."""
    connection = request.connection
    if request.headers.get("Expect", "").lower() == "100-continue" and not request.is_old:
        connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    while connection.held_bytes <= max_bytes and (piece := await request.payload.readany()):
        pieces.append(piece)
        connections.holds(connection, len(piece))


def write_answer(request: Request, answer: Answer) -> bool:
    """Write an answer that is here as a whole; return whether it was lost because the client hung up."""
    head = _begin(request, answer)
    try:
        request.connection.write(head if _is_bodiless(request, answer) else head + answer.body)
    except ConnectionError:
        return True
    return False


async def write_long_answer(
    request: Request, answer: Answer, rest: Rest, *, on_progress: Callable[[], None]
) -> bool:
    """Write an answer whose end is still to come; return whether it did not get through as a whole.

    Args:
        request: Is answered.
        answer: Its beginning.
        rest: The rest of it; it is closed whatever happens.
        on_progress: Called whenever the client has taken a piece.
    """
    connection = request.connection
    writer = StreamWriter(connection, connection.loop)
    try:
        if _is_bodiless(request, answer):
            return write_answer(request, answer)
        connection.write(_begin(request, answer))
        connection.flush()
        if _is_endless(request, answer) and not request.is_old:
            writer.enable_chunking()
        await writer.write(answer.body)
        async for piece in rest:
            on_progress()
            await writer.write(piece)
        await writer.write_eof()
    except OSError:
        # Half an answer must not look like a whole one: the end of the connection says so in every framing.
        connection.drop()
        return True
    finally:
        await rest.aclose()
    return False


def write_refusal(connection: Connection, answer: Answer) -> bool:
    """Answer what was no request, and close the connection; return whether its client had hung up."""
    lines = _own_lines(answer.status, answer.headers, rfc822_formatted_time())
    try:
        connection.write(
            b"%bContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (lines, len(answer.body), answer.body)
        )
    except ConnectionError:
        return True
    finally:
        connection.end()
    return False


def _is_bodiless(request: Request, answer: Answer) -> bool:
    return answer.status in _BODILESS or request.method == "HEAD"


def _is_endless(request: Request, answer: Answer) -> bool:
    """Whether only its end shows how long it is."""
    return answer.size is None and not _is_bodiless(request, answer)


def _begin(request: Request, answer: Answer) -> bytes:
    """Return the head of an answer."""
    is_endless = answer.rest is not None and _is_endless(request, answer)
    request.is_answered = True
    if not request.payload.is_eof() or (is_endless and request.is_old):
        # A body that is not read leaves no place to find the next request at.
        request.stays_open = False
    make_lines = _own_lines if answer.headers is JSON_TYPE else _lines
    head = make_lines(answer.status, answer.headers, rfc822_formatted_time())
    if is_endless:
        head += b"" if request.is_old else b"Transfer-Encoding: chunked\r\n"
    elif answer.status not in _BODILESS:
        head += b"Content-Length: %d\r\n" % (len(answer.body) if answer.size is None else answer.size)
    if not request.stays_open:
        head += b"Connection: close\r\n"
    elif request.is_old:
        head += b"Connection: keep-alive\r\n"
    return head + b"\r\n"


def _lines(status: int, headers: RawHeaders, date: str) -> bytes:
    """Return the lines of a head that are neither about the connection nor about the framing."""
    first = f"HTTP/1.1 {status} {responses.get(status, '')}\r\n"
    if b"date" not in [name.lower() for name, _ in headers]:
        first += f"Date: {date}\r\nServer: {_SERVER_NAME}\r\n"
    return first.encode("ascii") + b"".join([b"%b: %b\r\n" % line for line in headers])


# Those of our own answers are the same for a second.
_own_lines = lru_cache(maxsize=8)(_lines)


def plain_path(target: str) -> str:
    """Return the path of a request's target, which may be a whole URL (RFC 9112, 3.2.2), without its query."""
    path = target.partition("?")[0]
    return path if path.startswith("/") else _AUTHORITY.sub("", path, count=1)
