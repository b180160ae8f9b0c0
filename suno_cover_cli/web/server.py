"""The server of a local page: one address on 127.0.0.1, one document, JSON to and fro, and a feed.

Nothing here knows what a page is about. A :class:`Page` names its document and hands in functions; every request
passes the :class:`~suno_cover_cli.web.guard.Guard` before one of them is called. No path in a request leads to the
file system: documents, styles and scripts are read once from the package, and everything else is a function found
by its name.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from importlib.resources import files
from typing import Any, Self, cast

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.errors import SunoCoverError, explain_bind_error
from suno_cover_cli.web.guard import SECURITY_HEADERS, Guard, PageError

_SHUTDOWN_S = 0.5
_BODY_S = 10.0
_KEEPALIVE_S = 60.0
_MAX_CONNECTIONS = 128
_MAX_BODY_BYTES = 64 * 1024
_HTML = "text/html; charset=utf-8"
_TYPES = {
    "html": _HTML,
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_LOCKED = "locked.html"
_FEED = "events"

_MAX_FOLLOWERS = 32
_MAX_WAITING = 256


class Feed:
    """Hands events to followers, in order. A slow one loses what waits and gets a request to begin anew."""

    def __init__(self) -> None:
        self._followers: set[_Follower] = set()
        self._is_closed = False

    def publish(self, name: str, data: object) -> None:
        """Tell everybody; ``data`` becomes JSON. Never blocks."""
        if self._followers:
            event = _event(name, data)
            for follower in self._followers:
                follower.put(event)

    def close(self) -> None:
        """End every follower's stream once it has what waits for it."""
        self._is_closed = True
        for follower in self._followers:
            follower.wake()

    async def follow(self) -> AsyncGenerator[bytes]:
        """Yield events as they go over the wire, the first one at once, until the feed is closed.

        Raises:
            PageError: 503: too many follow already.
        """
        if len(self._followers) >= _MAX_FOLLOWERS:
            raise PageError(503, "too_many_pages")
        follower = _Follower()
        self._followers.add(follower)
        try:
            # The first event makes the browser believe in the stream, and the page read what it may have missed.
            yield _event("sync", {})
            while not (self._is_closed and follower.is_idle):
                yield await follower.take()
        finally:
            self._followers.discard(follower)


class _Follower:
    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._woken = asyncio.Event()

    def put(self, event: bytes) -> None:
        if len(self._waiting) >= _MAX_WAITING:
            self._waiting.clear()
            event = _event("sync", {})
        self._waiting.append(event)
        self._woken.set()

    def wake(self) -> None:
        self._woken.set()

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    async def take(self) -> bytes:
        """Return all that has come since, as soon as there is something; nothing once the feed is closed."""
        if not self._waiting:
            self._woken.clear()
            await self._woken.wait()
        waiting = b"".join(self._waiting)
        self._waiting.clear()
        return waiting


def _event(name: str, data: object) -> bytes:
    # JSON has no line break in it, so one data line is always enough.
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


class Data(msgspec.Struct, frozen=True):
    """An answer of a page that is not JSON."""

    body: bytes
    content_type: str


Read = Callable[[Mapping[str, str]], Awaitable[object]]
"""Takes the query; returns :class:`Data`, or what becomes JSON. Cancelled when the browser no longer waits."""

Write = Callable[[Any], Awaitable[object]]
"""Takes a JSON body, whatever it is, and returns what becomes JSON. Runs to its end, client or not."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What a server shows.

    Attributes:
        document: Name of its HTML among the static files.
        reads: Name -> function behind GET.
        writes: Name -> function behind POST; none for a page that only shows.
        feed: What happens while it is open.
        max_body_bytes: Of a POST.
    """

    document: str
    reads: Mapping[str, Read]
    writes: Mapping[str, Write] = {}
    feed: Feed = msgspec.field(default_factory=Feed)
    max_body_bytes: int = _MAX_BODY_BYTES


class PageServer:
    """Serves one page. An async context manager: entering listens, leaving takes less than a second.

    Args:
        page: What to show.
        clock: Time.
        port: On 127.0.0.1; 0 takes a free one.
        on_trouble: Told why a request of the page could not be answered; the page itself hears its code alone.

    Raises:
        UsageError: On entering: the port cannot be had.
    """

    def __init__(
        self,
        page: Page,
        *,
        clock: Clock,
        port: int = 0,
        on_trouble: Callable[[SunoCoverError], None],
    ) -> None:
        self._page = page
        self._clock = clock
        self._port = port
        self._on_trouble = on_trouble
        self._guard = Guard(clock)
        self._static: Mapping[str, Data] = {}
        # Writes outlive the request that asked for them.
        self._writing: set[asyncio.Task[object]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._static = await asyncio.to_thread(_load_static)
        async with AsyncExitStack() as stack:
            server = _Server(self._answer, handler_cancellation=True, keepalive_timeout=_KEEPALIVE_S)
            runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            try:
                await web.TCPSite(runner, "127.0.0.1", self._port).start()
            except (OSError, OverflowError) as error:
                raise explain_bind_error(error, "127.0.0.1", self._port) from None
            self._guard.bind(int(runner.addresses[0][1]))
            stack.push_async_callback(self._finish_writes)
            stack.callback(self._page.feed.close)
            stack.callback(self._page.feed.publish, "end", {})
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """Address for the person, with the token that lets in."""
        return self._guard.url

    def make_opening_url(self) -> str:
        """Return an address for a browser's command line, which others can read: good once."""
        return self._guard.make_opening_url()

    # --- requests ---------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._route(request)
        except PageError as error:
            return self._refuse(request, error)
        except SunoCoverError as error:
            self._on_trouble(error)
            return self._refuse(request, PageError(503, error.code))
        except Exception as error:  # noqa: BLE001 -- whatever it is, the page hears only that there was one
            context = {"message": "A page's request failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            return self._refuse(request, PageError(500, "internal"))

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        guard, header = self._guard, request.headers.get
        guard.check_host(request.headers.getall("Host", []))
        is_document = request.path == guard.base
        if is_document and request.method == "GET" and "token" in request.query:
            cookie = guard.exchange(request.query["token"])
            headers = {"Location": guard.base, "Set-Cookie": cookie}
            return _respond(Data(b"", "text/plain"), status=303, headers=headers)
        guard.check_cookie(request.cookies)
        if not request.path.startswith(guard.base):
            raise PageError(404, "not_found")
        name = self._page.document if is_document else request.path.removeprefix(guard.base)
        if request.method == "POST":
            guard.check_write(header, request.content_type)
            return _respond(await self._write(name, request))
        if request.method != "GET":
            raise PageError(405, "wrong_method")
        if not is_document:
            guard.check_read(header)
        if name == _FEED:
            return await self._stream(request)
        return _respond(await self._read(name, request))

    async def _read(self, name: str, request: web.BaseRequest) -> Data:
        if name in self._static:
            return self._static[name]
        read = self._page.reads.get(name)
        if read is None:
            raise PageError(404, "not_found")
        found = await read(request.query)
        return found if isinstance(found, Data) else _json(found)

    async def _write(self, name: str, request: web.BaseRequest) -> Data:
        write = self._page.writes.get(name)
        if write is None:
            raise PageError(404, "not_found")
        try:
            body = await within(self._clock, _BODY_S, self._read_body(request))
            wanted = msgspec.json.decode(body)
        except (TimeoutError, ConnectionError, web.RequestPayloadError):
            raise PageError(408, "broke_off") from None
        except (ValueError, RecursionError):
            raise PageError(400, "not_json") from None
        writing = asyncio.ensure_future(_outcome_of(write(wanted)))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        outcome = await asyncio.shield(writing)
        if isinstance(outcome, PageError):
            raise outcome
        return _json(outcome)

    async def _read_body(self, request: web.BaseRequest) -> bytes:
        most = self._page.max_body_bytes
        pieces = bytearray()
        if (request.content_length or 0) <= most:
            async for piece in request.content.iter_any():
                pieces += piece
                if len(pieces) > most:
                    break
            else:
                return bytes(pieces)
        raise PageError(413, "too_long")

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers=_headers("text/event-stream"))
        # A browser that leaves cancels this.
        async with aclosing(self._page.feed.follow()) as following:
            async for events in following:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(events)
        return response

    def _refuse(self, request: web.BaseRequest, error: PageError) -> web.Response:
        headers = {"Allow": "GET, POST"} if error.status == 405 else {}  # noqa: PLR2004 -- has to say what is allowed
        if request.method == "GET" and request.path == self._guard.base and error.code == "locked":
            return _respond(self._static[_LOCKED], status=error.status, headers=headers)
        said = _json({"error": {"code": error.code, **error.facts}})
        return _respond(said, status=error.status, headers=headers)

    async def _finish_writes(self) -> None:
        if self._writing:
            await asyncio.wait(self._writing, timeout=_SHUTDOWN_S)


class _Server(web.Server):
    """aiohttp's server with a bound on connections, and no word to those who do not speak HTTP."""

    def __call__(self) -> RequestHandler:
        log = _silent()
        return _Connection(self, loop=asyncio.get_running_loop(), access_log=log, logger=log, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > _MAX_CONNECTIONS:
            cast("asyncio.Transport", transport).abort()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 -- aiohttp's signature
        status: int = 500,  # noqa: ARG002 -- the same
        exc: BaseException | None = None,  # noqa: ARG002 -- the same
        message: str | None = None,  # noqa: ARG002 -- the same; it quotes what was sent
    ) -> web.StreamResponse:
        """Answer what never became a request; what becomes one is answered by the page server, faults included."""
        response = _respond(_json({"error": {"code": "not_http"}}), status=400)
        response.force_close()
        return response


def _silent() -> logging.Logger:
    log = logging.Logger("suno-cover page")  # noqa: LOG001 -- not one of the process's: it is never configured
    log.disabled = True
    return log


def _respond(data: Data, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=data.body, status=status, headers=_headers(data.content_type) | dict(headers or {}))


def _headers(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type, "Server": "suno-cover", **SECURITY_HEADERS}


async def _outcome_of(work: Awaitable[object]) -> object:
    """Return what a write returns, or the refusal it raises: the request that would hear of it may be gone."""
    try:
        return await work
    except PageError as refusal:
        return refusal


def _json(value: object) -> Data:
    return Data(msgspec.json.encode(value), "application/json")


def _load_static() -> dict[str, Data]:
    """Read the documents, styles and scripts of the package. Blocks."""
    static = {}
    for entry in files("suno_cover_cli.web").joinpath("static").iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None:
            static[entry.name] = Data(entry.read_bytes(), kind)
    return static
