"""Which connections keep a server waiting, and which of them goes first when room runs out.

A connection is either *waiting* for its client (to send a request, to finish one, to read an answer, to stop) or
*answering* (a whole request is here and an answer is owed). Only waiting ones are ever dropped: the one
waited for longest first, so a real callback, which comes within milliseconds of connecting, always gets in.
"""

import asyncio
import heapq
import sys
from collections.abc import Iterator
from operator import itemgetter
from typing import Protocol

import msgspec

from suno_cover_cli.base.clock import Clock

# What the rest of the program needs beside connections: journal, images, the tunnel's agent, streams.
_RESERVED_DESCRIPTORS = 128
_LEAST_CONNECTIONS = 16


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what unknown senders can use up.

    Attributes:
        max_connections: Open at once; one more drops the one waited for longest.
        max_held_bytes: Of unfinished bodies, all connections together.
        request_s: Seconds from the start of waiting to a complete request.
        idle_s: The same on a connection that brought a callback before. Longer than proxies keep theirs,
            so that none sends the next callback into a closing connection.
        lingering_s: Seconds a refused sender may go on sending, so that it reads the refusal instead of a reset.
        closing_s: Seconds that answers still owed have at the end.
    """

    max_connections: int = 512
    max_held_bytes: int = 16 * 1024 * 1024
    request_s: float = 10.0
    idle_s: float = 120.0
    lingering_s: float = 2.0
    closing_s: float = 2.0


class Connection(Protocol):
    """What the registry asks of a connection."""

    held_bytes: int
    """Bytes of an unfinished body."""

    def drop(self) -> None:
        """Cut it off at once, whatever is still unsent."""
        ...


class ConnectionRegistry:
    """Keeps every open connection in one of its states, in the order the waiting began."""

    def __init__(self, limits: ConnectionLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        # Connection -> when the waiting began. Appended to with the current time only, hence always in order.
        self._unknown: dict[Connection, float] = {}
        self._known: dict[Connection, float] = {}
        self._lingering: dict[Connection, float] = {}
        self._waiting = (self._unknown, self._known, self._lingering)
        self._answering: set[Connection] = set()
        self._held_bytes = 0
        self._settled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._answering) + sum(map(len, self._waiting))

    def opened(self, connection: Connection) -> None:
        """Note a new connection, and make room for it. It goes itself when all others are owed answers."""
        self._unknown[connection] = self._clock.monotonic()
        if len(self) > self._limits.max_connections:
            self._drop(next(self._longest_waiting()))

    def waits(self, connection: Connection, *, is_known: bool = False) -> None:
        """Note that its client is to act next; ``is_known`` when it has just brought a callback."""
        if self._forget(connection):
            (self._known if is_known else self._unknown)[connection] = self._clock.monotonic()

    def lingers(self, connection: Connection) -> None:
        """Note that it was refused and its client has yet to stop."""
        if self._forget(connection):
            self._lingering[connection] = self._clock.monotonic()

    def answers(self, connection: Connection) -> None:
        """Note that a whole request is here and an answer is owed."""
        if self._forget(connection):
            self._answering.add(connection)

    def holds(self, connection: Connection, more_bytes: int) -> None:
        """Note bytes of an unfinished body. Above the bound the oldest unfinished body goes, maybe this one."""
        connection.held_bytes += more_bytes
        self._held_bytes += more_bytes
        if self._held_bytes > self._limits.max_held_bytes:
            for other in [one for one in self._longest_waiting() if one.held_bytes]:
                self._drop(other)
                if self._held_bytes <= self._limits.max_held_bytes:
                    break

    def releases(self, connection: Connection) -> None:
        """Note that a body is complete or given up."""
        self._held_bytes -= connection.held_bytes
        connection.held_bytes = 0

    def closed(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._forget(connection)
        self.releases(connection)

    def drop_overdue(self) -> None:
        """Drop connections that took too long."""
        now_s, limits = self._clock.monotonic(), self._limits
        for waiting, limit_s in zip(
            self._waiting, (limits.request_s, limits.idle_s, limits.lingering_s), strict=True
        ):
            for connection in [one for one, since_s in waiting.items() if now_s - since_s > limit_s]:
                self._drop(connection)

    def drop_all(self) -> None:
        """Drop every connection, whatever is owed."""
        for connection in [*(one for waiting in self._waiting for one in waiting), *self._answering]:
            self._drop(connection)

    async def wait_settled(self) -> None:
        """Wait until no answer is owed."""
        while self._answering:
            self._settled.clear()
            await self._settled.wait()

    def _forget(self, connection: Connection) -> bool:
        if connection in self._answering:
            self._answering.remove(connection)
            if not self._answering:
                self._settled.set()
            return True
        return (
            self._known.pop(connection, None) is not None
            or self._unknown.pop(connection, None) is not None
            or self._lingering.pop(connection, None) is not None
        )

    def _drop(self, connection: Connection) -> None:
        self.closed(connection)
        connection.drop()

    def _longest_waiting(self) -> Iterator[Connection]:
        merged = heapq.merge(*(waiting.items() for waiting in self._waiting), key=itemgetter(1))
        return (connection for connection, _ in merged)


def descriptor_room(wanted: int) -> int:
    """Raise the soft limit on file descriptors as far as ``wanted`` connections need, and say how many fit.

    The limit belongs to the process, so it is never lowered again. Windows has none.
    """
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _RESERVED_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    target = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (OSError, ValueError):  # macOS refuses more than its own per-process maximum
        target = soft
    return max(target - _RESERVED_DESCRIPTORS, _LEAST_CONNECTIONS)
