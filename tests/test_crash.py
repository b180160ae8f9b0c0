"""The program is killed at every step and at random moments; ``resume`` then saves every cover.

The short form is part of the suite; ``pytest -m long tests/test_crash.py`` kills more than two hundred times.
"""

import asyncio
import json
import random
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli_fixtures import Cli
from tests.crash_fixtures import (
    POLL,
    Crash,
    Moment,
    WatchedSandbox,
    check_service,
    environ_of,
    finish,
)
from tests.starter import StartedBeside
from tests.tunnel_fixtures import NgrokStandin, wait_until

IDS = ("song-1", "song-2", "sandbox-answer-lost-3", "sandbox-slow-4")
# Callbacks come before the first read, and one job is always late: whatever is killed is still running.
COMMAND = ("generate", *IDS, "--poll-interval", "3", "--rate", "off")

STEPS = (
    Moment("event", "job_started"),
    Moment("before", "submit", 2),
    Moment("after", "submit", 3),
    Moment("event", "job_submitted"),
    Moment("event", "callback_received", 2),
    Moment("after", "image", 2),
    Moment("event", "image_saved", 2),
    Moment("event", "job", 2),
)
LONG_STEPS = tuple(
    Moment(kind, what, n)
    for kind, what, count in (
        ("event", "job_started", 4),
        ("before", "submit", 5),
        ("after", "submit", 5),
        ("event", "request_retried", 1),
        ("event", "job_submitted", 4),
        ("event", "tunnel_opened", 1),
        ("before", "read", 4),
        ("after", "read", 4),
        ("event", "callback_received", 4),
        ("event", "job_polled", 4),
        ("before", "image", 8),
        ("after", "image", 8),
        ("event", "image_progressed", 8),
        ("event", "image_saved", 8),
        ("event", "job", 3),
    )
    for n in range(1, count + 1)
)
RANDOM_KILLS = 150
Standins = Callable[..., NgrokStandin]


def random_moment(seed: int) -> Moment:
    """Choose a moment between the start and the end of the last job, which takes about a second."""
    return Moment("time", f"{random.Random(seed).uniform(0.02, 0.9):.3f}")  # noqa: S311 -- no secret


async def crash_and_finish(cli: Cli, moment: Moment) -> bool:
    """Kill one run at a moment, resume it and check everything; return whether it was killed in time."""
    async with WatchedSandbox(generation_s=0.2, image_bytes=65536) as sandbox:
        crash = Crash(cli, environ_of(sandbox), moment)
        sandbox.watch = crash.watch
        is_killed = await crash.run(*COMMAND)
        sandbox.watch = None
        await finish(cli, environ_of(sandbox), crash, IDS, COMMAND)
        check_service(sandbox, IDS)
    return is_killed


@pytest.mark.parametrize("moment", STEPS, ids=str)
async def test_a_kill_at_any_step_loses_nothing(cli: Cli, moment: Moment) -> None:
    """Wherever the kill falls, ``resume`` saves all covers and the service made each job once."""
    assert await crash_and_finish(cli, moment), "the moment never came"


@pytest.mark.long
@pytest.mark.parametrize("moment", LONG_STEPS, ids=str)
async def test_a_kill_at_every_occurrence_of_every_step_loses_nothing(cli: Cli, moment: Moment) -> None:
    """The same for the first, second, third ... time a step is taken."""
    assert await crash_and_finish(cli, moment), "the moment never came"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(RANDOM_KILLS))
async def test_a_kill_at_a_random_moment_loses_nothing(cli: Cli, seed: int) -> None:
    """The same for moments nobody chose."""
    assert await crash_and_finish(cli, random_moment(seed)), "it ended before it was killed"


class ServiceProcess:
    """The sandbox as a process of its own, which can be killed and started again with its jobs.

    Args:
        cli: Starts the program.
        folder: For its files.
    """

    def __init__(self, cli: Cli, folder: Path) -> None:
        self._cli = cli
        self._state = folder / "service.jsonl"
        self._child: StartedBeside | None = None
        self._port = 0
        self.environ: dict[str, str] = {}

    async def start(self) -> None:
        """Start it, from the second time on with the same address."""
        self._child = await self._cli.begin(
            "sandbox",
            *("--port", str(self._port), "--state-file", str(self._state)),
            *("--generation-time", "0.5", "--image-bytes", "65536"),
        )
        lines = [(await self._child.stdout.readline()).decode().strip() for _ in range(2)]
        exports = (line.removeprefix("export ").split("=", 1) for line in lines)
        self.environ = {name: value.strip("'") for name, value in exports}
        self._port = urlsplit(self.environ["SUNO_BASE_URL"]).port or 0

    async def kill(self) -> None:
        """Kill it."""
        assert self._child is not None
        self._child.kill()
        await self._child.communicate()

    def made(self) -> list[str]:
        """Return the music task of every job it ever made."""
        lines = (json.loads(line) for line in self._state.read_text().splitlines())
        return [line["music_task_id"] for line in lines if line["type"] == "job"]


async def crash_with_service(cli: Cli, folder: Path, moment: Moment) -> None:
    """Kill program and service together, start the service again, resume and check."""
    service = ServiceProcess(cli, folder)
    await service.start()
    try:
        crash = Crash(cli, service.environ, moment)
        assert await crash.run(*COMMAND)
        await service.kill()
        await service.start()
        await finish(cli, service.environ, crash, IDS, COMMAND)
    finally:
        await service.kill()
    assert sorted(service.made()) == sorted(IDS)


async def test_a_service_that_dies_with_us_loses_nothing(cli: Cli, tmp_path: Path) -> None:
    """Both killed, both started again: every cover is saved and no job was made twice."""
    await crash_with_service(cli, tmp_path, Moment("event", "job_submitted", 2))


@pytest.mark.long
@pytest.mark.parametrize(
    "moment",
    [Moment("event", what, n) for what in ("job_submitted", "image_saved") for n in (1, 2, 3, 4)],
    ids=str,
)
async def test_a_service_that_dies_with_us_at_any_step_loses_nothing(
    cli: Cli, tmp_path: Path, moment: Moment
) -> None:
    """The same at other steps."""
    await crash_with_service(cli, tmp_path, moment)


async def test_a_full_disk_costs_no_job(cli: Cli) -> None:
    """Images that find no room are told with exit 7 and fetched by ``resume`` once there is some."""
    async with WatchedSandbox(generation_s=0.1, image_bytes=1_500_000) as sandbox:
        # No file may grow beyond 1 MiB: the journal fits, a picture does not.
        script = f"ulimit -f 1024; suno-cover generate --json song-1 song-2 {shlex.join(POLL)}"
        full = await asyncio.to_thread(
            partial(cli.shell, script, SUNO_BASE_URL=sandbox.url, SUNO_API_KEY=sandbox.api_key)
        )
        assert full.code == 7, full.stderr
        assert {job["state"] for job in full.objects} == {"partial"}
        assert "resume" in full.stderr
        assert not [path for path in cli.cwd.rglob("*") if path.is_file()]
        crash = Crash(cli, environ_of(sandbox), Moment("time", "0"))
        await finish(cli, environ_of(sandbox), crash, ("song-1", "song-2"), ())
        check_service(sandbox, ("song-1", "song-2"))


@pytest.mark.long
@pytest.mark.parametrize("moment", [Moment("event", "job_submitted"), Moment("event", "image_saved")], ids=str)
async def test_a_kill_leaves_no_agent(cli: Cli, ngrok_standin: Standins, moment: Moment) -> None:
    """Through a tunnel, the agent goes with the program that was killed, and ``resume`` goes on without it."""
    standin = ngrok_standin()
    async with WatchedSandbox(generation_s=1.0, image_bytes=65536, allow_remote_callbacks=True) as sandbox:
        environ = {**environ_of(sandbox), **standin.environ}
        crash = Crash(cli, environ, moment)
        assert await crash.run(*COMMAND)
        await asyncio.to_thread(wait_until, lambda: not standin.living(), "the end of the agent")
        await finish(cli, environ, crash, IDS, COMMAND)
        check_service(sandbox, IDS)
    assert not standin.living()
