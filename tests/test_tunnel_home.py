"""Private folders of agents: swept when their run is dead, untouched when it is alive."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from suno_cover_cli.base.text import Secret
from suno_cover_cli.tunnels.ngrok import guard
from suno_cover_cli.tunnels.ngrok.agent import AgentHome, private_home, sweep
from suno_cover_cli.tunnels.ngrok.guard import process_stamp


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for the end of its input."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def _left_home(state_dir: Path, pid: int, stamp: str | None) -> Path:
    home = AgentHome(state_dir / "agents" / "0123456789abcdef")
    home.path.mkdir(parents=True)
    home.write_config(Secret("left-token"))
    home.pid_file.write_text(f"{pid} {stamp}\n")
    return home.path


def test_agent_of_a_dead_run_is_ended(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    """The process a dead run wrote down is killed at the next start, its folder removed."""
    left = _left_home(tmp_path, bystander.pid, process_stamp(bystander.pid))
    with private_home(tmp_path):
        assert bystander.wait(5) == -9
        assert not left.exists()
    assert list((tmp_path / "agents").iterdir()) == []


def test_another_process_of_the_same_id_is_spared(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    """A process that merely has the same id is not touched."""
    left = _left_home(tmp_path, bystander.pid, f"{process_stamp(bystander.pid)}0")
    with private_home(tmp_path):
        assert not left.exists()
    assert bystander.poll() is None


@pytest.mark.parametrize("content", ["", "junk", "-1 x", "99999999999999999999 x", "1 None\n"])
def test_strange_pid_file(tmp_path: Path, content: str) -> None:
    """A process id that cannot be read or cannot be is no reason to kill or to fail."""
    left = _left_home(tmp_path, 1, "x")
    (left / "agent.pid").write_text(content)
    sweep(tmp_path)
    assert not left.exists()


def test_home_of_a_living_run_is_spared(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    """What a run that is alive has written down stays as it is, and so does its agent."""
    with private_home(tmp_path) as mine:
        mine.pid_file.write_text(f"{bystander.pid} {process_stamp(bystander.pid)}\n")
        with private_home(tmp_path) as other:
            assert other.path != mine.path
            assert mine.path.exists()
    assert bystander.poll() is None


def test_stray_files_do_not_stop_a_start(tmp_path: Path) -> None:
    """A file where only folders are expected is passed over."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "note.txt").write_text("mine")
    with private_home(tmp_path) as home:
        assert home.path.is_dir()
    assert (tmp_path / "agents" / "note.txt").exists()


def test_left_token_of_a_snap_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in which a snap reads its configuration is swept as well, and a living run's is spared."""
    monkeypatch.setenv("HOME", str(tmp_path))
    left = tmp_path / "snap/ngrok/common/suno-cover/0123456789abcdef"
    left.mkdir(parents=True)
    AgentHome(left).write_config(Secret("left-token"))
    with private_home(tmp_path / "state", is_snap=True) as home:
        assert home.path.parent == left.parent
        assert not left.exists()
        sweep(tmp_path / "state")
        assert home.path.exists()
    assert list(left.parent.iterdir()) == []


def _guard(folder: Path, parent: int, agent: str) -> subprocess.CompletedProcess[str]:
    arguments = [str(parent), str(folder / "pid"), agent, str(folder / "ran")]
    command = [sys.executable, "-I", "-S", guard.__file__, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_guard_refuses_a_foreign_parent(tmp_path: Path) -> None:
    """An agent whose starter has died before the guard stood is not started at all."""
    assert _guard(tmp_path, 1, "/usr/bin/touch").returncode == 126
    assert not (tmp_path / "ran").exists()


def test_guard_becomes_the_agent(tmp_path: Path) -> None:
    """The guard writes down its own id and start, and the agent runs under both."""
    agent = tmp_path / "agent"
    agent.write_text('#!/bin/sh\necho $$ > "$1"\n')
    agent.chmod(0o755)
    assert _guard(tmp_path, os.getpid(), str(agent)).returncode == 0
    pid, stamp = (tmp_path / "pid").read_text().strip().split(" ", 1)
    assert (tmp_path / "ran").read_text().strip() == pid
    assert stamp != "None"


def test_guard_without_an_agent(tmp_path: Path) -> None:
    """An agent that cannot be run is told with the system's reason, as shells tell it: exit status 126."""
    done = _guard(tmp_path, os.getpid(), str(tmp_path / "no-agent"))
    assert (done.returncode, done.stdout) == (126, "")
    assert "cannot be run: No such file" in done.stderr


def test_stamp_of_nobody() -> None:
    """A process that is not there has no stamp, one that is keeps its own."""
    assert process_stamp(2**22 + 1) is None
    assert process_stamp(os.getpid()) == process_stamp(os.getpid()) is not None


def test_stamp_without_proc(tmp_path: Path) -> None:
    """Where there is no /proc the system's ps tells processes apart, if there is one."""
    mine = process_stamp(os.getpid(), proc=tmp_path)
    assert (mine is not None) is Path("/bin/ps").exists()
    assert process_stamp(2**22 + 1, proc=tmp_path) is None
