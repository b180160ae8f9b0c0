"""What the downloader's tests share: pictures, an image host that follows a script, a clock that only counts."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import pytest
from aiohttp import web

from suno_cover_cli.base.errors import ImageError
from suno_cover_cli.images.downloader import Downloader
from tests.image_fixtures import ENVIRON

AGENT = "suno-cover/0.0.test"

Step = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CountingClock:
    """A clock whose waits take no time and are written down."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        """Seconds, moved on by the waits alone."""
        return self.now

    def time(self) -> float:
        """Epoch seconds, moved on by the waits alone."""
        return self.now

    async def sleep(self, delay_s: float) -> None:
        """Move time on at once."""
        self.waits.append(delay_s)
        self.now += delay_s
        await asyncio.sleep(0)


def make_downloader(clock: CountingClock | None = None, **options: Any) -> Downloader:
    """Return a downloader that may use loopback, unless told otherwise."""
    defaults: dict[str, Any] = {
        "allow_loopback": True,
        "clock": clock or CountingClock(),
        "user_agent": AGENT,
        "environ": ENVIRON,
    }
    return Downloader(**(defaults | options))


class Meter:
    """Takes progress and lets a host wait for it: what a client has read is what a break leaves it with."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None]] = []
        self._changed = asyncio.Event()

    def __call__(self, received_bytes: int, total_bytes: int | None) -> None:
        """Take one report."""
        self.told.append((received_bytes, total_bytes))
        self._changed.set()

    async def wait_for(self, received_bytes: int) -> None:
        """Wait until that many bytes have been reported."""
        while not self.told or self.told[-1][0] < received_bytes:
            self._changed.clear()
            await self._changed.wait()


class ImageHost:
    """A real HTTP(S) server on loopback that answers each path by a script; the last step repeats.

    Attributes:
        requests: What came, in order.
        port: Its port.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self.requests: list[web.Request] = []
        self.port = 0
        self._ssl = ssl_context
        self._scripts: dict[str, list[Step]] = {}
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{name}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        self._resources.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._ssl).start()
        self.port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    def serve(self, *steps: Step, name: str = "cover.png", host: str = "127.0.0.1") -> str:
        """Script one path and return its URL."""
        self._scripts[name] = list(steps)
        return f"{'http' if self._ssl is None else 'https'}://{host}:{self.port}/{name}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        script = self._scripts[request.match_info["name"]]
        step = script.pop(0) if len(script) > 1 else script[0]
        return await step(request)


def whole(body: bytes, status: int = 200, **headers: str) -> Step:
    """Answer with a body; header names are spelt with ``_`` for ``-``."""

    async def step(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=spell(headers))

    return step


def status(code: int, **headers: str) -> Step:
    """Answer with a status and an error page."""
    return whole(b"<html>no</html>", code, Content_Type="text/html", **headers)


def redirect(location: str, code: int = 302) -> Step:
    """Answer with a redirect."""
    return whole(b"", code, Location=location)


def broken(body: bytes, cut: int, meter: Meter | None = None, **headers: str) -> Step:
    """Announce a whole body, send ``cut`` bytes of it, and hang up; with a meter, once these have arrived."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body))} | spell(headers))
        await response.prepare(request)
        await response.write(body[:cut])
        if meter is not None:
            await meter.wait_for(cut)
        assert request.transport is not None
        request.transport.close()
        return response

    return step


def ranged(body: bytes, etag: str) -> Step:
    """Answer the way a good host does: the rest for a matching ``Range``, else everything."""

    async def step(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        if not start or request.headers.get("If-Range") != etag:
            return web.Response(body=body, headers={"ETag": etag})
        content_range = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return web.Response(status=206, body=body[start:], headers={"ETag": etag, "Content-Range": content_range})

    return step


def spell(headers: dict[str, str]) -> dict[str, str]:
    """Turn keyword names into header names."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[ImageError]]:
    """Expect an image error of this code, told in one printable line with a next step."""
    with pytest.raises(ImageError) as info:
        yield info
    assert info.value.code == code
    assert info.value.message.isprintable()
    assert 0 < len(info.value.message) < 600
    assert info.value.hint
