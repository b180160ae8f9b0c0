"""A file that is written is the old one or the new one, and what a dead writer left is removed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from suno_cover_cli.base.files import FileTakenError, PendingFile, replace_file, sweep_parts
from tests.image_fixtures import names_in

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files from being removed")


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """Until it is published the old content is there to read; afterwards the new one, and nothing else."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with PendingFile(path) as pending:
        pending.stream.write(b"new")
        assert path.read_bytes() == b"old"
        pending.publish()
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.txt"]


def test_what_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    """A writer that fails leaves the old file and no other."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail() -> None:
        with PendingFile(path) as pending:
            pending.stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_name_that_is_taken_at_the_last_moment_is_left_alone(tmp_path: Path) -> None:
    """Without leave to overwrite, a file that appears while ours is written stays as it is."""
    path = tmp_path / "a.txt"
    with PendingFile(path) as pending:
        pending.stream.write(b"ours")
        path.write_bytes(b"theirs")
        with pytest.raises(FileTakenError):
            pending.publish(overwrite=False)
    assert path.read_bytes() == b"theirs"
    assert names_in(tmp_path) == ["a.txt"]
    with pytest.raises(FileTakenError):
        replace_file(path, b"ours", overwrite=False)
    assert path.read_bytes() == b"theirs"


def test_names_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    """The hidden name in between is shorter than the final one where that is long."""
    path = tmp_path / ("ü" * 127)
    replace_file(path, b"x")
    assert path.read_bytes() == b"x"


@posix_only
def test_what_a_dead_writer_left_is_swept_and_a_living_ones_is_not(tmp_path: Path) -> None:
    """Only parts whose writer is gone are removed; other hidden files stay."""
    script = (
        "import sys, pathlib; from suno_cover_cli.base.files import PendingFile\n"
        "with PendingFile(pathlib.Path(sys.argv[1]) / 'dead.jpg') as pending:\n"
        "    print('ready', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    (tmp_path / ".kept.part").write_bytes(b"")
    assert len(names_in(tmp_path)) == 2
    with PendingFile(tmp_path / "living.jpg") as pending:
        sweep_parts(tmp_path)
        assert names_in(tmp_path) == sorted([pending.path.name, ".kept.part"])
        pending.publish()
    assert names_in(tmp_path) == [".kept.part", "living.jpg"]
