"""The callback channel: opened in time or not at all, proven, left in time, and never a reason to fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.events import TunnelFailed, TunnelLost, TunnelOpened, TunnelRestored
from suno_cover_cli.tunnels.channel import HEARTBEAT_S, CallbackChannel
from suno_cover_cli.tunnels.choice import PublicUrl
from suno_cover_cli.tunnels.probe import HttpProbe
from tests.channel_fixtures import LISTENER, URL, Notebook, ScriptedProbe, ScriptedTunnel, refusal, scene
from tests.clocks import ScaledClock
from tests.tunnel_fixtures import NgrokStandin, PlainListener, TunnelMaker

Standins = Callable[..., NgrokStandin]


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
    error = refusal()
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
        (ScriptedProbe(failure=TunnelError("it answers HTTP 404", code="probe_failed")), "HTTP 404"),
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
    error = refusal("ngrok_blocked", is_permanent=True)
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
    async with scene(tunnel) as it:
        began_s = it.clock.monotonic()
        await asyncio.sleep(0)
    assert it.clock.monotonic() == began_s


async def test_leaving_while_closing() -> None:
    """A tunnel that failed and is closing already is closed to the end: its agent must be seen out."""
    tunnel = ScriptedTunnel()
    tunnel.may_close.clear()
    async with scene(tunnel, ScriptedProbe(failure=refusal(is_permanent=True))) as it:
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
    assert loop.time() - began_s < 10
    tunnel.may_close.set()


# --- over a real agent ---------------------------------------------------------------------------------------


@asynccontextmanager
async def real_channel(
    tunnel: Any, listener: PlainListener, clock: Clock, **more: Any
) -> AsyncIterator[tuple[CallbackChannel, Notebook]]:
    """Enter a channel that probes over TLS."""
    notes = Notebook()
    async with (
        asyncio.timeout(15),
        HttpProbe(headers={"User-Agent": "suno-cover/test"}) as probe,
        CallbackChannel(listener, tunnel, sink=notes, clock=clock, probe=probe.fetch, **more) as channel,
    ):
        yield channel, notes


@pytest.fixture(autouse=True)
def _trust(standin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(standin_folder / "ca.pem"))


async def test_agent_killed_and_network_cut(
    ngrok_standin: Standins, tunnels: TunnelMaker, plain_listener: PlainListener
) -> None:
    """A killed agent and a cut network are told within 15 s each, and made good when they can be."""
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
    """An address of one's own is open once it leads to the listener; when it does not, the fix is named."""
    async with real_channel(PublicUrl(plain_listener.local_url), plain_listener, SystemClock()) as (channel, _):
        assert await channel.wait_open() == plain_listener.local_url
    async with real_channel(PublicUrl("http://127.0.0.1:1"), plain_listener, ScaledClock(20)) as (channel, _):
        assert await channel.wait_open() is None
        assert channel.failure is not None
        assert plain_listener.local_url in channel.failure.hint
