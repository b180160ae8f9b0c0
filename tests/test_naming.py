"""``--name`` and ``--write-metadata``: names every system takes, a record beside the covers."""

import asyncio
import hashlib
import json
import sqlite3
import unicodedata
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.errors import RefusedError, UsageError
from suno_cover_cli.base.events import Event, WarningRaised
from suno_cover_cli.base.models import JobRecord, RecordState, SavedImage, Submission
from suno_cover_cli.base.naming import NameTemplate
from suno_cover_cli.base.providers import SUNOAPI
from suno_cover_cli.jobs.covers import CoverSaver
from suno_cover_cli.jobs.ports import JobIds
from suno_cover_cli.journal.rows import JobOptions, JobRow, RowState
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.service.answers import decode_envelope, read_title
from tests.cli_fixtures import Cli, InProcess, Run
from tests.clocks import ScaledClock

SPEED = 20.0


@pytest.mark.parametrize(
    ("template", "stem"),
    [
        ("cover_{n}", "cover_2"),
        ("{n:02}", "02"),
        ("{music_task_id}-{task_id}-{n}", "m-t-2"),
        ("{title} ({n})", "Song (2)"),
        ("{title}", "Song_2"),
        ("{{{n}}}", "{2}"),
        (".{title}", "Song_2"),
        ("con.{n}", "_con.2"),
        ("   ", "_2"),
    ],
)
def test_a_template_becomes_a_name(template: str, stem: str) -> None:
    """Fields are filled in; without a number one is added, because every image needs a name of its own."""
    filled = NameTemplate(template).stem(n=2, task_id="t", music_task_id="m", title="Song")
    assert filled == stem


@pytest.mark.parametrize(
    ("template", "message", "hint"),
    [
        ("{titel}", "no field {titel}", "{title}"),
        ("{zzz}", "no field {zzz}", "{n}, {task_id}, {music_task_id}, {title}"),
        ("{}", "no field {}", "{n}"),
        ("{n.real}", "no field {n.real}", "{n}"),
        ("{title[0]}", "no field {title[0]}", "{title}"),
        ("{n!r}", "does not take this format", "{n:02}"),
        ("{n:999}", "does not take this format", "{n:02}"),
        ("{n:{title}}", "does not take this format", "{n:02}"),
        ("{title:>9}", "does not take this format", "{n:02}"),
        ("{n", "cannot name files", "{{"),
        ("art/{n}", "cannot be part of a file name", "--output"),
        ("..\\{n}", "cannot be part of a file name", "--output"),
        ("a\x1b[31m{n}", "cannot be part of a file name", "--output"),
        ("a\u202e{n}", "cannot be part of a file name", "--output"),
        ("x" * 101 + "{n}", "too long", "100"),
        ("\U0001f600" * 26 + "{n}", "too long", "100"),
        ("{n:09}" * 12, "too long", "100"),
        ("", "is empty", "{title}_{n}"),
    ],
)
def test_a_template_that_cannot_be_is_refused_with_the_fix(template: str, message: str, hint: str) -> None:
    """Unknown fields, paths and formats are refused, with the nearest thing that would do."""
    with pytest.raises(UsageError) as caught:
        NameTemplate(template)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.message.isprintable()


@given(
    title=st.text(max_size=300),
    task_id=st.text("abcXYZ019_-", min_size=1, max_size=128),
    template=st.sampled_from(
        ["{title}", "{title}{n}", "{n} {title}.{task_id}{music_task_id}", "{task_id}{title}"]
    ),
)
@settings(max_examples=200, deadline=None)
def test_any_title_becomes_one_plain_component_of_its_own(title: str, task_id: str, template: str) -> None:
    """Whatever a title holds, names stay in the folder, are short and visible, and differ from image to image."""
    named = NameTemplate(template)
    stems = [named.stem(n=n, task_id=task_id, music_task_id=None, title=title) for n in range(1, 13)]
    assert len(set(stems)) == len(stems)
    for stem in stems:
        assert Path(stem).name == stem
        assert len(stem.encode()) <= 201
        assert not {unicodedata.category(character) for character in stem} & {"Cc", "Cs", "Zl", "Zp"}
        assert not set(stem) & set("\u202a\u202e\u2066\u200b\ufeff")
        assert not stem.startswith((".", " "))
        assert not set(stem) & set('/\\<>:"|?*')


@pytest.mark.parametrize(
    "whole",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f1e8\U0001f1f3",
        "\u5bd2",
        "\u0928\u093f",
        "\U0001f44d\U0001f3fd",
    ],
)
@pytest.mark.parametrize("before", range(4))
def test_a_long_title_is_cut_between_characters(whole: str, before: int) -> None:
    """Of a title that is too long for a file name whole characters stay, as many as there is room for."""
    stem = NameTemplate("{title}_{n}").stem(n=1, task_id="t", title="x" * before + whole * 199)
    title = stem.removesuffix("_1").removesuffix("\u2026")
    assert title == "x" * before + whole * ((len(title) - before) // len(whole))
    assert 200 - len(whole.encode()) - len("\u2026_1".encode()) < len(title.encode()) <= 200


@pytest.mark.parametrize(
    ("data", "title"),
    [
        (None, None),
        ({"response": {"sunoData": [{"title": ""}, {"title": "Second"}]}}, "Second"),
        ({"response": None, "param": '{"title": "Ordered"}'}, "Ordered"),
        ({"response": {"sunoData": [7, None, {"title": ["x"]}]}, "param": "{"}, None),
        ({"response": [], "param": {"title": "Plain"}}, "Plain"),
        ([], None),
        ("text", None),
    ],
)
def test_a_title_is_found_wherever_the_record_has_one(data: Any, title: str | None) -> None:
    """The track's title, else the ordered one, else none; no shape of the record is an error."""
    answer = json.dumps({"code": 200, "msg": "success", "data": data}).encode()
    assert read_title(decode_envelope(200, answer, SUNOAPI), SUNOAPI) == title


def test_a_refused_title_is_an_error() -> None:
    """A refusing code is told as what it is, so that the caller can say why there is no title."""
    with pytest.raises(RefusedError):
        read_title(decode_envelope(200, b'{"code": 422, "msg": "no such record", "data": null}', SUNOAPI), SUNOAPI)


def named(name: str, *, write_metadata: bool = False) -> JobCommandOptions:
    """Return the options of a run with a template."""
    return JobCommandOptions(
        callback="off", poll_interval_s=1.0, timeout_s=60.0, name=name, write_metadata=write_metadata
    )


async def generate(in_process: InProcess, sandbox: Sandbox, music_task_id: str, options: JobCommandOptions) -> Run:
    """Make covers of one piece of music at a sandbox."""
    return await in_process.generate(
        music_task_id,
        options=replace(options, output=in_process.covers),
        clock=ScaledClock(SPEED),
        SUNO_BASE_URL=sandbox.url,
        SUNO_API_KEY=sandbox.api_key,
    )


async def test_covers_are_named_by_the_title_of_the_music(in_process: InProcess) -> None:
    """The title is read with the key and names the files; a second run finds them under it."""
    async with Sandbox(generation_s=0.05) as sandbox:
        options = named("{title} {n:02}")
        first = await generate(in_process, sandbox, "my-song", options)
        second = await generate(in_process, sandbox, "my-song", options)
        image_requests = [entry for entry in sandbox.request_log if entry.path.startswith("/s/")]
    assert first.code == second.code == 0
    assert sorted(Path(line).name for line in first.lines) == ["Music my-song 01.png", "Music my-song 02.png"]
    assert sorted(first.lines) == sorted(second.lines)
    assert len(image_requests) == 2


@pytest.mark.parametrize(("scenario", "name"), [("untitled", "sandbox-untitled_1"), ("hostile-title", "_")])
async def test_a_title_that_is_missing_or_hostile_loses_no_cover(
    in_process: InProcess, tmp_path: Path, scenario: str, name: str
) -> None:
    """Without a title the id names the files, with one warning; a hostile one stays inside the folder."""
    async with Sandbox(generation_s=0.05) as sandbox:
        run = await generate(in_process, sandbox, f"sandbox-{scenario}", named("{title}_{n}"))
    assert run.code == 0
    folder = Path(run.lines[0]).parent
    assert sorted(folder.iterdir()) == sorted(Path(line) for line in run.lines)
    assert Path(run.lines[0]).name.startswith(name) or Path(run.lines[1]).name.startswith(name)
    assert run.stderr.count("no title for") == (scenario == "untitled")
    assert "\x1b" not in run.stdout + run.stderr
    saved = await asyncio.to_thread(lambda: [path for path in tmp_path.rglob("*") if path.suffix == ".png"])
    assert {path.parent for path in saved} == {folder}


class RefusingService:
    """A service that knows jobs but refuses to tell titles."""

    trouble = ""

    async def submit(self, music_task_id: str, callback_url: str) -> Submission:
        """Never asked."""
        raise NotImplementedError

    async def fetch_job(self, task_id: str) -> JobRecord:
        """Never asked."""
        raise NotImplementedError

    async def fetch_title(self, music_task_id: str) -> str | None:
        """Refuse."""
        raise RefusedError(f"Record {music_task_id} does not exist")


class NamingSaver:
    """An image saver that saves nothing and notes the names it was given."""

    def __init__(self) -> None:
        self.stems: list[str] = []

    async def save(self, url: str, folder: Path, stem: str, **_: Any) -> SavedImage:
        """Note the name."""
        self.stems.append(stem)
        return SavedImage(
            url=url, path=str(folder / stem), bytes=1, format="png", width=1, height=1, sha256="0" * 64
        )

    async def find_saved(self, folder: Path, stem: str, url: str) -> SavedImage | None:
        """Find nothing."""


async def at_leisure(work: Awaitable[Any]) -> Any:
    """Await something without a deadline."""
    return await work


class NotingSink:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


async def test_a_title_the_service_refuses_is_said_once_a_job(tmp_path: Path) -> None:
    """When the music record cannot be read the covers are saved under the id, and one line says why."""
    saver, sink = NamingSaver(), NotingSink()
    covers = CoverSaver(saver=saver, service=RefusingService(), sink=sink, clock=SystemClock())
    options = JobOptions(name="{title} {n}")
    row = JobRow(
        id=1,
        service="https://service.example",
        provider="sunoapi",
        music_task_id="m",
        task_id="t",
        state=RowState.SUBMITTED,
        output=str(tmp_path),
        options=options,
        result=None,
        owner=None,
        created_at=0.0,
        submitted_at=None,
        completed_at=None,
    )
    urls = ("https://i.example/1", "https://i.example/2")
    record = JobRecord(task_id="t", state=RecordState.SUCCEEDED, image_urls=urls)
    ids = JobIds(job=1, music_task_id="m", task_id="t")
    saved = await covers.save(ids, record, tmp_path, row=row, options=options, in_time=at_leisure)
    assert len(saved.saved) == 2
    assert sorted(saver.stems) == ["m 1", "m 2"]
    (warning,) = (event for event in sink.events if isinstance(event, WarningRaised))
    assert "Record m does not exist" in warning.message


async def test_a_bad_template_stops_before_any_network(in_process: InProcess) -> None:
    """An unknown field ends with exit 2 while the service has seen nothing."""
    async with Sandbox() as sandbox:
        run = await generate(in_process, sandbox, "my-song", named("{titel}"))
        assert list(sandbox.request_log) == []
    assert run.code == 2
    assert "{title}" in run.stderr


async def test_metadata_tells_where_each_cover_comes_from(in_process: InProcess) -> None:
    """The JSON beside the covers has ids, links and their end, sizes and sums that agree with the files."""
    async with Sandbox(generation_s=0.05) as sandbox:
        run = await generate(in_process, sandbox, "my-song", named("{title}_{n}", write_metadata=True))
        (job,) = sandbox.jobs.values()
    folder = Path(run.lines[0]).parent
    facts = json.loads((folder / "metadata.json").read_text("utf-8"))
    assert (facts["task_id"], facts["music_task_id"], facts["title"]) == (job.task_id, "my-song", "Music my-song")
    assert facts["ai_generated"] is True
    assert facts["notice"] == "AI-generated"
    assert facts["service"] == sandbox.url
    assert facts["completed_at"] < facts["links_expire_at"]
    assert all(facts[name].endswith("Z") for name in ("created_at", "completed_at", "saved_at", "links_expire_at"))
    for image in facts["images"]:
        content = (folder / image["file"]).read_bytes()
        assert (image["bytes"], image["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert image["url"].startswith(sandbox.url)
        assert (image["width"], image["height"], image["format"]) == (1024, 1024, "png")
    assert facts["failed_images"] == []


async def test_metadata_is_renewed_and_somebody_elses_file_is_not(in_process: InProcess) -> None:
    """A second run writes its own file anew; a foreign one of that name stays, with a warning and exit 0."""
    options = named("cover_{n}", write_metadata=True)
    async with Sandbox(generation_s=0.05) as sandbox:
        first = await generate(in_process, sandbox, "my-song", options)
        path = Path(first.lines[0]).parent / "metadata.json"
        again = await generate(in_process, sandbox, "my-song", named("again_{n}", write_metadata=True))
        renewed = [image["file"] for image in json.loads(path.read_text())["images"]]
        path.write_text("my notes")
        third = await generate(in_process, sandbox, "my-song", named("other_{n}", write_metadata=True))
    assert first.code == again.code == third.code == 0
    assert renewed == ["again_1.png", "again_2.png"]
    assert path.read_text() == "my notes"
    assert [run.stderr.count("the metadata of") for run in (first, again, third)] == [0, 0, 1]


async def test_name_and_metadata_are_kept_for_a_restart(in_process: InProcess) -> None:
    """The journal's row of a job says how its files are named and whether a record goes with them."""
    async with Sandbox(generation_s=0.05) as sandbox:
        await generate(in_process, sandbox, "my-song", named("{title} {n}", write_metadata=True))
    with sqlite3.connect(Path(in_process.environ["SUNO_COVER_STATE_DIR"]) / "journal.sqlite3") as journal:
        (kept,) = journal.execute("SELECT options FROM jobs").fetchone()
    journal.close()
    assert {"name": "{title} {n}", "write_metadata": True}.items() <= json.loads(kept).items()


def test_the_name_may_stand_in_the_settings_file(cli: Cli) -> None:
    """A template kept in config.toml names the files of every run, and a flag goes before it."""
    assert cli.run("config", "set", "name", "kept {n}").code == 0
    kept = cli.run("generate", "--sandbox", "a")
    assert {Path(line).name for line in kept.lines} == {"kept 1.png", "kept 2.png"}
    flagged = cli.run("generate", "--sandbox", "b", "--name", "flag {n}")
    assert {Path(line).name for line in flagged.lines} == {"flag 1.png", "flag 2.png"}
