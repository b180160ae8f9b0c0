"""What runs out is told as what it is, by every command that writes: room, quota, files, memory."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from suno_cover_cli.sandbox.app import Sandbox
from tests.cli_fixtures import Cli, Run
from tests.crash_fixtures import environ_of
from tests.song_fixtures import make_song

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("strace") is None, reason="calls are made to fail by strace"
)

NEVER = re.compile("unexpected|[Pp]ermission|fault of suno-cover|Traceback")
ROOM = {"ENOSPC": "No space left on device", "EDQUOT": "Disk quota exceeded"}
SCARCE = {"EMFILE": "Too many open files", "ENOMEM": "Cannot allocate memory"}
HINTS = dict.fromkeys(ROOM, "Free some space") | dict.fromkeys(SCARCE, "Close other programs")


def run_failing(cli: Cli, calls: str, error: str, *words: str, **environ: str) -> Run:
    """Run the program while some calls of the system fail."""
    watched = [
        "strace",
        "-f",
        "-qq",
        "-o",
        os.devnull,
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error={error}",
    ]
    done = subprocess.run(
        [*watched, *cli.command(*words)],
        cwd=cli.cwd,
        env={**cli.environ, **environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def covers(cli: Cli) -> Cli:
    """One job with its covers, one of them picked, and a song."""
    (task_id, *_) = [Path(line).parent.name for line in cli.run("generate", "--sandbox", "sandbox-instant").lines]
    assert cli.run("pick", task_id, "1").code == 0
    make_song(cli.cwd / "song.mp3")
    return cli


COMMANDS = {
    "config": ("fsync,fdatasync", "config set preview off"),
    "export": ("fsync,fdatasync", "export sandbox-instant --upscale lanczos"),
    "embed": ("fsync,fdatasync", "embed song.mp3 --cover sandbox-instant"),
    "pick": ("pwrite64", "pick sandbox-instant 2"),
    "history": ("pwrite64", "history --prune --keep-days 0"),
}


@pytest.mark.parametrize("error", [*ROOM, "ENOMEM"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_cannot_be_written_says_why(covers: Cli, name: str, error: str) -> None:
    """The error has the system's own words, and a hint that helps against that; nothing half is left."""
    calls, command = COMMANDS[name]
    before = (covers.cwd / "song.mp3").read_bytes()
    run = run_failing(covers, calls, error, *command.split())
    assert run.code not in {0, 130}, run.stderr
    assert re.search(f"{(ROOM | SCARCE)[error]}|database or disk is full", run.stderr), run.stderr
    assert HINTS[error] in run.stderr
    assert not NEVER.search(run.stderr)
    assert (covers.cwd / "song.mp3").read_bytes() == before
    assert not list(covers.cwd.rglob("*.part"))


@pytest.mark.parametrize("error", ROOM)
def test_a_journal_that_cannot_be_written_stops_no_job(cli: Cli, error: str) -> None:
    """The covers are saved, and one warning says why history is not kept."""
    run = run_failing(cli, "pwrite64", error, "generate", "--sandbox", "sandbox-instant")
    assert (run.code, len(run.lines)) == (0, 2), run.stderr
    (said,) = [line for line in run.stderr.splitlines() if "history is not kept" in line]
    assert re.search(f"{ROOM[error]}|disk is full", said), said
    assert not NEVER.search(run.stderr), run.stderr


@pytest.mark.parametrize("files", [11, 13, 15, 19, 24])
def test_too_few_files_are_told_as_that(covers: Cli, files: int) -> None:
    """However few files a process may open, no command speaks of permissions or of a fault of its own."""
    export = "export sandbox-instant --upscale lanczos"
    for command in ("generate --sandbox --no-wait more", "history", export, "config show"):
        run = covers.shell(f"ulimit -n {files}; timeout 20 suno-cover {command}")
        assert not NEVER.search(run.stderr + run.stdout), (files, command, run.stderr)
        assert run.code == 0 or "Too many open files" in run.stderr, (files, command, run.stderr)


async def test_what_is_missing_names_a_command_that_knows_it(cli: Cli) -> None:
    """Where history is not kept, ``resume`` knows nothing: the hint for a missing picture is another command."""
    async with Sandbox(generation_s=0.1) as sandbox:
        environ = {**environ_of(sandbox), "SUNO_COVER_STATE_DIR": "/proc/self/nowhere"}
        run = await cli.run_beside("generate", "sandbox-image-html", "--poll-interval", "0.2", **environ)
    assert run.code == 7, run.stderr
    task_id = next(iter(sandbox.jobs))
    said = " ".join(run.stderr.split())
    assert "suno-cover resume" not in said
    assert f"suno-cover wait {task_id}" in said
