"""``history``: what became of every job, and what may be forgotten."""

import asyncio
import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from suno_cover_cli.base.models import JobError, JobResult, JobState, SavedImage
from suno_cover_cli.base.text import cells_of
from suno_cover_cli.journal.rows import JobOptions, JobRow, Pick, RowState
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.ui.history import JobTable
from tests.cli_fixtures import Cli
from tests.command_fixtures import Commands
from tests.crash_fixtures import environ_of
from tests.journal_fixtures import journal_in, music
from tests.terminal_fixtures import Terminal

DAY_S = 24 * 3600.0


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """One user on one machine."""
    return Commands(tmp_path)


def age(tmp_path: Path, days: float, where: str = "1") -> None:
    """Let the jobs of the journal have happened so many days ago."""
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite3")) as connection:
        moments = ("created_at", "submitted_at", "completed_at", "updated_at")
        changes = ", ".join(f"{name} = {name} - {days * DAY_S}" for name in moments)
        connection.execute(f"UPDATE jobs SET {changes} WHERE {where}")  # noqa: S608 -- the test's own words
        connection.commit()


async def some_jobs(commands: Commands) -> None:
    """Run a job to each kind of end."""
    async with Sandbox(generation_s=0.0) as sandbox:
        environ = environ_of(sandbox)
        await commands.begin("good", environ=environ)
        await commands.begin("sandbox-failed-501", environ=environ)
        await commands.begin("sandbox-unknown-422", environ=environ)
        await commands.begin("sandbox-image-html", environ=environ)
        await commands.leave("left", environ=environ)
        await commands.begin("sandbox-answer-lost-always", environ=environ)


ENDS = {
    "good": "succeeded",
    "sandbox-failed-501": "failed",
    "sandbox-unknown-422": "rejected",
    "sandbox-image-html": "partial",
    "left": "pending",
    "sandbox-answer-lost-always": "pending",
}


async def test_the_export_has_every_job_newest_first(commands: Commands) -> None:
    """``--json`` prints one object per job with its last job object, the newest first."""
    await some_jobs(commands)
    entries = (await commands.history()).objects
    assert {entry["music_task_id"]: entry["state"] for entry in entries} == ENDS
    created = [entry["created_at"] for entry in entries]
    assert created == sorted(created, reverse=True)
    good = entries[-1]
    assert set(good) >= {
        "v", "type", "music_task_id", "task_id", "state", "step", "service", "provider", "output", "options",
        "created_at", "submitted_at", "completed_at", "updated_at", "links_expire_at", "links_expire_soon", "job",
    }  # fmt: skip
    assert good["job"]["type"] == "job"
    assert len(good["job"]["images"]) == 2
    assert good["links_expire_at"] == pytest.approx(good["completed_at"] + 14 * DAY_S)


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ("succeeded", {"good"}),
        ("partial", {"sandbox-image-html"}),
        ("pending", {"left", "sandbox-answer-lost-always"}),
        ("submitting", {"sandbox-answer-lost-always"}),
        ("submitted", {"left"}),
        ("queued", set()),
        ("unfinished", {"left", "sandbox-answer-lost-always", "sandbox-image-html"}),
    ],
)
async def test_the_list_can_be_narrowed_to_a_state(commands: Commands, state: str, names: set[str]) -> None:
    """``--state`` takes the words of the job object, the finer ones of the journal, and ``unfinished``."""
    await some_jobs(commands)
    entries = (await commands.history(state=state)).objects
    assert {entry["music_task_id"] for entry in entries} == names


async def test_one_job_is_shown_whole_by_either_id(commands: Commands) -> None:
    """A music or a cover task id shows one job: folder, times, saved files, what is missing and the next step."""
    await some_jobs(commands)
    (entry,) = (await commands.history(task_id="sandbox-image-html")).objects
    text = (await commands.history(task_id=entry["task_id"], as_text=True)).stdout
    assert "partial" in text
    assert entry["job"]["images"][0]["path"] in text
    assert entry["job"]["failed_images"][0]["url"] in text
    assert "suno-cover resume" in text
    unknown = await commands.history(task_id="nobody", as_text=True)
    assert unknown.code == 2
    assert "nobody" in unknown.stderr


async def test_the_list_for_people_is_bounded_and_says_so(commands: Commands, tmp_path: Path) -> None:
    """Thirty lines unless told otherwise, with a word on the rest; the export is whole."""
    async with journal_in(tmp_path / "state") as journal:
        await journal.enqueue(music(f"m{n}") for n in range(1200))
    shown = await commands.history(as_text=True)
    assert len(shown.lines) == 30
    assert "m1199" in shown.lines[0]
    assert "30 of 1200" in shown.stderr
    assert len((await commands.history(as_text=True, limit=0)).lines) == 1200
    assert len((await commands.history(limit=7)).lines) == 7
    assert [entry["music_task_id"] for entry in (await commands.history()).objects] == [
        f"m{n}" for n in reversed(range(1200))
    ]


async def test_saved_files_are_listed_for_scripts(commands: Commands) -> None:
    """``--paths`` prints the files that are there, of all jobs or of one, and says how many are gone."""
    await some_jobs(commands)
    shown = await commands.history(as_text=True, paths=True)
    assert len(shown.lines) == 3
    assert all([await asyncio.to_thread(Path(line).is_file) for line in shown.lines])
    one = await commands.history(as_text=True, paths=True, task_id="good")
    assert len(one.lines) == 2
    await asyncio.to_thread(Path(one.lines[0]).unlink)
    again = await commands.history(as_text=True, paths=True)
    assert again.lines == [line for line in shown.lines if line != one.lines[0]]
    assert "1 saved file is missing" in again.stderr


def row(**fields: Any) -> JobRow:
    """Return a row of the journal."""
    made: dict[str, Any] = {
        "id": 1,
        "service": "https://api.test",
        "provider": "sunoapi",
        "music_task_id": "5c79be8e10f14bb28a4a5e5fd5b1f3a0",
        "task_id": "21aee3c3c2a01fa5e030b3799fa4dd56",
        "state": RowState.FAILED,
        "output": "/covers",
        "options": JobOptions(),
        "created_at": 1e9,
        **fields,
    }
    return JobRow(**made)


FOLDER = "/covers/21aee3c3c2a01fa5e030b3799fa4dd56"


def saved() -> SavedImage:
    """Return a saved cover."""
    return SavedImage(
        n=1, url="https://x", path="cover_1.png", bytes=1, width=1, height=1, format="png", sha256=""
    )


def pick() -> Pick:
    """Return the choice of the second cover."""
    return Pick(n=2, path="cover_2.png", sha256="", picked_at=1e9)


REASONS = [
    "\u5bc6\u7801\u4e0d\u6b63\u786e\uff0c\u8bf7\u91cd\u8bd5\u3002" * 9,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 " * 30,
    "\u05e9\u05dc\u05d5\u05dd" * 40,
    "",
]


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_a_table_keeps_its_columns_whatever_it_says(columns: int) -> None:
    """Chinese, emoji, Hebrew and long ids neither leave the edge nor lose a character of an id, path or reason."""
    table = JobTable(columns, now=1e9 + 7200, paint=lambda text, _tone: text)
    header = table.header(is_sandbox=False)
    at = header.index("MUSIC TASK")
    for reason in REASONS:
        error = JobError(code="x", message=reason)
        for name in ("short", "5c79be8e10f14bb28a4a5e5fd5b1f3a0", "x" * 128):
            result = JobResult(state=JobState.FAILED, error=error, images=(saved(),))
            lines = table.lines_of(row(music_task_id=name, result=result, pick=pick()))
            assert lines[0].startswith("2h    failed     1 pick 2")
            whole = [line.strip() for line in lines]
            assert all(cells_of(line) < columns or line.strip() in {name, FOLDER} for line in lines)
            assert any(name in line.split() for line in lines)
            assert any(FOLDER in line.split() for line in lines)
            assert "".join(reason.split()) in "".join("".join(whole).split())
            assert all(line[:6].isspace() or len(line.strip()) > columns - 7 for line in lines[1:])
            if columns >= 80 and len(name) <= 32:
                assert lines[0][at:].startswith(name)


def test_a_wide_terminal_shows_a_job_on_one_line() -> None:
    """From 105 columns on the folder stands beside the id, and what there is to say below the folder."""
    table = JobTable(120, now=1e9 + 7200, paint=lambda text, _tone: text, here=Path("/"))
    header = table.header(is_sandbox=False)
    result = JobResult(state=JobState.SUCCEEDED, images=(saved(),))
    (line,) = table.lines_of(row(state=RowState.SUCCEEDED, result=result))
    assert line.index("covers/21aee3c3c2a01fa5e030b3799fa4dd56") == header.index("WHERE")
    error = JobError(code="x", message="it took too long")
    first, second = table.lines_of(row(result=JobResult(state=JobState.FAILED, images=(saved(),), error=error)))
    assert (first, second.index("it took too long")) == (
        line.replace("succeeded", "failed   "),
        header.index("WHERE"),
    )


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        *((0, "now"), (59, "now"), (60, "1m"), (3599, "59m"), (3600, "1h"), (172799, "47h"), (172800, "2d")),
        *((9e6, "14w"), (-5, "now"), (1e12, "999w")),
    ],
)
def test_an_age_is_short(seconds: float, age: str) -> None:
    """How long ago a job began takes four characters at most."""
    table = JobTable(80, now=2e12 + seconds, paint=lambda text, _tone: text)
    assert table.lines_of(row(created_at=2e12))[0].split()[0] == age


async def test_links_about_to_expire_are_pointed_out(commands: Commands, tmp_path: Path) -> None:
    """Within three days of the end of their fourteen, links are told, with the way to save what is missing."""
    await some_jobs(commands)
    fresh = await commands.history(as_text=True)
    assert "expire" not in fresh.stdout + fresh.stderr
    age(tmp_path, 12.0)
    aged = await commands.history(as_text=True)
    told = {line.split()[3]: line for line in aged.lines}
    assert "expire in 47 hours" in told["sandbox-image-html"] or "expire in 2 days" in told["sandbox-image-html"]
    assert "expire" in told["left"]
    assert "covers are saved" in told["good"]
    assert "expire" not in told["sandbox-failed-501"]
    assert "2 jobs have covers that are not saved" in aged.stderr
    assert "suno-cover resume" in aged.stderr
    entries = {entry["music_task_id"]: entry["links_expire_soon"] for entry in (await commands.history()).objects}
    assert entries["sandbox-image-html"]
    assert not entries["sandbox-failed-501"]
    age(tmp_path, 5.0)
    gone = await commands.history(as_text=True)
    assert "have expired" in next(line for line in gone.lines if "sandbox-image-html" in line)


async def test_pruning_forgets_old_jobs_that_have_ended(commands: Commands, tmp_path: Path) -> None:
    """``--prune`` removes what ended a fortnight ago, and nothing that ``resume`` could still finish."""
    await some_jobs(commands)
    assert "0 jobs removed" in (await commands.history(prunes=True)).stderr
    age(tmp_path, 20.0)
    pruned = await commands.history(prunes=True)
    assert pruned.objects == [{"v": 1, "type": "pruned", "jobs": 3}]
    left = {entry["music_task_id"] for entry in (await commands.history()).objects}
    assert left == {"left", "sandbox-answer-lost-always", "sandbox-image-html"}
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite3")) as connection:
        jobs = {row[0] for row in connection.execute("SELECT DISTINCT job_id FROM images")}
        known = {row[0] for row in connection.execute("SELECT id FROM jobs")}
    assert jobs <= known


async def test_pruning_can_be_told_what_goes(commands: Commands) -> None:
    """A state or an id says what goes, and ``--keep-days`` how old it must be."""
    await some_jobs(commands)
    assert "1 job removed" in (await commands.history(prunes=True, task_id="left")).stderr
    assert "0 jobs removed" in (await commands.history(prunes=True, state="pending")).stderr
    assert "1 job removed" in (await commands.history(prunes=True, state="pending", keep_days=0)).stderr
    assert "3 jobs removed" in (await commands.history(prunes=True, keep_days=0)).stderr


async def test_pruning_spares_what_is_being_run(commands: Commands, tmp_path: Path) -> None:
    """A job that a live run holds is not forgotten under its feet; one of a dead run is."""
    async with journal_in(tmp_path / "state") as journal:
        await journal.claim(music("mine"))
        assert "0 jobs" in (await commands.history(prunes=True, state="unfinished", keep_days=0)).stderr
    assert "1 job" in (await commands.history(prunes=True, state="unfinished", keep_days=0)).stderr


async def test_hostile_text_of_the_journal_is_shown_plain(commands: Commands) -> None:
    """What the service said is shown without escape sequences, in the list and in full."""
    async with Sandbox(generation_s=0.0) as sandbox:
        await commands.begin("sandbox-hostile-text", environ=environ_of(sandbox))
    for run in (
        await commands.history(as_text=True),
        await commands.history(as_text=True, task_id="sandbox-hostile-text"),
        await commands.history(),
    ):
        assert "\x1b" not in run.stdout + run.stderr


def test_history_from_a_shell(cli: Cli) -> None:
    """The list, the export through a reader of JSON, and an empty journal, as a user sees them."""
    empty = cli.run("history")
    assert (empty.code, empty.stdout) == (0, "")
    assert "No job" in empty.stderr
    cli.run("generate", "--sandbox", "--no-wait", "my-song")
    listed = cli.run("history")
    assert listed.lines[0].split()[2:4] == ["submitted", "my-song"]
    assert listed.lines[0].startswith(time.strftime("%Y-"))
    exported = cli.shell("suno-cover history --json | head -1 | python3 -m json.tool")
    assert json.loads(exported.stdout)["music_task_id"] == "my-song"


def test_jobs_of_every_sandbox_stand_apart(cli: Cli) -> None:
    """Those of a sandbox that is served on this machine are no real ones either; both are below the real ones."""
    cli.run("generate", "--sandbox", "sandbox-instant")
    cli.run("sandbox", "--", *cli.command(), "generate", "sandbox-instant-2")
    with contextlib.closing(
        sqlite3.connect(Path(cli.environ["SUNO_COVER_STATE_DIR"]) / "journal.sqlite3")
    ) as connection:
        services = [service for (service,) in connection.execute("SELECT service FROM jobs ORDER BY id")]
        connection.execute(
            "INSERT INTO jobs (service, provider, music_task_id, state, output, options, created_at, updated_at)"
            " VALUES ('https://api.sunoapi.org', 'sunoapi', 'real-1', 'submitted', '/covers', '{}', 0, 0)"
        )
        connection.commit()
    assert services[0] == "sandbox"
    assert services[1].startswith("http://127.0.0.1:")
    entries = cli.run("history", "--json").objects
    assert {entry["music_task_id"]: entry["sandbox"] for entry in entries} == {
        "real-1": False,
        "sandbox-instant": True,
        "sandbox-instant-2": True,
    }
    orders = {
        "3": ["MUSIC", "real-1", "SANDBOX", "sandbox-instant-2", "sandbox-instant"],
        "2": ["MUSIC", "real-1", "SANDBOX", "sandbox-instant-2"],
    }
    for limit, order in orders.items():
        with Terminal(80, 40) as terminal:
            cli.start_on(terminal, "history", "-n", limit, streams="012")
            assert terminal.finish()[0] == 0
            words = terminal.text.split()
        assert [word for word in words if word in {*order, "MUSIC", "SANDBOX"} or "instant" in word] == order


def test_pruning_nothing_says_what_is_kept(cli: Cli) -> None:
    """A list that stays as it was is explained by the days that are kept."""
    cli.run("generate", "--sandbox", "sandbox-instant")
    run = cli.run("history", "--prune")
    assert run.stderr.splitlines()[0] == "0 jobs removed from the journal."
    assert "14 days" in run.stderr
    assert "--keep-days" in run.stderr


def test_paths_are_printed_from_the_folder_you_are_in(cli: Cli) -> None:
    """Every command prints a cover below the working folder from there, and any other one whole."""
    made = cli.run("generate", "--sandbox", "sandbox-image-404", "sandbox-instant", "--preview", "off").lines
    (cover,) = [line for line in made if cli.run("history", "sandbox-image-404", "--paths").lines == [line]]
    assert not Path(cover).is_absolute()
    assert cli.run("pick", "sandbox-image-404", "1").lines == [cover]
    (cli.cwd / cover).unlink()
    assert cli.run("resume", "--sandbox").lines == [cover]
    facts = cli.run("history", "sandbox-image-404").lines
    assert f"saved          {cover}" in facts
    assert f"folder         {Path(cover).parent}" in facts
    assert f"picked         1: {cover}" in facts
    (cli.cwd / "elsewhere").mkdir()
    away = cli.shell("cd elsewhere && suno-cover pick sandbox-image-404 1 && suno-cover history sandbox-image-404")
    assert away.lines[0] == str(cli.cwd / cover)
    assert f"saved          {cli.cwd / cover}" in away.lines
