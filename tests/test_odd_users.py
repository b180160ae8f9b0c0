"""Users and machines as containers have them: no home, no name, nowhere to write. The job runs all the same."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli_fixtures import START_ENVIRON, Cli, Run
from tests.starter import Starter

_CAPABILITY = "+dac_read_search"  # to read the interpreter, wherever it lies; nothing can be written by it


def as_stranger() -> list[str]:
    """Return the words that make a command that of an unknown user id; none where only root may say them."""
    if os.geteuid() or shutil.which("setpriv") is None:
        return []
    return ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"] + [
        f"--{kind}-caps={_CAPABILITY}" for kind in ("inh", "ambient")
    ]


# Root without what makes it root where files are concerned: it still may read this interpreter.
_BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
_ENVIRON = {
    **{name: value for name, value in START_ENVIRON.items() if not name.startswith("COV")},
    "PATH": os.environ["PATH"],
    "PYTHONDONTWRITEBYTECODE": "1",
}


@pytest.fixture(scope="module")
def stranger() -> Iterator[Starter]:
    """Start runs as a user whom the system does not know."""
    with Starter(_ENVIRON, as_stranger()) as starter:
        yield starter


@pytest.fixture(scope="module")
def bound() -> Iterator[Starter]:
    """Start runs as a root to whom files are closed as to anybody."""
    with Starter(_ENVIRON, _BOUND) as starter:
        yield starter


def run_in(cli: Cli, stranger: Starter, place: dict[str, str | None], *args: str) -> Run:
    """Run the program as a stranger with some variables set, and others (``None``) not there."""
    environ = {**cli.environ, **place}
    for name in ("SUNO_COVER_STATE_DIR", "SUNO_COVER_CONFIG"):
        if name not in place:
            environ[name] = None
    cli.cwd.chmod(0o777)
    for folder in (cli.cwd.parent, cli.cwd.parent.parent):
        folder.chmod(folder.stat().st_mode | 0o011)
    return _run(cli, stranger, {name: value for name, value in environ.items() if value is not None}, *args)


def _run(cli: Cli, starter: Starter, environ: dict[str, str], *args: str) -> Run:
    environ = {name: value for name, value in environ.items() if not name.startswith("COV")}
    with starter.start(args, environ=environ, cwd=cli.cwd) as started:
        stdout, stderr = started.communicate(60.0)
        return Run(started.wait(), stdout.decode(), stderr.decode())


# A folder that not even root can make anything in.
NOWHERE = "/proc/self/nowhere"
PLACES: dict[str, dict[str, str | None]] = {
    "a home that does not exist": {"HOME": NOWHERE},
    "a home and folders that cannot be": {"HOME": NOWHERE, "XDG_STATE_HOME": NOWHERE, "XDG_CONFIG_HOME": NOWHERE},
    "a state folder that cannot be made": {"SUNO_COVER_STATE_DIR": NOWHERE},
}
if as_stranger():
    PLACES |= {
        "no home and no name": {"HOME": None},
        "the root as home": {"HOME": "/"},
        "somebody else's state folder": {"SUNO_COVER_STATE_DIR": "/var"},
    }


@pytest.mark.skipif(os.name != "posix", reason="homes of Windows are another matter")
@pytest.mark.parametrize("place", PLACES)
def test_a_job_runs_where_nothing_can_be_kept(cli: Cli, stranger: Starter, place: str) -> None:
    """The covers are saved; one line says that history is not kept and which variable helps."""
    run = run_in(cli, stranger, PLACES[place], "generate", "--sandbox", "sandbox-instant")
    assert run.code == 0, run.stderr
    assert len(run.lines) == 2
    assert [Path(cli.cwd / line).stat().st_size > 0 for line in run.lines] == [True, True]
    (said,) = [line for line in run.stderr.splitlines() if line.startswith("warning")]
    assert "history is not kept" in said
    assert "SUNO_COVER_STATE_DIR" in said
    assert "unexpected" not in run.stderr


@pytest.mark.skipif(os.name != "posix", reason="homes of Windows are another matter")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("words", ["history", "resume", "config show", "config set provider kie", "listen --list"])
def test_no_command_calls_such_a_place_unexpected(cli: Cli, stranger: Starter, place: str, words: str) -> None:
    """What cannot do without the folder says which one it is, and ends with an error of its own."""
    run = run_in(cli, stranger, PLACES[place], *words.split())
    assert run.code in {0, 1, 2}, run.stderr
    assert "unexpected" not in run.stderr
    if words in {"history", "resume", "listen --list"}:
        assert run.code == 1
        assert "SUNO_COVER_STATE_DIR" in run.stderr


@pytest.mark.skipif(not as_stranger(), reason="only root may give a folder to somebody else")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("generate --sandbox sandbox-instant", 0, "history is not kept"),
        ("listen --no-tunnel --timeout 0.1", 8, "events are not recorded"),
        ("config show", 0, ""),
        ("export --list-profiles", 0, ""),
        ("history", 1, "SUNO_COVER_STATE_DIR"),
        ("resume", 1, "SUNO_COVER_STATE_DIR"),
        ("config set provider kie", 2, "Permission denied"),
        ("doctor", 1, "SUNO_COVER_STATE_DIR"),
    ],
)
def test_a_home_that_may_not_be_entered(
    cli: Cli, bound: Starter, tmp_path: Path, words: str, code: int, said: str
) -> None:
    """With a home of somebody else, as a container gives it to an unknown user, nothing is unexpected."""
    home = tmp_path / "home-of-another"
    home.mkdir(mode=0o700)
    os.chown(home, 54321, 54321)
    environ = {name: value for name, value in cli.environ.items() if not name.startswith("SUNO_COVER")}
    done = _run(cli, bound, environ | {"HOME": str(home)}, *words.split())
    assert done.code == code, done.stderr
    assert said in done.stderr + done.stdout
    assert "unexpected" not in done.stderr


class RawRun(NamedTuple):
    """A finished run, whose output may be no text."""

    code: int
    raw: bytes
    stderr: str


def raw_run(cli: Cli, *args: str) -> RawRun:
    """Run the program and keep what it prints as bytes."""
    with cli.start(*args) as started:
        stdout, stderr = started.communicate(60.0)
        return RawRun(started.wait(), stdout, stderr.decode())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every name is Unicode")
def test_a_folder_whose_name_is_not_text(cli: Cli) -> None:
    """In a folder whose name is not UTF-8 commands work, and print the path that is on the disk."""
    cli.cwd /= os.fsdecode(b"caf\xe9")
    cli.cwd.mkdir()
    (task_id,) = cli.run("generate", "--sandbox", "--no-wait", "my-song").lines
    resumed = raw_run(cli, "resume", "--poll-interval", "0.3")
    assert resumed.code == 0, resumed.stderr
    saved = [Path(os.fsdecode(line)) for line in resumed.raw.splitlines()]
    assert [(cli.cwd / path).stat().st_size > 0 for path in saved] == [True, True]
    again = raw_run(cli, "generate", "--sandbox", "my-song", "--write-metadata", "--json")
    assert again.code == 0, again.stderr
    images = json.loads(again.raw)["images"]
    assert [(cli.cwd / image["path"]).exists() for image in images] == [True, True]
    picked = raw_run(cli, "pick", task_id, "2")
    assert picked.code == 0, picked.stderr
    assert os.fsdecode(picked.raw.rstrip(b"\n")).endswith(f"{task_id}/cover_2.png")
    for words in ("history --json", "history", "pick --list", f"export {task_id} --upscale lanczos"):
        done = raw_run(cli, *words.split())
        assert (done.code, "unexpected" in done.stderr) == (0, False), (words, done.stderr)
        assert done.raw, words


def test_two_songs_of_one_name_are_refused_before_anything_is_written(cli: Cli) -> None:
    """A copy never takes the place of another copy of the same run, not even with --overwrite."""
    for folder in ("a", "b"):
        (cli.cwd / folder).mkdir()
        (cli.cwd / folder / "song.mp3").write_bytes(b"")
    run = cli.run("embed", "a/song.mp3", "b/song.mp3", "--cover", "x.png", "--out", "done", "--overwrite")
    assert run.code == 2
    assert "one name" in run.stderr
    assert not (cli.cwd / "done").exists()


def test_a_song_id_is_named_although_there_is_no_key(cli: Cli) -> None:
    """Who passes an id of the wrong kind reads that before looking for a key."""
    run = cli.run("generate", "01234567-89ab-cdef-0123-456789abcdef")
    assert run.code == 4
    assert "looks like a song id" in " ".join(run.stderr.split())
