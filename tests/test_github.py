"""GitHub Actions: annotations and a summary, and no way for foreign text to be a command."""

import asyncio
import io
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.events import JobEnded, JobStarted
from suno_cover_cli.base.models import JobError, JobResult, JobState
from suno_cover_cli.ui.github import GitHubReport
from suno_cover_cli.ui.output import Output, Streams, annotation
from tests.cli_fixtures import Cli

COMMAND = re.compile(r"\s*::([a-z-]+)(?: (.*?))?::(.*)")
"""How the runner reads a line; see its ActionCommand.TryParseV2."""

MIB = 1024 * 1024
IDS = ["sandbox-failed-501-b", "sandbox-hostile-text", "song-1", "song-2", "sandbox-image-404"]


def decoded(text: str) -> str:
    """Undo the runner's escapes."""
    for code, sign in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def output_for(stderr: io.StringIO, *, actions: str = "true") -> Output:
    """Return an output whose words go to a string."""
    streams = Streams(
        stdin=io.BytesIO(),
        stdout=io.BytesIO(),
        stderr=stderr,
        stdout_is_terminal=False,
        stderr_is_terminal=False,
        environ={"GITHUB_ACTIONS": actions},
    )
    return Output(streams, clock=SystemClock())


def ended(job: int, message: str) -> JobEnded:
    """Return the end of a job that failed with some words."""
    error = JobError(code="job_failed", message=message, hint="Try again.")
    return JobEnded(job=job, result=JobResult(state=JobState.FAILED, error=error, elapsed_s=1.25))


# --- annotations ------------------------------------------------------------------------------------------


@given(st.text(max_size=200), st.text(max_size=200))
def test_an_annotation_is_one_command_and_says_what_it_was_given(title: str, text: str) -> None:
    """Neither title nor text ends the command, adds a property or begins another line."""
    line = annotation("error", title, text)
    assert len(re.split(r"[\r\n]", line)) == 1
    found = re.fullmatch(r"::error title=([^:,]*?)::(.*)", line, re.DOTALL)
    assert found is not None
    assert (decoded(found[1]), decoded(found[2])) == (title, text)


@pytest.mark.parametrize(
    "foreign",
    [
        "::set-output name=x::y",
        "  ::add-mask::y",
        "hint\n::warning::y",
        "##[error]y",
        "x ##[add-mask]y",
        "\t::stop-commands::t",
    ],
)
def test_no_line_of_words_is_a_command(foreign: str) -> None:
    """Whatever a line for people or of the product says, the runner finds no command in it; elsewhere it stays."""
    stderr = io.StringIO()
    output = output_for(stderr)
    output.write_words(foreign)
    output.write_labelled("error", foreign)
    lines = [*stderr.getvalue().splitlines(), *output.guarded(foreign).splitlines()]
    assert not [line for line in lines if COMMAND.match(line) or "##[" in line]
    assert output_for(io.StringIO(), actions="").guarded(foreign) == foreign


def test_json_stays_the_same_json() -> None:
    """What is guarded in an object is guarded by JSON's own escapes."""
    import json

    guarded = output_for(io.StringIO()).guarded('{"message": "##[error]x ::y"}')
    assert "##[" not in guarded
    assert json.loads(guarded) == {"message": "##[error]x ::y"}


def test_each_failed_job_is_an_error_with_its_next_step(cli: Cli) -> None:
    """A batch annotates each failed job and leaves stdout alone; with ``github = off`` nothing is annotated."""
    environ = {"GITHUB_ACTIONS": "true"}
    run = cli.run("generate", "--sandbox", *IDS, **environ)
    assert run.code == 1
    commands = [found for line in run.stderr.splitlines() if (found := COMMAND.match(line))]
    assert [found[1] for found in commands] == ["error"] * 3
    titles = {decoded(found[2]) for found in commands}
    assert titles == {
        "title=sandbox-failed-501-b: failed",
        "title=sandbox-hostile-text: failed",
        "title=sandbox-image-404: partial",
    }
    assert all("\n" in decoded(found[3]) for found in commands), "each has a next step"
    plain = cli.run("generate", "--sandbox", *IDS, "--name", "cover_{n}")
    assert sorted(plain.lines) == sorted(run.lines)
    (cli.cwd / "config.toml").write_text('github = "off"\n')
    off = cli.run("generate", "--sandbox", *IDS, SUNO_COVER_CONFIG=str(cli.cwd / "config.toml"), **environ)
    assert not any(COMMAND.match(line) for line in off.stderr.splitlines())


def test_warnings_and_errors_outside_a_job_are_annotated(cli: Cli) -> None:
    """A repeated id and a missing key are annotations of the step, too."""
    repeated = cli.run("generate", "--sandbox", "0f3d1c52-7a3e-4b6e-9a53-1f2e3d4c5b6a", GITHUB_ACTIONS="true")
    assert "::warning title=suno-cover::" in repeated.stderr
    keyless = cli.run("generate", "x", GITHUB_ACTIONS="true", SUNO_API_KEY="")
    assert keyless.code == 4
    assert [
        line for line in keyless.stderr.splitlines() if line.startswith("::error title=suno-cover::there is no")
    ]


# --- the summary ------------------------------------------------------------------------------------------


async def summed_up(path: Path, *ends: tuple[str, str]) -> str:
    """Report jobs by name and message; return what stderr was told of the summary."""
    stderr = io.StringIO()
    async with GitHubReport(output_for(stderr), {"GITHUB_STEP_SUMMARY": str(path)}) as report:
        for job, (name, message) in enumerate(ends, 1):
            report.emit(JobStarted(job=job, name=name))
            report.emit(ended(job, message))
    return "\n".join(line for line in stderr.getvalue().splitlines() if not line.startswith("::"))


def test_the_summary_of_a_run_has_a_row_for_each_job(cli: Cli) -> None:
    """Song, state, files and seconds of every job are appended to what the step wrote before."""
    path = cli.cwd / "summary.md"
    path.write_text("before\n\n")
    run = cli.run("generate", "--sandbox", *IDS, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(path))
    text = path.read_text(encoding="utf-8")
    assert text.startswith("before\n\n### Covers\n\n| song | state | files | seconds |\n")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| sandbox-", "| song-"))]
    assert [row[0].removeprefix("| ") for row in rows] == IDS
    assert [row[1].partition(":")[0] for row in rows] == ["failed", "failed", "succeeded", "succeeded", "partial"]
    assert all(path in text for path in run.lines)
    refunded = next(row[1] for row in rows if row[1].startswith("failed: "))
    assert re.search(r"[a-z]\. [A-Z]", refunded), "reason and next step are two sentences"
    assert ".." not in refunded


def test_a_song_is_called_by_its_title(cli: Cli) -> None:
    """Where a list gives titles, annotations and summary name the songs by them, those that failed as well."""
    path = cli.cwd / "summary.md"
    (cli.cwd / "songs.csv").write_text("id,title\nsong-1,Night Drive\nsandbox-failed-501,Rain ::x\n")
    run = cli.run(
        "generate", "--sandbox", "--input", "songs.csv", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(path)
    )
    text = path.read_text(encoding="utf-8")
    assert "| Night Drive (song-1) | succeeded |" in text
    assert "| Rain ::x (sandbox-failed-501) | failed:" in text
    (command,) = [
        found for line in run.stderr.splitlines() if (found := COMMAND.match(line)) and found[1] == "error"
    ]
    assert decoded(command[2]) == "title=Rain ::x (sandbox-failed-501): failed"


@given(st.text(st.sampled_from("ab_*`|<>&[]()!\\~$\n:/.w#"), max_size=60))
def test_a_cell_shows_its_text_and_nothing_else(text: str) -> None:
    """Rendered as GitHub does, a text is that text: no markup, no HTML, no link, no second cell."""
    from suno_cover_cli.ui.github import _cell

    source = f"| a | b |\n| --- | --- |\n| {_cell(f'x{text}x')} | end |\n"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(source)
    cells = [token for token in tokens if token.type == "inline"][2:]
    assert len(cells) == 2
    assert {child.type for child in cells[0].children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in cells[0].children or []) == " ".join(f"x{text}x".split())


async def test_a_summary_keeps_within_its_bound(tmp_path: Path) -> None:
    """With a hundred thousand jobs, and beside what is there, the file stays below 1 MiB and counts the rest."""
    path = tmp_path / "summary.md"
    await asyncio.to_thread(path.write_bytes, b"x" * (MIB // 2) + b"\n")
    await summed_up(path, *((f"song-{n}", "it failed") for n in range(30_000)))
    raw = await asyncio.to_thread(path.read_bytes)
    assert MIB * 0.9 < len(raw) <= MIB
    found = re.search(rb"and (\d+) more", raw)
    assert found is not None
    assert raw.count(b"| song-") + int(found[1]) == 30_000
    await summed_up(path, *((f"song-{n}", "it failed") for n in range(30_000)))
    assert len(await asyncio.to_thread(path.read_bytes)) <= MIB


@pytest.mark.skipif(os.name != "posix", reason="named pipes are POSIX's")
@pytest.mark.parametrize("kind", ["fifo", "folder", "missing folder", "link"])
async def test_a_summary_that_cannot_be_written_costs_a_line(tmp_path: Path, kind: str) -> None:
    """A pipe that stands still, a folder and a link keep no run waiting and fail no job."""
    path = tmp_path / "summary"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path = path / "below"
    async with asyncio.timeout(5):
        told = await summed_up(path, ("song", "it failed"))
    assert "the job summary could not be written" in told
    assert not (tmp_path / "elsewhere").exists()


async def test_a_summary_survives_an_interrupted_run(tmp_path: Path) -> None:
    """Whoever cancels the step still sees what was done until then."""
    path = tmp_path / "summary.md"

    async def work() -> None:
        async with GitHubReport(output_for(io.StringIO()), {"GITHUB_STEP_SUMMARY": str(path)}) as report:
            report.emit(ended(1, "it failed"))
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait({working})
    assert "it failed" in await asyncio.to_thread(path.read_text)


# --- a run that stops before there is a job -----------------------------------------------------------------

HOSTILE = "x<img/src>[z](https://evil.example)|`*##[error]x"


def stopped(cli: Cli, *words: str, code: int, **environ: str) -> str:
    """Run a command that stops early; return the one line that the summary has of it."""
    path = cli.cwd / "summary.md"
    path.write_text("| a |\n| --- |\n| b |\n")
    run = cli.run(*words, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(path), **environ)
    assert run.code == code, run.stderr
    printed = [*run.stderr.splitlines(), *run.lines]
    (annotated,) = [line for line in printed if COMMAND.match(line)]
    assert annotated.startswith("::error title=suno-cover::")
    assert not [line for line in printed if "##[" in line and line != annotated]
    before, line, after = path.read_text(encoding="utf-8").removeprefix("| a |\n| --- |\n| b |\n").split("\n\n")
    assert (before, after) == ("", "")
    return line


@pytest.mark.parametrize("json", [(), ("--json",)])
@pytest.mark.parametrize(
    ("words", "environ", "code", "message", "hint"),
    [
        (("generate", "x"), {"SUNO_API_KEY": ""}, 4, "there is no", "config set"),
        (("generate", "a b!"), {}, 2, "a b!", "letters, digits"),
        (("wait", "../x"), {}, 2, "../x", "letters, digits"),
        (("generate", "x"), {"SUNO_COVER_MAX_WAIT": "never", "SUNO_BASE_URL": "nowhere"}, 2, "nowhere", "http"),
        (("generate", "--sandbox", "x", "--frobnicate"), {}, 2, "--frobnicate", "--help"),
    ],
)
def test_a_run_that_stops_early_is_one_line_of_the_summary(
    cli: Cli, words: tuple[str, ...], environ: dict[str, str], code: int, message: str, hint: str, json: tuple[str]
) -> None:
    """No key, a wrong id, a bad setting, an unknown option: failure and next step, once, below what was there."""
    line = stopped(cli, *words, *json, code=code, **environ)
    assert line.startswith("suno-cover stopped: ")
    said = line.replace("&#58;", ":").replace("\\", "")
    assert message in said
    assert hint in said.partition(message)[2]


@pytest.mark.parametrize("words", [("generate", HOSTILE), ("generate", f"--##[error]{HOSTILE}")])
def test_a_failure_in_the_summary_holds_no_markup(cli: Cli, words: tuple[str, ...]) -> None:
    """What was typed is shown as it was: no picture, no link, no emphasis, in the paragraph as in the table."""
    line = stopped(cli, *words, code=2)
    (paragraph,) = [
        token for token in MarkdownIt("gfm-like", {"linkify": False}).parse(line) if token.type == "inline"
    ]
    assert {child.type for child in paragraph.children or []} <= {"text", "text_special"}
    assert "<img/src>" in "".join(child.content for child in paragraph.children or [])


def test_no_summary_without_its_setting_and_none_twice(cli: Cli) -> None:
    """With ``github = off`` nothing is written; a job that failed has its row and no line beside it."""
    path = cli.cwd / "summary.md"
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)}
    (cli.cwd / "config.toml").write_text('github = "off"\n')
    off = cli.run("generate", "x", SUNO_API_KEY="", SUNO_COVER_CONFIG=str(cli.cwd / "config.toml"), **environ)
    assert (off.code, path.exists()) == (4, False)
    failed = cli.run("generate", "--sandbox", "sandbox-failed-501-b", **environ)
    assert failed.code == 6
    assert "stopped" not in path.read_text()


async def test_a_secret_is_in_no_cell(tmp_path: Path) -> None:
    """A secret that Markdown would escape is hidden before it is escaped."""
    from suno_cover_cli.base.text import Secret

    output = output_for(io.StringIO())
    output.redactor.add(Secret("_a*secret|of_the_service_"))
    path = tmp_path / "summary.md"
    async with GitHubReport(output, {"GITHUB_STEP_SUMMARY": str(path)}) as report:
        report.emit(ended(1, "it said _a*secret|of_the_service_ to us"))
    text = await asyncio.to_thread(path.read_text)
    assert "it said" in text
    assert "secret" not in text
