"""A week of ``listen --save`` in fast motion: what it keeps in memory and on the disk stays what it was."""

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cli_fixtures import Cli
from tests.counting_service import CountingService
from tests.listener_fixtures import callback_body
from tests.starter import Started

_AT_ONCE = 50
_MIB = 1024 * 1024


class Week:
    """One run of ``listen --save``, and the service that its covers come from.

    Args:
        started: The run.
        state: Its state folder.
    """

    def __init__(self, started: Started, state: Path) -> None:
        self._started = started
        self._lines = _objects(started)
        self._state = state
        self.url = ""

    def read_until(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Read lines until so many of a kind were there, and return these."""
        return list(islice((line for line in self._lines if line["type"] == kind), count))

    def memory_bytes(self) -> int:
        """Return how much memory the run has now."""
        pages = int(Path(f"/proc/{self._started.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def count_rows(self) -> tuple[int, int]:
        """Return how many jobs and events the journal holds."""
        with closing(sqlite3.connect(self._state / "journal.sqlite3")) as connection:
            (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
            (events,) = connection.execute("SELECT count(*) FROM recordings").fetchone()
        return jobs, events

    def sizes(self) -> dict[str, int]:
        """Return how many bytes journal, its log, and everything else in the state folder hold."""
        files = [path for path in self._state.rglob("*") if path.is_file()]
        found = {path.relative_to(self._state): path.stat().st_size for path in files}
        journal = {name: size for name, size in found.items() if name.name.startswith("journal.sqlite3")}
        log = sum(size for name, size in journal.items() if name.suffix.endswith("-wal"))
        return {
            "journal": sum(journal.values()) - log,
            "log": log,
            "others": sum(found.values()) - sum(journal.values()),
        }


def _objects(started: Started) -> Iterator[dict[str, Any]]:
    with closing(os.fdopen(os.dup(started.stdout.fileno()), "rb")) as stream:
        for line in stream:
            yield json.loads(line)


async def _announce(session: aiohttp.ClientSession, url: str, task_id: str) -> None:
    async with session.post(url, data=callback_body(task_id)) as answer:
        assert answer.status == 200


async def _live_through(week: Week, task_ids: list[str]) -> None:
    """Have jobs announced, some at a time, and wait until the covers of each are saved."""
    async with aiohttp.ClientSession() as session:
        for start in range(0, len(task_ids), _AT_ONCE):
            some = task_ids[start : start + _AT_ONCE]
            await asyncio.gather(*(_announce(session, week.url, task_id) for task_id in some))
            jobs = await asyncio.to_thread(week.read_until, "job", len(some))
            assert {job["task_id"] for job in jobs} == set(some)
            assert {job["state"] for job in jobs} == {"succeeded"}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.long)])
async def test_a_week_of_listen_save_is_bounded(
    cli: Cli, count: int, record_property: Callable[[str, object], None]
) -> None:
    """However many covers were saved, memory and files are those of the first fifth; every cover is there."""
    bounds = f"history-jobs = {count // 10}\nhistory-events = {count // 20}\n"
    await asyncio.to_thread(Path(cli.environ["SUNO_COVER_CONFIG"]).write_text, bounds, encoding="utf-8")
    words = ("listen", "--save", "--json", "--no-tunnel", "--rate", "off", "--output", "covers")
    task_ids = [f"{n:032x}" for n in range(count)]
    async with CountingService(10**9, 1.0) as service:
        with await asyncio.to_thread(cli.start, *words, **service.environ) as started:
            week = Week(started, Path(cli.environ["SUNO_COVER_STATE_DIR"]))
            (ready,) = await asyncio.to_thread(week.read_until, "ready")
            week.url = ready["url"]
            fifth = count // 5
            figures = []
            for start in range(0, count, fifth):
                await _live_through(week, task_ids[start : start + fifth])
                figures.append({"memory": week.memory_bytes(), **await asyncio.to_thread(week.sizes)})
            started.send_signal(signal.SIGTERM)
            await asyncio.to_thread(started.wait, 20.0)
            at_end = await asyncio.to_thread(week.sizes)
    record_property("figures", json.dumps({"count": count, "each fifth": figures, "at the end": at_end}))
    first, last = figures[0], figures[-1]
    assert last["memory"] < first["memory"] + 12 * _MIB
    assert last["journal"] < 1.3 * first["journal"] + 0.5 * _MIB
    assert last["log"] <= 6 * _MIB
    assert last["others"] <= first["others"] + 4096
    assert await asyncio.to_thread(week.count_rows) == (count // 10, count // 20)
    assert at_end["journal"] < last["journal"] + 0.5 * _MIB
    assert at_end["log"] == 0
    assert len(list(await asyncio.to_thread(lambda: list((cli.cwd / "covers").glob("*/cover_1.png"))))) == count
