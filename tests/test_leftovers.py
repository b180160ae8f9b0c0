"""What killed runs leave is removed by the next run of any command, and no secret stays in a stray file."""

import json
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from suno_cover_cli.base.files import PendingFile
from suno_cover_cli.journal.run_locks import RunLocks
from tests.cli_fixtures import Cli

KEY = "kill-test-key-0123456789abcdef"
KILLED = "tests.standins.killed_program"


def strays(folder: Path) -> list[Path]:
    """Return the files that only a killed run leaves."""
    return [path for path in folder.rglob("*") if path.suffix in {".part", ".lock"}]


def files_with(folder: Path, secret: str) -> list[Path]:
    """Return the files that hold a secret."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.skipif(os.name != "posix", reason="it is killed by a signal")
def test_a_kill_at_any_call_of_config_set_leaves_no_key(cli: Cli, tmp_path: Path) -> None:
    """Wherever ``config set`` is killed, the next command leaves the key in the settings file or nowhere."""
    config = Path(cli.environ["SUNO_COVER_CONFIG"])
    left_something = False
    for n in range(1, 60):
        config.unlink(missing_ok=True)
        run = cli.run(
            *("config", "set", "api-key", "-"),
            stdin=KEY,
            module=KILLED,
            KILL_NAME=config.name,
            KILL_AT=str(n),
        )
        left_something = left_something or bool(strays(tmp_path))
        after = cli.run("history")
        assert after.code == 0, after.stderr
        assert strays(tmp_path) == [], f"call {n}"
        assert files_with(tmp_path, KEY) == ([config] if config.exists() else []), f"call {n}"
        if run.code == 0:
            break
    assert run.code == 0
    assert n > 3
    assert left_something, "no kill left anything: the test tests nothing"


@pytest.mark.skipif(os.name != "posix", reason="it is killed by a signal")
def test_a_kill_at_any_call_of_writing_metadata_leaves_nothing(cli: Cli) -> None:
    """Wherever the metadata is being written, the next command removes the half of it."""
    state = Path(cli.environ["SUNO_COVER_STATE_DIR"])
    left_something = False
    for n in range(1, 60):
        for folder in (state, cli.cwd / "covers"):
            shutil.rmtree(folder, ignore_errors=True)
        run = cli.run(
            *("generate", "--sandbox", "--write-metadata", "sandbox-instant"),
            module=KILLED,
            KILL_NAME="metadata.json",
            KILL_AT=str(n),
        )
        left_something = left_something or any(".metadata.json." in path.name for path in strays(cli.cwd))
        assert cli.run("history").code == 0
        assert strays(cli.cwd) + strays(state) == [], f"call {n}"
        for path in cli.cwd.rglob("metadata.json"):
            assert json.loads(path.read_bytes())["generator"] == "suno-cover"
        if run.code == 0:
            break
    assert run.code == 0
    assert left_something, "no kill left anything: the test tests nothing"


def test_what_a_living_run_writes_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    """A file that is being written, the lock of a run that lives, and what others named like it stay."""
    config, state = Path(cli.environ["SUNO_COVER_CONFIG"]), Path(cli.environ["SUNO_COVER_STATE_DIR"])
    cli.run("history")
    foreign = [tmp_path / ".other.txt.0123abcd.part", tmp_path / ".config.toml.part", state / "runs" / "note.lock"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("somebody else's")
    locks = RunLocks(state / "runs")
    locks.acquire()
    with PendingFile(config, mode=0o600) as pending:
        assert cli.run("history").code == 0
        assert pending.path.exists()
        assert locks.is_alive(locks.run)
        assert (state / "runs" / f"{locks.run}.lock").exists()
    locks.release()
    assert [path for path in foreign if not path.exists()] == []


@pytest.mark.skipif(os.name != "posix", reason="POSIX names its homes so")
def test_the_token_of_a_killed_agent_goes_with_the_next_command(cli: Cli) -> None:
    """Any command removes the private folder of an agent whose run is dead, not only the next tunnel."""
    home = Path(cli.environ["SUNO_COVER_STATE_DIR"]) / "agents" / "0123456789abcdef"
    home.mkdir(parents=True)
    (home / "ngrok.yml").write_text("secret")
    (home.parent / f"{home.name}.lock").touch()
    assert cli.run("config", "path").code == 0
    assert list(home.parent.iterdir()) == []


def test_a_run_that_is_swept_while_it_starts_takes_another_name(tmp_path: Path) -> None:
    """A lock that is taken for a dead run's between its making and its locking is made anew under another name."""
    starting = RunLocks(tmp_path)
    name = starting.run
    with FileLock(tmp_path / f"{name}.lock", timeout=0):
        starting.acquire()
    assert starting.run != name
    assert RunLocks(tmp_path).is_alive(starting.run)
    starting.release()
    RunLocks(tmp_path).sweep()
    assert list(tmp_path.iterdir()) == []
