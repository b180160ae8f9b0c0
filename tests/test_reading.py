"""Files that users name or keep: read up to a cap, and what is no file is not waited for."""

import io
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.files import read_capped, read_given
from suno_cover_cli.base.keys import read_secret_file
from suno_cover_cli.base.settings_file import load_config_file
from suno_cover_cli.jobs.metadata import METADATA_NAME, write_metadata
from tests.cli_fixtures import Cli

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")


def test_one_byte_more_than_the_cap_tells_that_a_file_is_too_long(tmp_path: Path) -> None:
    """A file is read whole up to the cap; of a longer one, or an endless device, one byte more."""
    path = tmp_path / "file"
    for size, expected in ((0, 0), (9, 9), (10, 10), (11, 11), (5000, 11)):
        path.write_bytes(b"x" * size)
        assert len(read_capped(path, 10)) == expected
    if Path("/dev/zero").exists():
        assert len(read_given("/dev/zero", io.BytesIO(), 10)) == 11
    assert len(read_given("-", io.BytesIO(b"x" * 99), 10)) == 11


READERS: dict[str, Callable[[Path], object]] = {
    "plain": lambda path: read_capped(path, 10),
    "settings": load_config_file,
    "metadata": lambda path: write_metadata(path.parent, {}),
}


@pipes
@pytest.mark.timeout(20)
@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_where_a_file_is_expected_is_refused_at_once(tmp_path: Path, reader: str) -> None:
    """Settings and metadata are files: a pipe in their place is named, not waited for."""
    path = tmp_path / METADATA_NAME
    os.mkfifo(path)
    with pytest.raises((OSError, UsageError)) as caught:
        READERS[reader](path)
    assert "not a file" in str(caught.value)


@pipes
def test_a_pipe_that_a_user_names_is_read_to_its_end(tmp_path: Path) -> None:
    """A key may come by a pipe whose writer takes its time, in pieces."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            for piece in (b"key-", b"0123", b"456789\n"):
                pipe.write(piece)

    writer = threading.Thread(target=write)
    writer.start()
    secret = read_secret_file(str(path), stdin=io.BytesIO(), what="API key")
    writer.join()
    assert secret.reveal() == "key-0123456789"


@pipes
@pytest.mark.timeout(40)
def test_a_pipe_that_nobody_writes_to_is_given_up(cli: Cli) -> None:
    """A list in a pipe without a writer ends with exit 2 after ten seconds, and says why."""
    os.mkfifo(cli.cwd / "pipe")
    run = cli.run("generate", "--sandbox", "--input", "pipe")
    assert run.code == 2
    assert "nothing was written to it" in run.stderr


def test_a_shells_substitution_is_a_file_to_us(cli: Cli) -> None:
    """Ids by ``<(command)`` work, however slowly the command writes."""
    run = cli.shell("suno-cover generate --sandbox --no-wait --input <(echo one; sleep 0.3; echo two)")
    assert (run.code, len(run.lines)) == (0, 2), run.stderr


def test_a_home_that_does_not_exist_is_said(cli: Cli) -> None:
    """A path below the home of nobody is exit 2 with the reason."""
    run = cli.run("generate", "--sandbox", "--input", "~nobody-of-this-name/ids")
    assert run.code == 2
    assert "no such home folder" in run.stderr


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder that is named as a key file is refused with the system's words."""
    with pytest.raises(UsageError) as caught:
        read_secret_file(str(tmp_path), stdin=io.BytesIO(), what="API key")
    assert "cannot read" in caught.value.message
    assert subprocess.list2cmdline([str(tmp_path)]) in caught.value.message
