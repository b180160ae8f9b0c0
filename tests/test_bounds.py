"""The numbers that promises rest on: how many at once, how long at the end, what reaches another program."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.events import NullSink
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobRecord, RecordState, SavedImage
from suno_cover_cli.base.providers import without_secrets
from suno_cover_cli.images.downloader import Downloader
from suno_cover_cli.jobs.batch import SubmitGate
from suno_cover_cli.jobs.covers import CoverSaver
from suno_cover_cli.jobs.poller import Timing
from suno_cover_cli.jobs.ports import JobIds
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.rows import JobOptions
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.ui.desktop import send_notification
from tests.cli_fixtures import Cli
from tests.clocks import ScaledClock
from tests.image_fixtures import ENVIRON, PNG
from tests.terminal_fixtures import PLAIN, Terminal
from tests.test_preview import PROCESS, install
from tests.workflow_fixtures import rig

ROOT = Path(__file__).parent.parent

posix = pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals elsewhere")


class SlowSaver:
    """Needs a while for each image, as an image host far away does."""

    def __init__(self, clock: ScaledClock, needs_s: float) -> None:
        self._clock = clock
        self._needs_s = needs_s

    async def save(self, url: str, folder: Path, stem: str, **_: object) -> SavedImage:
        """Save nothing, slowly."""
        await self._clock.sleep(self._needs_s)
        path = str(folder / f"{stem}.png")
        return SavedImage(url=url, path=path, bytes=1, format="png", width=1, height=1, sha256="0" * 64)

    async def find_saved(self, folder: Path, stem: str, url: str) -> SavedImage | None:
        """Find nothing."""
        del folder, stem, url
        return None


@pytest.mark.parametrize(("needs_s", "expected"), [(9.0, ExitCode.OK), (40.0, ExitCode.IMAGES_MISSING)])
async def test_covers_get_a_grace_beyond_the_deadline(tmp_path: Path, needs_s: float, expected: ExitCode) -> None:
    """Done a moment before its deadline, a job still gets covers that take 9 s, but not those that take 40."""
    clock = ScaledClock(10)
    timing = Timing(poll_interval_s=1.0, timeout_s=30.0)
    # The service counts real seconds: done after 25 of the job's thirty.
    async with (
        Sandbox(generation_s=2.5) as sandbox,
        rig(tmp_path, sandbox=sandbox, clock=clock, saver=SlowSaver(clock, needs_s), timing=timing) as it,
    ):
        assert (await it.run("song")).exit_code is expected


class CountingHost:
    """An image host that keeps its answers back until as many requests have come as may."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._may_answer = asyncio.Event()
        self.at_once = 0
        self.most = 0

    async def answer(self, _: web.BaseRequest) -> web.StreamResponse:
        """Send a picture."""
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        if self.at_once == self._expected:
            # Whoever asks for more at once has asked by then.
            asyncio.get_running_loop().call_later(0.3, self._may_answer.set)
        await self._may_answer.wait()
        self.at_once -= 1
        return web.Response(body=PNG)


@pytest.mark.parametrize(("images", "at_once"), [(2, 2), (8, 4), (40, 8)])
async def test_a_job_fetches_few_of_its_covers_at_once(tmp_path: Path, images: int, at_once: int) -> None:
    """Of one job four covers are fetched at once, eight where it has many: the host of the images is not ours."""
    host = CountingHost(at_once)
    runner = web.ServerRunner(web.Server(host.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    record = JobRecord(
        task_id="cover",
        state=RecordState.SUCCEEDED,
        image_urls=tuple(f"http://127.0.0.1:{port}/{n}.png" for n in range(images)),
    )
    async with (
        rig(tmp_path) as it,
        Downloader(allow_loopback=True, clock=SystemClock(), user_agent="test/1", environ=ENVIRON) as saver,
    ):
        covers = CoverSaver(saver=saver, service=it.api, sink=NullSink(), clock=SystemClock())
        saved = await covers.save(
            JobIds(job=1, music_task_id="song", task_id="cover"),
            record,
            tmp_path,
            row=it.request("song").wanted_row(),
            options=JobOptions(),
            in_time=as_it_comes,
        )
    await runner.cleanup()
    assert len(saved.saved) == images
    assert host.most == at_once


async def as_it_comes(saving: Awaitable[Any]) -> Any:
    """Set no deadline."""
    return await saving


async def test_sixteen_submits_at_once_are_the_most() -> None:
    """However many jobs want to submit, sixteen are on their way: so many may be refused in vain."""
    gate, inside, most = SubmitGate(NullSink()), 0, 0
    may_leave = asyncio.Event()

    async def submit() -> None:
        nonlocal inside, most
        async with gate.passing():
            inside += 1
            most = max(most, inside)
            await may_leave.wait()
            inside -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(submit())
        for _ in range(100):
            await asyncio.sleep(0)
        assert inside == 16
        may_leave.set()
    assert most == 16


async def test_every_commit_of_the_journal_waits_for_the_disk(tmp_path: Path) -> None:
    """The journal's connection syncs at each commit: what is reported as kept survives a loss of power."""
    async with Database(tmp_path / "journal.sqlite3") as database:
        (level,) = await database.run(lambda connection: connection.execute("PRAGMA synchronous").fetchone())
    assert level == 2


@posix
def test_a_terminal_that_knows_no_utf_8_gets_no_half_blocks(cli: Cli, tmp_path: Path) -> None:
    """Where stderr is written in another charset nothing is drawn: half blocks would arrive as question marks."""
    path = tmp_path / "cover_1.png"
    Image.linear_gradient("L").convert("RGB").save(path)
    with Terminal(answer=PLAIN) as plain, Terminal(answer=PLAIN) as latin:
        # From nothing: a process that is forked has its streams' charset already.
        show = [sys.executable, "-m", PROCESS, str(path)]
        cli.start_on(plain, *show, module="tests.standins.become", COLORTERM="truecolor", PYTHONPATH=str(ROOT))
        assert plain.finish()[0] == 0
        latin_1 = {"COLORTERM": "truecolor", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
        cli.start_on(latin, *show, module="tests.standins.become", **latin_1)
        assert latin.finish()[0] == 0
    assert "▀" in plain.text
    assert "cover_1" not in latin.text
    assert b"?" not in latin.sent


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other commands")
def test_a_notification_carries_foreign_text_as_text(tmp_path: Path) -> None:
    """What a stranger wrote reaches the notification server without markup and without control characters."""
    recorded = install(tmp_path / "bin", "notify-send")
    environ = without_secrets({"PATH": str(tmp_path / "bin")}, ())
    assert send_notification("t", '<a href="x">&\x1b[31mhi</a>', environ)
    words, _ = json.loads(recorded.read_text())
    assert words[-1] == '&lt;a href="x"&gt;&amp;hi&lt;/a&gt;'
