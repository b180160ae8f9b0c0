"""What is written is on the disk in the right order: a file before its name, then its folder, and all above it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli_fixtures import Cli

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("strace") is None, reason="the order is seen with strace"
)

_SYNCS = ("fsync", "fdatasync")
_NAMINGS = ("rename", "renameat", "renameat2", "link", "linkat")
_CALLS = (*_SYNCS, *_NAMINGS, "mkdir", "mkdirat", "openat")
_LINE = re.compile(r"(\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<call>\w+)\()(?P<rest>.*)")
_QUOTED = re.compile(r'"([^"]*)"')
_OPEN_FILE = re.compile(r"\d+<([^>]*)>")


class Step(NamedTuple):
    """A call that succeeded: when it began and ended, as numbers of lines, and the paths it was about."""

    call: str
    begun: int
    ended: int
    paths: tuple[str, ...]


def steps_of(cli: Cli, trace: Path, *words: str) -> list[Step]:
    """Run the program under strace, and return the calls by which something comes to be on the disk."""
    command = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", f"trace={','.join(_CALLS)}", "-o", str(trace)]
    run = subprocess.run(
        [*command, *cli.command(*words)], cwd=cli.cwd, env=cli.environ, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    steps, begun = list[Step](), dict[str, tuple[int, str, str]]()
    for number, line in enumerate(trace.read_text("utf-8", "replace").splitlines()):
        if (found := _LINE.match(line)) is None:
            continue
        pid, rest = found[1], found["rest"]
        at, call, words_before = (number, found["call"], "") if found["call"] else begun.pop(pid)
        if "<unfinished" in rest:
            begun[pid] = (at, call, rest)
        elif re.search(r"= \d+", rest):
            shown = words_before + rest
            names = _OPEN_FILE.findall(shown)[:1] if call in _SYNCS else _QUOTED.findall(shown)
            if call != "openat" or ("O_CREAT" in shown and "O_TMPFILE" not in shown):
                paths = tuple(str((cli.cwd / name).absolute()) for name in names)
                steps.append(Step(call, at, number, paths))
    return steps


def check_published(steps: list[Step], path: Path) -> None:
    """Hold a file that was written aside against the order: synced, named, its folder synced."""
    (naming,) = [one for one in steps if one.call in _NAMINGS and one.paths[-1] == str(path)]
    part = naming.paths[0]
    assert [one for one in steps if one.call in _SYNCS and one.paths == (part,) and one.ended < naming.begun], (
        f"{path} has its name before its bytes are on the disk"
    )
    check_synced_after(steps, path.parent, naming.ended)


def check_synced_after(steps: list[Step], folder: Path, moment: int) -> None:
    """Hold a folder against the order: what got a name in it at a moment is on the disk later."""
    after = [one for one in steps if one.call in _SYNCS and one.paths == (str(folder),) and one.begun > moment]
    assert after, f"the names in {folder} are never on the disk"


def check_folders(steps: list[Step], lowest: Path, highest: Path) -> None:
    """Hold each folder that was made against the order: the folder above it is synced later."""
    made = {one.paths[-1]: one.ended for one in steps if one.call in {"mkdir", "mkdirat"}}
    while lowest != highest:
        check_synced_after(steps, lowest.parent, made[str(lowest)])
        lowest = lowest.parent


def test_a_cover_and_its_facts_are_on_the_disk_in_order(cli: Cli, tmp_path: Path) -> None:
    """Pictures, ``metadata.json`` and every folder above them that was made."""
    words = ("generate", "--sandbox", "sandbox-instant", "--write-metadata", "--output", "new/covers")
    steps = steps_of(cli, tmp_path / "trace", *words)
    (folder,) = (cli.cwd / "new" / "covers").iterdir()
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["cover_1.png", "cover_2.png", "metadata.json"]
    for name in names:
        check_published(steps, folder / name)
    check_folders(steps, folder, cli.cwd)


def test_the_settings_file_is_on_the_disk_in_order(cli: Cli, tmp_path: Path) -> None:
    """``config set`` with folders that are not there yet."""
    path = tmp_path / "not" / "there" / "config.toml"
    cli.environ["SUNO_COVER_CONFIG"] = str(path)
    steps = steps_of(cli, tmp_path / "trace", "config", "set", "preview", "off")
    check_published(steps, path)
    check_folders(steps, path.parent, tmp_path)


def test_the_journal_is_on_the_disk_in_order(cli: Cli, tmp_path: Path) -> None:
    """A new journal: its name, its folder's, its log before a step counts as done."""
    state = tmp_path / "not" / "there"
    cli.environ["SUNO_COVER_STATE_DIR"] = str(state)
    steps = steps_of(cli, tmp_path / "trace", "generate", "--sandbox", "--no-wait", "my-song")
    journal = state / "journal.sqlite3"
    made = {one.paths[-1]: one.ended for one in steps if one.call == "openat"}
    check_synced_after(steps, state, made[str(journal)])
    check_synced_after(steps, state, made[f"{journal}-wal"])
    check_folders(steps, state, tmp_path)
    logged = [one for one in steps if one.call in _SYNCS and one.paths == (f"{journal}-wal",)]
    # The shape, the claim, the cover task id, the end.
    assert len(logged) >= 4


def test_an_export_is_on_the_disk_in_order(cli: Cli, tmp_path: Path) -> None:
    """What goes to a store is as durable as what came from the service."""
    assert cli.run("generate", "--sandbox", "sandbox-instant").code == 0
    assert cli.run("pick", "sandbox-instant", "1").code == 0
    steps = steps_of(cli, tmp_path / "trace", "export", "sandbox-instant", "--upscale", "lanczos")
    (path,) = (cli.cwd / "exports").rglob("*.jpg")
    check_published(steps, path)
    check_folders(steps, path.parent, cli.cwd)
