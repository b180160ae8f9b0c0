"""The generated parts of TAB completion: the table in the package, and the scripts in ``completions/``.

``python -m tests.completions --write`` makes them anew after a command or an option has changed;
``tests/test_completions.py`` fails while they are stale.
"""

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import typer

from suno_cover_cli.base.settings_table import FILE_KEYS, KNOWN_KEYS, NUMBER, SETTINGS
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.cli.main import build_app
from suno_cover_cli.completion.scripts import script_of
from suno_cover_cli.completion.shapes import Command, Option
from suno_cover_cli.release.profiles import load_profiles
from suno_cover_cli.sandbox.scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent
TABLE_FILE = ROOT / "suno_cover_cli" / "completion" / "table.py"
SCRIPTS_FOLDER = ROOT / "completions"
FILE_NAMES = {
    "bash": "suno-cover.bash",
    "zsh": "_suno-cover",
    "fish": "suno-cover.fish",
    "powershell": "suno-cover.ps1",
}
"""Shell -> name in ``completions/``; bash and zsh find them by these names."""

_STATES = "unfinished|pending|partial|succeeded|failed|rejected|queued|submitting|submitted"
# What a placeholder in --help says of the value. A new one fails here until somebody has decided.
_KINDS = {
    "FILE": "files",
    "FILE|-": "files",
    NUMBER: "",
    "DIR": "dirs",
    "COMMAND...": "files",
    "MUSIC_TASK_ID": "music",
    "COVER_TASK_ID": "covers",
    "TASK_ID": "covers",
    "ID": "covers",
    "EVENT": "events",
    "SCENARIO": "samples",
    "KEY": "|".join(KNOWN_KEYS),
    "ID|FILE": "covers",
    "AUDIO": "files",
    "STORE": "|".join(load_profiles()),
    "VALUE|-": "setting",
    "STATE": _STATES,
    **dict.fromkeys(
        (
            "URL",
            "URL|PORT",
            "HOST",
            "PORT",
            "NAME",
            "N",
            "N/TIME",
            "N/TIME|off",
            "TEXT",
            "TIME",
            "DAYS",
            "TEMPLATE",
            "/PATH",
            "STATUS",
            "PIXELS",
            "N|none",
        ),
        "",
    ),
}
_WORDS = re.compile(r"[a-z0-9]+(\|[a-z0-9]+)+")
_HEADER = '''"""What TAB knows of the command line. Generated: ``python -m tests.completions --write``."""

from suno_cover_cli.completion.shapes import Command, Option

'''


def make_table() -> dict[str, Any]:
    """Read the application and return the names of the generated module."""
    commands: dict[str, Command] = {}
    _add_command(commands, "", typer.main.get_command(build_app()))
    values = {key: _kind(SETTINGS[setting].values) for key, setting in FILE_KEYS.items()}
    return {
        "COMMANDS": commands,
        "VALUES": values,
        "SCENARIOS": {name: scenario.summary for name, scenario in SCENARIOS.items()},
        "SAMPLES": {sample.value: sample.description for sample in SampleName},
    }


def _add_command(commands: dict[str, Command], path: str, found: Any) -> None:
    options, arguments, repeats = [], [], False
    for parameter in found.params:
        if parameter.param_type_name == "argument":
            arguments.append(_kind(parameter.metavar or ""))
            repeats = parameter.nargs == -1
        elif not parameter.hidden:
            has_value = not (parameter.is_flag or parameter.count)
            names = (*parameter.opts, *parameter.secondary_opts)
            kind = _kind(parameter.metavar or "") if has_value else None
            # Two kinds of profiles: those of the settings file, and the stores of export.
            kind = "profiles" if "--profile" in names and not kind else kind
            options.append(Option(names, kind, _meaning(parameter.help or "")))
    options.append(Option(("--help", "-h"), None, "Show this message and exit"))
    below = getattr(found, "commands", {})
    commands[path] = Command(
        tuple(options),
        tuple(arguments),
        repeats,
        {name: _meaning(child.help or "") for name, child in below.items()},
        runs_program=not found.context_settings.get("allow_interspersed_args", True),
    )
    for name, child in below.items():
        _add_command(commands, f"{path} {name}".strip(), child)


def _kind(metavar: str) -> str:
    plain = metavar.strip("[]").removeprefix("-- ")
    plain = plain if plain in _KINDS else plain.removesuffix("...")
    return plain if _WORDS.fullmatch(plain) else _KINDS[plain]


def _meaning(help_text: str) -> str:
    """Return the first sentence of a help text, without its notes in parentheses."""
    first = re.sub(r"\s*\([^)]*\)", "", " ".join(help_text.partition("\n\n")[0].split()))
    return textwrap.shorten(re.split(r"[.:;] |\.$", first)[0], 60, placeholder=" ...")


def render_table() -> str:
    """Return the generated module's text, as the formatter would leave it."""
    body = "".join(f"{name}: {_type_of(value)} = {value!r}\n" for name, value in make_table().items())
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TABLE_FILE), "-"],
        input=_HEADER + body,
        capture_output=True,
        text=True,
        check=True,
    )
    return formatted.stdout


def _type_of(value: dict[str, Any]) -> str:
    return "dict[str, Command]" if any(isinstance(one, Command) for one in value.values()) else "dict[str, str]"


def main(arguments: list[str]) -> None:
    """Write what is generated, or say that it is stale."""
    if arguments != ["--write"]:
        sys.exit("usage: python -m tests.completions --write")
    TABLE_FILE.write_text(render_table(), "utf-8")
    SCRIPTS_FOLDER.mkdir(exist_ok=True)
    for shell, name in FILE_NAMES.items():
        (SCRIPTS_FOLDER / name).write_text(script_of(shell), "utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
