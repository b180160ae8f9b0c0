"""Jobs whose service is no more, or was this program itself: commands find the right one, or say what is gone."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from suno_cover_cli.sandbox.app import Sandbox
from tests.cli_fixtures import Cli
from tests.crash_fixtures import POLL, environ_of

GET_A_KEY = re.compile("Get one at|sunoapi.org")


async def left_by(cli: Cli, *words: str, name: str = "my-song", **environ: str) -> str:
    """Leave a job, and return its cover task id."""
    left = await cli.run_beside("generate", "--no-wait", name, *words, **environ)
    assert left.code == 0, left.stderr
    return left.lines[0]


@pytest.mark.parametrize(
    "environ", [{}, {"SUNO_API_KEY": "a-real-key-0123456789", "SUNO_BASE_URL": "https://a.invalid"}]
)
async def test_a_job_of_the_built_in_sandbox_is_known_as_one(cli: Cli, environ: dict[str, str]) -> None:
    """``wait ID`` and ``status ID`` need no ``--sandbox``, and no key, for a job that the journal knows."""
    task_id = await left_by(cli, "--sandbox")
    for name in (task_id, "my-song"):
        waited = await cli.run_beside("wait", name, *POLL, **environ)
        assert waited.code == 0, waited.stderr
        assert [Path(line).parent.name for line in waited.lines] == [task_id, task_id]
        status = await cli.run_beside("status", name, **environ)
        assert (status.code, status.lines[0]) == (0, "succeeded"), status.stderr
        assert f"What was saved: suno-cover history {task_id}" in " ".join(status.stderr.split())


@pytest.mark.skipif(os.name != "posix", reason="signals")
async def test_what_an_interrupted_wait_names_finishes_a_job_of_the_sandbox(cli: Cli) -> None:
    """Ctrl-C ends a wait for a job of the built-in sandbox with the command that goes on with it."""
    task_id = await left_by(cli, "--sandbox", name="sandbox-stuck")
    child = await cli.begin("wait", task_id, "--events")
    while json.loads(await child.stdout.readline())["type"] != "job_polled":
        pass
    child.send_signal(signal.SIGINT)
    _, stderr = await child.communicate()
    assert b"Go on with: suno-cover resume --sandbox\n" in stderr


@pytest.mark.parametrize("has_environ", [False, True])
async def test_a_sandbox_that_is_gone_is_said_to_be(cli: Cli, has_environ: bool) -> None:
    """Each command that is given its job says so at once; none sends you for a real key, or tries for long."""
    async with Sandbox() as sandbox:
        environ = environ_of(sandbox)
        task_id = await left_by(cli, **environ)
        url = sandbox.url
    given = environ if has_environ else {}
    for words in (("wait", task_id), ("wait", "my-song"), ("status", task_id), ("resume", task_id)):
        run = await cli.run_beside(*words, **given)
        said = " ".join(run.stderr.split())
        assert run.code == 5, said
        assert f"the sandbox that made {task_id} is gone: nothing answers at {url}" in said
        assert not GET_A_KEY.search(said)
        assert f"history --prune {task_id}" in said
    run = await cli.run_beside("resume", **given)
    said = " ".join(run.stderr.split())
    assert run.code == 0, said
    assert f"Skipped 1 job of a sandbox that is gone: {url}" in said
    assert not GET_A_KEY.search(said)
    doctor = await cli.run_beside("doctor", "--json", **given)
    (unfinished,) = [check for check in doctor.objects[0]["checks"] if check["name"] == "unfinished"]
    assert f"1 of a sandbox that is gone: {url}" in str(unfinished)
    pruned = await cli.run_beside("history", "--prune", task_id)
    assert "1 job" in pruned.stderr
    assert "Nothing to resume" in (await cli.run_beside("resume", **given)).stderr


async def test_a_sandbox_that_is_gone_stops_no_other_job(cli: Cli) -> None:
    """``resume`` finishes what can be finished, and ends as that ends."""
    async with Sandbox() as sandbox:
        await left_by(cli, **environ_of(sandbox))
    async with Sandbox(generation_s=0.1) as other:
        left = await cli.run_beside("generate", "--no-wait", "other-song", **environ_of(other))
        run = await cli.run_beside("resume", *POLL, **environ_of(other))
    assert run.code == 0, run.stderr
    assert {Path(line).parent.name for line in run.lines} == set(left.lines)
    assert "of a sandbox that is gone" in run.stderr


async def test_saved_covers_need_no_sandbox(cli: Cli) -> None:
    """Covers that are there are found although their sandbox is gone; without its address you are told where."""
    async with Sandbox(generation_s=0.1) as sandbox:
        environ = environ_of(sandbox)
        saved = await cli.run_beside("generate", "my-song", *POLL, **environ)
    task_id = Path(saved.lines[0]).parent.name
    assert (await cli.run_beside("wait", task_id, **environ)).lines == saved.lines
    run = await cli.run_beside("wait", task_id)
    assert run.code == 5
    assert f"suno-cover history {task_id} --paths" in run.stderr
    assert (await cli.run_beside("history", task_id, "--paths")).code == 0


async def test_no_key_goes_to_a_service_on_this_machine_that_it_is_not_for(cli: Cli) -> None:
    """A job of a sandbox that runs, but is not the one you set, is not asked for with the key you set."""
    async with Sandbox() as sandbox:
        task_id = await left_by(cli, **environ_of(sandbox))
        calls = len(sandbox.request_log)
        key = {"SUNO_API_KEY": "a-real-key-0123456789"}
        for words, code in (
            (("wait", task_id), 2),
            (("status", task_id), 2),
            (("resume", task_id), 4),
            (("resume",), 0),
        ):
            run = await cli.run_beside(*words, **key)
            said = " ".join(run.stderr.split())
            assert run.code == code, (words, said)
            assert f"SUNO_BASE_URL={sandbox.url}" in said
            assert not GET_A_KEY.search(said), (words, said)
        assert len(sandbox.request_log) == calls


async def test_jobs_of_the_sandbox_and_others_are_not_mixed(cli: Cli) -> None:
    """One ``wait`` asks one service; which ids do not belong to it is said."""
    inside = await left_by(cli, "--sandbox")
    async with Sandbox() as sandbox:
        environ = environ_of(sandbox)
        outside = await left_by(cli, name="other-song", **environ)
        run = await cli.run_beside("wait", inside, outside, **environ)
    assert run.code == 2
    assert f"{inside} is a job of the sandbox" in run.stderr
