"""A sandbox with a state file: what it knows survives its end, even a violent one."""

import asyncio
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.sandbox.jobs import JobLine, Line, SettledLine, SubmitLine, read_state_file
from tests.clocks import ManualClock
from tests.sandbox_fixtures import PlainClient, Receiver, WatchedClock, serving

# A sandbox in a process of its own, which says where it is and waits to be killed.
SERVE = """
import asyncio, sys
from pathlib import Path
from suno_cover_cli.sandbox.app import Sandbox

async def serve():
    async with Sandbox(api_key="k", generation_s=0, state_file=Path(sys.argv[1])) as sandbox:
        print(sandbox.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(serve())
"""


async def facts(state_file: Path) -> list[Line]:
    """Read a state file without holding up the servers of the test."""
    return await asyncio.to_thread(read_state_file, state_file)


async def test_jobs_are_known_again(tmp_path: Path) -> None:
    """After a restart a job has the same id, times, counts, image addresses and bytes."""
    clock, state_file = ManualClock(), tmp_path / "deep" / "state.jsonl"
    seen = []
    for _ in range(2):
        async with serving(state_file=state_file, generation_s=0, clock=clock, port=0) as (sandbox, client):
            task_id = await client.make("m")
            clock.advance(10)
            record = (await client.read(task_id)).data
            paths = [url.removeprefix(sandbox.url) for url in record.pop("response")["images"]]
            bodies = [(await client.image(sandbox.url + path)).body for path in paths]
            seen.append((task_id, record, paths, bodies))
            submits = sandbox.jobs[task_id].submits
    assert seen[0] == seen[1]
    assert submits == 2
    assert [type(line) for line in await facts(state_file)].count(JobLine) == 1


async def test_the_account_is_known_again(tmp_path: Path) -> None:
    """A key that was made up is the same after a restart; one that was given is not written down."""
    state_file = tmp_path / "state.jsonl"
    async with Sandbox(state_file=state_file, api_key="given"):
        pass
    assert await facts(state_file) == []
    keys = []
    for _ in range(3):
        async with Sandbox(state_file=state_file) as sandbox:
            keys.append(sandbox.api_key)
    assert len(set(keys)) == 1
    async with Sandbox() as sandbox:
        assert sandbox.api_key not in keys


async def test_killed(tmp_path: Path) -> None:
    """A sandbox that is killed right after answering a submit knows the job when it comes back."""
    state_file = tmp_path / "state.jsonl"
    ids: list[str] = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVE, str(state_file), stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            url = (await process.stdout.readline()).decode().strip()
            async with aiohttp.ClientSession() as session:
                client = PlainClient(session, url, "k")
                known = [(await client.read(task_id)).data["successFlag"] for task_id in ids]
                ids.append(await client.make("m"))
        finally:
            process.kill()
            await process.wait()
    assert (ids[0], known) == (ids[1], [1])
    kinds = [type(line) for line in await facts(state_file)]
    assert (kinds.count(JobLine), kinds.count(SubmitLine)) == (1, 2)


@pytest.mark.parametrize(
    "torn", [b"{", b'{"type":"submit","music_t', b'{"type":"submit","music_task_id":"\xe2\x82']
)
async def test_half_a_line(tmp_path: Path, torn: bytes) -> None:
    """Half a line that a kill left behind is dropped, then and later, and the next line does not stick to it."""
    state_file = tmp_path / "state.jsonl"
    async with serving(state_file=state_file) as (_, client):
        await client.make("m")
    with state_file.open("ab") as file:
        file.write(torn)
    for n in range(2):
        async with serving(state_file=state_file) as (sandbox, client):
            assert len(sandbox.jobs) == 1 + n
            await client.make(f"n{n}")
    made = [line.music_task_id for line in await facts(state_file) if isinstance(line, JobLine)]
    assert made == ["m", "n0", "n1"]


async def test_two_on_one_file(tmp_path: Path) -> None:
    """Two sandboxes may keep one file: each adds to it, and a job both have made is one job afterwards."""
    state_file = tmp_path / "state.jsonl"
    async with serving(state_file=state_file) as (_, one), serving(state_file=state_file) as (_, other):
        ids = [
            await client.make(name, f"http://{n}.invalid/")
            for n, client in enumerate((one, other))
            for name in "mno"
        ]
    async with serving(state_file=state_file) as (sandbox, client):
        assert sandbox.jobs.keys() == set(ids)
        assert await client.make("m") == ids[0]
        assert {job.callback_url for job in sandbox.jobs.values()} == {"http://0.invalid/"}
        assert [job.submits for job in sandbox.jobs.values()] == [3, 2, 2]


async def test_facts_are_on_disk_before_they_are_told(tmp_path: Path) -> None:
    """When a submit has been answered, its job is in the file, under many at once too."""
    state_file = tmp_path / "state.jsonl"

    async def submit(client: PlainClient, n: int) -> bool:
        task_id = await client.make(f"m{n}")
        lines = await facts(state_file)
        return any(isinstance(line, JobLine) and line.task_id == task_id for line in lines)

    async with serving(state_file=state_file) as (_, client):
        assert all(await asyncio.gather(*(submit(client, n) for n in range(30))))


async def test_scripts_go_on(tmp_path: Path) -> None:
    """A script of submits goes on after a restart where it was."""
    codes = []
    for _ in range(3):
        async with serving(state_file=tmp_path / "state.jsonl") as (_, client):
            codes.append((await client.submit("sandbox-busy-429")).envelope["code"])
    assert codes == [429, 429, 200]


async def test_callbacks_go_on(tmp_path: Path) -> None:
    """A callback that is due is sent after a restart, and one that was acknowledged is not."""
    state_file, clock = tmp_path / "state.jsonl", WatchedClock()
    async with Receiver() as receiver:
        async with serving(state_file=state_file, generation_s=30, clock=clock) as (sandbox, client):
            done = await client.make("m", receiver.url)
            await clock.pass_sleep(30)
            await sandbox.wait_settled(done)
            due = await client.make("n", receiver.url)
            await clock.wait_for_sleep(30)
        clock.advance(1000)
        async with serving(state_file=state_file, generation_s=30, clock=clock) as (sandbox, _):
            await sandbox.wait_settled(due)
        assert [call.payload["data"]["taskId"] for call in receiver.calls] == [done, due]
    settled = [line for line in await facts(state_file) if isinstance(line, SettledLine)]
    assert [(line.task_id, line.status) for line in settled] == [(done, 200), (due, 200)]


async def test_old_callbacks_rest(tmp_path: Path) -> None:
    """A callback whose last retry would be over is not sent by a sandbox that starts later."""
    state_file, clock = tmp_path / "state.jsonl", WatchedClock()
    async with Receiver() as receiver:
        async with serving(state_file=state_file, generation_s=30, clock=clock) as (_, client):
            task_id = await client.make("m", receiver.url)
            await clock.wait_for_sleep(30)
        clock.advance(30 + 60 + 300 + 900 + 1)
        async with serving(state_file=state_file, generation_s=30, clock=clock) as (sandbox, client):
            await sandbox.wait_settled(task_id)
            assert (await client.read(task_id)).data["successFlag"] == 1
        assert receiver.calls == []


async def test_deliveries_go_on_where_they_were(tmp_path: Path) -> None:
    """Of two callbacks only the second is sent after a restart if the first was acknowledged."""
    state_file, clock = tmp_path / "state.jsonl", WatchedClock()
    async with Receiver() as receiver:
        async with serving(state_file=state_file, generation_s=0, clock=clock) as (_, client):
            task_id = await client.make("sandbox-callback-twice", receiver.url)
            await clock.wait_for_sleep(0.05)
        async with serving(state_file=state_file, generation_s=0, clock=clock) as (sandbox, _):
            await clock.pass_sleep(0.05)
            await sandbox.wait_settled(task_id)
        assert len(receiver.calls) == 2


@pytest.mark.parametrize(
    "content",
    [b"# notes\n", b'{"type":"submit"}\n', b'{"type":"settled","task_id":"x","status":200}\n', b"\xff\n"],
)
async def test_foreign_file(tmp_path: Path, content: bytes) -> None:
    """A file that is not a sandbox's is a usage error, and left as it is."""
    state_file = tmp_path / "notes.txt"
    state_file.write_bytes(content)
    with pytest.raises(UsageError, match=r"line 1 of|settles 'x'"):
        await Sandbox(state_file=state_file).__aenter__()
    assert state_file.read_bytes() == content


async def test_faults_come_out(tmp_path: Path) -> None:
    """A delivery that cannot be noted down is not swallowed: the fault comes out on leaving."""
    state_file, clock = tmp_path / "state.jsonl", WatchedClock()
    async with Receiver() as receiver:
        with pytest.RaisesGroup(OSError):
            async with serving(state_file=state_file, generation_s=30, clock=clock) as (sandbox, client):
                task_id = await client.make("m", receiver.url)
                await clock.wait_for_sleep(30)
                state_file.unlink()
                state_file.mkdir()
                clock.advance(30)
                await sandbox.wait_settled(task_id)
        assert len(receiver.calls) == 1


async def test_unusable_path(tmp_path: Path) -> None:
    """A path that cannot be read or written is a usage error that names it."""
    with pytest.raises(UsageError, match="state file"):
        await Sandbox(state_file=tmp_path).__aenter__()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="state file"):
        await Sandbox(state_file=tmp_path / "file" / "state.jsonl").__aenter__()
