"""Where ``listen`` prints: first things first, nobody held up, nothing lost without a word."""

import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from suno_cover_cli.listen.printers import ProductPrinter
from suno_cover_cli.sandbox.app import Sandbox
from tests.listen_fixtures import listening
from tests.listener_fixtures import PATIENCE_S, TASK, callback_body
from tests.test_listen_forward import unused_port


async def test_ready_is_the_first_line_even_when_an_event_came_before_it(tmp_path: Path) -> None:
    """An event that arrives while the way in is still being proved is answered at once and shown after ready."""
    port, opened = unused_port(), asyncio.Event()
    seen = asyncio.Event()

    async def pass_on(request: web.BaseRequest) -> web.StreamResponse:
        seen.set()
        await opened.wait()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{request.path}") as got,
        ):
            return web.Response(body=await got.read())

    runner = web.ServerRunner(web.Server(pass_on), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    public = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with listening(
        tmp_path, is_ready=False, tunnel=None, path="/hook", count=1, listen_port=port, public_url=public
    ) as run:
        async with asyncio.timeout(PATIENCE_S):
            await seen.wait()
        run.url = f"http://127.0.0.1:{port}/hook"
        assert (await run.post(callback_body())).status == 200
        assert run.stdout == ""
        opened.set()
        done = await run.wait_ended()
    await runner.cleanup()
    assert [line["type"] for line in done.objects] == ["ready", "event", "end"]
    assert (done.objects[0]["url"], done.objects[0]["local"]) == (f"{public}/hook", run.url)


def test_a_reader_that_stands_still_costs_lines_that_are_counted() -> None:
    """Above the bound lines are dropped, and their number is told once the reader takes some again."""
    printed: list[str] = []
    told: list[int] = []
    waiting = 0
    printer = ProductPrinter(printed.append, lambda: waiting, on_dropped=told.append, max_waiting_bytes=100)
    printer.begin("first")
    printer.write("a\nb", 2)
    waiting = 101
    printer.write("c\nd", 2)
    printer.write("e", 1)
    assert told == []
    waiting = 100
    printer.write("f", 1)
    printer.write("g", 1)
    assert printed == ["first", "a\nb", "f", "g"]
    assert told == [3]


def test_what_is_held_until_ready_is_bounded() -> None:
    """Lines that wait for the first one are bounded as well."""
    printed: list[str] = []
    told: list[int] = []
    printer = ProductPrinter(printed.append, lambda: 0, on_dropped=told.append, max_waiting_bytes=10)
    for line in ("123456", "1234", "5"):
        printer.write(line, 1)
    printer.begin("first")
    printer.write("last", 1)
    assert printed == ["first", "123456", "1234", "last"]
    assert told == [1]


async def test_a_command_runs_once_ready_and_its_exit_code_is_ours(tmp_path: Path) -> None:
    """``listen -- COMMAND`` hands the URL over in the environment and ends with the command's exit code."""
    ready = tmp_path / "ready"
    seen = tmp_path / "seen"
    write = f"import os, pathlib; pathlib.Path({str(seen)!r}).write_text(os.environ['SUNO_CALLBACK_URL'])"
    script = f"{write}; raise SystemExit(7)"
    async with listening(tmp_path, ready_file=ready, command=(sys.executable, "-c", script)) as run:
        done = await run.wait_ended()
    assert (done.code, seen.read_text()) == (7, run.url)
    assert done.objects[-1] == {"v": 1, "type": "end", "events": 0, "reason": "command"}


async def test_a_command_that_is_not_there_is_exit_2(tmp_path: Path) -> None:
    """A word that is no program is refused with the hint that --forward-to is something else."""
    async with listening(tmp_path, command=("3000",)) as run:
        done = await run.wait_ended()
    assert done.code == 2
    assert "--forward-to" in done.stderr


POST = """
import os, sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
opener.open(urllib.request.Request(os.environ["SUNO_CALLBACK_URL"], data=sys.argv[1].encode(), method="POST"))
"""


async def test_a_command_that_succeeds_leaves_a_goal_to_be_waited_for(tmp_path: Path) -> None:
    """With --count the end of a command that went well ends nothing before the events have come."""
    command = (sys.executable, "-c", POST, callback_body().decode())
    async with listening(tmp_path, count=2, command=command) as run:
        await run.wait_events(1)
        await run.post(callback_body("b" * 32))
        done = await run.wait_ended()
    assert (done.code, done.objects[-1]["reason"]) == (0, "count")


async def test_a_command_does_not_outlive_listen(tmp_path: Path) -> None:
    """When listen is ended, so is its command, also one that takes no hint."""
    pid = tmp_path / "pid"
    stubborn = (
        "import os, pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"p = pathlib.Path({str(pid)!r}); q = p.with_suffix('.x'); q.write_text(str(os.getpid())); q.rename(p);"
        "time.sleep(60)"
    )
    async with listening(tmp_path, command=(sys.executable, "-c", stubborn)) as run:
        async with asyncio.timeout(PATIENCE_S):
            while not pid.exists():  # noqa: ASYNC110 -- another process makes it
                await asyncio.sleep(0.01)
        await run.interrupt()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_save_reads_the_job_and_saves_its_covers(tmp_path: Path) -> None:
    """``--save`` asks the service about each announced task once, with the key, and saves what it names."""
    covers = tmp_path / "covers"
    async with Sandbox(generation_s=0.05) as sandbox:
        environ = {"SUNO_BASE_URL": sandbox.url, "SUNO_API_KEY": sandbox.api_key}
        async with listening(tmp_path, environ=environ, save=True, output=covers, count=2) as run:
            task_id = await _submit(sandbox, run.url)
            (event,) = await run.wait_events(1)
            await run.post(callback_body(task_id, code=501))  # forged, and it changes nothing
            done = await run.wait_ended()
    (job,) = [line for line in done.objects if line["type"] == "job"]
    assert event["task_id"] == job["task_id"] == task_id
    assert job["state"] == "succeeded"
    assert [Path(image["path"]).name for image in job["images"]] == ["cover_1.png", "cover_2.png"]
    assert all((covers / task_id / name).stat().st_size for name in ("cover_1.png", "cover_2.png"))
    assert (done.code, done.objects[-1]["type"]) == (0, "end")
    assert not {TASK} & {path.name for path in covers.iterdir()}


async def test_save_ends_as_its_job_does(tmp_path: Path) -> None:
    """A job that the service itself calls failed makes the exit code 6, whatever the callback said."""
    async with Sandbox(generation_s=0.05) as sandbox:
        environ = {"SUNO_BASE_URL": sandbox.url, "SUNO_API_KEY": sandbox.api_key}
        async with listening(tmp_path, environ=environ, save=True, output=tmp_path / "covers", count=1) as run:
            await _submit(sandbox, run.url, "sandbox-failed-501")
            done = await run.wait_ended()
    assert done.code == 6
    assert [line["state"] for line in done.objects if line["type"] == "job"] == ["failed"]


async def test_save_without_a_key_is_exit_4_before_anything_opens(tmp_path: Path) -> None:
    """Without a key ``--save`` says where to get one and never says that it is ready."""
    async with listening(tmp_path, is_ready=False, save=True) as run:
        done = await run.wait_ended()
    assert done.code == 4
    assert "ready" not in done.stdout


async def _submit(sandbox: Sandbox, url: str, music_task_id: str = "my-song") -> str:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.api_key}"}) as session,
        session.post(
            f"{sandbox.url}/api/v1/suno/cover/generate", json={"taskId": music_task_id, "callBackUrl": url}
        ) as answer,
    ):
        task_id: str = (await answer.json())["data"]["taskId"]
        return task_id
