"""Batches as a user runs them: lists, repeats, one exit code, the ids to try again, what an interrupt leaves."""

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobError, JobResult, JobState
from suno_cover_cli.jobs.batch import BatchRunner
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest
from suno_cover_cli.journal.rows import JobOptions
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.sandbox.image_host import IMAGE_PREFIX
from suno_cover_cli.wiring.listed_jobs import failed_line
from tests.cli_fixtures import Cli, InProcess
from tests.clocks import ScaledClock
from tests.crash_fixtures import WatchedSandbox, environ_of

SPEED = 30.0


def requests(*codes: ExitCode) -> list[JobRequest]:
    """Make jobs whose music task ids say how they will end."""
    return [
        JobRequest(
            n=n,
            service="s",
            provider="p",
            output=Path("o"),
            absolute_output="/o",
            options=JobOptions(),
            music_task_id=f"{code.name}-{n}",
        )
        for n, code in enumerate(codes, 1)
    ]


async def end_as_named(request: JobRequest) -> JobOutcome:
    """End a job with the code in its name."""
    await asyncio.sleep(0)
    code = ExitCode[str(request.music_task_id).partition("-")[0]]
    return JobOutcome(result=JobResult(state=JobState.SUCCEEDED), exit_code=code)


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ((), ExitCode.OK),
        ((ExitCode.OK, ExitCode.OK), ExitCode.OK),
        ((ExitCode.OK, ExitCode.REFUSED, ExitCode.REFUSED), ExitCode.REFUSED),
        ((ExitCode.PENDING,), ExitCode.PENDING),
        ((ExitCode.REFUSED, ExitCode.OK, ExitCode.PENDING), ExitCode.FAILURE),
    ],
)
async def test_a_batch_has_one_exit_code(codes: tuple[ExitCode, ...], code: ExitCode) -> None:
    """All well is 0; one way of failing is that way's code; several are 1."""
    assert await BatchRunner(end_as_named, concurrency=2).run(requests(*codes)) is code


async def test_a_job_that_could_not_be_run_counts(tmp_path: Path) -> None:
    """What was told before the batch began is part of its exit code."""
    del tmp_path
    batch = BatchRunner(end_as_named, concurrency=2)
    batch.note(ExitCode.ACCOUNT)
    assert await batch.run(requests(ExitCode.OK)) is ExitCode.ACCOUNT


async def test_no_more_jobs_run_at_once_than_there_are_places() -> None:
    """The number of places is a bound, it is used up, and every job runs once."""
    running, most, ran = 0, 0, list[str]()

    async def run_job(request: JobRequest) -> JobOutcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        ran.append(str(request.music_task_id))
        return JobOutcome(result=JobResult(state=JobState.SUCCEEDED), exit_code=ExitCode.OK)

    wanted = requests(*[ExitCode.OK] * 50)
    await BatchRunner(run_job, concurrency=7).run(wanted)
    assert most == 7
    assert sorted(ran) == sorted(str(request.music_task_id) for request in wanted)


async def test_jobs_that_did_not_end_well_are_reported_once_each() -> None:
    """Every job that did not end well is named, and no other."""
    named: list[str] = []
    codes = (ExitCode.OK, ExitCode.REFUSED, ExitCode.OK, ExitCode.PENDING, ExitCode.IMAGES_MISSING)
    batch = BatchRunner(end_as_named, concurrency=3, on_failed=lambda request, _: named.append(request.name))
    await batch.run(requests(*codes))
    assert sorted(named) == ["IMAGES_MISSING-5", "PENDING-4", "REFUSED-2"]


@pytest.mark.parametrize(
    ("title", "is_lasting", "line"),
    [
        (None, False, "song"),
        ('Say "hi", he said', False, 'song,"Say ""hi"", he said"'),
        (None, True, "# song: refused for good, see above"),
        ("Title", True, "# song: refused for good, see above"),
    ],
)
def test_a_line_of_the_list_is_an_id_or_a_reason(title: str | None, is_lasting: bool, line: str) -> None:
    """What is worth another try is an id with its title; the rest is a comment on one line, whatever it quotes."""
    (request,) = requests(ExitCode.OK)
    request = msgspec.structs.replace(request, music_task_id="song", options=JobOptions(title=title))
    error = JobError(code="x", message="refused for\n good,\x1b[1m see above")
    result = JobResult(state=JobState.REJECTED, error=error)
    outcome = JobOutcome(result=result, exit_code=ExitCode.REFUSED, is_lasting=is_lasting)
    assert failed_line(request, outcome) == line


async def test_a_batch_from_a_list(in_process: InProcess, tmp_path: Path) -> None:
    """An untidy list runs each id once, streams job objects as jobs end, and lists what to try again."""
    failed_to = tmp_path / "failed.txt"
    listed = (
        b"\xef\xbb\xbfsandbox-slow\r\nsong-1\n# a comment\n\nsandbox-failed-501\nsong-1\nsandbox-unknown-422\n"
    )
    async with Sandbox(generation_s=5.0, time_scale=SPEED) as sandbox:
        run = await in_process.generate(
            "song-2",
            options=JobCommandOptions(
                output=in_process.covers, json=True, poll_interval_s=5.0, failed_to=failed_to
            ),
            clock=ScaledClock(SPEED),
            input_path="-",
            stdin=listed,
            **environ_of(sandbox),
        )
        submits = {job.music_task_id: job.submits for job in sandbox.jobs.values()}
    assert submits == dict.fromkeys(("song-1", "song-2", "sandbox-slow", "sandbox-failed-501"), 1)
    assert run.code == 1
    ends = {job["music_task_id"]: job["state"] for job in run.objects}
    assert ends == {
        "song-1": "succeeded",
        "song-2": "succeeded",
        "sandbox-slow": "succeeded",
        "sandbox-failed-501": "failed",
        "sandbox-unknown-422": "rejected",
    }
    assert run.objects[-1]["music_task_id"] == "sandbox-slow"
    again, never = sorted((await asyncio.to_thread(failed_to.read_text)).splitlines(), reverse=True)
    assert again == "sandbox-failed-501"
    assert never.startswith("# sandbox-unknown-422: the service refused this music task")
    assert "1 duplicate id ignored" in run.stderr


async def test_a_list_with_titles_names_the_files_without_a_read(cli: Cli) -> None:
    """CSV of a spreadsheet gives each song its title: it names the files, and a later resume knows it, too."""
    lines = ["\ufeffmusic_task_id;title", "song-1;\u591c\u66f2", 'song-2;"A; B"', "sandbox-image-404;Third"]
    await asyncio.to_thread((cli.cwd / "songs.csv").write_bytes, "\r\n".join(lines).encode())
    async with Sandbox(generation_s=0.05) as sandbox:
        environ = environ_of(sandbox)
        wanted = ("--name", "{title} {n}", "--failed-to", "again.csv", "--poll-interval", "0.3")
        run = await cli.run_beside("generate", "-i", "songs.csv", *wanted, **environ)
        assert run.code == 7, run.stderr
        names = {Path(line).name for line in run.lines}
        assert names == {"\u591c\u66f2 1.png", "\u591c\u66f2 2.png", "A; B 1.png", "A; B 2.png", "Third 1.png"}
        assert not [logged for logged in sandbox.request_log if "/generate/record-info" in logged.path]
        again = await asyncio.to_thread((cli.cwd / "again.csv").read_text, encoding="utf-8")
        assert again == "sandbox-image-404,Third\n"
        (entry,) = (await cli.run_beside("history", "--state", "partial", "--json", **environ)).objects
        assert entry["options"]["title"] == "Third"


async def test_the_list_of_failed_ids_is_the_next_input(cli: Cli) -> None:
    """What ``--failed-to`` writes is what ``--input`` reads."""
    async with Sandbox(generation_s=0.05) as sandbox:
        environ = environ_of(sandbox)
        names = ("good", "sandbox-unknown-422", "sandbox-failed-501", "sandbox-image-404")
        await cli.run_beside("generate", *names, "--failed-to", "again.txt", **environ)
        run = await cli.run_beside("generate", "-i", "again.txt", "--json", **environ)
    assert {job["music_task_id"] for job in run.objects} == set(names[2:])


async def test_a_list_that_cannot_be_written_any_more_stops_nothing(cli: Cli) -> None:
    """A full disk under ``--failed-to`` is a warning; the jobs go on."""
    async with Sandbox(generation_s=0.05) as sandbox:
        run = await cli.run_beside(
            *("generate", "sandbox-unknown-422", "good", "--failed-to", "/dev/full"), **environ_of(sandbox)
        )
    assert run.code == 3
    assert "list of failed ids" in run.stderr
    assert len(run.lines) == 2


def test_a_bad_list_is_told_before_anything_is_submitted(cli: Cli) -> None:
    """Junk in a list is told with its lines, as an object under ``--json``, and no row is made."""
    (cli.cwd / "ids.txt").write_bytes(b"good\n\x00\x01\x02junk\n../up\n")
    run = cli.run("generate", "--sandbox", "--json", "-i", "ids.txt")
    assert run.code == 2
    assert "line 2" in run.stderr
    assert "line 3" in run.stderr
    assert run.objects[0]["code"] == "bad_id"
    assert cli.run("history", "--json").lines == []


async def test_an_interrupted_batch_says_what_is_left(cli: Cli) -> None:
    """After Ctrl-C the last line counts what runs on and what was never submitted, and names the way on."""
    async with Sandbox(generation_s=0.05) as sandbox:
        names = [f"sandbox-stuck-{n}" for n in range(5)]
        child = await cli.begin("generate", *names, "--concurrency", "2", "--events", **environ_of(sandbox))
        submitted = 0
        while submitted < 2:
            submitted += json.loads(await child.stdout.readline())["type"] == "job_submitted"
        child.send_signal(signal.SIGINT)
        _, stderr = await asyncio.wait_for(child.communicate(), 5)
        assert child.returncode == -signal.SIGINT
        last = stderr.decode().splitlines()[-1]
        assert "2 jobs go on at the service" in last
        assert "3 not submitted yet" in last
        assert "suno-cover resume" in last
        entries = (await cli.run_beside("history", "--json")).objects
        assert sorted(entry["step"] for entry in entries) == ["queued"] * 3 + ["submitted"] * 2


async def test_two_generates_and_one_resume_run_each_job_once(cli: Cli) -> None:
    """Three processes on one journal at once: every job is submitted once and every image fetched once."""
    names = [f"song-{n}" for n in range(6)]
    may_end = asyncio.Event()

    async def hold_images(kind: str, what: str) -> None:
        if (kind, what) == ("before", "image"):
            await may_end.wait()

    async with WatchedSandbox(generation_s=0.2) as sandbox:
        sandbox.watch = hold_images
        environ = environ_of(sandbox)
        command = ("generate", *names, "--poll-interval", "0.3", "--rate", "off")
        first = await cli.begin(*command, "--events", **environ)
        while json.loads(await first.stdout.readline())["type"] != "job_submitted":
            pass
        second = await cli.begin(*command, **environ)
        resumed = await cli.run_beside("resume", "--json", **environ)
        assert (resumed.code, resumed.stdout) == (0, "")
        assert "6 jobs are being run by another process" in resumed.stderr
        assert "Nothing to resume" not in resumed.stderr
        assert second.stderr is not None
        async with asyncio.timeout(10):
            while b"another run is working on song-0" not in await second.stderr.readline():
                pass
        may_end.set()
        outputs = await asyncio.wait_for(asyncio.gather(first.communicate(), second.communicate()), 20)
        assert (first.returncode, second.returncode) == (0, 0), outputs
        assert len(outputs[1][0].splitlines()) == 12
        assert {job.music_task_id: job.submits for job in sandbox.jobs.values()} == dict.fromkeys(names, 1)
        fetched = Counter(
            request.music_task_id for request in sandbox.request_log if request.path.startswith(IMAGE_PREFIX)
        )
        assert fetched == dict.fromkeys(names, 2)
