"""One limit for all processes of a user, and refusals that are waited out where nothing can be shared."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.text import Secret
from suno_cover_cli.service.limiter import Priority, RequestLimiter
from suno_cover_cli.service.shared_window import SharedWindow, window_path
from suno_cover_cli.service.window import LEASE_S
from tests.cli_fixtures import Cli
from tests.clocks import ManualClock
from tests.counting_service import API_KEY, CountingService
from tests.starter import StartedBeside

# The documented limit in fast motion: a tenth of its window.
LIMIT, WINDOW_S, RATE = 20, 1.0, "20/1s"
KEY = Secret(API_KEY)
IDS_EACH = 15


def ids(name: str, count: int = IDS_EACH) -> list[str]:
    """Return music task ids that nobody else uses."""
    return [f"{name}-{n}" for n in range(count)]


async def begin(cli: Cli, service: CountingService, *args: str, state: str = "state") -> StartedBeside:
    """Start the program against a service; what has its state folder shares its limit."""
    return await cli.begin(*args, "--rate", RATE, SUNO_COVER_STATE_DIR=str(cli.cwd / state), **service.environ)


async def begin_generate(cli: Cli, service: CountingService, name: str, *, state: str = "state") -> StartedBeside:
    """Start a batch of its own that polls."""
    options = ["--no-tunnel", "--poll-interval", "0.5", "--json", "--output", name]
    return await begin(cli, service, "generate", *ids(name), *options, state=state)


async def end(started: StartedBeside) -> tuple[int, str, str]:
    """Wait until a program has ended; return its code and what it wrote."""
    stdout, stderr = await started.communicate()
    return await started.wait(), stdout.decode(), stderr.decode()


async def test_all_processes_keep_one_limit_together(cli: Cli) -> None:
    """Four batches and a resume never exceed the limit in any window, use most of it, and all succeed."""
    async with CountingService(LIMIT, WINDOW_S, generation_s=1.0) as service:
        left = await begin(cli, service, "generate", *ids("left"), "--no-wait", "--output", "left")
        assert (await end(left))[0] == 0
        batches = [await begin_generate(cli, service, name) for name in ("a", "b", "c", "d")]
        resume = await begin(cli, service, "resume", "--poll-interval", "0.5", "--json")
        await service.wait_arrivals(len(service.arrivals) + 1)
        ends = await asyncio.gather(*map(end, [*batches, resume]))
    assert [code for code, _, _ in ends] == [0] * 5, [stderr for _, _, stderr in ends]
    jobs = [json.loads(line) for _, stdout, _ in ends for line in stdout.splitlines()]
    assert [job["state"] for job in jobs] == ["succeeded"] * 5 * IDS_EACH
    assert service.worst_window <= LIMIT
    # Nine tenths on a machine that has nothing else to do.
    assert service.best_rate(4) >= 0.75 * LIMIT / WINDOW_S
    (file,) = (cli.cwd / "state" / "limits").iterdir()
    assert API_KEY not in file.name + file.read_text()


async def test_machines_that_share_nothing_wait_refusals_out(cli: Cli) -> None:
    """Three state folders against a service that refuses: some calls are refused, every job succeeds."""
    async with CountingService(LIMIT, WINDOW_S, refuses=True) as service:
        batches = [await begin_generate(cli, service, name, state=name) for name in ("a", "b", "c")]
        ends = await asyncio.gather(*map(end, batches))
    assert [code for code, _, _ in ends] == [0] * 3, [stderr for _, _, stderr in ends]
    assert service.refused > 0
    assert sum(stdout.count('"succeeded"') for _, stdout, _ in ends) == 3 * IDS_EACH


@pytest.mark.skipif(os.name != "posix", reason="folders without permission mean this on POSIX only")
async def test_without_a_state_folder_the_limit_is_kept_alone(cli: Cli) -> None:
    """Where no file can be made the batch runs all the same, within the limit of its own."""
    (cli.cwd / "state").write_text("a file where the folder would be")
    async with CountingService(LIMIT, WINDOW_S, refuses=True) as service:
        code, stdout, stderr = await end(await begin_generate(cli, service, "a"))
    assert (code, stdout.count('"succeeded"')) == (0, IDS_EACH), stderr
    assert service.worst_window <= LIMIT


async def test_a_process_killed_in_the_middle_of_its_calls_blocks_nobody(cli: Cli) -> None:
    """While two hold every slot the next makes no call; once they are killed, the slots come free in seconds."""
    async with CountingService(LIMIT, WINDOW_S, holds=lambda name: name.startswith("held")) as service:
        sizes = {"held-a": 16, "held-b": LIMIT - 16}
        holders = [
            await begin(cli, service, "generate", *ids(name, size), "--no-tunnel") for name, size in sizes.items()
        ]
        await service.wait_arrivals(LIMIT)
        batch = await begin_generate(cli, service, "next")
        await asyncio.sleep(3 * WINDOW_S)
        before = len(service.arrivals)
        for holder in holders:
            os.kill(holder.pid, signal.SIGKILL)
            await holder.wait()
        async with asyncio.timeout(20):
            code, _, stderr = await end(batch)
    assert code == 0, stderr
    assert before == LIMIT
    assert service.worst_window <= LIMIT


async def test_off_shares_nothing(cli: Cli) -> None:
    """With ``--rate off`` no file is made, and no call waits: the usual rate would hold the last ones for 10 s."""
    count = 25
    async with CountingService(LIMIT, WINDOW_S) as service:
        run = await cli.begin(
            "generate", *ids("a", count), "--no-wait", "--rate", "off", "--no-tunnel", **service.environ
        )
        assert (await end(run))[0] == 0
    assert service.moments[count - 1] - service.moments[0] < 10
    assert not (cli.home.parent / "state" / "limits").exists()


async def test_a_command_that_makes_one_call_keeps_the_limit_too(cli: Cli) -> None:
    """``credits``, with the usual rate, gets its turn beside batches that use every slot of a faster one."""
    async with CountingService(LIMIT, WINDOW_S) as service:
        batches = [await begin_generate(cli, service, name) for name in ("a", "b")]
        await service.wait_arrivals(LIMIT)
        asking = await cli.begin("credits", SUNO_COVER_STATE_DIR=str(cli.cwd / "state"), **service.environ)
        code, stdout, _ = await end(asking)
        answered_at = next(moment for moment, about in service.arrivals if about == "credit")
        await asyncio.gather(*map(end, batches))
    assert (code, stdout.strip()) == (0, "12")
    assert service.moments[-1] > answered_at
    assert service.worst_window <= LIMIT


# --- the file -------------------------------------------------------------------------------------------------


def limiter_of(path: Path, limit: int = LIMIT, window_s: float = WINDOW_S) -> RequestLimiter:
    """Make a limiter over the real clock and a file."""
    return RequestLimiter(limit, window_s, clock=SystemClock(), shared=SharedWindow(path, SystemClock()))


def busiest(moments: list[float]) -> int:
    """Return the most calls in any window."""
    return max(sum(start <= moment < start + WINDOW_S for moment in moments) for start in moments)


async def calls_within(limiter: RequestLimiter, seconds: float) -> int:
    """Make calls one after the other for a while; return how many there were."""
    count = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                async with limiter.slot(Priority.SUBMIT):
                    count += 1
    except TimeoutError:
        return count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the window of an account is kept."""
    return window_path(tmp_path, "https://api.one.test", KEY)


def test_the_name_of_the_file_tells_neither_key_nor_service(tmp_path: Path, path: Path) -> None:
    """Each service and each key has a file of its own, whose name is a keyed hash."""
    assert path == window_path(tmp_path, "https://API.one.test", KEY)
    assert path != window_path(tmp_path, "https://api.two.test", KEY)
    assert path != window_path(tmp_path, "https://api.one.test", Secret("another"))
    assert "one" not in path.name
    assert API_KEY not in str(path)


@pytest.mark.skipif(os.name != "posix", reason="modes mean this on POSIX only")
async def test_the_file_is_private(path: Path) -> None:
    """Folder and file are for their owner alone."""
    async with limiter_of(path) as limiter, limiter.slot(Priority.READ):
        pass
    modes = await asyncio.to_thread(lambda: (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777))
    assert modes == (0o700, 0o600)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff" * 5000, b'{"answered": "soon"}', b'{"answered":[1e300]}', b"null"]
)
async def test_a_damaged_file_costs_a_window_at_most(path: Path, content: bytes) -> None:
    """Whatever stands in the file, calls go on within one window, and the file is whole again."""
    await asyncio.to_thread(path.parent.mkdir)
    await asyncio.to_thread(path.write_bytes, content)
    async with limiter_of(path) as limiter, asyncio.timeout(2 * WINDOW_S), limiter.slot(Priority.READ):
        pass
    assert json.loads(await asyncio.to_thread(path.read_bytes))["line"] == {}


@pytest.mark.parametrize("content", [b"{", b"\xff" * 5000, b'{"answered": "soon"}'])
async def test_a_damaged_file_is_not_taken_for_an_unused_window(path: Path, content: bytes) -> None:
    """What the others called is not known any more, so a whole window passes before the next call."""
    await asyncio.to_thread(path.parent.mkdir)
    await asyncio.to_thread(path.write_bytes, content)
    async with limiter_of(path) as limiter:
        began_s = asyncio.get_running_loop().time()
        async with limiter.slot(Priority.READ):
            assert asyncio.get_running_loop().time() - began_s >= 0.9 * WINDOW_S


def place(kind: str, path: Path) -> None:
    """Put something in a file's place."""
    path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.parent / "elsewhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
async def test_something_else_in_the_files_place_is_not_waited_for(path: Path, kind: str) -> None:
    """A pipe, a folder or a link where the file would be leaves the limiter alone with its limit."""
    await asyncio.to_thread(place, kind, path)
    async with limiter_of(path) as limiter:
        assert await calls_within(limiter, 0.8 * WINDOW_S) == LIMIT
    assert not await asyncio.to_thread((path.parent / "elsewhere").exists)


async def test_each_keeps_its_own_rate_beside_a_higher_one(path: Path) -> None:
    """Two that share a file keep their own rates: the slower one is not starved, nor the quicker one held."""
    limits = {"quick": 40, "slow": 4}
    moments: dict[str, list[float]] = {name: [] for name in limits}

    async def call(name: str) -> None:
        async with limiter_of(path, limit=limits[name]) as limiter:
            while len(moments["slow"]) <= 2 * limits["slow"]:
                async with limiter.slot(Priority.SUBMIT):
                    moments[name].append(asyncio.get_running_loop().time())

    async with asyncio.timeout(20):
        await asyncio.gather(*map(call, limits))
    assert len(moments["quick"]) >= 5 * len(moments["slow"])
    for name, limit in limits.items():
        assert busiest(moments[name]) <= limit


async def test_a_file_that_is_removed_meanwhile_is_made_again(path: Path) -> None:
    """A limiter whose file is swept away shares the next one with the others."""
    async with limiter_of(path) as first, limiter_of(path) as second:
        async with first.slot(Priority.SUBMIT):
            await asyncio.to_thread(path.unlink)
        assert await calls_within(first, 0.3) + await calls_within(second, 0.3) <= LIMIT


async def test_files_of_accounts_that_are_not_used_any_more_are_removed(path: Path) -> None:
    """The next run removes what has not been used for a day, and leaves the rest."""
    folder = path.parent
    folder.mkdir()
    for name, age_s in (("old", 2 * 24 * 3600), ("new", 60)):
        (folder / name).write_text("")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    async with limiter_of(path) as limiter, limiter.slot(Priority.SUBMIT):
        pass
    assert set(await asyncio.to_thread(os.listdir, folder)) == {"new", path.name}


async def told(path: Path, is_so: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until what a limiter writes into the file is as it should be."""
    async with asyncio.timeout(10):
        while not is_so(json.loads(await asyncio.to_thread(path.read_bytes))):  # noqa: ASYNC110 -- a file sets no event
            await asyncio.sleep(0.01)


async def test_a_process_whose_calls_give_up_leaves_the_line_at_once(path: Path) -> None:
    """Others are not held behind calls that are not wanted any more, long before these would count as dead."""
    clock = ManualClock()  # stands still: nothing here is given up because of its age
    first, second = (RequestLimiter(1, 60, clock=clock, shared=SharedWindow(path, clock)) for _ in range(2))
    async with first, second:
        async with second.slot(Priority.SUBMIT):
            waiting = asyncio.create_task(first.slot(Priority.SUBMIT).__aenter__())
            await told(path, lambda window: len(window["line"]) == 1)
            waiting.cancel()
            await told(path, lambda window: not window["line"])
        await told(path, lambda window: not window["flights"] and len(window["answered"]) == 1)


async def test_a_call_under_way_counts_for_as_long_as_it_takes(path: Path) -> None:
    """A slow answer is not taken for a dead process: nobody else gets its slot."""
    clock = ManualClock()
    until_s = clock.monotonic() + 3 * LEASE_S

    def is_renewed(window: dict[str, Any]) -> bool:
        clock.advance(LEASE_S / 20)
        return any(count == 1 and believed_s > until_s for count, _, believed_s in window["flights"].values())

    limiter = RequestLimiter(1, 60, clock=clock, shared=SharedWindow(path, clock))
    async with limiter, limiter.slot(Priority.SUBMIT):
        await told(path, is_renewed)


HOLD = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="the lock is held by POSIX means")
async def test_a_process_that_stops_while_it_holds_the_lock_blocks_nobody(path: Path) -> None:
    """When the lock is not to be had, a limiter goes on alone after a second."""
    async with limiter_of(path) as limiter, limiter.slot(Priority.SUBMIT):
        pass
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    try:
        async with limiter_of(path) as limiter, asyncio.timeout(3), limiter.slot(Priority.SUBMIT):
            pass
    finally:
        await holder.communicate(b"")
