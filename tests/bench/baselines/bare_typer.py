"""A Typer application with our commands and options and nothing behind them, written anew from the real one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from suno_cover_cli.cli.main import build_app

_TYPES = {"BoolParamType": "bool", "IntRange": "int", "FloatRange": "float", "TyperPath": "Path"}


def write_bare_app(path: Path) -> None:
    """Write a module whose ``app`` has the same commands, arguments, options and help texts.

    Args:
        path: Of the file.
    """
    root: Any = typer.main.get_command(build_app())
    lines = ["from pathlib import Path", "", "import typer", "", f"app = typer.Typer(help={root.help!r})"]
    lines += _group_lines("app", root.commands)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _group_lines(group: str, commands: Mapping[str, Any]) -> Iterator[str]:
    for name, command in commands.items():
        if hasattr(command, "commands"):
            yield f"\n{name} = typer.Typer(help={command.help!r})\napp.add_typer({name}, name={name!r})\n"
            yield from _group_lines(name, command.commands)
            continue
        yield f"\n\n@{group}.command({name!r}, help={command.help!r})\ndef {group}_{name}("
        yield from (f"    {_parameter(parameter)}," for parameter in command.params if parameter.name != "help")
        yield "):\n    pass"


def _parameter(parameter: Any) -> str:
    """Return one parameter of a command function, spelt as in Typer's tutorial."""
    plain = _TYPES.get(type(parameter.type).__name__, "str")
    is_many = parameter.nargs == -1 or parameter.multiple
    default = parameter.default if isinstance(parameter.default, str | int | float | bool) else None
    more = {"help": parameter.help, "metavar": None if plain == "bool" else parameter.metavar}
    more["rich_help_panel"] = getattr(parameter, "rich_help_panel", None)
    shown = "".join(f", {word}={value!r}" for word, value in more.items() if value is not None)
    if parameter.param_type_name == "argument":
        kind = f"typer.Argument({default!r}{shown})"
    else:
        names = "".join(f", {name!r}" for name in parameter.opts)
        kind = f"typer.Option({bool(default) if plain == 'bool' else default!r}{names}{shown})"
    return f"{parameter.name}: {f'list[{plain}]' if is_many else plain} = {kind}"
