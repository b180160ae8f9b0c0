"""``listen`` inside the test's own loop: streams that can be waited for, requests to it, a receiver behind it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.errors import SunoCoverError
from suno_cover_cli.base.providers import PROVIDERS, Providers
from suno_cover_cli.listen.options import ListenOptions
from suno_cover_cli.listen.run import prepare_session
from suno_cover_cli.ui.output import Output, Streams
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.jobs import Unfinished
from tests.cli_fixtures import Run
from tests.listener_fixtures import PATIENCE_S, Reply


class _Watched(io.BytesIO):
    """A stream whose writer is a thread and whose readers are in the loop."""

    def __init__(self, on_write: Callable[[], None]) -> None:
        super().__init__()
        self._on_write = on_write

    def write(self, data: Any, /) -> int:
        count = super().write(data)
        self._on_write()
        return count


class _WatchedText(io.StringIO):
    def __init__(self, on_write: Callable[[], None]) -> None:
        super().__init__()
        self._on_write = on_write

    def write(self, text: str, /) -> int:
        count = super().write(text)
        self._on_write()
        return count


class Listening:
    """A running ``listen``; see :func:`listening`.

    Attributes:
        url: Where it receives, once :meth:`wait_ready` has returned.
        code: Its exit code, once it has ended.
    """

    def __init__(
        self,
        folder: Path,
        options: ListenOptions,
        clock: Clock,
        environ: Mapping[str, str],
        *,
        stdout_is_terminal: bool = False,
        providers: Providers = PROVIDERS,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._written = asyncio.Event()
        self._stdout = _Watched(self._note)
        self._stderr = _WatchedText(self._note)
        streams = Streams(
            stdin=io.BytesIO(),
            stdout=self._stdout,
            stderr=self._stderr,
            stdout_is_terminal=stdout_is_terminal,
            stderr_is_terminal=False,
            environ={
                "SUNO_COVER_STATE_DIR": str(folder / "state"),
                "SUNO_COVER_CONFIG": str(folder / "config.toml"),
                **environ,
            },
        )
        self._output = Output(streams, clock=clock, is_json=options.json)
        self._context = Context(output=self._output, clock=clock, providers=providers)
        self._options = options
        self._running: asyncio.Task[None] | None = None
        self.url = ""
        self.code: int | None = None

    def _note(self) -> None:
        self._loop.call_soon_threadsafe(self._written.set)

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.interrupt()

    async def _run(self) -> None:
        try:
            work = await asyncio.to_thread(prepare_session, self._options, self._context, Unfinished())
            self.code = await work
        except SunoCoverError as error:
            self._output.write_error(error)
            self.code = error.exit_code
        finally:
            self._written.set()
            # Neither stream has a reader that could keep this waiting.
            await asyncio.shield(asyncio.to_thread(self._output.finish))

    @property
    def stdout(self) -> str:
        """What it has printed."""
        return self._stdout.getvalue().decode()

    @property
    def stderr(self) -> str:
        """What it has said."""
        return self._stderr.getvalue()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Lines of stdout as JSON; fails when one is not."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Event lines of stdout."""
        return [line for line in self.objects if line["type"] == "event"]

    async def wait_until(self, is_so: Callable[[], object]) -> None:
        """Wait for something to be printed; fails when the command ends or time is up first."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                assert self._running is not None
                assert not self._running.done() or is_so(), self.stdout + self.stderr
                self._written.clear()
                if not is_so():
                    await self._written.wait()

    async def wait_ready(self) -> str:
        """Wait until callbacks get through; return the URL."""
        await self.wait_until(lambda: "ready " in self.stderr)
        line = next(line for line in self.stderr.splitlines() if line.startswith("ready "))
        self.url = line.split()[1]
        return self.url

    async def wait_events(self, count: int) -> list[dict[str, Any]]:
        """Wait for event lines under ``--json``."""
        await self.wait_until(lambda: self.stdout.count('"type":"event"') >= count and self.stdout[-1:] == "\n")
        return self.events

    async def wait_ended(self) -> Run:
        """Wait until it ends by itself."""
        assert self._running is not None
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({self._running})
        self._running.result()
        assert self.code is not None
        return Run(self.code, self.stdout, self.stderr)

    async def interrupt(self) -> None:
        """End it as a signal does."""
        assert self._running is not None
        self._running.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({self._running})

    async def post(
        self,
        body: bytes,
        *,
        path: str | None = None,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request to its URL, or to another path of it."""
        address = urlsplit(self.url)
        url = self.url if path is None else f"{address.scheme}://{address.netloc}{path}"
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
            # As it stands: a client that quotes anew would hide what the listener makes of it.
            session.request(method, URL(url, encoded=True), data=body, headers=headers) as answer,
        ):
            return Reply(answer.status, answer.headers, await answer.read())


@asynccontextmanager
async def listening(
    folder: Path,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    is_ready: bool = True,
    stdout_is_terminal: bool = False,
    providers: Providers = PROVIDERS,
    **options: Any,
) -> AsyncIterator[Listening]:
    """Run ``listen`` without a tunnel unless told otherwise; wait until it is ready unless told otherwise."""
    options = {"tunnel": False, "json": True, **options}
    async with Listening(
        folder,
        ListenOptions(**options),
        clock or SystemClock(),
        environ or {},
        stdout_is_terminal=stdout_is_terminal,
        providers=providers,
    ) as running:
        if is_ready:
            await running.wait_ready()
        yield running


class Receiver:
    """A plain receiver behind ``listen``, of sockets and nothing else: it keeps every byte that reaches it.

    Attributes:
        requests: Raw requests, head and body.
        has_news: Set with each; cleared by whoever waits for it.
    """

    def __init__(self, status: int, body: bytes, hold: asyncio.Event | None) -> None:
        self.requests: list[bytes] = []
        self.has_news = asyncio.Event()
        self.port = 0
        self._status = status
        self._body = body
        self._hold = hold

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, answer it, close."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            body = await reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b""
            self.requests.append(head + body)
            self.has_news.set()
            if self._hold is not None:
                await self._hold.wait()
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (self._status, len(self._body)))
            writer.write(self._body)
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def receiving(
    status: int = 200, body: bytes = b'{"ok":true}', *, hold: asyncio.Event | None = None
) -> AsyncIterator[Receiver]:
    """Run a receiver; ``hold`` keeps its answers back until it is set."""
    receiver = Receiver(status, body, hold)
    server = await asyncio.start_server(receiver.accept, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
