"""``generate`` through a tunnel: pyngrok's own code against the stand-in agent, end to end."""

import asyncio
import gzip
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from suno_cover_cli.sandbox.app import Sandbox
from tests.cli_fixtures import Cli
from tests.listener_fixtures import callback_body
from tests.tunnel_fixtures import NgrokStandin, command_lines, wait_until

Make = Callable[..., NgrokStandin]


async def test_the_callback_comes_by_the_public_url(cli: Cli, ngrok_standin: Make) -> None:
    """With a tunnel there is exactly one submit, the callback ends the wait, and no agent is left."""
    agent = ngrok_standin()
    ready, registry = cli.cwd / "ready", cli.cwd / "registry"
    # The service is a process of its own, because it must trust the stand-in's authority from its start.
    service = await cli.begin(
        "sandbox",
        "--generation-time",
        "0.5",
        "--ready-file",
        str(ready),
        "--state-file",
        str(registry),
        **agent.environ,
    )
    try:
        await asyncio.to_thread(wait_until, ready.exists, "the sandbox to serve")
        exports = dict(line.removeprefix("export ").split("=", 1) for line in ready.read_text().splitlines())
        run = await cli.run_beside("generate", "x", "--events", **exports, **agent.environ)
    finally:
        service.terminate()
        await service.communicate()
    assert run.code == 0, run.stderr
    assert run.objects[-1]["via"] == "callback"
    opened = next(event for event in run.objects if event["type"] == "tunnel_opened")
    assert opened["url"].startswith("https://")
    told = [json.loads(line) for line in registry.read_text().splitlines()]
    assert [line["type"] for line in told].count("submit") == 1
    (job,) = [line for line in told if line["type"] == "job"]
    assert job["callback_url"].startswith(f"{opened['url']}/callback/")
    wait_until(lambda: not agent.living(), "the agent to end")


def _form(task_id: str) -> tuple[bytes, dict[str, str]]:
    fields = {"code": "200", "msg": "success", "data": json.dumps({"taskId": task_id, "images": []})}
    return urlencode(fields).encode(), {"Content-Type": "application/x-www-form-urlencoded"}


def _flat(task_id: str) -> tuple[bytes, dict[str, str]]:
    return json.dumps({"code": 200, "msg": "success", "taskId": task_id, "images": []}).encode(), {}


@pytest.mark.parametrize(
    "make",
    [lambda task_id: (gzip.compress(callback_body(task_id)), {"Content-Encoding": "gzip"}), _flat, _form],
    ids=["gzip", "flat", "form"],
)
async def test_a_callback_of_any_shape_ends_the_wait(
    cli: Cli, ngrok_standin: Make, make: Callable[[str], tuple[bytes, dict[str, str]]]
) -> None:
    """A compressed, a flat and a form callback on the secret path each end the job within three seconds."""
    agent = ngrok_standin()
    tls = ssl.create_default_context(cafile=str(agent.ca_file))
    async with Sandbox(generation_s=0.3) as sandbox:
        child = await cli.begin(
            "generate",
            "sandbox-callback-lost",
            "--events",
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
            **agent.environ,
        )
        while (event := json.loads(await child.stdout.readline()))["type"] != "job_submitted":
            pass
        (job,) = sandbox.jobs.values()
        assert job.callback_url is not None
        await sandbox.wait_settled(job.task_id)
        body, headers = make(job.task_id)
        began_s = time.monotonic()
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session,
            session.post(job.callback_url, data=body, headers=headers) as answer,
        ):
            assert answer.status == 200
        stdout, stderr = await child.communicate()
        took_s = time.monotonic() - began_s
    assert child.returncode == 0, stderr
    events = [json.loads(line) for line in stdout.splitlines()]
    assert (events[-1]["state"], events[-1]["via"]) == ("succeeded", "callback"), events
    assert event["task_id"] == job.task_id
    # Three seconds on a quiet machine; without the wake-up it would be the poll interval of thirty.
    sys.stdout.write(f"done {took_s:.2f} s after the callback\n")
    assert took_s < 15.0


async def test_no_token_is_on_any_command_line(cli: Cli, ngrok_standin: Make) -> None:
    """While the tunnel is open, no process of the machine shows the token in its arguments."""
    agent = ngrok_standin()
    token = agent.environ["NGROK_AUTHTOKEN"]
    async with Sandbox(generation_s=0.5) as sandbox:
        child = await cli.begin(
            "generate",
            "sandbox-stuck",
            "--events",
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
            **agent.environ,
        )
        while json.loads(await child.stdout.readline())["type"] != "tunnel_opened":
            pass
        lines = command_lines()
        assert any("ngrok" in line for line in lines.values())
        assert not [line for line in lines.values() if token in line or sandbox.api_key in line]
        child.send_signal(signal.SIGINT)
        stdout, stderr = await child.communicate()
    assert token not in (stdout + stderr).decode()
    wait_until(lambda: not agent.living(), "the agent to end")


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("no-token", "4018"),
        ("bad-token", "107"),
        ("session-limit", "108"),
        ("domain-taken", "334"),
        ("offline", "internet"),
        ("silent", "ngrok"),
        ("crash", "ngrok"),
    ],
)
async def test_each_refusal_is_one_line_and_then_polling(
    cli: Cli, ngrok_standin: Make, variant: str, words: str
) -> None:
    """Without a tunnel the job succeeds by polling; one line says why, and it costs at most ten seconds."""
    agent = ngrok_standin(variant)
    async with Sandbox(generation_s=0.2) as sandbox:
        run = await cli.run_beside(
            "generate",
            "x",
            "--events",
            "--poll-interval",
            "0.3",
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
            **agent.environ,
        )
    # By the run's own events: how long a busy machine takes to start a program is not what the tunnel costs.
    began, submitted = (
        next(line["ts"] for line in run.objects if line.get("type") == kind)
        for kind in ("job_started", "job_submitted")
    )
    assert run.code == 0, run.stderr
    assert run.objects[-1]["via"] == "poll"
    why = [line for line in run.stderr.splitlines() if "checking every" in line]
    assert len(why) == 1
    assert words in why[0] + run.stderr
    assert agent.environ["NGROK_AUTHTOKEN"] not in run.stdout + run.stderr
    assert submitted - began < 10.0
    wait_until(lambda: not agent.living(), "the agent to end")


async def test_required_means_no_submit_without_a_tunnel(cli: Cli, ngrok_standin: Make) -> None:
    """``--tunnel`` ends with 9 before anything is submitted."""
    agent = ngrok_standin("session-limit")
    async with Sandbox() as sandbox:
        run = await cli.run_beside(
            "generate",
            "x",
            "--tunnel",
            "--json",
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
            **agent.environ,
        )
        assert not sandbox.jobs
    assert run.code == 9
    assert run.objects[0]["type"] == "error"
    assert "108" in run.stderr


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (("--listen-port", "{taken}"), {}),
        (("--timeout", "-1"), {}),
        (("--no-wait",), {"SUNO_BASE_URL": "http://127.0.0.1:9"}),
        ((), {"SUNO_API_KEY": ""}),
        ((), {"SUNO_PROVIDER": "nobody"}),
    ],
)
async def test_no_agent_starts_in_vain(
    cli: Cli, ngrok_standin: Make, options: tuple[str, ...], variables: dict[str, str]
) -> None:
    """A port in use, bad input, no key, bad settings and ``--no-wait`` are dealt with before there is an agent."""
    agent = ngrok_standin()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = {"SUNO_BASE_URL": "http://127.0.0.1:9", "SUNO_API_KEY": "key", **agent.environ, **variables}
        run = await cli.run_beside("generate", "x", *(word.format(taken=port) for word in options), **given)
    assert run.code != 0
    assert agent.facts("started") == []


async def test_a_missing_binary_is_one_line_and_then_polling(
    cli: Cli, ngrok_standin: Make, tmp_path: Path
) -> None:
    """An agent that cannot be found or fetched costs a line, not the job."""
    environ = {**ngrok_standin().environ, "PYNGROK_NGROK_PATH": str(tmp_path / "nowhere")}
    async with Sandbox(generation_s=0.2) as sandbox:
        run = await cli.run_beside(
            "generate",
            "x",
            "--json",
            "--poll-interval",
            "0.3",
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
            **environ,
        )
    assert run.code == 0, run.stderr
    assert run.objects[0]["via"] == "poll"
    assert "nowhere" in run.stderr


async def test_an_agent_that_dies_while_waiting_makes_the_job_poll_at_once(cli: Cli, ngrok_standin: Make) -> None:
    """Losing the tunnel mid-wait is one warning and a read right away, not after the interval."""
    agent = ngrok_standin()
    async with Sandbox(generation_s=1.0) as sandbox:
        child = await cli.begin(
            "generate",
            "sandbox-callback-lost",
            "--events",
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
            **agent.environ,
        )
        while json.loads(await child.stdout.readline())["type"] != "job_submitted":
            pass
        await asyncio.to_thread(agent.kill)
        kinds = []
        while (event := json.loads(await asyncio.wait_for(child.stdout.readline(), 10)))["type"] != "job_polled":
            kinds.append(event["type"])
        assert "tunnel_lost" in kinds
        child.send_signal(signal.SIGTERM)
        await child.communicate()
    wait_until(lambda: not agent.living(), "the agent to end")


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the guard needs Linux")
async def test_sigkill_leaves_no_agent(cli: Cli, ngrok_standin: Make) -> None:
    """Killed without a chance to clean up, the program takes its agent with it."""
    agent = ngrok_standin()
    async with Sandbox() as sandbox:
        child = await cli.begin(
            "generate",
            "sandbox-stuck",
            "--events",
            SUNO_BASE_URL=sandbox.url,
            SUNO_API_KEY=sandbox.api_key,
            **agent.environ,
        )
        while json.loads(await child.stdout.readline())["type"] != "tunnel_opened":
            pass
        assert agent.living()
        child.kill()
        await child.communicate()
        await asyncio.to_thread(wait_until, lambda: not agent.living(), "the agent to end")
