"""``listen`` through a tunnel: ready when proven, told when lost, mended, and no agent left behind."""

import asyncio
import json
import os
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cli_fixtures import Cli
from tests.clocks import ScaledClock
from tests.listen_fixtures import listening
from tests.listener_fixtures import PATIENCE_S, callback_body
from tests.tunnel_fixtures import NgrokStandin, command_lines, wait_until

Make = Callable[..., NgrokStandin]


@pytest.fixture
def agent(ngrok_standin: Make, monkeypatch: pytest.MonkeyPatch) -> NgrokStandin:
    """An installed stand-in whose authority this process trusts."""
    standin = ngrok_standin()
    monkeypatch.setenv("SSL_CERT_FILE", str(standin.ca_file))
    monkeypatch.delenv("NGROK_STANDIN_VARIANT", raising=False)
    return standin


def options_of(agent: NgrokStandin) -> dict[str, Any]:
    """Return what a run through the stand-in needs."""
    return {"tunnel": None, "ngrok_path": str(agent.path), "environ": agent.environ}


async def post_outside(agent: NgrokStandin, url: str) -> int:
    """Send a callback by the public URL, as the service would; return the status of the answer."""
    tls = await asyncio.to_thread(ssl.create_default_context, cafile=str(agent.ca_file))
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
        session.post(url, data=callback_body(), ssl=tls) as answer,
    ):
        return answer.status


async def test_callbacks_come_by_the_public_url(agent: NgrokStandin, tmp_path: Path) -> None:
    """The ready line names a public URL that leads to us; after the end no agent is left."""
    async with listening(tmp_path, count=1, **options_of(agent)) as run:
        assert await post_outside(agent, run.url) == 200
        done = await run.wait_ended()
    ready = done.objects[0]
    assert ready["url"].startswith("https://")
    assert ready["local"].startswith("http://127.0.0.1:")
    assert ready["inspector"].startswith("http://127.0.0.1:")
    assert [line["type"] for line in done.objects] == ["ready", "event", "end"]
    assert done.code == 0
    assert not agent.living()


async def test_an_answer_that_is_owed_goes_out_before_the_tunnel_closes(
    agent: NgrokStandin, tmp_path: Path
) -> None:
    """Interrupted while a callback from outside is being answered, listen closes its tunnel after the answer."""
    async with listening(tmp_path, json=False, delay_s=0.4, **options_of(agent)) as run:
        posting = asyncio.ensure_future(post_outside(agent, run.url))
        await run.wait_until(lambda: "-->" in run.stdout)
        await run.interrupt()
        assert await posting == 200
    assert "<-- 1 200" in run.stdout
    assert not agent.living()


@pytest.mark.parametrize("word", ["cut", "cut-quietly"])
async def test_a_cut_network_is_told_within_15_s_and_mended(
    agent: NgrokStandin, tmp_path: Path, word: str
) -> None:
    """Whether the agent says so or not, a loss is told within 15 s; with the network, ready comes back."""
    clock = ScaledClock(5)
    async with listening(tmp_path, clock=clock, **options_of(agent)) as run:
        cut_at = clock.monotonic()
        await asyncio.to_thread(agent.control, word)
        await run.wait_until(lambda: '"reconnecting"' in run.stdout)
        assert clock.monotonic() - cut_at < 15
        await asyncio.to_thread(agent.control, "restore")
        await run.wait_until(lambda: run.stdout.count('"ready"') == 2)
        assert await post_outside(agent, run.url) == 200
        await run.wait_events(1)
        await run.interrupt()
    assert [line["type"] for line in run.objects] == ["ready", "reconnecting", "ready", "event", "end"]
    assert run.objects[0] == run.objects[2]
    assert run.objects[1]["reason"]
    assert "callbacks do not get through" in run.stderr


async def test_a_killed_agent_is_replaced_and_the_new_url_told(agent: NgrokStandin, tmp_path: Path) -> None:
    """When the agent dies another is started; the new URL is in the ready line, the ready file and on stderr."""
    ready = tmp_path / "ready"
    async with listening(tmp_path, ready_file=ready, **options_of(agent)) as run:
        await asyncio.to_thread(agent.kill)
        await run.wait_until(lambda: run.stdout.count('"ready"') == 2)
        new_url = run.objects[-1]["url"]
        await asyncio.to_thread(wait_until, lambda: ready.read_text() == f"{new_url}\n", "the new ready file")
        assert await post_outside(agent, new_url) == 200
        await run.wait_events(1)
        await run.interrupt()
    assert [line["type"] for line in run.objects] == ["ready", "reconnecting", "ready", "event", "end"]
    assert new_url != run.url
    assert "The address is new" in run.stderr
    assert not agent.living()


async def test_print_url_prints_a_new_url_again(agent: NgrokStandin, tmp_path: Path) -> None:
    """With --print-url stdout has the URL once, and once more when it changes."""
    async with listening(tmp_path, json=False, print_url=True, **options_of(agent)) as run:
        await asyncio.to_thread(agent.kill)
        await run.wait_until(lambda: len(run.stdout.splitlines()) == 2)
        first, second = run.stdout.splitlines()
    assert first == run.url
    assert second != first
    assert first.split("/")[3:] == second.split("/")[3:]


async def test_a_loss_for_good_is_an_error(agent: NgrokStandin, tmp_path: Path) -> None:
    """When there is no way back, listen ends with an error line and exit code 9, not as if all were well."""
    async with listening(tmp_path, **options_of(agent)) as run:
        agent.behave("error-4018")
        await asyncio.to_thread(agent.kill)
        done = await run.wait_ended()
    assert done.code == 9
    assert [line["type"] for line in done.objects] == ["ready", "reconnecting", "error", "end"]
    assert done.objects[2]["code"] == "tunnel_given_up"
    assert done.objects[3] == {"v": 1, "type": "end", "events": 0, "reason": "error"}


@pytest.mark.parametrize(("variant", "words"), [("session-limit", "108"), ("no-token", "4018"), ("offline", "")])
async def test_no_tunnel_is_exit_9(
    ngrok_standin: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variant: str, words: str
) -> None:
    """A tunnel that cannot be had is exit 9 with ngrok's number and the next step; nothing was ever ready."""
    agent = ngrok_standin(variant)
    monkeypatch.setenv("SSL_CERT_FILE", str(agent.ca_file))
    async with listening(tmp_path, clock=ScaledClock(4), is_ready=False, **options_of(agent)) as run:
        done = await run.wait_ended()
    assert done.code == 9
    assert [line["type"] for line in done.objects] == ["error", "end"]
    assert words in done.objects[0]["message"]
    assert done.objects[0]["hint"]
    assert "suno-cover listen --no-tunnel" in done.stderr
    assert not agent.living()


async def test_a_public_url_that_leads_elsewhere_is_exit_9(tmp_path: Path) -> None:
    """An address of one's own is not called ready before a probe has come back through it."""
    async with listening(tmp_path) as other:
        base = "/".join(other.url.split("/")[:3])
        async with listening(tmp_path, clock=ScaledClock(10), is_ready=False, tunnel=None, public_url=base) as run:
            done = await run.wait_ended()
    assert done.code == 9
    assert "does not lead to our listener" in done.objects[0]["message"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_no_agent_outlives_a_signal(cli: Cli, ngrok_standin: Make, number: signal.Signals) -> None:
    """Ended by a signal, SIGKILL included on Linux, listen leaves no agent and showed no token."""
    if number is signal.SIGKILL and not hasattr(os, "pidfd_open"):
        pytest.skip("the guard needs Linux")
    agent = ngrok_standin()
    child = await cli.begin("listen", "--json", **agent.environ)
    assert json.loads(await child.stdout.readline())["type"] == "ready"
    assert agent.living()
    assert not [line for line in command_lines().values() if agent.token in line]
    began = time.monotonic()
    child.send_signal(number)
    stdout, stderr = await child.communicate()
    assert time.monotonic() - began < 15.0
    assert child.returncode == -number
    assert agent.token not in (stdout + stderr).decode()
    await asyncio.to_thread(wait_until, lambda: not agent.living(), "the agent to end")
