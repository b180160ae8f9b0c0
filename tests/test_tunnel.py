"""The tunnel through ngrok: what it does when all is well, and what it never does."""

import asyncio
import contextlib
import gc
import hashlib
import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from suno_cover_cli.base.errors import TunnelError
from tests.tunnel_fixtures import TOKEN, NgrokStandin, PlainListener, TunnelMaker, command_lines

Standins = Callable[..., NgrokStandin]


async def _post(url: str, body: bytes, standin: NgrokStandin) -> bytes:
    tls = ssl.create_default_context(cafile=str(standin.ca_file))
    connector = aiohttp.TCPConnector(ssl=tls, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session, session.post(url, data=body) as answer:
        return await answer.read()


async def test_bytes_come_through(
    ngrok_standin: Standins, tunnels: TunnelMaker, plain_listener: PlainListener
) -> None:
    """What is posted to the public URL arrives at the listener byte for byte, and so does the answer."""
    standin = ngrok_standin()
    body = bytes(range(256)) * 400
    async with tunnels(standin, plain_listener.local_url) as tunnel:
        assert tunnel.url.startswith("https://")
        assert await _post(tunnel.url + "/callback/x", body, standin) == body


async def test_nothing_is_left(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """After leaving there is no agent, no private file and no task."""
    standin = ngrok_standin()
    async with tunnels(standin):
        assert standin.living()
        assert tunnels.leftovers()
    assert standin.living() == []
    assert tunnels.leftovers() == []
    assert _agent_task() is None


def _agent_task() -> "asyncio.Task[Any] | None":
    return next((task for task in asyncio.all_tasks() if task.get_name() == "ngrok-agent"), None)


def _is_waiting_for_the_listener() -> bool:
    """Tell whether the task of the agent has come as far as it can without knowing where to lead."""
    task = _agent_task()
    awaited: Any = None if task is None else task.get_coro()
    while awaited is not None:
        if getattr(awaited, "__name__", "") == "_wait_local_url":
            return True
        awaited = getattr(awaited, "cr_await", None)
    return False


async def _until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 -- what another process brings about sets no event here
            await asyncio.sleep(0.01)


async def test_leaving_is_bounded(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """An agent that does not end when asked is killed, all within 1.5 s."""
    standin = ngrok_standin("ignores-sigterm")
    loop = asyncio.get_running_loop()
    async with tunnels(standin):
        began_s = loop.time()
    # An agent that is left to itself would run for minutes.
    assert loop.time() - began_s < 15
    assert standin.living() == []


async def test_leaving_is_polite(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """An agent is asked before it is killed, so that it can free its domain at ngrok."""
    standin = ngrok_standin("ignores-sigterm")
    loop = asyncio.get_running_loop()
    async with tunnels(standin):
        began_s = loop.time()
    assert loop.time() - began_s > 0.5


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to read command lines")
async def test_token_on_no_command_line(
    ngrok_standin: Standins, tunnels: TunnelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token reaches the agent without standing on any command line, even when it comes by the environment."""
    standin = ngrok_standin()
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)
    async with tunnels(standin):
        assert not [line for line in command_lines().values() if TOKEN in line]
    started = standin.facts("started")[0]
    assert TOKEN not in " ".join(started["argv"])
    assert started["token_sha256"] == hashlib.sha256(TOKEN.encode()).hexdigest()


def _folder_mode(path: str) -> int:
    return Path(path).parent.stat().st_mode & 0o777


def _content(path: str) -> Any:
    return json.loads(Path(path).read_text()) if Path(path).exists() else None


async def test_private_config(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """The configuration with the token is readable by its owner alone and gone at the end."""
    standin = ngrok_standin()
    async with tunnels(standin):
        started = standin.facts("started")[0]
        assert started["config_mode"] == "0o600"
        assert _folder_mode(started["config"]) == 0o700
        assert _content(started["config"]) == {"version": "3", "agent": {"authtoken": TOKEN}}
    assert _content(started["config"]) is None


async def test_agent_gets_nothing_it_does_not_need(
    ngrok_standin: Standins, tunnels: TunnelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and proxies are taken out of the agent's environment, our streams out of its hands."""
    for name in ("SUNO_API_KEY", "SUNO_WEBHOOK_KEY", "NGROK_AUTHTOKEN"):
        monkeypatch.setenv(name, "secret-value")
    standin = ngrok_standin("needs-http-proxy")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    async with tunnels(standin):
        pass
    started = standin.facts("started")[0]
    assert not {"SUNO_API_KEY", "SUNO_WEBHOOK_KEY", "NGROK_AUTHTOKEN", "https_proxy"} & set(started["variables"])
    assert started["stdin"] == "/dev/null"
    assert started["stderr"].startswith("pipe:")


async def test_own_session(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """The agent leads a session of its own, so that Ctrl-C in our terminal does not reach it."""
    standin = ngrok_standin()
    async with tunnels(standin):
        started = standin.facts("started")[0]
        assert started["sid"] == started["pid"] != os.getsid(0)


async def test_full_local_address(
    ngrok_standin: Standins, tunnels: TunnelMaker, plain_listener: PlainListener
) -> None:
    """The agent is told scheme and address of the listener, never a bare port, and no pooling."""
    standin = ngrok_standin()
    async with tunnels(standin, plain_listener.local_url):
        wanted = standin.facts("endpoint")[0]["wanted"]
    assert wanted["upstream"] == {"url": plain_listener.local_url}
    assert "pooling_enabled" not in wanted
    assert "url" not in wanted


async def test_domain(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A domain of one's own is asked for by its https address."""
    standin = ngrok_standin()
    async with tunnels(standin, domain="me.ngrok.app"):
        assert standin.facts("endpoint")[0]["wanted"]["url"] == "https://me.ngrok.app"


async def test_inspector_from_the_log(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """The inspector is where the agent's log says, not at a well-known port."""
    standin = ngrok_standin()
    async with tunnels(standin) as tunnel:
        assert tunnel.inspector == standin.facts("api")[0]["url"]


async def test_two_at_once(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """Two tunnels of one process have an agent each, and leaving one does not touch the other."""
    standin = ngrok_standin()
    async with tunnels(standin) as first:
        async with tunnels(standin) as second:
            assert first.url != second.url
            assert len(standin.living()) == 2
        assert len(standin.living()) == 1


async def test_loop_stays_free(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """The event loop goes on while the agent takes its time to start."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with tunnels(ngrok_standin(start_delay_s=0.4)):
        ticking.cancel()
    assert ticks > 15


@pytest.mark.parametrize("place", [".config/ngrok/ngrok.yml", ".ngrok2/ngrok.yml"])
@pytest.mark.parametrize(
    "content",
    [
        "version: 3\nagent: {authtoken: taken-from-file, log_format: json, log_level: error, web_addr: false}\n",
        "version: 2\nauthtoken: taken-from-file\nlog_format: json\nlog_level: error\nweb_addr: false\n",
    ],
)
async def test_only_the_token_is_taken_over(
    ngrok_standin: Standins, tunnels: TunnelMaker, place: str, content: str
) -> None:
    """Without NGROK_AUTHTOKEN the user's ngrok.yml gives its token, and no setting that pyngrok refuses."""
    path = tunnels.folder / "home" / place
    path.parent.mkdir(parents=True)
    path.write_text(content)
    standin = ngrok_standin()
    async with tunnels(standin, token=None):
        assert standin.facts("started")[0]["token_sha256"] == hashlib.sha256(b"taken-from-file").hexdigest()
    assert path.read_text() == content


async def test_broken_user_config(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A ngrok.yml that is no YAML is named in one line, without its content, and otherwise ignored."""
    path = tunnels.folder / "home/.config/ngrok/ngrok.yml"
    path.parent.mkdir(parents=True)
    path.write_text("authtoken: [secret-in-file\n")
    with pytest.raises(TunnelError) as caught:
        await tunnels(ngrok_standin(), token=None).__aenter__()
    assert caught.value.code == "ngrok_no_token"
    assert len(tunnels.lines) == 1
    assert str(path) in tunnels.lines[0]
    assert "secret-in-file" not in tunnels.lines[0]


@pytest.mark.parametrize(
    "content", ["", "[]", "version: 3\nagent: none\n", "version: 3\nagent: {authtoken: ''}\n"]
)
async def test_user_config_without_token(ngrok_standin: Standins, tunnels: TunnelMaker, content: str) -> None:
    """A ngrok.yml of whatever shape that holds no token is as good as none."""
    path = tunnels.folder / "home/.config/ngrok/ngrok.yml"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(TunnelError) as caught:
        await tunnels(ngrok_standin(), token=None).__aenter__()
    assert caught.value.code == "ngrok_no_token"
    assert tunnels.lines == []


async def test_cancelled_while_opening(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """Giving up in the middle of opening leaves no agent, no file and no complaint of the event loop."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    standin = ngrok_standin("silent")
    opening = asyncio.create_task(tunnels(standin).__aenter__())
    await asyncio.to_thread(standin.wait_fact, "started")
    opening.cancel()
    await asyncio.wait({opening})
    assert opening.cancelled()
    assert standin.living() == []
    assert tunnels.leftovers() == []
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_begun_before_there_is_a_listener(
    ngrok_standin: Standins, tunnels: TunnelMaker, plain_listener: PlainListener
) -> None:
    """An agent that begins ahead of the listener opens a tunnel that leads to it all the same."""
    standin = ngrok_standin()
    tunnel = tunnels(standin, None)
    await tunnel.begin()
    await asyncio.to_thread(standin.wait_fact, "api")
    tunnel.lead_to(plain_listener.local_url)
    async with tunnel:
        assert await _post(tunnel.url + "/callback/x", b"body", standin) == b"body"
    assert len(standin.facts("started")) == 1
    assert standin.living() == []


@pytest.mark.parametrize(("variant", "fact"), [("ok", "api"), ("silent", "started"), ("error-108", "started")])
async def test_begun_and_never_entered(
    ngrok_standin: Standins, tunnels: TunnelMaker, variant: str, fact: str
) -> None:
    """An agent that has begun for nothing leaves nothing, whatever became of it, and no complaint."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    standin = ngrok_standin(variant)
    async with contextlib.AsyncExitStack() as stack:
        tunnel = tunnels(standin, None)
        stack.push_async_exit(tunnel)
        await tunnel.begin()
        await asyncio.to_thread(standin.wait_fact, fact)
        if variant == "ok":
            await _until(_is_waiting_for_the_listener)
        elif variant == "error-108":
            await _until(lambda: _agent_task() is None)
    assert _agent_task() is None
    assert standin.living() == []
    assert tunnels.leftovers() == []
    del tunnel, stack  # the last who know of it; asyncio complains when what failed unseen is forgotten
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []
