"""What is wrong with a command line, in the same style as every other error: what happened, then what to type.

The parser's own words name its classes and repeat the usage line; here each mistake people make gets the one
sentence that helps: another word for a command, an option that stands before its command or belongs to another.
"""

import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

import typer

from suno_cover_cli.base.text import clean, columns_of, fold
from suno_cover_cli.completion.table import COMMANDS

PROGRAM = "suno-cover"

ParserError: type[Exception] = typer.BadParameter.__mro__[2]
"""What the parser raises. Typer brings a parser of its own, or click; both hang their errors below this class."""

_HABITS = {
    **dict.fromkeys(("list", "ls", "jobs", "show", "log", "logs"), "history"),
    **dict.fromkeys(("preview", "view", "browse", "covers", "web", "ui"), "gallery"),
    **dict.fromkeys(("tunnel", "serve", "webhook", "webhooks", "callback", "callbacks", "receive"), "listen"),
    **dict.fromkeys(("download", "fetch", "save", "watch"), "wait"),
    **dict.fromkeys(("create", "make", "new", "cover", "submit", "run", "start", "gen"), "generate"),
    **dict.fromkeys(("continue", "retry", "recover"), "resume"),
    **dict.fromkeys(("get", "info", "poll", "record"), "status"),
    **dict.fromkeys(("balance", "credit", "quota", "account"), "credits"),
    **dict.fromkeys(("choose", "select", "vote"), "pick"),
    **dict.fromkeys(("convert", "resize", "store", "release"), "export"),
    **dict.fromkeys(("tag", "attach", "art"), "embed"),
    **dict.fromkeys(("send", "test", "sample", "emit"), "trigger"),
    **dict.fromkeys(("resend", "repeat"), "replay"),
    **dict.fromkeys(("check", "diagnose", "diagnostics", "health"), "doctor"),
    **dict.fromkeys(("mock", "simulate", "fake", "demo"), "sandbox"),
    **dict.fromkeys(("settings", "configure", "set", "init"), "config"),
    **dict.fromkeys(("login", "auth", "key", "signin"), "config set api-key -"),
    **dict.fromkeys(("completions", "complete"), "completion"),
}
"""What people type out of habit -> the command that does it."""

_HABITS_BELOW = {
    **dict.fromkeys(("get", "list", "ls", "print", "view"), "show"),
    **dict.fromkeys(("add", "put", "edit"), "set"),
    **dict.fromkeys(("remove", "delete", "rm", "reset"), "unset"),
    **dict.fromkeys(("create", "new"), "init"),
}
"""The same of the commands below ``config``."""

_REFUSED_VALUE = re.compile(r"Invalid value(?: for (?P<name>.*?))?: (?P<why>.*)", re.DOTALL)
_NO_COMMAND = re.compile(r"No such command '(?P<name>.*?)'\..*", re.DOTALL)
_MISSING = re.compile(r"Missing (?:argument|option|parameter) (?P<name>.*?)\.?", re.DOTALL)
_SPARE = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((?P<words>.*)\)", re.DOTALL)
_NUMBER = r"-?\d+(?:\.\d+)?"
_NOT_IN_RANGE = re.compile(
    rf"(?P<value>\S+) is not in the range "
    rf"(?:(?P<least>{_NUMBER})<=x<=(?P<most>{_NUMBER})|x>=(?P<only>{_NUMBER}))\.?"
)
_NOT_A_NUMBER = re.compile(r"'(?P<value>.*)' is not a valid (?:int|float)(?:eger)?(?: range)?\.?", re.DOTALL)


class UsageMistake(NamedTuple):
    """What is wrong, and what to type instead."""

    message: str
    hint: str


def explain(error: Exception, words: Sequence[str]) -> UsageMistake:
    """Say what is wrong with a command line.

    Args:
        error: A :data:`ParserError`.
        words: The command line after the program's name.
    """
    path = _path_of(error)
    said = " ".join(getattr(error, "format_message", lambda: str(error))().split())
    if (option := getattr(error, "option_name", None)) is not None and "No such option" in said:
        return _unknown_option(str(option), path, words)
    if found := _NO_COMMAND.fullmatch(said):
        return _unknown_command(found["name"], path)
    help_line = f"See: {PROGRAM} {path} --help".replace("  ", " ")
    if found := _MISSING.fullmatch(said):
        return UsageMistake(f"{_plain(found['name'])} is missing", help_line)
    if found := _SPARE.fullmatch(said):
        return UsageMistake(f'"{clean(found["words"], 100)}" is more than {PROGRAM} {path} takes', help_line)
    if found := _REFUSED_VALUE.fullmatch(said):
        # The name of an argument says less than what is wrong with it.
        name = f"{_plain(found['name'])}: " if "-" in (found["name"] or "") else ""
        return UsageMistake(clean(f"{name}{_said_of_value(found['why'])}", 500), help_line)
    return UsageMistake(clean(said, 500), help_line)


def report(mistake: UsageMistake) -> None:
    """Write a mistake to stderr."""
    write_line("error", mistake.message)
    if mistake.hint:
        write_line("hint", mistake.hint)


def write_line(label: str, text: str) -> None:
    """Write ``label: text`` to stderr; one that is gone changes nothing about the exit code."""
    try:
        columns = columns_of(sys.stderr, os.environ) if sys.stderr.isatty() else 0
        for line in fold(f"{label}: {text}", columns, " " * (len(label) + 2)):
            sys.stderr.write(f"{line}\n")
    except (OSError, ValueError):
        return


def _path_of(error: Exception) -> str:
    """Return the command that the parser had reached, with the one above it: ``config set``."""
    reached = getattr(getattr(error, "ctx", None), "command_path", "")
    path = str(reached).removeprefix(PROGRAM).strip()
    return path if path in COMMANDS else ""


def _said_of_value(why: str) -> str:
    """Say in a reader's words what is wrong with the value of an option."""
    if found := _NOT_IN_RANGE.fullmatch(why):
        least, most = found["least"] or found["only"], found["most"]
        return f"{found['value']} is not {f'from {least} to {most}' if most else f'{least} or more'}"
    if found := _NOT_A_NUMBER.fullmatch(why):
        return f'"{found["value"]}" is not a number'
    return why


def _plain(name: str) -> str:
    """Return an option as it is typed: the parser puts its spellings into quotes."""
    names = [part.strip().strip("'\"") for part in re.split(r" / ", name)]
    return " or ".join(names)


def _unknown_command(name: str, path: str) -> UsageMistake:
    known = COMMANDS[path].commands
    message = f'there is no command "{clean(f"{path} {name}".strip(), 60)}"'
    if not path and (habit := _HABITS.get(name.lower())) and habit.split(" ")[0] in known:
        return UsageMistake(message, f"Try: {PROGRAM} {habit}")
    if path and (habit := _HABITS_BELOW.get(name.lower())) in known:
        return UsageMistake(message, f"Try: {PROGRAM} {path} {habit}")
    near = get_close_matches(name.lower(), known, n=1)
    if near:
        return UsageMistake(message, f"Did you mean: {PROGRAM} {f'{path} {near[0]}'.strip()}")
    return UsageMistake(message, f"See all of them: {PROGRAM} {path} --help".replace("  ", " "))


def _unknown_option(option: str, path: str, words: Sequence[str]) -> UsageMistake:
    option = clean(option, 60)
    own = {name for known in COMMANDS[path].options for name in known.names}
    owners = [
        command
        for command, known in COMMANDS.items()
        if command and any(option in one.names for one in known.options)
    ]
    if not path and owners:
        command = next((word for word in words if word in COMMANDS), owners[0])
        return UsageMistake(
            f"{option} stands before the command", f"Write it after the command: {PROGRAM} {command} ... {option}"
        )
    message = f"{PROGRAM} {path} has no option {option}".replace("  ", " ")
    near = get_close_matches(option, own, n=1, cutoff=0.75)
    if near:
        return UsageMistake(message, f"Did you mean {near[0]}?")
    if owners:
        return UsageMistake(message, f"It belongs to: {', '.join(owners)}")
    return UsageMistake(message, f"See: {PROGRAM} {path} --help".replace("  ", " "))
