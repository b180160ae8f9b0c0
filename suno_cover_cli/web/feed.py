"""What happens while a page is open, told to every browser that looks: server-sent events, each queue bounded."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

import msgspec

from suno_cover_cli.web.guard import PageError

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
