"""The record of events: what is kept, under which number, and that nobody waits for the disk."""

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.callbacks.content import ReceivedCallback
from suno_cover_cli.journal.database import Database, DatabaseError
from suno_cover_cli.journal.recorder import Recorder
from suno_cover_cli.journal.recordings import RecordingStore
from tests.cli_fixtures import Cli
from tests.listener_fixtures import PATIENCE_S, TASK, callback_body

_ids = itertools.count(1)


def received(body: bytes = b"{}", *, event_id: str | None = None, path: str = "/callback/x") -> ReceivedCallback:
    """Return a callback as the listener hands it on."""
    n = next(_ids)
    return ReceivedCallback(
        n=n,
        id=event_id or f"evt_{n:08x}",
        ts=1_700_000_000.5,
        path=path,
        task_id=TASK,
        code=200,
        message="success",
        image_urls=(),
        signature=SignatureState.OK,
        headers=(("X-A", "1"), ("x-a", "zwei ü")),
        body=body,
        duplicate_of=None,
        remote="127.0.0.1",
    )


@asynccontextmanager
async def open_store(folder: Path, **bounds: int) -> AsyncIterator[RecordingStore]:
    """Open a record."""
    async with Database(folder / "journal.sqlite3") as database:
        yield RecordingStore(database, **bounds)


async def test_an_event_comes_back_as_it_was(tmp_path: Path) -> None:
    """Headers in their order and spelling, and the body byte for byte, also when it is no text."""
    callback = received(b'{"x":"\xff\x00"}')
    async with open_store(tmp_path) as store:
        assert await store.add([callback]) == 1
        for name in ("last", "1", callback.id):
            found = await store.find(name)
            assert (found.n, found.id, found.ts) == (1, callback.id, callback.ts)
            assert (found.headers, found.body, found.path) == (callback.headers, callback.body, callback.path)
            assert (found.task_id, found.code, found.signature) == (TASK, 200, SignatureState.OK)


async def test_a_path_that_is_no_text_is_recorded(tmp_path: Path) -> None:
    """Bytes of a query that are no UTF-8 cost nothing but their form."""
    async with open_store(tmp_path) as store:
        await store.add([received(path="/callback/x?a=\udcff")])
        assert (await store.find("last")).path == "/callback/x?a=\\xff"


@pytest.mark.parametrize("name", ["last", "7", "evt_00000000", "99999999999999999999999", "' OR 1=1 --"])
async def test_an_event_that_is_not_there_is_a_usage_error(tmp_path: Path, name: str) -> None:
    """A number or id that is not recorded says so and where to look; where nothing is, how to record."""
    async with open_store(tmp_path) as store:
        with pytest.raises(UsageError) as raised:
            await store.find(name)
    assert raised.value.code == "no_such_event"
    assert ("--list" in raised.value.hint) is (name != "last")
    assert "suno-cover listen" in raised.value.hint


async def test_the_newest_thousand_are_kept(tmp_path: Path) -> None:
    """By default 1,000 events stay, the newest; numbers go on and are never given again."""
    async with open_store(tmp_path) as store:
        for count in (700, 1, 499):
            await store.add([received() for _ in range(count)])
        kept = await store.load_newest()
        assert [kept[0].n, kept[-1].n, len(kept)] == [201, 1200, 1000]
        assert [one.n for one in await store.load_newest(2)] == [1199, 1200]
    with sqlite3.connect(tmp_path / "journal.sqlite3") as connection:
        # The list has a limit of its own; what counts is what is on disk.
        assert connection.execute("SELECT count(*), min(n) FROM recordings").fetchone() == (1000, 201)


async def test_a_crowd_larger_than_the_record_is_numbered_whole(tmp_path: Path) -> None:
    """Events that are displaced in the very commit they came with have their numbers all the same."""
    async with open_store(tmp_path, keep_events=10) as store:
        assert await store.add([received() for _ in range(25)]) == 1
        assert [one.n for one in await store.load_newest()] == list(range(16, 26))
        assert await store.add([received()]) == 26


async def test_numbers_survive_an_emptied_record(tmp_path: Path) -> None:
    """Even when every event is gone, the next number is a new one."""
    async with open_store(tmp_path) as store:
        await store.add([received(), received()])
    with sqlite3.connect(tmp_path / "journal.sqlite3") as connection:
        connection.execute("DELETE FROM recordings")
    async with open_store(tmp_path) as store:
        assert await store.add([received()]) == 3


async def test_large_bodies_displace_the_oldest(tmp_path: Path) -> None:
    """The bytes of all bodies are bounded too, what an earlier run left included; the newest always stays."""
    async with open_store(tmp_path, keep_bytes=10_000) as store:
        await store.add([received(b"x" * 2000) for _ in range(4)])
    async with open_store(tmp_path, keep_bytes=10_000) as store:
        await store.add([received(b"x" * 2000) for _ in range(3)])
        assert [one.n for one in await store.load_newest()] == [3, 4, 5, 6, 7]
        await store.add([received(b"x" * 20_000)])
        assert [one.n for one in await store.load_newest()] == [8]


async def test_an_id_that_comes_up_again_names_the_newer_event(tmp_path: Path) -> None:
    """Ids are short: a clash costs the older event, not the commit."""
    async with open_store(tmp_path) as store:
        await store.add([received(b"old", event_id="evt_same"), received()])
        await store.add([received(b"new", event_id="evt_same")])
        assert (await store.find("evt_same")).body == b"new"
        assert [one.n for one in await store.load_newest()] == [2, 3]


async def test_two_processes_share_the_numbers(tmp_path: Path) -> None:
    """Two records over one file never give the same number."""
    async with open_store(tmp_path) as one, open_store(tmp_path) as other:
        firsts = await asyncio.gather(
            *(store.add([received(), received()]) for _ in range(20) for store in (one, other))
        )
        assert sorted(firsts) == list(range(1, 81, 2))
        assert len(await one.load_newest()) == 80


class Written:
    """Takes what a recorder tells.

    Attributes:
        numbers: Of each event, in the order told.
        batches: How many were told at once.
    """

    def __init__(self) -> None:
        self.numbers: list[int | None] = []
        self.batches: list[int] = []
        self.troubles: list[str] = []
        self._news = asyncio.Event()

    def take(self, callbacks: Sequence[ReceivedCallback], first: int | None) -> None:
        """See :data:`OnWritten`."""
        self.batches.append(len(callbacks))
        self.numbers += [None if first is None else first + offset for offset in range(len(callbacks))]
        self._news.set()

    def complain(self, error: DatabaseError) -> None:
        """Take a trouble."""
        self.troubles.append(error.message)

    async def wait_for(self, count: int) -> None:
        """Wait until so many were told."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.numbers) < count:
                self._news.clear()
                await self._news.wait()


def recorder_of(store: RecordingStore, written: Written) -> Recorder:
    """Return a recorder that tells ``written``."""
    return Recorder(store, clock=SystemClock(), on_written=written.take, on_trouble=written.complain)


async def test_recording_keeps_the_order_and_shares_commits(tmp_path: Path) -> None:
    """What is handed in while a commit is under way goes together into the next one, in order."""
    written = Written()
    async with open_store(tmp_path) as store, recorder_of(store, written) as recorder:
        recorder.record(received())
        await asyncio.sleep(0)  # the first commit begins
        for _ in range(300):
            recorder.record(received())
        await written.wait_for(301)
    assert written.numbers == list(range(1, 302))
    assert len(written.batches) <= 3


async def test_leaving_waits_for_what_was_handed_in(tmp_path: Path) -> None:
    """An event handed in just before the end is on disk after it, and told."""
    written = Written()
    async with open_store(tmp_path) as store:
        async with recorder_of(store, written) as recorder:
            for _ in range(50):
                recorder.record(received())
        assert written.numbers == list(range(1, 51))
        assert len(await store.load_newest()) == 50


async def test_a_disk_that_falls_behind_costs_the_oldest(tmp_path: Path) -> None:
    """While the file is locked, what waits is bounded: the oldest is told as unrecorded, once with the reason."""
    written = Written()
    body = callback_body(x="y" * (1024 * 1024 - 1000))
    async with open_store(tmp_path) as store, recorder_of(store, written) as recorder:
        lock = sqlite3.connect(tmp_path / "journal.sqlite3", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        recorder.record(received())
        await asyncio.sleep(0)
        for _ in range(40):
            recorder.record(received(body))
        assert written.numbers == [None] * 8  # 33 of the 40 would be more than 32 MiB
        lock.execute("ROLLBACK")
        lock.close()
        await written.wait_for(41)
    assert sorted(n for n in written.numbers if n is not None) == list(range(1, 34))
    assert written.troubles == ["events arrive faster than the disk takes them: not all are recorded"]


async def test_a_file_that_fails_is_told_once(tmp_path: Path) -> None:
    """When the database fails, each event is told as unrecorded and the reason once; later ones may do better."""
    written = Written()
    async with open_store(tmp_path) as store, recorder_of(store, written) as recorder:
        refuse = "CREATE TRIGGER refuse BEFORE INSERT ON recordings BEGIN SELECT RAISE(ABORT, 'no more'); END"
        with sqlite3.connect(tmp_path / "journal.sqlite3") as connection:
            connection.execute(refuse)
        for count in (1, 2):
            recorder.record(received())
            await written.wait_for(count)
        with sqlite3.connect(tmp_path / "journal.sqlite3") as connection:
            connection.execute("DROP TRIGGER refuse")
        recorder.record(received())
        await written.wait_for(3)
    assert written.numbers == [None, None, 1]
    assert len(written.troubles) == 1


async def _record_three(folder: Path) -> None:
    async with open_store(folder) as store:
        await store.add([received(callback_body()), received(callback_body("b" * 32)), received(callback_body())])


def test_the_record_can_be_listed(cli: Cli, tmp_path: Path) -> None:
    """``listen --list`` and ``history --events`` show the same events; as JSON they are event lines."""
    asyncio.run(_record_three(tmp_path / "state"))
    listed, history = cli.run("listen", "--list"), cli.run("history", "--events")
    assert (listed.code, history.code) == (0, 0)
    assert listed.lines == history.lines[::-1]
    assert [line.split()[0] for line in listed.lines] == ["1", "2", "3"]
    assert f"{TASK}  200 done" in listed.lines[0]
    (newest,) = cli.run("history", "--events", "--json", "-n", "1").objects
    assert (newest["type"], newest["n"], newest["images"] != [], newest["answered"]) == ("event", 3, True, None)
    assert newest["body"]["data"]["taskId"] == TASK


def test_an_empty_record_says_so(cli: Cli) -> None:
    """Without any event the list is empty, exit code 0, and stderr says who records them."""
    listed = cli.run("listen", "--list")
    assert (listed.code, listed.stdout) == (0, "")
    assert "suno-cover listen" in listed.stderr
    assert cli.run("listen", "--list", "--json").stdout == ""
