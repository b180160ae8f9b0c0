"""The tunnel through ngrok in a program of its own: what it says aloud, and what is left when it is killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tunnel_fixtures import TOKEN, NgrokStandin, TunnelMaker, wait_until

Standins = Callable[..., NgrokStandin]


class Holder:
    """A program that holds a tunnel."""

    def __init__(self, standin: NgrokStandin, state_dir: Path, **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.standins.tunnel_holder", "http://127.0.0.1:9", str(state_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, **standin.environ, **environ},
        )

    def first_words(self) -> dict[str, str]:
        """Return what it says of its tunnel."""
        assert self.process.stdout is not None
        words: dict[str, str] = json.loads(self.process.stdout.readline() or "{}")
        return words


@pytest.fixture
def hold(tunnels: TunnelMaker) -> Iterator[Callable[..., Holder]]:
    """Start holders; none of them outlives the test."""
    holders: list[Holder] = []

    def start(standin: NgrokStandin, **environ: str) -> Holder:
        holders.append(Holder(standin, tunnels.state_dir, **environ))
        return holders[-1]

    yield start
    for holder in holders:
        holder.process.kill()
        holder.process.communicate()


def test_proxy_is_bypassed_on_loopback(ngrok_standin: Standins, hold: Callable[..., Holder]) -> None:
    """A proxy in the environment does not come between us and the agent's local API."""
    dead_proxy = "http://127.0.0.1:1"
    holder = hold(ngrok_standin(), HTTP_PROXY=dead_proxy, http_proxy=dead_proxy, no_proxy="example.org")
    assert "url" in holder.first_words()


@pytest.mark.parametrize("variant", ["bad-token", "error-105"])
def test_quoted_token_is_shown_nowhere(ngrok_standin: Standins, hold: Callable[..., Holder], variant: str) -> None:
    """When ngrok's error quotes the token, neither our error nor pyngrok's log brings it to a stream."""
    holder = hold(ngrok_standin(variant))
    shown, errors = holder.process.communicate()
    assert json.loads(shown)["code"] == "ngrok_bad_token"
    assert TOKEN not in shown
    assert errors == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_no_agent_outlives_us(
    ngrok_standin: Standins, hold: Callable[..., Holder], number: signal.Signals
) -> None:
    """However we are killed, the agent goes too, even one that ignores polite signals."""
    standin = ngrok_standin("ignores-sigterm")
    holder = hold(standin)
    assert "url" in holder.first_words()
    assert standin.living()
    holder.process.send_signal(number)
    holder.process.wait()
    wait_until(lambda: not standin.living(), "the end of the agent")


def test_killed_while_the_agent_starts(ngrok_standin: Standins, hold: Callable[..., Holder]) -> None:
    """The agent goes with us also when we are killed before it has said a word."""
    standin = ngrok_standin("silent")
    holder = hold(standin)
    standin.wait_fact("started")
    holder.process.kill()
    holder.process.wait()
    wait_until(lambda: not standin.living(), "the end of the agent")


async def test_next_start_removes_the_config_of_a_killed_run(
    ngrok_standin: Standins, hold: Callable[..., Holder], tunnels: TunnelMaker
) -> None:
    """A token that a killed run left on disk is gone after the next start."""
    standin = ngrok_standin()
    holder = hold(standin)
    await asyncio.to_thread(holder.first_words)
    holder.process.kill()
    await asyncio.to_thread(holder.process.wait)
    left = standin.facts("started")[0]["config"]
    assert await asyncio.to_thread(os.path.exists, left)
    async with tunnels(standin):
        assert not await asyncio.to_thread(os.path.exists, left)
    assert tunnels.leftovers() == []
