"""A plain client and a plain receiver of callbacks for the sandbox's tests. Nothing here is the package's own."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from suno_cover_cli.sandbox.app import RECORD_PATH, SUBMIT_PATH, Sandbox
from suno_cover_cli.sandbox.image_host import IMAGE_PREFIX
from tests.clocks import ManualClock

READ_LIMIT_BYTES = 4 * 1024 * 1024
AGENT = "plain-client/1.0"


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One answer as it came, or how it failed to come.

    ``ending`` is ``whole``, ``half`` (closed early), ``cut`` (no answer at all) or ``flood`` (never ends).
    """

    method: str
    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ending: str = "whole"

    @property
    def content_type(self) -> str:
        """Media type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def envelope(self) -> dict[str, Any]:
        """The body as an object; an empty one if it is something else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) and self.ending == "whole" else {}

    @property
    def data(self) -> dict[str, Any]:
        """``data`` of the envelope; an empty object if it is something else."""
        value = self.envelope.get("data")
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One callback as received."""

    headers: dict[str, str]
    body: bytes

    @property
    def payload(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class PlainClient:
    """Speaks to a sandbox with aiohttp and nothing else, and keeps every exchange."""

    def __init__(self, session: aiohttp.ClientSession, url: str, api_key: str) -> None:
        self._base_url = url
        self._session = session
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self.exchanges: list[Exchange] = []

    async def submit(self, music_task_id: str, callback_url: str = "https://example.invalid/none") -> Exchange:
        """Order a cover."""
        body = json.dumps({"taskId": music_task_id, "callBackUrl": callback_url}).encode()
        return await self.call("POST", SUBMIT_PATH, data=body)

    async def make(self, music_task_id: str, callback_url: str = "https://example.invalid/none") -> str:
        """Order a cover and return its cover task id."""
        task_id = (await self.submit(music_task_id, callback_url)).data["taskId"]
        assert isinstance(task_id, str)
        return task_id

    async def read(self, task_id: str) -> Exchange:
        """Read a job."""
        return await self.call("GET", RECORD_PATH, params={"taskId": task_id})

    async def image_urls(self, task_id: str) -> list[str]:
        """Read a job that is done and return where its images are."""
        urls = (await self.read(task_id)).data["response"]["images"]
        assert isinstance(urls, list)
        return urls

    async def call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **kwargs: Any
    ) -> Exchange:
        """Make any call to the API; ``headers`` replace those of a good client."""
        sent = self._headers if headers is None else headers
        exchange = await fetch(self._session, method, self._base_url + path, headers=sent, **kwargs)
        self.exchanges.append(exchange)
        return exchange

    async def image(self, url: str, **headers: str) -> Exchange:
        """Fetch an image without following redirects."""
        return await fetch(self._session, "GET", url, headers={"User-Agent": AGENT, **headers})


async def fetch(session: aiohttp.ClientSession, method: str, url: str, **kwargs: Any) -> Exchange:
    """Make one request and tell what came of it, whatever that is."""
    path, status, headers, body = urlsplit(url).path, 0, {}, bytearray()
    try:
        async with session.request(method, url, allow_redirects=False, **kwargs) as response:
            status = response.status
            headers = {name.lower(): value for name, value in response.headers.items()}
            ending = "whole"
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > READ_LIMIT_BYTES:
                    ending = "flood"
                    break
    except aiohttp.ClientPayloadError:
        ending = "half"
    except (aiohttp.ClientConnectionError, aiohttp.ServerDisconnectedError):
        ending = "cut"
    return Exchange(method=method, path=path, status=status, headers=headers, body=bytes(body), ending=ending)


class Receiver:
    """Receives callbacks on loopback. The n-th is answered with the n-th status, the last of which repeats."""

    def __init__(self, *statuses: int, location: str = "", tls: ssl.SSLContext | None = None) -> None:
        self._statuses = statuses or (200,)
        self._headers = {"Location": location} if location else {}
        self._tls = tls
        self._changed = asyncio.Condition()
        self.calls: list[Call] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._receive), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        self.url = (
            f"http{'' if self._tls is None else 's'}://127.0.0.1:{self._runner.addresses[0][1]}/callback/token"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.BaseRequest) -> web.Response:
        call = Call(headers=dict(request.headers), body=await request.read())
        async with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        status = self._statuses[min(len(self.calls), len(self._statuses)) - 1]
        return web.Response(status=status, headers=self._headers)

    async def wait_for(self, count: int) -> list[Call]:
        """Wait until ``count`` callbacks have come and return all of them."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.calls) >= count)
        return self.calls


class WatchedClock(ManualClock):
    """A manual clock that can be asked to wait until somebody sleeps on it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()
        self.delays: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        """Note the delay, then sleep; whoever is told of it finds the sleeper asleep."""
        if delay_s > 0:
            self.delays.append(delay_s)
            self._changed.set()
        await super().sleep(delay_s)

    async def wait_for_sleep(self, delay_s: float) -> None:
        """Wait until somebody sleeps for ``delay_s`` seconds."""
        async with asyncio.timeout(10):
            while not any(abs(delay - delay_s) < 1e-3 for delay in self.delays):
                self._changed.clear()
                await self._changed.wait()
        self.delays = [delay for delay in self.delays if abs(delay - delay_s) >= 1e-3]

    async def pass_sleep(self, delay_s: float) -> None:
        """Wait until somebody sleeps for ``delay_s`` seconds, then let that time pass."""
        await self.wait_for_sleep(delay_s)
        self.advance(delay_s + 1e-6)


def count_key_leaks(sandbox: Sandbox) -> int:
    """Return how many image requests carried a key; the image host refuses each."""
    return sum(request.authorized and request.path.startswith(IMAGE_PREFIX) for request in sandbox.request_log)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[Sandbox, PlainClient]]:
    """Serve a sandbox and give a client for it."""
    async with Sandbox(**options) as sandbox, aiohttp.ClientSession() as session:
        yield sandbox, PlainClient(session, sandbox.url, sandbox.api_key)
