"""The callback channel once it is open: losses are noticed and told once, and made good as far as they can be."""

import asyncio

import pytest

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.events import TunnelFailed, TunnelLost, TunnelOpened, TunnelRestored
from suno_cover_cli.tunnels.channel import HEARTBEAT_S, Reconnecting
from tests.channel_fixtures import SECOND_URL, URL, ScriptedTunnel, refusal, scene

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
    async with scene(ScriptedTunnel(reopenings=[refusal(), refusal(), url])) as it:
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
        assert it.clock.monotonic() - began_s < Reconnecting().patience_s
    assert it.tunnel.starts == 1


async def test_patience() -> None:
    """A living agent that does not come back by itself is replaced after a while, not at once."""
    async with scene(ScriptedTunnel(reopenings=[SECOND_URL])) as it:
        await it.channel.wait_open()
        began_s = it.clock.monotonic()
        it.tunnel.loses()
        await it.channel.wait_lost()
        assert await it.channel.wait_restored() == SECOND_URL
        assert it.clock.monotonic() - began_s >= Reconnecting().patience_s


async def test_giving_up() -> None:
    """What does not come back in minutes is given up, with the last reason and a next step."""
    reconnecting = Reconnecting(give_up_s=20)
    async with scene(ScriptedTunnel(reopenings=[refusal()]), reconnecting=reconnecting) as it:
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
        while it.tunnel.starts < 2:
            await it.clock.sleep(1)
        it.tunnel.may_open.set()
        assert await it.channel.wait_restored() == SECOND_URL


async def test_permanent_refusal_ends_reconnecting() -> None:
    """A refusal that will not change is not asked for again."""
    async with scene(ScriptedTunnel(reopenings=[refusal(is_permanent=True)])) as it:
        await it.channel.wait_open()
        it.tunnel.loses(is_dead=True)
        await it.channel.given_up.wait()
    assert it.tunnel.starts == 1


@pytest.mark.parametrize("is_dead", [True, False])
async def test_without_reconnecting(is_dead: bool) -> None:
    """With reconnecting off no tunnel is started anew; one that lives may still come back by itself."""
    async with scene(reconnects=False, reconnecting=Reconnecting(patience_s=1)) as it:
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
    async with scene(heartbeat_s=HEARTBEAT_S) as it:
        await it.channel.wait_open()
        if is_silent:
            it.probe.pass_through.clear()
        else:
            it.probe.failure = TunnelError("HTTP 404", code="probe_failed")
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
