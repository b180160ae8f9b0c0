"""The tunnel through ngrok after it has been opened: losses, returns, new agents."""

import asyncio
from collections.abc import Callable

import pytest

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.tunnels.tunnel import TunnelChange
from tests.tunnel_fixtures import TOKEN, NgrokStandin, TunnelMaker

Standins = Callable[..., NgrokStandin]
_PATIENCE_S = 5.0


async def _next_change(tunnel: object) -> TunnelChange:
    async with asyncio.timeout(_PATIENCE_S):
        change: TunnelChange = await tunnel.next_change()  # type: ignore[attr-defined]
        return change


async def test_network_cut_and_back(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A broken session is one loss however many lines tell of it, and its return one return with the URL."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        await asyncio.to_thread(standin.control, "cut")
        lost = await _next_change(tunnel)
        assert (lost.lost, lost.is_dead, lost.url) == (True, False, None)
        assert "heartbeat timeout" in lost.reason
        await asyncio.to_thread(standin.control, "restore")
        back = await _next_change(tunnel)
        assert (back.lost, back.url) == (False, standin.facts("opened")[0]["url"])


async def test_back_elsewhere(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """An agent that comes back under another address is asked for it."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        first = tunnel.url
        await asyncio.to_thread(standin.control, "cut")
        await _next_change(tunnel)
        await asyncio.to_thread(standin.control, "restore-elsewhere")
        back = await _next_change(tunnel)
        assert back.url == tunnel.url == standin.facts("opened")[1]["url"] != first


@pytest.mark.parametrize(
    "line", ["session closed, starting reconnect loop", "failed to reconnect session", "heartbeat timeout, x"]
)
async def test_each_word_of_loss(ngrok_standin: Standins, tunnels: TunnelMaker, line: str) -> None:
    """Each of the agent's three ways to say that it lost ngrok is a loss, told with its reason."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        await asyncio.to_thread(standin.control, "log", line)
        lost = await _next_change(tunnel)
    assert lost.lost
    assert lost.reason == f"{line}: told to say so"


async def test_loss_does_not_leak(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A reason that quotes the token or draws on a terminal is shown without both."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        await asyncio.to_thread(standin.control, "log", f"session closed {TOKEN} \x9b31mred")
        lost = await _next_change(tunnel)
    assert lost.reason == "session closed *** red: told to say so"


@pytest.mark.parametrize("is_killed", [True, False])
async def test_agent_dies(ngrok_standin: Standins, tunnels: TunnelMaker, is_killed: bool) -> None:
    """An agent that ends or is killed is a loss that cannot come back by itself, told once."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        await asyncio.to_thread(standin.kill if is_killed else lambda: standin.control("die"))
        lost = await _next_change(tunnel)
        assert (lost.lost, lost.is_dead) == (True, True)
        how = "was ended by SIGKILL" if is_killed else "ended with exit status 1"
        assert lost.reason == f"the ngrok agent {how}"
    assert tunnels.leftovers() == []


async def test_reopen_after_death(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """After the agent's death a new one is started, under whatever URL it is given."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        first = tunnel.url
        standin.kill()
        assert (await _next_change(tunnel)).is_dead
        await tunnel.reopen()
        assert tunnel.url == standin.facts("opened")[1]["url"]
        assert tunnel.url != first
        assert len(standin.living()) == 1
        await asyncio.to_thread(standin.control, "cut")
        assert not (await _next_change(tunnel)).is_dead
    assert standin.living() == []


async def test_reopen_replaces_a_living_agent(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """Starting anew ends the old agent first, and nothing the old one said is heard afterwards."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        await asyncio.to_thread(standin.control, "cut")
        await asyncio.sleep(0)
        await tunnel.reopen()
        assert len(standin.living()) == 1
        await asyncio.to_thread(standin.kill)
        assert (await _next_change(tunnel)).is_dead


async def test_reopen_fails(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A new start that fails says why, leaves no agent, and may be tried again."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        standin.kill()
        await _next_change(tunnel)
        standin.behave("session-limit")
        with pytest.raises(TunnelError) as caught:
            await tunnel.reopen()
        assert caught.value.code == "ngrok_session_limit"
        assert standin.living() == []
        standin.behave("ok")
        await tunnel.reopen()
        assert standin.living()


async def test_cancelled_wait_loses_nothing(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A change that comes while nobody waits is told to whoever waits next."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        waiting = asyncio.create_task(tunnel.next_change())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await asyncio.to_thread(standin.control, "cut")
        assert (await _next_change(tunnel)).lost


async def test_noise_after_the_start(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """Bytes that are not text, once the tunnel is open, do not make us deaf to the lines after them."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        await asyncio.to_thread(standin.control, "noise")
        await asyncio.to_thread(standin.control, "cut")
        assert (await _next_change(tunnel)).lost
