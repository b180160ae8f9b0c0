"""The record of events: what is kept, under which number, and that nobody waits for the disk."""

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.settings import Retention
from suno_cover_cli.callbacks.content import CallbackContent, ReceivedRequest
from suno_cover_cli.journal.database import Database, DatabaseError
from suno_cover_cli.journal.recorder import Recordable, Recorder
from suno_cover_cli.journal.recordings import Entry, ForwardReport, RecordedAnswer, RecordingStore
from tests.cli_fixtures import Cli
from tests.listener_fixtures import PATIENCE_S, TASK, callback_body

_ids = itertools.count(1)


def received(body: bytes = b"{}", *, event_id: str | None = None, path: str = "/callback/x") -> ReceivedRequest:
    """Return a callback as the listener hands it on."""
    n = next(_ids)
    return ReceivedRequest(
        n=n,
        id=event_id or f"evt_{n:08x}",
        ts=1_700_000_000.5,
        path=path,
        content=CallbackContent(TASK, 200, "success", ()),
        signature=SignatureState.OK,
        headers=(("X-A", "1"), ("x-a", "zwei ü")),
        body=body,
        remote="203.0.113.9",
    )


def entry(body: bytes = b"{}", **fields: str) -> Entry:
    """Return the same as the record takes it, not answered yet."""
    return received(body, **fields), None


class Passing:
    """A request on its way through a listener."""

    def __init__(self, body: bytes = b"{}", answer: RecordedAnswer | None = None) -> None:
        self.request = received(body)
        self.answer = answer


@asynccontextmanager
async def open_store(folder: Path, **bounds: Any) -> AsyncIterator[RecordingStore]:
    """Open a record."""
    async with Database(folder / "journal.sqlite3") as database:
        yield RecordingStore(database, **bounds)


async def test_an_event_comes_back_as_it_was(tmp_path: Path) -> None:
    """Headers in their order and spelling, and the body byte for byte, also when it is no text."""
    callback = received(b'{"x":"\xff\x00"}')
    async with open_store(tmp_path) as store:
        assert await store.add([(callback, None)]) == 1
        for name in ("last", "1", callback.id):
            found = await store.find(name)
            assert (found.n, found.id, found.ts) == (1, callback.id, callback.ts)
            assert (found.headers, found.body, found.path) == (callback.headers, callback.body, callback.path)
            assert (found.task_id, found.code, found.signature) == (TASK, 200, SignatureState.OK)


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
            await store.add([entry() for _ in range(count)])
        kept = await store.load_newest()
        assert [kept[0].n, kept[-1].n, len(kept)] == [201, 1200, 1000]
        assert [one.n for one in await store.load_newest(2)] == [1199, 1200]
    with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as connection, connection:
        # The list has a limit of its own; what counts is what is on disk.
        assert connection.execute("SELECT count(*), min(n) FROM recordings").fetchone() == (1000, 201)


async def test_a_crowd_larger_than_the_record_is_numbered_whole(tmp_path: Path) -> None:
    """Events that are displaced in the very commit they came with have their numbers all the same."""
    async with open_store(tmp_path, retention=Retention(events=10)) as store:
        assert await store.add([entry() for _ in range(25)]) == 1
        assert [one.n for one in await store.load_newest()] == list(range(16, 26))
        assert await store.add([entry()]) == 26


async def test_numbers_survive_an_emptied_record(tmp_path: Path) -> None:
    """Even when every event is gone, the next number is a new one."""
    async with open_store(tmp_path) as store:
        await store.add([entry(), entry()])
    with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as connection, connection:
        connection.execute("DELETE FROM recordings")
    async with open_store(tmp_path) as store:
        assert await store.add([entry()]) == 3


async def test_large_bodies_displace_the_oldest(tmp_path: Path) -> None:
    """The bytes of all bodies are bounded too, what an earlier run left included; the newest always stays."""
    async with open_store(tmp_path, keep_bytes=10_000) as store:
        await store.add([entry(b"x" * 2000) for _ in range(4)])
    async with open_store(tmp_path, keep_bytes=10_000) as store:
        await store.add([entry(b"x" * 2000) for _ in range(3)])
        assert [one.n for one in await store.load_newest()] == [3, 4, 5, 6, 7]
        await store.add([entry(b"x" * 20_000)])
        assert [one.n for one in await store.load_newest()] == [8]


async def test_an_id_that_comes_up_again_names_the_newer_event(tmp_path: Path) -> None:
    """Ids are short: a clash costs the older event, not the commit."""
    async with open_store(tmp_path) as store:
        await store.add([entry(b"old", event_id="evt_same"), entry()])
        await store.add([entry(b"new", event_id="evt_same")])
        assert (await store.find("evt_same")).body == b"new"
        assert [one.n for one in await store.load_newest()] == [2, 3]


async def test_two_processes_share_the_numbers(tmp_path: Path) -> None:
    """Two records over one file never give the same number."""
    async with open_store(tmp_path) as one, open_store(tmp_path) as other:
        firsts = await asyncio.gather(
            *(store.add([entry(), entry()]) for _ in range(20) for store in (one, other))
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

    def take(self, callbacks: Sequence[Recordable], first: int | None) -> None:
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


class Counting(RecordingStore):
    """Counts how often something is written."""

    commits = 0

    async def add(self, entries: Sequence[Entry], answers: Sequence[tuple[int, RecordedAnswer]] = ()) -> int:
        """See :class:`RecordingStore`."""
        self.commits += 1
        return await super().add(entries, answers)


async def test_recording_keeps_the_order_and_shares_commits(tmp_path: Path) -> None:
    """What is handed in while a commit is under way goes together into the next one, in order.

    It is told a few at a time: an answer that is due does not wait for a whole crowd.
    """
    written = Written()
    async with (
        Database(tmp_path / "journal.sqlite3") as database,
        recorder_of(store := Counting(database), written) as recorder,
    ):
        recorder.record(Passing())
        await asyncio.sleep(0)  # the first commit begins
        for _ in range(300):
            recorder.record(Passing())
        await written.wait_for(301)
    assert written.numbers == list(range(1, 302))
    assert store.commits <= 3
    assert max(written.batches) <= 16


ANSWER = RecordedAnswer(status=418, latency_ms=7.5)


async def test_an_answer_is_recorded_with_its_request_or_after_it(tmp_path: Path) -> None:
    """What was answered before the commit is written with it; what is answered during or after it, as well."""
    written = Written()
    early, during, late, never = Passing(answer=ANSWER), Passing(), Passing(), Passing()
    async with open_store(tmp_path) as store:
        async with recorder_of(store, written) as recorder:
            for passing in (early, during, late, never):
                recorder.record(passing)
            await asyncio.sleep(0)  # the commit begins
            during.answer = ANSWER
            await written.wait_for(4)
            recorder.record_answer(3, ANSWER)
        assert [one.answer for one in await store.load_newest()] == [ANSWER, ANSWER, ANSWER, None]


async def test_answers_that_pile_up_are_bounded(tmp_path: Path) -> None:
    """While the file is locked, answers of 64 KiB each wait in bounded memory, and the loss is told once."""
    written = Written()
    report = ForwardReport(url="http://x", status=200, latency_ms=1.0, body_b64="A" * 87_000)
    answer = RecordedAnswer(status=200, latency_ms=1.0, forward=report)
    async with open_store(tmp_path) as store, recorder_of(store, written) as recorder:
        lock = sqlite3.connect(tmp_path / "journal.sqlite3", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        recorder.record(Passing())
        await asyncio.sleep(0)
        for n in range(1000):
            recorder.record_answer(n, answer)
        assert sum(len(one.forward.body_b64) for one in recorder._answers.values() if one.forward) < 34_000_000  # noqa: SLF001
        lock.execute("ROLLBACK")
        lock.close()
        await written.wait_for(1)
    assert written.troubles == ["events arrive faster than the disk takes them: not all are recorded"]


async def test_what_is_no_callback_comes_back_as_it_was(tmp_path: Path) -> None:
    """A request without a callback has its method, its reason and its bytes, and no task."""
    request = ReceivedRequest(
        n=1,
        id="evt_1",
        ts=1.5,
        method="PUT",
        path="/callback/x?a=1&b=%20",
        headers=(("X-A", "1"),),
        body=b"\xff",
        remote="203.0.113.9",
        content=None,
        reason="PUT, not POST",
        is_whole=False,
    )
    async with open_store(tmp_path) as store:
        await store.add([(request, ANSWER)])
        found = await store.find("last")
    assert (found.method, found.path, found.query) == ("PUT", "/callback/x?a=1&b=%20", "a=1&b=%20")
    assert (found.kind, found.task_id, found.reason) == (None, "", "PUT, not POST")
    assert (found.body, found.headers, found.remote) == (b"\xff", (("X-A", "1"),), "203.0.113.9")
    assert (found.is_whole, found.answer) == (False, ANSWER)


async def test_leaving_waits_for_what_was_handed_in(tmp_path: Path) -> None:
    """An event handed in just before the end is on disk after it, and told."""
    written = Written()
    async with open_store(tmp_path) as store:
        async with recorder_of(store, written) as recorder:
            for _ in range(50):
                recorder.record(Passing())
        assert written.numbers == list(range(1, 51))
        assert len(await store.load_newest()) == 50


async def test_a_disk_that_falls_behind_costs_the_oldest(tmp_path: Path) -> None:
    """While the file is locked, what waits is bounded: the oldest is told as unrecorded, once with the reason."""
    written = Written()
    body = callback_body(x="y" * (1024 * 1024 - 1000))
    async with open_store(tmp_path) as store, recorder_of(store, written) as recorder:
        lock = sqlite3.connect(tmp_path / "journal.sqlite3", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        recorder.record(Passing())
        await asyncio.sleep(0)
        for _ in range(40):
            recorder.record(Passing(body))
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
        with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as connection, connection:
            connection.execute(refuse)
        for count in (1, 2):
            recorder.record(Passing())
            await written.wait_for(count)
        with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as connection, connection:
            connection.execute("DROP TRIGGER refuse")
        recorder.record(Passing())
        await written.wait_for(3)
    assert written.numbers == [None, None, 1]
    assert len(written.troubles) == 1


async def _record_three(folder: Path) -> None:
    async with open_store(folder) as store:
        await store.add([entry(callback_body()), entry(callback_body("b" * 32)), entry(callback_body())])


def test_the_record_can_be_listed(cli: Cli, tmp_path: Path) -> None:
    """``listen --list`` and ``history --callbacks`` show the same, the newest first; as JSON, event lines."""
    asyncio.run(_record_three(tmp_path / "state"))
    listed, history = cli.run("listen", "--list"), cli.run("history", "--callbacks")
    assert (listed.code, history.code) == (0, 0)
    assert listed.lines == history.lines
    assert [line.split()[0] for line in listed.lines] == ["3", "2", "1"]
    assert f"{TASK}  200 done" in listed.lines[0]
    (newest,) = cli.run("history", "--callbacks", "--json", "-n", "1").objects
    assert (newest["type"], newest["n"], newest["images"] != [], newest["answered"]) == ("event", 3, True, None)
    assert newest["body"]["data"]["taskId"] == TASK


def test_an_empty_record_says_so(cli: Cli) -> None:
    """Without any event the list is empty, exit code 0, and stderr says who records them."""
    listed = cli.run("listen", "--list")
    assert (listed.code, listed.stdout) == (0, "")
    assert "suno-cover listen" in listed.stderr
    assert cli.run("listen", "--list", "--json").stdout == ""
