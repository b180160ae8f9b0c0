"""``resume`` and ``wait``: what was begun elsewhere, by anybody, is finished."""

import asyncio
import json
import os
import shlex
import socket
import time
from pathlib import Path

import pytest

from suno_cover_cli.sandbox.app import Sandbox
from tests.cli_fixtures import Cli
from tests.command_fixtures import Commands, by_fixed_port
from tests.crash_fixtures import POLL, environ_of


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """One user on one machine."""
    return Commands(tmp_path)


def kie_environ(sandbox: Sandbox) -> dict[str, str]:
    """Point the program at a sandbox that behaves like the other provider."""
    return {"SUNO_BASE_URL": sandbox.url, "SUNO_PROVIDER": "kie", "KIE_API_KEY": sandbox.api_key}


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


# --- as a user runs them ----------------------------------------------------------------------------------


def test_a_script_submits_here_and_waits_there(cli: Cli) -> None:
    """``id=$(generate --no-wait X)`` on one machine, ``wait "$id"`` on another: the covers are saved there."""
    script = """
        set -e
        id=$(suno-cover generate --no-wait my-song 2>/dev/null)
        export SUNO_COVER_STATE_DIR="$PWD/other-machine"
        suno-cover wait "$id" --poll-interval 0.2 --output there
        ls "there/$id"
    """
    prelude = f'suno-cover() {{ {shlex.join(cli.command())} "$@"; }}\n'
    run = cli.run("sandbox", "--generation-time", "0.2", "--", "bash", "-c", prelude + script)
    assert run.code == 0, run.stderr
    assert run.lines[-2:] == ["cover_1.png", "cover_2.png"]
    assert sorted(Path(line).name for line in run.lines[:2]) == ["cover_1.png", "cover_2.png"]


def test_jobs_of_the_built_in_sandbox_are_resumed(cli: Cli) -> None:
    """The built-in sandbox is started again with its jobs, without key or network."""
    ids = cli.run("generate", "--no-wait", "--sandbox", "a", "b").lines
    run = cli.run("resume", "--poll-interval", "0.3")
    assert run.code == 0, run.stderr
    assert {Path(line).parent.name for line in run.lines} == set(ids)
    waited = cli.run("wait", "--sandbox", ids[0])
    assert waited.code == 0
    assert len(waited.lines) == 2


async def test_jobs_that_were_never_submitted_are_submitted_with_callbacks(cli: Cli) -> None:
    """What a batch left in its queue is submitted by ``resume``, as its first run would have done it."""
    async with Sandbox(generation_s=0.3) as sandbox:
        environ = environ_of(sandbox)
        names = [f"song-{n}" for n in range(3)]
        child = await cli.begin("generate", *names, "--concurrency", "1", "--events", **environ)
        while json.loads(await child.stdout.readline())["type"] != "job_submitted":
            pass
        child.kill()
        await child.communicate()
        (submitted,) = sandbox.jobs.values()
        submitted.end_now(time.monotonic())
        # Nobody polls for an hour: who ends in time was called back.
        run = await cli.run_beside("resume", "--json", "--poll-interval", "1h", **environ)
    assert run.code == 0, run.stderr
    via = {job["music_task_id"]: job["via"] for job in run.objects}
    assert [via[name] for name in names[1:]] == ["callback", "callback"]


async def test_a_deadline_leaves_the_job_to_resume(cli: Cli) -> None:
    """A job that runs beyond its deadline is exit 8 with the way on, and that way works."""
    async with Sandbox(generation_s=1.5) as sandbox:
        environ = environ_of(sandbox)
        run = await cli.run_beside("generate", "song", "--timeout", "0.3", *POLL, **environ)
        assert run.code == 8
        assert "suno-cover resume" in run.stderr
        assert (await cli.run_beside("resume", *POLL, **environ)).code == 0
        assert [job.submits for job in sandbox.jobs.values()] == [1]


async def test_no_wait_opens_no_tunnel(cli: Cli, tmp_path: Path) -> None:
    """Who leaves before a callback can come starts no agent for it."""
    agent = tmp_path / "agent"
    agent.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(tmp_path / 'started'))}\nexit 1\n")
    agent.chmod(0o755)
    async with Sandbox() as sandbox:
        run = await cli.run_beside(
            *("generate", "--no-wait", "x"),
            **environ_of(sandbox),
            NGROK_AUTHTOKEN="token",
            PYNGROK_NGROK_PATH=os.fspath(agent),
        )
        assert [job.callback_url for job in sandbox.jobs.values()] == ["https://example.com/noop"]
    assert run.code == 0
    assert not await asyncio.to_thread((tmp_path / "started").exists)


# --- what a restart takes over ----------------------------------------------------------------------------


async def test_resume_takes_folder_names_and_metadata_from_the_first_run(commands: Commands) -> None:
    """The covers go where the first run wanted them, named as it named them, with what it wanted beside them."""
    async with Sandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        (task_id,) = (
            await commands.leave("song", environ=environ, name="{music_task_id}-{n:02}", write_metadata=True)
        ).lines
        run = await commands.resume(environ=environ)
    assert run.code == 0, run.stderr
    folder = commands.covers / task_id
    assert [image["path"] for image in run.objects[0]["images"]] == [
        str(folder / f"song-{n}.png") for n in ("01", "02")
    ]
    assert len(await asyncio.to_thread(os.listdir, folder)) == 3


async def test_resume_streams_job_objects(commands: Commands) -> None:
    """One object per job, as from ``generate``, one exit code for all, and nothing when nothing is left."""
    async with Sandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        await commands.leave("a", "sandbox-failed-501", environ=environ)
        run = await commands.resume(environ=environ)
        assert {job["music_task_id"]: job["state"] for job in run.objects} == {
            "a": "succeeded",
            "sandbox-failed-501": "failed",
        }
        assert run.code == 6
        again = await commands.resume(environ=environ)
    assert (again.code, again.stdout) == (0, "")
    assert "Nothing to resume" in again.stderr


async def test_missing_images_are_fetched_by_resume(commands: Commands) -> None:
    """A partial job is unfinished: ``resume`` tries what is missing and leaves the rest alone."""
    async with Sandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        images = (await commands.begin("song", environ=environ)).objects[0]["images"]
        kept, lost = (Path(image["path"]) for image in images)

        def sabotage() -> int:
            lost.unlink()
            lost.mkdir()
            return kept.stat().st_mtime_ns

        mtime = await asyncio.to_thread(sabotage)
        partial = await commands.begin("song", environ=environ)
        assert (partial.code, partial.objects[0]["state"]) == (7, "partial")
        await asyncio.to_thread(lost.rmdir)
        resumed = await commands.resume(environ=environ)
        assert resumed.code == 0, resumed.stderr
        assert [image["path"] for image in resumed.objects[0]["images"]] == [str(kept), str(lost)]
        assert (await asyncio.to_thread(kept.stat)).st_mtime_ns == mtime


async def test_waiting_for_a_failed_or_unknown_job(commands: Commands) -> None:
    """``wait`` ends with the job's own code; an id the service never made is refused after its grace."""
    async with Sandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        (failed,) = (await commands.leave("sandbox-failed-501", environ=environ)).lines
        assert (await commands.wait(failed, environ=environ)).code == 6
        unknown = await commands.wait("0" * 32, environ=environ)
        assert unknown.code == 3
        assert unknown.objects[0]["error"]["code"] == "unknown_cover_task"


async def test_waiting_for_several_jobs(commands: Commands) -> None:
    """``wait`` takes many ids, each once, and learns whose covers they are."""
    async with Sandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        ids = (await commands.leave("a", "b", "c", environ=environ)).lines
        run = await commands.wait(*ids, ids[0], environ=environ)
    assert run.code == 0, run.stderr
    assert {job["task_id"] for job in run.objects} == set(ids)
    assert {job["music_task_id"] for job in run.objects} == {"a", "b", "c"}


# --- whose jobs ------------------------------------------------------------------------------------------


async def test_jobs_of_several_services_are_resumed_each_with_its_own_key(commands: Commands) -> None:
    """One ``resume`` finishes jobs of two providers; no service is shown the other's key."""
    async with Sandbox(generation_s=0.0) as suno, Sandbox(generation_s=0.0, provider="kie") as kie:
        await commands.leave("a", environ=environ_of(suno))
        await commands.leave("b", environ=kie_environ(kie))
        keys = {"SUNO_API_KEY": suno.api_key, "KIE_API_KEY": kie.api_key}
        both = await commands.resume(environ=keys)
        assert both.code == 0, both.stderr
        assert {job["music_task_id"]: job["state"] for job in both.objects} == {"a": "succeeded", "b": "succeeded"}
        assert {entry.status for entry in (*suno.request_log, *kie.request_log)} == {200}


async def test_jobs_of_another_service_are_left_in_peace(commands: Commands) -> None:
    """Without a key for some, the others are finished and decide the exit code; one line says what was skipped."""
    async with Sandbox(generation_s=0.0) as suno, Sandbox(generation_s=0.0, provider="kie") as kie:
        await commands.leave("a", environ=environ_of(suno))
        await commands.leave("b", environ=kie_environ(kie))
        some = await commands.resume(environ={"SUNO_API_KEY": suno.api_key})
        assert (some.code, [job["music_task_id"] for job in some.objects]) == (0, ["a"])
        host = kie.url.removeprefix("http://")
        assert f"Skipped 1 job of another service: {host}\n" in some.stderr
        assert "KIE_API_KEY" in some.stderr
        keyless = await commands.resume()
        assert (keyless.code, keyless.objects) == (4, [])
        rest = await commands.resume(environ=kie_environ(kie))
        assert (rest.code, [job["music_task_id"] for job in rest.objects]) == (0, ["b"])


async def test_a_key_is_not_shown_to_another_address(commands: Commands) -> None:
    """A key that is known to be for one address is not tried at another that the journal remembers."""
    async with Sandbox(generation_s=0.0) as old, Sandbox(generation_s=0.0) as new:
        await commands.leave("a", environ=environ_of(old))
        asked = len(old.request_log)
        run = await commands.resume(environ=environ_of(new))
        assert run.code == 0
        assert f"Skipped 1 job of another service: {old.url.removeprefix('http://')}" in run.stderr
        assert len(old.request_log) == asked
        assert not new.request_log


async def test_jobs_of_the_sandbox_are_never_in_the_way(cli: Cli) -> None:
    """With a key, or beside real jobs, a trial that was left is skipped; --sandbox or its id takes it."""
    stuck = (await cli.run_beside("generate", "--no-wait", "--sandbox", "sandbox-stuck")).lines
    async with Sandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        await cli.run_beside("generate", "--no-wait", "song", **environ)
        run = await cli.run_beside("resume", *POLL, **environ)
        assert (run.code, len(run.lines)) == (0, 2), run.stderr
        assert "Skipped 1 job of the sandbox" in run.stderr
        again = await cli.run_beside("resume", *POLL, **environ)
        assert (again.code, again.lines) == (0, [])
        for words in (["--sandbox"], stuck, ["sandbox-stuck"]):
            taken = await cli.run_beside("resume", *words, "--timeout", "0.5", *POLL, **environ)
            assert taken.code == 8, words


async def test_resume_takes_the_jobs_that_are_named(commands: Commands) -> None:
    """By music or cover task id, and no others, shown as typed; what has ended or is unknown is said."""
    async with Sandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        ids = (await commands.leave("a", "b", "c", environ=environ)).lines
        run = await commands.resume(environ=environ, task_ids=["a", ids[1]], events=True)
        started = {line["name"] for line in run.objects if line["type"] == "job_started"}
        assert started == {"a", ids[1]}
        ended = await commands.resume(environ=environ, task_ids=["a"])
        assert (ended.code, ended.objects) == (0, [])
        assert "a has ended: succeeded" in ended.stderr
        unknown = await commands.resume(environ=environ, task_ids=["c", "nonsense"])
        assert (unknown.code, unknown.objects[0]["code"]) == (2, "unknown_job")
        assert "suno-cover wait nonsense" in unknown.stderr
        rest = await commands.resume(environ=environ)
        assert [job["music_task_id"] for job in rest.objects] == ["c"]


async def test_a_profile_opens_its_own_service(commands: Commands) -> None:
    """The key of a profile is used for the jobs of the address the profile names."""
    async with Sandbox(generation_s=0.0) as current, Sandbox(generation_s=0.0) as other:
        await commands.leave("a", environ=environ_of(other))

        def write_config() -> None:
            config = Path(commands.environ["SUNO_COVER_CONFIG"])
            config.write_text(f'[profiles.other]\nbase-url = "{other.url}"\napi-key = "{other.api_key}"\n')
            config.chmod(0o600)

        await asyncio.to_thread(write_config)
        run = await commands.resume(environ=environ_of(current))
        assert run.code == 0, run.stderr
        assert not current.request_log


async def test_a_broken_profile_costs_only_its_own_jobs(commands: Commands) -> None:
    """A profile whose key cannot be one does not stop the jobs of the current service."""
    async with Sandbox(generation_s=0.0) as current:
        await commands.leave("a", environ=environ_of(current))

        def write_config() -> None:
            config = Path(commands.environ["SUNO_COVER_CONFIG"])
            config.write_text('[profiles.other]\nbase-url = "https://other.test"\napi-key = "two words"\n')
            config.chmod(0o600)

        await asyncio.to_thread(write_config)
        run = await commands.resume(environ=environ_of(current))
        assert (run.code, [job["state"] for job in run.objects]) == (0, ["succeeded"]), run.stderr


async def test_who_insists_on_callbacks_is_left_when_there_is_no_way_in(commands: Commands) -> None:
    """``--callback required`` of the first run holds: that job stays and is told; the others go on by polling."""
    async with Sandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        port = free_port()
        await commands.begin("sandbox-answer-lost-always-1", environ=environ)
        await commands.begin(
            "sandbox-answer-lost-always-2", environ=environ, callback="required", **by_fixed_port(port)
        )
        jobs = {job.music_task_id[-1]: job for job in sandbox.jobs.values()}
        before = {name: job.submits for name, job in jobs.items()}
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
            run = await commands.resume(environ=environ)
        assert run.code == 1, run.stderr
        assert "jobs left as they are: 1, jobs that poll instead: 1" in run.stderr
        assert str(port) in run.stderr
        assert (jobs["1"].submits > before["1"], jobs["2"].submits == before["2"]) == (True, True)
        entries = (await commands.history()).objects
        assert {entry["step"] for entry in entries} == {"submitting"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["wait"], "cover task id"),
        (["wait", "a.b", "../x"], "'.'"),
        (["wait", "ok", "-i", "ids.txt"], "line 2"),
        (["history", "--state", "lost"], "succeeded"),
        (["generate", "--no-wait", "--tunnel", "x"], "--no-wait"),
    ],
)
def test_bad_input_is_exit_2(cli: Cli, args: list[str], words: str) -> None:
    """Each mistake is told before any network, with its line where there is one."""
    (cli.cwd / "ids.txt").write_bytes(b"fine\nnot:fine\n")
    run = cli.run(*args, SUNO_API_KEY="sk-test-key-1234", HTTPS_PROXY="http://127.0.0.1:9")
    assert run.code == 2, run.stderr
    assert words in run.stderr
    assert "Traceback" not in run.stderr
