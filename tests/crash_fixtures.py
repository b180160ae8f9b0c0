"""A run of the program that is killed at a chosen moment, and what must be true once ``resume`` has run."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image

from suno_cover_cli.sandbox.app import RECORD_PATH, SUBMIT_PATH, Sandbox
from tests.cli_fixtures import Cli, Run
from tests.sandbox_fixtures import count_key_leaks
from tests.starter import StartedBeside

_PATIENCE_S = 20.0
POLL = ("--poll-interval", "0.2", "--rate", "off")


@dataclass(frozen=True)
class Moment:
    """When to kill.

    Attributes:
        kind: ``event`` (a line of ``--events``), ``before`` or ``after`` (the service gets a request, or has
            dealt with it and has not answered yet), or ``time``.
        what: The event's type; ``submit``, ``read`` or ``image``; or seconds after the start.
        n: Which of them, counted from 1.
    """

    kind: str
    what: str
    n: int = 1

    def __str__(self) -> str:
        return f"{self.kind}-{self.what}-{self.n}"


class WatchedSandbox(Sandbox):
    """A sandbox that stops to tell somebody of each request, before it deals with it and before it answers."""

    watch: Callable[[str, str], Awaitable[None]] | None = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        kind = {SUBMIT_PATH: "submit", RECORD_PATH: "read"}.get(request.path, "image")
        if self.watch is not None:
            await self.watch("before", kind)
        response = await super()._answer(request)
        if self.watch is not None:
            await self.watch("after", kind)
        return response


class Crash:
    """Runs the program and kills it at a moment.

    Args:
        cli: Starts the program.
        environ: Points it at the service.
        moment: When.
    """

    def __init__(self, cli: Cli, environ: dict[str, str], moment: Moment) -> None:
        self._cli = cli
        self._environ = environ
        self._moment = moment
        self._left = moment.n
        self._due = asyncio.Event()
        self.events: list[dict[str, Any]] = []

    async def watch(self, kind: str, what: str) -> None:
        """Hear of a request; when it is the one, hold its answer back until the program is dead."""
        if (kind, what) == (self._moment.kind, self._moment.what):
            self._left -= 1
            if self._left == 0:
                self._due.set()
                await asyncio.Event().wait()

    async def run(self, *args: str) -> bool:
        """Run the program; return whether the moment came before it ended by itself."""
        child = await self._cli.begin(*args, "--events", **self._environ)
        reading = asyncio.create_task(self._read(child))
        due = asyncio.create_task(self._due.wait())
        limit_s = float(self._moment.what) if self._moment.kind == "time" else _PATIENCE_S
        try:
            await asyncio.wait({reading, due}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            is_killed = self._due.is_set() or self._moment.kind == "time"
            if child.returncode is None:
                child.kill()
            await reading
            return is_killed and await child.wait() == -9
        finally:
            for task in (reading, due):
                task.cancel()
            await asyncio.gather(reading, due, return_exceptions=True)

    async def _read(self, child: StartedBeside) -> None:
        errors = asyncio.create_task(child.stderr.read())
        async for line in child.stdout:
            if not line.endswith(b"\n"):
                break  # the kill cut it off
            event = json.loads(line)
            self.events.append(event)
            if (self._moment.kind, self._moment.what) == ("event", event["type"]):
                self._left -= 1
                if self._left == 0:
                    child.kill()
                    self._due.set()
        await errors


def environ_of(sandbox: Sandbox) -> dict[str, str]:
    """Point the program at a sandbox."""
    return {"SUNO_BASE_URL": sandbox.url, "SUNO_API_KEY": sandbox.api_key}


async def finish(
    cli: Cli, environ: dict[str, str], crash: Crash, ids: tuple[str, ...], again: tuple[str, ...]
) -> None:
    """Resume what a crash left, and hold the result against the promise: everything is saved.

    Args:
        cli: Starts the program.
        environ: Points it at the service.
        crash: The run that was killed.
        ids: Its music tasks.
        again: The command that was killed, for what had not begun.
    """
    resumed = await cli.run_beside("resume", "--json", *POLL, **environ)
    assert resumed.code == 0, resumed.stderr
    known = {entry["music_task_id"]: entry for entry in (await history(cli)).objects}
    if any(event["type"] == "job_started" for event in crash.events):
        assert set(known) == set(ids), "the journal does not know every job of the batch"
    if set(known) != set(ids):
        rerun = await cli.run_beside(*again, **environ)
        assert rerun.code == 0, rerun.stderr
        known = {entry["music_task_id"]: entry for entry in (await history(cli)).objects}
    assert set(known) == set(ids)
    assert {entry["state"] for entry in known.values()} == {"succeeded"}
    check_files(cli.cwd / "covers", {str(entry["task_id"]) for entry in known.values()})


async def history(cli: Cli) -> Run:
    """Export the journal."""
    run = await cli.run_beside("history", "--json")
    assert run.code == 0, run.stderr
    return run


def check_files(covers: Path, task_ids: set[str]) -> None:
    """Each job has its two whole covers, and nothing else lies about."""
    wanted = {covers / task_id / f"cover_{n}.png" for task_id in task_ids for n in (1, 2)}
    assert {path for path in covers.rglob("*") if path.is_file()} == wanted
    for path in wanted:
        with Image.open(path) as image:
            image.load()


def check_service(sandbox: Sandbox, ids: tuple[str, ...]) -> None:
    """The service made one job for each music task, and no key went to its image host."""
    made = [job.music_task_id for job in sandbox.jobs.values()]
    assert sorted(made) == sorted(ids)
    assert count_key_leaks(sandbox) == 0
