"""The callback channel: opened in time or not at all, proven, watched, mended, and never a reason to fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pytest

from suno_cover_cli.channel import HEARTBEAT_S, CallbackChannel, Mending
from suno_cover_cli.clock import Clock, SystemClock
from suno_cover_cli.errors import TunnelError
from suno_cover_cli.events import Event, TunnelFailed, TunnelLost, TunnelOpened, TunnelRestored
from suno_cover_cli.probe import HttpProbe
from suno_cover_cli.tunnel import PublicUrl, TunnelChange
from tests.clocks import ScaledClock
from tests.tunnel_fixtures import NgrokStandin, PlainListener, TunnelMaker

Standins = Callable[..., NgrokStandin]
URL, SECOND_URL = "https://one.example", "https://two.example"
LISTENER = PlainListener("http://127.0.0.1:9")
SPEED = 40.0


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
class ScriptedTunnel:
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
    clock: Clock
    channel: CallbackChannel


@asynccontextmanager
async def scene(
    tunnel: ScriptedTunnel | None = None, probe: ScriptedProbe | None = None, *, speed: float = SPEED, **more: Any
) -> AsyncIterator[Scene]:
    """Enter a channel over a scripted tunnel and probe; no wait in it may take longer than 5 s."""
    tunnel, probe, notes, clock = (
        tunnel or ScriptedTunnel(),
        probe or ScriptedProbe(),
        Notebook(),
        ScaledClock(speed),
    )
    channel = CallbackChannel(LISTENER, tunnel, sink=notes, clock=clock, probe=probe.fetch, **more)
    async with asyncio.timeout(5), channel:
        yield Scene(tunnel, probe, notes, clock, channel)


def _refusal(code: str = "ngrok_session_limit", *, is_permanent: bool = False) -> TunnelError:
    error = TunnelError("refused", code=code, hint="do this")
    error.is_permanent = is_permanent
    return error


# --- opening -------------------------------------------------------------------------------------------------


async def test_open() -> None:
    """A channel is open once our own answer came back through the public URL."""
    async with scene() as it:
        assert await it.channel.wait_open() == URL
        assert it.channel.is_open
        assert it.probe.urls == [URL + LISTENER.probe_path]
        assert it.notes.events == [TunnelOpened(url=URL, inspector="http://127.0.0.1:4041")]
    assert it.tunnel.closed.is_set()
    assert not it.channel.is_open


async def test_entering_does_not_wait() -> None:
    """Other work goes on while the tunnel opens."""
    tunnel = ScriptedTunnel()
    tunnel.may_open.clear()
    async with scene(tunnel) as it:
        assert not it.channel.is_open
        assert it.notes.events == []
        tunnel.may_open.set()
        assert await it.channel.wait_open() == URL


async def test_no_tunnel_wanted() -> None:
    """Without a tunnel there is no URL, no failure, no event and nothing to lose."""
    notes = Notebook()
    channel = CallbackChannel(LISTENER, None, sink=notes, clock=SystemClock(), probe=ScriptedProbe().fetch)
    async with channel:
        assert await channel.wait_open() is None
        losing = asyncio.create_task(channel.wait_lost())
        await asyncio.sleep(0)
        assert not losing.done()
        losing.cancel()
    assert channel.failure is None
    assert notes.events == []


async def test_failure_is_told_once() -> None:
    """A tunnel that cannot be had is one event, and word to everybody who waits."""
    error = _refusal()
    async with scene(ScriptedTunnel(opening=error)) as it:
        assert await it.channel.wait_open() is None
        assert await it.channel.wait_lost() == "refused"
        assert await it.channel.wait_restored() is None
        assert it.channel.failure is error
        assert it.channel.given_up.is_set()
    assert it.notes.events == [TunnelFailed(code="ngrok_session_limit", message="refused", hint="do this")]


async def test_opening_is_bounded() -> None:
    """A tunnel that never opens costs the deadline and a little."""
    tunnel = ScriptedTunnel()
    tunnel.may_open.clear()
    async with scene(tunnel) as it:
        began_s = it.clock.monotonic()
        assert await it.channel.wait_open() is None
        assert 8 <= it.clock.monotonic() - began_s < 14
        assert it.channel.failure is not None
        assert it.channel.failure.code == "tunnel_timeout"


async def test_time_for_a_download() -> None:
    """The tunnel alone can be granted more time than the deadline."""
    tunnel = ScriptedTunnel()
    tunnel.may_open.clear()
    async with scene(tunnel, extra_s=1000) as it:
        await it.clock.sleep(20)
        tunnel.may_open.set()
        assert await it.channel.wait_open() == URL


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (ScriptedProbe(answer="<html>not yours</html>"), "another page"),
        (ScriptedProbe(failure=TunnelError("it answers HTTP 404")), "HTTP 404"),
    ],
)
async def test_url_that_leads_elsewhere(probe: ScriptedProbe, reason: str) -> None:
    """A public URL that does not lead to us is no tunnel; it is closed, and the fix names our own address."""
    async with scene(probe=probe) as it:
        assert await it.channel.wait_open() is None
        await it.tunnel.closed.wait()
    assert it.channel.failure is not None
    assert it.channel.failure.code == "probe_failed"
    assert reason in it.channel.failure.message
    assert LISTENER.local_url in it.channel.failure.hint


async def test_probe_without_answer() -> None:
    """A probe that hangs is given up within the deadline."""
    probe = ScriptedProbe()
    probe.pass_through.clear()
    async with scene(probe=probe) as it:
        began_s = it.clock.monotonic()
        assert await it.channel.wait_open() is None
        assert it.clock.monotonic() - began_s < 12
    assert it.channel.failure is not None
    assert "no answer in time" in it.channel.failure.message


async def test_slow_names() -> None:
    """A public name that is not known everywhere yet is asked again."""
    probe = ScriptedProbe(failure=TunnelError("no such host"))
    async with scene(probe=probe) as it:
        await it.probe.asked.wait()
        probe.failure = None
        assert await it.channel.wait_open() == URL
    assert len(it.probe.urls) == 2
    assert it.notes.kinds() == [TunnelOpened]


async def test_permanent_refusal_of_the_probe() -> None:
    """What ngrok itself answers to the probe is passed on, and asked only once when asking again is pointless."""
    error = _refusal("ngrok_blocked", is_permanent=True)
    error.ngrok_code = 8014
    async with scene(probe=ScriptedProbe(failure=error)) as it:
        assert await it.channel.wait_open() is None
        assert it.channel.failure is error
    assert len(it.probe.urls) == 1


async def test_fault_of_our_own() -> None:
    """A fault in the tunnel or the probe costs the tunnel, never the job."""
    for tunnel, probe in (
        (ScriptedTunnel(opening=ZeroDivisionError("oops")), None),
        (None, ScriptedProbe(failure=ZeroDivisionError("oops"))),
    ):
        async with scene(tunnel, probe) as it:
            assert await it.channel.wait_open() is None
            assert it.channel.failure is not None
            assert "oops" in it.channel.failure.message


async def test_fault_of_our_own_while_open() -> None:
    """The same goes for a fault while the channel is watched."""
    async with scene(heartbeat_s=1.0) as it:
        await it.channel.wait_open()
        it.probe.failure = ZeroDivisionError("oops")
        assert "oops" in await it.channel.wait_lost()
        assert it.channel.given_up.is_set()
    assert it.notes.kinds() == [TunnelOpened, TunnelFailed]
    assert it.tunnel.closed.is_set()


# --- leaving -------------------------------------------------------------------------------------------------


async def test_leaving_while_opening() -> None:
    """Leaving does not wait for a tunnel that is still opening."""
    tunnel = ScriptedTunnel()
    tunnel.may_open.clear()
    async with asyncio.timeout(1), scene(tunnel, speed=1):
        await asyncio.sleep(0)


async def test_leaving_while_closing() -> None:
    """A tunnel that failed and is closing already is closed to the end: its agent must be seen out."""
    tunnel = ScriptedTunnel()
    tunnel.may_close.clear()
    async with scene(tunnel, ScriptedProbe(failure=_refusal(is_permanent=True))) as it:
        await it.channel.wait_open()
        asyncio.get_running_loop().call_later(0.05, tunnel.may_close.set)
    assert tunnel.closed.is_set()


async def test_leaving_is_bounded() -> None:
    """A tunnel that does not close is left behind after 2 s."""
    tunnel = ScriptedTunnel()
    loop = asyncio.get_running_loop()
    async with scene(tunnel) as it:
        await it.channel.wait_open()
        tunnel.may_close.clear()
        began_s = loop.time()
    assert loop.time() - began_s < 2.5
    tunnel.may_close.set()


# --- loss and return -----------------------------------------------------------------------------------------


async def test_loss_and_return() -> None:
    """A loss is told once, to every waiter; a return once, with the URL, after a probe."""
    async with scene() as it:
        await it.channel.wait_open()
        waiters = [asyncio.create_task(it.channel.wait_lost()) for _ in range(3)]
        await asyncio.sleep(0)
        it.tunnel.loses()
        it.tunnel.loses("heartbeat timeout")
        assert [await waiter for waiter in waiters] == ["session closed"] * 3
        assert await it.channel.wait_open() is None
        it.tunnel.returns(SECOND_URL)
        assert await it.channel.wait_restored() == SECOND_URL
        assert await it.channel.wait_open() == SECOND_URL
        later = asyncio.create_task(it.channel.wait_lost())
        await asyncio.sleep(0)
        assert not later.done()
        it.tunnel.loses("again")
        assert await later == "again"
    assert it.notes.kinds() == [TunnelOpened, TunnelLost, TunnelRestored, TunnelLost]
    assert it.tunnel.starts == 0


async def test_return_is_proven() -> None:
    """A tunnel that says it is back is believed only once a probe comes through."""
    async with scene() as it:
        await it.channel.wait_open()
        it.tunnel.loses()
        await it.channel.wait_lost()
        it.probe.failure = TunnelError("HTTP 404")
        it.tunnel.returns()
        await it.clock.sleep(10)
        assert not it.channel.is_open
        it.probe.failure = None
        it.tunnel.returns()
        assert await it.channel.wait_restored() == URL
    assert it.notes.kinds() == [TunnelOpened, TunnelLost, TunnelRestored]


@pytest.mark.parametrize("url", [URL, SECOND_URL])
async def test_dead_tunnel_is_started_anew(url: str) -> None:
    """A tunnel whose agent has died is started anew until it works, under the URL it then has."""
    async with scene(ScriptedTunnel(reopenings=[_refusal(), _refusal(), url])) as it:
        await it.channel.wait_open()
        it.tunnel.loses("the agent has ended", is_dead=True)
        await it.channel.wait_lost()
        assert await it.channel.wait_restored() == url
    assert it.tunnel.starts == 3
    assert it.notes.events[1:] == [TunnelLost(reason="the agent has ended"), TunnelRestored(url=url)]


async def test_death_after_loss() -> None:
    """An agent that dies while it tries to reconnect is started anew at once."""
    async with scene(ScriptedTunnel(reopenings=[URL])) as it:
        await it.channel.wait_open()
        it.tunnel.loses()
        it.tunnel.loses("the agent has ended", is_dead=True)
        await it.channel.wait_lost()
        began_s = it.clock.monotonic()
        assert await it.channel.wait_restored() == URL
        assert it.clock.monotonic() - began_s < Mending().patience_s
    assert it.tunnel.starts == 1


async def test_patience() -> None:
    """A living agent that does not come back by itself is replaced after a while, not at once."""
    async with scene(ScriptedTunnel(reopenings=[SECOND_URL]), speed=100) as it:
        await it.channel.wait_open()
        began_s = it.clock.monotonic()
        it.tunnel.loses()
        await it.channel.wait_lost()
        assert await it.channel.wait_restored() == SECOND_URL
        assert it.clock.monotonic() - began_s >= Mending().patience_s


async def test_giving_up() -> None:
    """What does not come back in minutes is given up, with the last reason and a next step."""
    mending = Mending(give_up_s=20)
    async with scene(ScriptedTunnel(reopenings=[_refusal()]), mending=mending) as it:
        await it.channel.wait_open()
        it.tunnel.loses(is_dead=True)
        await it.channel.given_up.wait()
        assert await it.channel.wait_restored() is None
        await it.tunnel.closed.wait()
    assert it.tunnel.starts > 3
    assert it.notes.kinds() == [TunnelOpened, TunnelLost, TunnelFailed]
    assert it.channel.failure is not None
    assert it.channel.failure.code == "tunnel_given_up"
    assert "refused" in it.channel.failure.message
    assert it.channel.failure.hint == "do this"


async def test_new_start_that_hangs() -> None:
    """A new start that hangs is given up in time, and tried again."""
    async with scene(ScriptedTunnel(reopenings=[SECOND_URL])) as it:
        await it.channel.wait_open()
        it.tunnel.may_open.clear()
        it.tunnel.loses(is_dead=True)
        await it.channel.wait_lost()
        await it.clock.sleep(12)
        assert it.tunnel.starts > 1
        it.tunnel.may_open.set()
        assert await it.channel.wait_restored() == SECOND_URL


async def test_permanent_refusal_ends_mending() -> None:
    """A refusal that will not change is not asked for again."""
    async with scene(ScriptedTunnel(reopenings=[_refusal(is_permanent=True)])) as it:
        await it.channel.wait_open()
        it.tunnel.loses(is_dead=True)
        await it.channel.given_up.wait()
    assert it.tunnel.starts == 1


@pytest.mark.parametrize("is_dead", [True, False])
async def test_without_mending(is_dead: bool) -> None:
    """With mending off no tunnel is started anew; one that lives may still come back by itself."""
    async with scene(mend=False, mending=Mending(patience_s=1)) as it:
        await it.channel.wait_open()
        it.tunnel.loses(is_dead=is_dead)
        await it.channel.wait_lost()
        if is_dead:
            await it.channel.given_up.wait()
        else:
            await it.clock.sleep(5)
            it.tunnel.returns()
            assert await it.channel.wait_restored() == URL
    assert it.tunnel.starts == 0


# --- heartbeat -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_silent", [True, False])
async def test_heartbeat_tells_within_15_s(is_silent: bool) -> None:
    """A dead way that nobody tells of is noticed within 15 s, and so is its return."""
    async with scene(heartbeat_s=HEARTBEAT_S, speed=20) as it:
        await it.channel.wait_open()
        if is_silent:
            it.probe.pass_through.clear()
        else:
            it.probe.failure = TunnelError("HTTP 404")
        began_s = it.clock.monotonic()
        reason = await it.channel.wait_lost()
        assert it.clock.monotonic() - began_s <= 15
        assert URL in reason
        it.probe.failure = None
        it.probe.pass_through.set()
        assert await it.channel.wait_restored() == URL
    assert it.notes.kinds() == [TunnelOpened, TunnelLost, TunnelRestored]
    assert it.tunnel.starts == 0


async def test_one_failed_beat_is_none() -> None:
    """A single probe that goes wrong is looked at again before anybody is told."""
    async with scene(heartbeat_s=2.0) as it:
        await it.channel.wait_open()
        it.probe.asked.clear()
        it.probe.failure = TunnelError("hiccup")
        await it.probe.asked.wait()
        it.probe.failure = None
        await it.clock.sleep(10)
        assert it.channel.is_open
    assert it.notes.kinds() == [TunnelOpened]
    assert len(it.probe.urls) > 3


async def test_late_beat_of_an_earlier_state() -> None:
    """A probe that began before a loss and return, and fails after, says nothing about the present."""
    async with scene(heartbeat_s=1.0, probe_s=1000) as it:
        await it.channel.wait_open()
        it.probe.asked.clear()
        it.probe.failure = TunnelError("cut")
        await it.probe.asked.wait()
        it.probe.asked.clear()
        passing, it.probe.pass_through = it.probe.pass_through, asyncio.Event()
        await it.probe.asked.wait()
        held, it.probe.pass_through, it.probe.failure = it.probe.pass_through, passing, None
        it.tunnel.loses()
        await it.channel.wait_lost()
        it.tunnel.returns()
        await it.channel.wait_restored()
        it.probe.failure = TunnelError("cut")
        held.set()
        for _ in range(10):
            await asyncio.sleep(0)
        it.probe.failure = None
        await it.clock.sleep(5)
    assert it.notes.kinds() == [TunnelOpened, TunnelLost, TunnelRestored]


async def test_no_heartbeat_by_default() -> None:
    """Without a heartbeat the public URL is probed once."""
    async with scene() as it:
        await it.channel.wait_open()
        await it.clock.sleep(20)
    assert len(it.probe.urls) == 1


# --- over a real agent ---------------------------------------------------------------------------------------


@asynccontextmanager
async def real_channel(
    tunnel: Any, listener: PlainListener, clock: Clock, **more: Any
) -> AsyncIterator[tuple[CallbackChannel, Notebook]]:
    """Enter a channel that probes over TLS."""
    notes = Notebook()
    async with (
        asyncio.timeout(15),
        HttpProbe(user_agent="suno-cover/test") as probe,
        CallbackChannel(listener, tunnel, sink=notes, clock=clock, probe=probe.fetch, **more) as channel,
    ):
        yield channel, notes


@pytest.fixture(autouse=True)
def _trust(standin_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(standin_folder / "ca.pem"))


async def test_agent_killed_and_network_cut(
    ngrok_standin: Standins, tunnels: TunnelMaker, plain_listener: PlainListener
) -> None:
    """A killed agent and a cut network are told within 15 s each, and mended when they can be."""
    standin, clock = ngrok_standin(), ScaledClock(4)
    tunnel = tunnels(standin, plain_listener.local_url, clock=clock)
    async with real_channel(tunnel, plain_listener, clock, heartbeat_s=HEARTBEAT_S) as (channel, notes):
        first = await channel.wait_open()
        assert first
        for word, back in (("kill", None), ("cut", "restore"), ("cut-quietly", "restore")):
            began_s = clock.monotonic()
            if word == "kill":
                standin.kill()
            else:
                await asyncio.to_thread(standin.control, word)
            await channel.wait_lost()
            assert clock.monotonic() - began_s <= 15
            if back is not None:
                await asyncio.to_thread(standin.control, back)
            assert await channel.wait_restored()
        assert channel.url == standin.facts("opened")[1]["url"] != first
    assert notes.kinds() == [TunnelOpened, *(TunnelLost, TunnelRestored) * 3]
    assert standin.living() == []


@pytest.mark.parametrize("variant", ["offline", "silent", "session-limit", "domain-taken", "warning-page"])
async def test_no_more_than_ten_seconds(
    ngrok_standin: Standins, tunnels: TunnelMaker, plain_listener: PlainListener, variant: str
) -> None:
    """Whatever is wrong with the agent, it is known why within ten seconds, and no agent stays."""
    standin, clock = ngrok_standin(variant), ScaledClock(12)
    tunnel = tunnels(standin, plain_listener.local_url, clock=clock)
    began_s = clock.monotonic()
    async with real_channel(tunnel, plain_listener, clock) as (channel, notes):
        assert await channel.wait_open() is None
        assert clock.monotonic() - began_s <= 10
    assert notes.kinds() == [TunnelFailed]
    assert standin.living() == []


async def test_address_of_ones_own(plain_listener: PlainListener) -> None:
    """An address of one's own is open once it leads to the listener, and says how to mend it when it does not."""
    async with real_channel(PublicUrl(plain_listener.local_url), plain_listener, SystemClock()) as (channel, _):
        assert await channel.wait_open() == plain_listener.local_url
    async with real_channel(PublicUrl("http://127.0.0.1:1"), plain_listener, ScaledClock(20)) as (channel, _):
        assert await channel.wait_open() is None
        assert channel.failure is not None
        assert plain_listener.local_url in channel.failure.hint
