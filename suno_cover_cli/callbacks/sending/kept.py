"""Connections to a receiver that are used again in a burst.

A session of aiohttp could keep them as well. But it follows redirects, keeps cookies and builds requests of every
kind, which takes longer than sending this one and reading its answer.
"""

import asyncio
from collections import deque
from functools import partial
from weakref import WeakSet

from multidict import CIMultiDict
from yarl import URL

from suno_cover_cli.callbacks.sending.habits import Habits
from suno_cover_cli.callbacks.sending.reading import AnswerReader, KeptAnswer

_IDLE_S = 0.1
"""A kept connection is used again within this time, or closed at most as much later."""

_LATE_S = 0.02
"""A loop that comes later than this stood still, and saw nothing of what a receiver did with its connections."""

_PATIENCE = 0.9
"""Of the time for an answer."""

_NEXT_ADDRESS_S = 0.25
"""A host's other address is tried as well after this time (RFC 8305, 8), as on connections of aiohttp's own."""


class KeptConnections:
    """Sends requests over connections of which each serves one at a time.

    Args:
        url: Of the receiver, which is asked without TLS and without a proxy.
        habits: Of the receiver.
        timeout_s: For an answer.
    """

    def __init__(self, url: URL, habits: Habits, timeout_s: float) -> None:
        self._host = url.host or ""
        self._port = url.port or 0
        self._host_field = url.host_port_subcomponent or ""
        self._make = partial(AnswerReader, habits, on_idle=self._keep, patience_s=_PATIENCE * timeout_s)
        # When each became idle, the first one first.
        self._idle: deque[tuple[float, AnswerReader]] = deque()
        self._opened: WeakSet[AnswerReader] = WeakSet()
        self._closing: asyncio.TimerHandle | None = None

    async def request(self, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None) -> KeptAnswer:
        """Send one request, and wait for the head of its answer.

        Args:
            method: Of the request.
            url: Of the same receiver.
            headers: Without those about connection and framing.
            body: ``None`` for a request without one.

        Raises:
            OSError: No connection could be opened.
            ConnectionLostError: The connection was lost first.
            HttpProcessingError: What came is not HTTP.
            ValueError: A header cannot be sent.
        """
        sent = CIMultiDict(Host=headers.get("Host", self._host_field))
        if "Host" in headers:
            headers = headers.copy()
            del headers["Host"]
        sent.extend(headers)
        if body is not None:
            sent["Content-Length"] = str(len(body))
        # Not "or": as a queue of answers, an idle connection is empty, and so counts as false.
        connection = self._take_idle()
        if connection is None:
            connection = await self._open()
        try:
            return await connection.ask(f"{method} {url.raw_path_qs} HTTP/1.1", sent, body or b"")
        except BaseException:
            connection.close()
            raise

    async def close(self) -> None:
        """Cut every connection."""
        if self._closing is not None:
            self._closing.cancel()
        self._idle.clear()
        ends = [connection.closed for connection in self._opened]
        for connection in list(self._opened):
            connection.abort()
        # One that was lost a moment ago ends with the reason, which is of interest no more.
        await asyncio.gather(*filter(None, ends), return_exceptions=True)

    async def _open(self) -> AnswerReader:
        _, connection = await asyncio.get_running_loop().create_connection(
            self._make, self._host, self._port, happy_eyeballs_delay=_NEXT_ADDRESS_S
        )
        self._opened.add(connection)
        return connection

    def _keep(self, connection: AnswerReader) -> None:
        if connection.should_close:
            connection.close()
            return
        self._idle.append((connection.loop.time(), connection))
        if self._closing is None:
            self._close_later(connection.loop)

    def _close_later(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = loop.time() + _IDLE_S
        self._closing = loop.call_at(due_s, self._close_idle, loop, due_s)

    def _take_idle(self) -> AnswerReader | None:
        while self._idle:
            since_s, connection = self._idle.popleft()
            if connection.loop.time() - since_s <= _IDLE_S and connection.is_connected():
                return connection
            connection.close()
        return None

    def _close_idle(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        self._closing = None
        now_s = loop.time()
        if now_s - due_s <= _LATE_S:
            while self._idle and now_s - self._idle[0][0] > _IDLE_S:
                self._idle.popleft()[1].close()
        if self._idle:
            self._close_later(loop)
