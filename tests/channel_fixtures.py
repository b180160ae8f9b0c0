"""Doubles for the channel: a tunnel and a probe that do as they are told, and a sink that remembers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.events import Event
from suno_cover_cli.tunnels.channel import CallbackChannel
from suno_cover_cli.tunnels.tunnel import Tunnel, TunnelChange
from tests.clocks import JumpingClock
from tests.tunnel_fixtures import PlainListener

URL, SECOND_URL = "https://one.example", "https://two.example"
LISTENER = PlainListener("http://127.0.0.1:9")


@dataclass
class Notebook:
    """A sink that keeps what happened."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def kinds(self) -> list[type[Event]]:
        """Return what kinds of things happened, in order."""
        return [type(event) for event in self.events]


@dataclass
class ScriptedTunnel(Tunnel):
    """A tunnel that does as it is told.

    Attributes:
        opening: Error to raise when entered, or ``None``.
        reopenings: What each new start comes to: an error, or the new URL; the last is repeated.
    """

    url: str = URL
    inspector: str | None = "http://127.0.0.1:4041"
    opening: Exception | None = None
    reopenings: list[TunnelError | str] = field(default_factory=list)
    changes: asyncio.Queue[TunnelChange] = field(default_factory=asyncio.Queue)
    may_open: asyncio.Event = field(default_factory=asyncio.Event)
    may_close: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    starts: int = 0

    def __post_init__(self) -> None:
        self.may_open.set()
        self.may_close.set()

    def lead_to(self, local_url: str) -> None:
        """It leads where the script says."""

    async def __aenter__(self) -> Self:
        await self.may_open.wait()
        if self.opening is not None:
            raise self.opening
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.may_close.wait()
        self.closed.set()

    async def next_change(self) -> TunnelChange:
        """Wait for the next change told."""
        return await self.changes.get()

    async def reopen(self) -> None:
        """Come to what the script says."""
        self.starts += 1
        await self.may_open.wait()
        outcome = self.reopenings[min(self.starts, len(self.reopenings)) - 1]
        if isinstance(outcome, TunnelError):
            raise outcome
        self.url = outcome

    def loses(self, reason: str = "session closed", *, is_dead: bool = False) -> None:
        """Say that it is lost."""
        self.changes.put_nowait(TunnelChange(lost=True, reason=reason, is_dead=is_dead))

    def returns(self, url: str = URL) -> None:
        """Say that it is back."""
        self.url = url
        self.changes.put_nowait(TunnelChange(lost=False, reason="back", url=url))


@dataclass
class ScriptedProbe:
    """A probe whose answers are chosen; ``pass_through`` holds it back while it is clear."""

    failure: Exception | None = None
    answer: str = LISTENER.probe_answer
    urls: list[str] = field(default_factory=list)
    pass_through: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.pass_through.set()

    async def fetch(self, url: str) -> str:
        """Answer as chosen when the answer is due."""
        self.urls.append(url)
        self.asked.set()
        await self.pass_through.wait()
        if self.failure is not None:
            raise self.failure
        return self.answer


@dataclass
class Scene:
    """A channel with everything round it."""

    tunnel: ScriptedTunnel
    probe: ScriptedProbe
    notes: Notebook
    clock: JumpingClock
    channel: CallbackChannel


@asynccontextmanager
async def scene(
    tunnel: ScriptedTunnel | None = None, probe: ScriptedProbe | None = None, **more: Any
) -> AsyncIterator[Scene]:
    """Enter a channel over a scripted tunnel and probe, in time that passes when all wait for it."""
    tunnel, probe, notes, clock = (
        tunnel or ScriptedTunnel(),
        probe or ScriptedProbe(),
        Notebook(),
        JumpingClock(),
    )
    channel = CallbackChannel(LISTENER, tunnel, sink=notes, clock=clock, probe=probe.fetch, **more)
    async with asyncio.timeout(30), channel:
        yield Scene(tunnel, probe, notes, clock, channel)


def refusal(code: str = "ngrok_session_limit", *, is_permanent: bool = False) -> TunnelError:
    """Make an error such as a tunnel raises."""
    return TunnelError("refused", code=code, hint="do this", is_permanent=is_permanent)
