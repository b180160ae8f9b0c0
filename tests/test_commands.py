"""A command is a file of ``cli/``: what it takes to add one, and what naming one loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from suno_cover_cli import cli as commands
from suno_cover_cli.completion.table import COMMANDS
from tests.cli_fixtures import Cli

ADDED = '''
from dataclasses import dataclass
from typing import Annotated

import typer

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import PortOptions


@dataclass(frozen=True, kw_only=True)
class AddedOptions(PortOptions):
    loud: Annotated[bool, typer.Option("--loud", help="Say it louder.")] = False


def say(options: AddedOptions) -> None:
    """Say which port was asked for."""
    print(f"port {options.port}{'!' if options.loud else ''}")


COMMAND = Command(say)
'''

# Runs the program with one more folder of commands; prints which commands' modules it has loaded.
WATCHED = """
import sys
import suno_cover_cli.cli
suno_cover_cli.cli.__path__.append(sys.argv[1])
sys.argv = ["suno-cover", *sys.argv[2:]]
from suno_cover_cli.cli.main import main
try:
    main()
finally:
    names = sorted(name for name in sys.modules if name.startswith("suno_cover_cli.cli."))
    sys.stderr.write("LOADED " + " ".join(names))
"""


def run(cli: Cli, *words: str) -> tuple[str, str]:
    """Run the program with a command that is added; return what it prints, and the names of loaded commands."""
    folder = cli.cwd / "added"
    folder.mkdir(exist_ok=True)
    (folder / "speak.py").write_text(ADDED)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(folder), *words],
        cwd=cli.cwd,
        env=cli.environ,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stdout, done.stderr.rpartition("LOADED ")[2].replace("suno_cover_cli.cli.", "")


def test_a_file_is_a_command(cli: Cli) -> None:
    """A file with options and a body stands in the list of commands, has a help of its own, and runs."""
    listed, loaded = run(cli, "--help")
    assert listed.index(" speak ") > listed.index(" completion ")
    assert set(COMMANDS[""].commands) < set(loaded.split())
    shown, _ = run(cli, "speak", "--help")
    assert "Say which port was asked for." in shown
    assert "Say it louder." in shown
    assert run(cli, "speak", "--port", "3000", "--loud")[0] == "port 3000!\n"


@pytest.mark.parametrize("words", [["speak"], ["config", "path"], ["verify", "--help"], ["help", "wait"]])
def test_a_command_that_is_named_loads_no_other(cli: Cli, words: list[str]) -> None:
    """The options of eighteen commands are not read to run one."""
    name = next(word for word in words if word != "help")
    assert set(run(cli, *words)[1].split()) == {"main", name}


def test_every_file_is_a_command_of_the_program() -> None:
    """Nothing but commands lies in the folder, and each of them is offered by TAB."""
    files = {path.stem for path in Path(commands.__path__[0]).glob("*.py")}
    assert files == {*COMMANDS[""].commands, "main", "__init__"}
