"""``gallery``: its lines, its ends, its errors, and other processes beside it."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from suno_cover_cli.wiring.covers import read_marks
from tests.browser import Browser, Tab
from tests.cli_fixtures import Cli
from tests.gallery_fixtures import draw
from tests.gallery_pages import SEEN, said
from tests.starter import StartedBeside
from tests.test_journal_damage import damage_schema


@pytest.fixture
def task_ids(cli: Cli) -> list[str]:
    """Make three jobs in the sandbox; return their cover task ids, newest first."""
    run = cli.run("generate", "--sandbox", "sandbox-instant-1", "sandbox-instant-2", "sandbox-instant-3", "--json")
    assert run.code == 0
    made = {job["music_task_id"]: job["task_id"] for job in run.objects}
    return [made[f"sandbox-instant-{number}"] for number in (3, 2, 1)]


@contextlib.asynccontextmanager
async def begun(cli: Cli, *words: str, **environ: str) -> AsyncIterator[StartedBeside]:
    """Run a gallery beside the test; it is ended with the context."""
    started = await cli.begin("gallery", *words, **environ)
    try:
        yield started
    finally:
        started.kill()
        await started.wait()


async def next_line(started: StartedBeside) -> Any:
    """Return the next line of a gallery's stdout as JSON."""
    return json.loads(await asyncio.wait_for(started.stdout.readline(), 30))


@pytest.fixture
async def ready(cli: Cli, task_ids: list[str]) -> AsyncIterator[tuple[StartedBeside, str]]:
    """Run a gallery of all jobs; return it and its address."""
    async with begun(cli, "--no-open", "--json") as started:
        line = await next_line(started)
        assert (line["v"], line["type"], len(task_ids)) == (1, "ready", 3)
        yield started, line["url"]


async def open_page(tab: Tab, url: str) -> None:
    """Open the page and wait for its covers."""
    await tab.go(url)
    await tab.wait_for(SEEN)


async def test_picks_are_lines_and_end_in_the_journal(
    browser: Browser, cli: Cli, task_ids: list[str], ready: tuple[StartedBeside, str]
) -> None:
    """Every choice is one line with the cover task id, and history tells it; Ctrl-C ends with a last line."""
    started, url = ready
    async with browser.open_tab() as tab:
        await open_page(tab, url)
        titles = await tab.run("probe.texts('.row h2')")
        assert titles == ["sandbox-instant-3", "sandbox-instant-2", "sandbox-instant-1"]
        assert "sandbox" in await tab.run("probe.texts('#list .badge')")
        await tab.press("2", "ArrowDown", "x")
        await said(tab, "sandbox-instant-2: none of them.")
        await tab.press("u")
        await said(tab, "undecided again")
    expected = [(task_ids[0], 2), (task_ids[1], "none"), (task_ids[1], None)]
    for task_id, n in expected:
        assert await next_line(started) == {"v": 1, "type": "picked", "task_id": task_id, "n": n}
    started.send_signal(signal.SIGINT)
    assert await next_line(started) == {"v": 1, "type": "end", "reason": "interrupted", "decided": 1}
    assert await asyncio.wait_for(started.wait(), 5) == -signal.SIGINT
    history = await cli.run_beside("history", "--json")
    picked = {job["task_id"]: job["job"]["picked"] for job in history.objects}
    assert picked == {task_ids[0]: 2, task_ids[1]: None, task_ids[2]: None}


async def test_once_ends_when_every_job_is_decided(browser: Browser, cli: Cli, task_ids: list[str]) -> None:
    """With --once the last choice ends the command with 0, and the page says that it has ended."""
    async with begun(cli, "--no-open", "--json", "--once", *task_ids[:2]) as started, browser.open_tab() as tab:
        await open_page(tab, (await next_line(started))["url"])
        assert len(await tab.run("probe.texts('.row h2')")) == 2, "only those that were named"
        await tab.press("1", "ArrowDown")
        await said(tab, "1 undecided left.")
        await tab.press("x")
        await tab.wait_for("!document.getElementById('notice').hidden")
        assert [(await next_line(started))["n"] for _ in range(2)] == [1, "none"]
        assert await next_line(started) == {"v": 1, "type": "end", "reason": "decided", "decided": 2}
        assert await asyncio.wait_for(started.wait(), 5) == 0
    again = await cli.run_beside("gallery", "--no-open", "--json", "--once", *task_ids[:2])
    assert [line["type"] for line in again.objects] == ["ready", "end"], "there is nothing left to decide"


async def test_what_other_processes_do_is_seen(
    browser: Browser, cli: Cli, task_ids: list[str], ready: tuple[StartedBeside, str]
) -> None:
    """A job that another process finishes appears; what a second gallery picks is seen by the first, and told."""
    started, url = ready
    async with browser.open_tab() as tab:
        await open_page(tab, url)
        assert (await cli.run_beside("generate", "--sandbox", "sandbox-instant-4")).code == 0
        await said(tab, "new job")
        assert (await tab.run("probe.texts('.row h2')"))[0] == "sandbox-instant-4"
        async with begun(cli, "--no-open", "--json", "sandbox-instant-2") as other, browser.open_tab() as second:
            await open_page(second, (await next_line(other))["url"])
            await second.press("2")
            await said(second, "picked 2")
            await tab.wait_for(
                "document.querySelector('[data-decision=picked] h2').textContent === 'sandbox-instant-2'"
            )
        assert await next_line(started) == {"v": 1, "type": "picked", "task_id": task_ids[1], "n": 2}
        assert (await cli.run_beside("history", task_ids[0], "--prune")).code == 0
        await tab.wait_for("!probe.texts('.row h2').includes('sandbox-instant-3')")


def test_ids_that_cannot_be_shown_are_named(cli: Cli, task_ids: list[str]) -> None:
    """An id that is not known, and one whose job has no covers, end with 2 and say which and what to do."""
    run = cli.run("gallery", "--no-open", task_ids[0], "nonsense")
    assert (run.code, run.stdout) == (2, "")
    assert 'the journal knows no job "nonsense"' in run.stderr
    assert cli.run("generate", "--sandbox", "sandbox-refunded-531").code == 6
    run = cli.run("gallery", "--no-open", "--json", "sandbox-refunded-531")
    assert run.code == 2
    assert run.objects[0]["code"] == "no_covers"
    assert "no cover of sandbox-refunded-531 is saved" in run.stderr


def test_damage_that_is_met_is_said(cli: Cli, task_ids: list[str]) -> None:
    """The gallery, as every command that opens the journal, says that it was damaged and what has become of it."""
    damage_schema(Path(cli.environ["SUNO_COVER_STATE_DIR"]))
    run = cli.run("gallery", "--no-open", task_ids[0], "nonsense")
    assert run.code == 2
    assert "was damaged" in run.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--port", "70000"], "70000"),
        (["--once", "--read-only"], "--once and --read-only exclude each other"),
    ],
)
def test_options_that_cannot_be_are_refused(cli: Cli, words: list[str], reason: str) -> None:
    """A port that is none, and a page that could never end, are usage errors."""
    run = cli.run("gallery", "--no-open", *words)
    assert (run.code, run.stdout) == (2, "")
    assert reason in run.stderr


async def test_a_port_in_use_is_an_error(cli: Cli, ready: tuple[StartedBeside, str]) -> None:
    """A second gallery on the port of the first ends with 2 and says so; the first goes on."""
    port = ready[1].split(":")[2].partition("/")[0]
    run = await cli.run_beside("gallery", "--no-open", "--port", port)
    assert run.code == 2
    assert f"Port {port} on 127.0.0.1 is in use" in run.stderr
    assert "--port" in run.stderr


def write_opener(folder: Path, script: str) -> str:
    """Put a program that opens addresses into a folder; return a PATH that begins with it."""
    folder.mkdir()
    opener = folder / "xdg-open"
    opener.write_text(f"#!/bin/sh\n{script}\n")
    opener.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.usefixtures("task_ids")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other commands")
async def test_the_browser_is_opened_with_an_address_of_its_own(cli: Cli, tmp_path: Path) -> None:
    """The opened address is not the printed one, and no key is in the browser's environment."""
    os.mkfifo(tmp_path / "opened")  # reading it waits until somebody has written
    path = write_opener(tmp_path / "bin", f'env > "{tmp_path}/environ"; echo "$1" > "{tmp_path}/opened"')
    async with begun(cli, "--json", PATH=path, DISPLAY=":7", SUNO_API_KEY="very-secret-key") as started:
        url = (await next_line(started))["url"]
        opened = (await asyncio.to_thread((tmp_path / "opened").read_text)).strip()
        assert re.sub("token=.*", "", opened) == re.sub("token=.*", "", url)
        assert opened != url
        environ = await asyncio.to_thread((tmp_path / "environ").read_text)
        assert "DISPLAY=:7" in environ
        assert "very-secret-key" not in environ


@pytest.mark.usefixtures("task_ids")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other commands")
@pytest.mark.parametrize("script", ["exit 3", None])
async def test_a_browser_that_cannot_be_opened_is_told(cli: Cli, tmp_path: Path, script: str | None) -> None:
    """Where no browser opens, or there is no screen, you are asked to open the address yourself."""
    path = write_opener(tmp_path / "bin", script or "exit 0")
    screen = {"DISPLAY": ":7"} if script else {}
    async with begun(cli, PATH=path, **screen) as started:
        lines = [(await asyncio.wait_for(started.stderr.readline(), 30)).decode() for _ in range(3)]
        assert re.fullmatch(
            r"3 jobs with covers: http://127\.0\.0\.1:\d+/[0-9a-f]+/\?token=[0-9a-f]{32}\n", lines[0]
        )
        assert lines[2].startswith("No browser could be opened. Open this address yourself: http://127.0.0.1:")
        started.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(started.wait(), 5) == -signal.SIGTERM


async def test_a_gallery_ends_in_time_while_it_is_looked_at(
    browser: Browser, ready: tuple[StartedBeside, str]
) -> None:
    """Ctrl-C ends the command within two seconds also while pages follow it."""
    started, url = ready
    async with browser.open_tab() as tab, browser.open_tab() as other:
        await open_page(tab, url)
        await open_page(other, url)
        loop = asyncio.get_running_loop()
        began = loop.time()
        started.send_signal(signal.SIGINT)
        await asyncio.wait_for(started.wait(), 30)
        assert loop.time() - began < 10
        await tab.wait_for("!document.getElementById('notice').hidden")


def test_labels_are_said_in_words() -> None:
    """What a cover carries is read from its bytes: labels, not that there is metadata; nonsense carries none."""
    assert read_marks(b"no picture") == []
    assert read_marks(draw(1)) == []
    file = io.BytesIO()
    notes = PngInfo()
    notes.add_text("AIGC", '{"Label": "1"}')
    with Image.open(io.BytesIO(draw(1))) as image:
        image.save(file, "PNG", pnginfo=notes)
    assert [mark.partition(":")[0] for mark in read_marks(file.getvalue())] == ["AI label (TC260, png text)"]
