"""Two keys at one service: a run with one leaves the jobs of the other in peace, and neither is kept."""

import asyncio
import contextlib
import hashlib
import re
import sqlite3
from pathlib import Path

import pytest

from suno_cover_cli.base.text import Secret
from suno_cover_cli.journal.key_marks import KeyMarks
from tests.cli_fixtures import Cli
from tests.counting_service import CountingService
from tests.crash_fixtures import POLL

ONE, OTHER = "one-key-0123456789abcdef", "other-key-0123456789abcdef"


def with_key(service: CountingService, key: str) -> dict[str, str]:
    """Return the variables of a user of the service."""
    return {"SUNO_BASE_URL": service.url, "SUNO_API_KEY": key}


def state_of(cli: Cli) -> Path:
    """Return the state folder."""
    return Path(cli.environ["SUNO_COVER_STATE_DIR"])


async def left_by_both(cli: Cli, service: CountingService) -> None:
    """Leave two jobs of one account, and one of another."""
    for key, names in ((ONE, ("a1", "a2")), (OTHER, ("b1",))):
        left = await cli.run_beside("generate", "--no-wait", *names, **with_key(service, key))
        assert left.code == 0, left.stderr
    service.arrivals.clear()


async def test_jobs_of_another_key_are_left_in_peace(cli: Cli) -> None:
    """``resume`` finishes the jobs of its key, says in one line how many are not, and asks for none of these."""
    async with CountingService(10**6, 1.0, generation_s=0.0) as service:
        await left_by_both(cli, service)
        run = await cli.run_beside("resume", *POLL, **with_key(service, OTHER))
        assert run.code == 0, run.stderr
        assert [Path(line).parent.name for line in run.lines] == ["c-b1"]
        assert {about for _, about in service.arrivals} == {"c-b1"}
        assert run.stderr.count("another key") == 1
        assert "2 jobs" in run.stderr
        assert "suno-cover resume TASK_ID" in run.stderr
        again = await cli.run_beside("resume", *POLL, **with_key(service, ONE))
        assert again.code == 0, again.stderr
        assert {Path(line).parent.name for line in again.lines} == {"c-a1", "c-a2"}
        assert "another key" not in again.stderr


async def test_a_key_that_was_renewed_finishes_a_job_by_its_id(cli: Cli) -> None:
    """Who names a job means it, whichever key it was submitted with; from then on it is one of this key."""
    async with CountingService(10**6, 1.0, generation_s=3600.0) as service:
        await left_by_both(cli, service)
        run = await cli.run_beside("resume", "a1", *POLL, "--timeout", "0.5", **with_key(service, OTHER))
        assert run.code == 8, run.stderr
        later = await cli.run_beside("resume", *POLL, "--timeout", "0.5", **with_key(service, OTHER))
    assert later.code == 8
    assert "1 job submitted with another key" in " ".join(later.stderr.split())


async def test_the_key_of_a_profile_finishes_its_own_jobs(cli: Cli) -> None:
    """Where both keys are known, each job is read with the one it was submitted with."""
    async with CountingService(10**6, 1.0, generation_s=0.0) as service:
        config = Path(cli.environ["SUNO_COVER_CONFIG"])
        profile = f'[profiles.one]\nbase-url = "{service.url}"\napi-key = "{ONE}"\n'
        await asyncio.to_thread(config.write_text, profile, encoding="utf-8")
        await asyncio.to_thread(config.chmod, 0o600)
        await left_by_both(cli, service)
        run = await cli.run_beside("resume", *POLL, **with_key(service, OTHER))
    assert run.code == 0, run.stderr
    assert {Path(line).parent.name for line in run.lines} == {"c-a1", "c-a2", "c-b1"}
    assert dict(service.keys) == {"c-a1": ONE, "c-a2": ONE, "c-b1": OTHER}


@pytest.mark.parametrize("loss", ["marks", "salt"])
async def test_a_job_that_is_not_known_to_be_anothers_is_ours(cli: Cli, loss: str) -> None:
    """Jobs from before keys were told apart, or whose random bytes were lost, are finished with any key."""
    async with CountingService(10**6, 1.0, generation_s=0.0) as service:
        await left_by_both(cli, service)
        if loss == "salt":
            (state_of(cli) / "key-salt").unlink()
        else:
            with contextlib.closing(sqlite3.connect(state_of(cli) / "journal.sqlite3")) as connection, connection:
                connection.execute("UPDATE jobs SET key_mark = NULL")
        run = await cli.run_beside("resume", *POLL, **with_key(service, OTHER))
    assert run.code == 0, run.stderr
    assert len(run.lines) == 3


async def test_no_key_follows_from_what_is_kept(cli: Cli) -> None:
    """No file holds the key or an unkeyed hash of it; a mark has 32 bits, and its salt is for its owner alone."""
    async with CountingService(10**6, 1.0, generation_s=0.0) as service:
        await left_by_both(cli, service)
    kept = b"".join(path.read_bytes() for path in state_of(cli).rglob("*") if path.is_file())
    for key in (ONE, OTHER):
        plain = [key, *(hashlib.new(name, key.encode()).hexdigest() for name in ("md5", "sha1", "sha256"))]
        assert not [form for form in plain if form[:8].encode() in kept]
    salt = state_of(cli) / "key-salt"
    assert salt.stat().st_mode & 0o077 == 0
    assert len(salt.read_bytes()) == 16
    with contextlib.closing(sqlite3.connect(state_of(cli) / "journal.sqlite3")) as connection:
        marks = {mark for (mark,) in connection.execute("SELECT key_mark FROM jobs")}
    assert len(marks) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", mark) for mark in marks)
    assert len({mark[:8] for mark in marks}) == 1


def test_marks_of_two_folders_have_nothing_in_common(tmp_path: Path) -> None:
    """The same key has another mark in each state folder and at each service; without a folder it has none."""
    key = Secret(ONE)
    here, there = (KeyMarks.open(tmp_path / name) for name in ("here", "there"))
    mark = here.mark("https://a.test", key)
    assert KeyMarks.open(tmp_path / "here").mark("https://a.test", key) == mark
    assert mark not in {there.mark("https://a.test", key), here.mark("https://b.test", key)}
    assert not here.is_foreign(mark, "https://a.test", key)
    assert here.is_foreign(mark, "https://a.test", Secret(OTHER))
    assert not there.is_foreign(mark, "https://a.test", Secret(OTHER))
    (tmp_path / "file").write_bytes(b"")
    assert KeyMarks.open(tmp_path / "file").mark("https://a.test", key) is None
