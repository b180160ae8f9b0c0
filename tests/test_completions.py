"""TAB in real shells, the table behind it, and the files that are generated for it."""

import importlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from suno_cover_cli.completion import table
from suno_cover_cli.completion.engine import complete
from suno_cover_cli.completion.scripts import SCRIPTS, script_of
from tests import completions
from tests.cli_fixtures import Cli
from tests.terminal_fixtures import PLAIN, Terminal

COVERS = [f"{n:032x}" for n in (0xAA01, 0xBB02, 0xCC03)]


@pytest.fixture
def history(cli: Cli) -> dict[str, str]:
    """A journal with three jobs and two events, a settings file with two profiles; return the environment."""
    state = Path(cli.environ["SUNO_COVER_STATE_DIR"])
    state.mkdir()
    assert cli.run("history").code == 0
    with closing(sqlite3.connect(state / "journal.sqlite3")) as journal, journal:
        for n, task_id in enumerate(COVERS):
            journal.execute(
                "INSERT INTO jobs (service, provider, music_task_id, task_id, state, output, options, created_at,"
                " updated_at) VALUES ('sandbox', 'sandbox', ?, ?, 'submitted', '', '{}', 0, 0)",
                (f"music-{n}", task_id),
            )
        for n in (7, 12):
            journal.execute(
                "INSERT INTO recordings (n, id, ts, task_id, code, path, signature, headers, body)"
                " VALUES (?, ?, 0, ?, 200, '/', 'unchecked', '[]', '')",
                (n, f"e{n}", COVERS[0]),
            )
    journal.close()
    Path(cli.environ["SUNO_COVER_CONFIG"]).write_text('[profiles.work]\nprovider = "kie"\n[profiles.home]\n')
    return cli.environ


def offered(line: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return the candidates at the end of a command line, the program's name left out."""
    return [candidate.value for candidate in complete(line.split(" "), environ or {}).candidates]


# --- the table ------------------------------------------------------------------------------------------------


def test_the_table_is_what_the_application_says() -> None:
    """Every command, option, scenario and sample is known to TAB; a change is made known by the generator."""
    for name, value in completions.make_table().items():
        assert getattr(importlib.reload(table), name) == value, "python -m tests.completions --write"


def test_the_files_to_copy_are_what_the_program_prints(cli: Cli) -> None:
    """completions/ holds one file a shell, the same that the completion command prints."""
    assert {path.name for path in completions.SCRIPTS_FOLDER.iterdir()} == set(completions.FILE_NAMES.values())
    for shell in SCRIPTS:
        kept = (completions.SCRIPTS_FOLDER / completions.FILE_NAMES[shell]).read_text("utf-8")
        assert kept == script_of(shell), "python -m tests.completions --write"
    assert cli.run("completion", "zsh").stdout == script_of("zsh")
    assert cli.run("completion", "tcsh").code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_install_makes_tab_work_in_a_new_shell(cli: Cli, shell: str) -> None:
    """After ``completion install`` a new shell completes; running it a second time changes nothing."""
    if shutil.which(shell) is None:
        pytest.fail(f"{shell} is not installed; .ci/run installs it")
    home = cli.cwd / "home"
    home.mkdir()
    (home / f".{shell}rc").write_text("# mine")
    places = {"HOME": str(home), "ZDOTDIR": "", "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    first = cli.run("completion", "install", **places, SHELL=f"/bin/{shell}")
    assert first.code == 0, first.stderr
    assert first.stdout == ""
    files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert cli.run("completion", "install", "--shell", shell, **places).code == 0
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == files
    if shell != "fish":
        assert files[home / f".{shell}rc"].startswith(b"# mine\n")
    probe = {
        "bash": "complete -p suno-cover",
        "zsh": "whence -w _suno_cover _suno-cover; echo ${_comps[suno-cover]}",
        "fish": "complete -C 'suno-cover gener'",
    }[shell]
    done = subprocess.run(
        [shell, "-i", "-c", probe],
        env={
            **cli.environ,
            **places,
            "TERM": "dumb",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert {"bash": "_suno_cover", "zsh": "_suno-cover", "fish": "generate"}[shell] in done.stdout, done.stderr


def test_install_says_what_it_cannot_do(cli: Cli) -> None:
    """An unknown shell and a place that cannot be written are told, with a way out, and nothing is written."""
    unknown = cli.run("completion", "install", SHELL="/bin/tcsh")
    assert unknown.code == 2
    assert "--shell" in unknown.stderr
    (cli.cwd / "file").write_text("")
    unwritable = cli.run("completion", "install", "--shell", "fish", XDG_CONFIG_HOME=str(cli.cwd / "file"))
    assert unwritable.code == 2
    assert "cannot write" in unwritable.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gener", ["generate"]),
        ("config s", ["show", "set"]),
        ("--ver", ["--version"]),
        ("generate --tun", ["--tunnel"]),
        ("generate --label ", ["keep", "add"]),
        ("generate --label=k", ["--label=keep"]),
        ("generate --label keep --labe", []),
        ("generate --provider k", ["kie"]),
        ("generate --sandbox sandbox-three", ["sandbox-three-images"]),
        ("generate --timeout ", []),
        ("generate -- --call", []),
        ("trigger refunded", ["refunded-531"]),
        ("config set call", ["callback"]),
        ("config set callback re", ["required"]),
        ("config set name ", []),
        ("completion f", ["fish"]),
        ("completion i", ["install"]),
        ("nonsense ", []),
        ("generate --nonsense=", []),
    ],
)
def test_each_place_offers_what_may_stand_there(line: str, expected: list[str]) -> None:
    """Commands, options not used yet, choices, scenarios and samples are offered where they belong only."""
    if line == "nonsense ":
        assert "generate" in offered(line)
    else:
        assert offered(line) == expected


@pytest.mark.parametrize(
    ("line", "also"),
    [("generate --output ", "dirs"), ("generate -o", "none"), ("generate -o co", "dirs"), ("verify ", "files")],
)
def test_files_and_folders_are_left_to_the_shell(line: str, also: str) -> None:
    """Where a path is wanted the shell's own completion takes over."""
    assert complete(line.split(" "), {}).also == also


def test_ids_come_from_the_journal_and_profiles_from_the_settings(history: dict[str, str]) -> None:
    """Cover and music task ids, events and profiles are offered, the latest first, none twice on a line."""
    assert offered("wait ", history) == COVERS[::-1]
    assert offered(f"wait {COVERS[2]} ", history) == COVERS[1::-1]
    assert offered("status 0000", history) == COVERS[::-1]
    assert offered("generate mus", history) == ["music-2", "music-1", "music-0"]
    assert offered("replay ", history) == ["last", "12", "7"]
    assert offered("config show --profile ", history) == ["work", "home"]
    meanings = {candidate.value: candidate.meaning for candidate in complete(["wait", ""], history).candidates}
    assert meanings[COVERS[1]] == "music-1, submitted"


@pytest.mark.parametrize("content", [None, b"", b"no database", b"[profiles", b"profiles = 3", b"\xff\xfe"])
def test_broken_or_missing_files_offer_nothing(tmp_path: Path, content: bytes | None) -> None:
    """Without usable files a TAB is silent, makes no file, and fails for nobody."""
    state = tmp_path / "state"
    environ = {"SUNO_COVER_STATE_DIR": str(state), "SUNO_COVER_CONFIG": str(tmp_path / "config.toml")}
    if content is not None:
        state.mkdir()
        (state / "journal.sqlite3").write_bytes(content)
        (tmp_path / "config.toml").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    assert offered("wait ", environ) == []
    assert offered("generate --profile ", environ) == []
    assert sorted(tmp_path.rglob("*")) == before
    assert offered("wait ", {"SUNO_COVER_STATE_DIR": "~nobody-of-this-name/x"}) == []


def test_foreign_text_cannot_draw_on_the_terminal(cli: Cli, history: dict[str, str]) -> None:
    """What a service put into an id reaches the shell without control characters."""
    with sqlite3.connect(Path(history["SUNO_COVER_STATE_DIR"]) / "journal.sqlite3") as journal:
        journal.execute("UPDATE jobs SET music_task_id = ?", ("\x1b[31mred\nline",))
    journal.close()
    answer = cli.run("wait", "", _SUNO_COVER_COMPLETE="zsh").stdout
    assert "\x1b" not in answer
    assert len(answer.splitlines()) == 1 + len(COVERS)


# --- real shells ----------------------------------------------------------------------------------------------


class Shell:
    """An interactive shell on a terminal, with our script loaded and the program on its PATH."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._count = 0

    def complete(self, line: str) -> str:
        """Type a line, press TAB, and return what the shell made of it."""
        self._count += 1
        mark = f"mark{self._count}"
        self._terminal.type(line.encode() + b"\t")
        # TAB is worked on before the next keys are read; then the line is printed instead of run.
        self._terminal.type(
            b"\x01printf '%s|' " + mark.encode() + b" \x05; echo; echo end''of" + mark.encode() + b"\r"
        )
        self._terminal.wait_for(b"endof" + mark.encode())
        return self._terminal.text.rpartition(f"{mark}|")[2].partition("\n")[0]


SETUPS = {
    "bash": (["--norc", "--noprofile", "-i"], "source {file}; bind 'set bell-style none'; PS1='{ready}'"),
    "zsh": (
        ["-f", "-i"],
        "unsetopt prompt_sp; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; PS1='{ready}'",
    ),
    "fish": (
        ["--no-config", "-i"],
        "source {file}; set -g fish_autosuggestion_enabled 0; function fish_prompt; echo -n '{ready}'; end",
    ),
}


@pytest.fixture(params=sorted(SETUPS))
def shell(request: pytest.FixtureRequest, cli: Cli, history: dict[str, str]) -> Iterator[Shell]:
    """Each shell in turn, ready to be typed into."""
    name = str(request.param)
    program = shutil.which(name)
    if program is None and "CI" not in os.environ:
        pytest.skip(f"{name} is not installed; .ci/run installs it")
    assert program is not None
    folder = cli.home / "bin"
    folder.mkdir()
    (folder / "suno-cover").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m suno_cover_cli "$@"\n')
    (folder / "suno-cover").chmod(0o755)
    (cli.cwd / "my covers").mkdir()
    (cli.cwd / "ids.txt").touch()
    arguments, setup = SETUPS[name]
    with Terminal(120, 40, answer=PLAIN) as terminal:
        path = f"{folder}{os.pathsep}{history['PATH']}"
        environ = {**history, "PATH": path, "TERM": "xterm", "LANG": "C.UTF-8"}
        cli.start_on(terminal, program, *arguments, streams="012", module="tests.standins.become", **environ)
        file = completions.SCRIPTS_FOLDER / completions.FILE_NAMES[name]
        # The mark is put together by the shell, so that the echo of the setup is not taken for the prompt.
        typed = setup.format(file=file, folder=completions.SCRIPTS_FOLDER, ready="rea''dy>")
        terminal.type(typed.encode() + b"\r")
        terminal.wait_for(b"ready>", timeout_s=20)
        yield Shell(terminal)


def test_tab_completes_in_a_real_shell(shell: Shell) -> None:
    """Commands, options, choices, ids, profiles, scenarios and paths complete in bash, zsh and fish alike."""
    made: Callable[[str], str] = shell.complete
    assert made("suno-cover gener") == "suno-cover|generate|"
    assert made("suno-cover generate --lab") == "suno-cover|generate|--label|"
    assert made("suno-cover generate --label ke") == "suno-cover|generate|--label|keep|"
    assert made("suno-cover generate --label=ke") == "suno-cover|generate|--label=keep|"
    assert made("suno-cover generate --sandbox sandbox-three") == (
        "suno-cover|generate|--sandbox|sandbox-three-images|"
    )
    assert made(f"suno-cover wait {COVERS[1][:30]}") == f"suno-cover|wait|{COVERS[1]}|"
    assert made("suno-cover config show --profile w") == "suno-cover|config|show|--profile|work|"
    assert made("suno-cover generate -o my") in {
        "suno-cover|generate|-o|my covers/|",
        "suno-cover|generate|-o|my covers|",
    }
    assert made("suno-cover generate -i id") == "suno-cover|generate|-i|ids.txt|"
