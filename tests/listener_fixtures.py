"""What the listener's tests share: bodies of callbacks, a plain client, and raw connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.callbacks.listener import CallbackListener

TASK = "21aee3c3c2a01fa5e030b3799fa4dd56"
IMAGES = ("https://images.example/1.png", "https://images.example/2.png")
RECEIVED_BODY = b'{"status":"received"}'
# Longer than any wait in these tests may be; reached only by a test that fails.
PATIENCE_S = 20.0


def callback_body(task_id: str = TASK, *, code: int = 200, **data: Any) -> bytes:
    """Return a callback as documented."""
    content = {"taskId": task_id, "images": list(IMAGES) if code == 200 else None, **data}
    return json.dumps({"code": code, "msg": "success" if code == 200 else "failed", "data": content}).encode()


@dataclass(frozen=True)
class Reply:
    """An answer as the client saw it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def post(
    listener: CallbackListener,
    path: str,
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> Reply:
    """Send one request on a connection of its own and return the answer."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
        session.request(method, listener.local_url + path, data=body, headers=headers) as answer,
    ):
        return Reply(answer.status, answer.headers, await answer.read())


class Wire:
    """One TCP connection to a listener, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def read_answer(self) -> Reply:
        """Read one answer; its header names are in lower case."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
            return Reply(int(first.split(" ", 2)[1]), headers, body)

    async def read_to_end(self) -> bytes:
        """Read until the listener closes or cuts the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    def hang_up(self) -> None:
        """Cut the connection from this side."""
        self._writer.transport.abort()


@asynccontextmanager
async def connect(listener: CallbackListener) -> AsyncIterator[Wire]:
    """Open a connection, and cut it at the end."""
    address = urlsplit(listener.local_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def request_bytes(
    path: str, body: bytes = b"", *, method: str = "POST", headers: tuple[str, ...] = (), length: int | None = None
) -> bytes:
    """Return a request as bytes; ``length`` may promise another size than the body has."""
    lines = (
        f"{method} {path} HTTP/1.1",
        "Host: listener",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    )
    return "\r\n".join((*lines, "\r\n")).encode() + body


def new_listener(**options: Any) -> CallbackListener:
    """Return a listener on the machine's clock, not entered yet."""
    return CallbackListener(clock=options.pop("clock", SystemClock()), **options)
