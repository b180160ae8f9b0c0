"""The command line read once more, by the table of completions.

Old names of options become the new ones, and commands that a hint names are completed by the options you gave:
what is printed works as it is typed.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from suno_cover_cli.completion.shapes import Command, Option
from suno_cover_cli.completion.table import COMMANDS

RENAMED = {
    ("history", "--events"): "--callbacks",
    ("sandbox", "--limit"): "--throttle",
    ("trigger", "--count"): "--times",
    ("trigger", "--rate"): "--pace",
}
"""Command and the old name of an option -> the new one; each old name meant something else to another command."""

_REPLACED = dict.fromkeys(
    (("generate", "--callback"), ("doctor", "--callback")),
    "Write --tunnel for --callback required, --no-tunnel for --callback off",
)
"""Command and an option that several take the place of -> what to write."""

_FOLDERS = ("--output", "--out")
"""Both name the folder for the files; a command has one of them, and takes the other for it."""

_UNKNOWN = Command(())
_LAST = "the old name goes with the next version"
_QUIET = {"--quiet", "-q"}
_CARRIED = {
    "--profile",
    "--provider",
    "--base-url",
    "--api-key-file",
    "--webhook-key-file",
    "--sandbox",
    "--output",
}
_SETTINGS_PROFILES = "profiles"
_STDIN = "-"
_NAMED = re.compile(r"\bsuno-cover ([a-z]+)\b((?: --[a-z-]+)*)")


class TypedOption(NamedTuple):
    """One option of a command line.

    Attributes:
        place: Its place among the words.
        name: As it was typed, without a value.
        value: Empty for an option without one.
        option: What the table knows of it, ``None`` for one that it does not know.
    """

    place: int
    name: str
    value: str
    option: Option | None


def typed_options(words: Sequence[str]) -> Iterator[TypedOption]:
    """Find the options of a command line.

    Args:
        words: What follows the program's name; the first one names the command.
    """
    command = words[0] if words else ""
    known = COMMANDS.get(command, _UNKNOWN)
    own = {name: option for option in known.options for name in option.names}
    place = 1
    while place < len(words):
        word = words[place]
        if word == "--" or (known.runs_program and not word.startswith("-")):
            return  # the rest is the command line of another program
        at = place
        place += 1
        if not word.startswith("-"):
            continue
        name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        option = own.get(_new_name(command, name) or name)
        if option is not None and option.kind is not None and not equals and place < len(words):
            value = words[place]
            place += 1
        yield TypedOption(at, name, value, option)


def renew_names(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Put the new names of options in the place of old ones.

    Returns:
        The words, and for each old name what is to be said of it.
    """
    renewed, said = list(words), []
    for one in typed_options(words):
        new = _new_name(words[0], one.name)
        if new is not None:
            renewed[one.place] = new + words[one.place].removeprefix(one.name)
            is_old = (words[0], one.name) in RENAMED
            said.append(f"{one.name} is called {new} {f'now; {_LAST}' if is_old else f'by {words[0]}'}.")
        elif (words[0], one.name) in _REPLACED:
            said.append(f"{_REPLACED[words[0], one.name]}; {_LAST}.")
    return renewed, said if not _QUIET & set(words) else []


def _new_name(command: str, name: str) -> str | None:
    """Return what a command calls an option that was typed by another name, or ``None``."""
    if (command, name) in RENAMED:
        return RENAMED[command, name]
    own = {known for option in COMMANDS.get(command, _UNKNOWN).options for known in option.names}
    if name not in _FOLDERS or name in own:
        return None
    return next((other for other in _FOLDERS if other in own), None)


def hint_completer(words: Sequence[str]) -> Callable[[str], str]:
    """Return what completes the commands in a text for people.

    Args:
        words: The command line after the program's name. Of its options those count that say which account,
            service and folder are meant; of these each command gets the ones that mean the same to it.
    """
    given = dict(_given(words))
    if not given:
        return lambda text: text

    def complete(found: re.Match[str]) -> str:
        known = COMMANDS.get(found[1])
        if known is None:
            return found[0]
        there = set(found[2].split())
        wanted = [given[one] for option in known.options if (one := _meant(option)) in given]
        return " ".join([found[0], *(text for text in wanted if text.split()[0] not in there)])

    return lambda text: _NAMED.sub(complete, text)


def _given(words: Sequence[str]) -> Iterator[tuple[tuple[object, ...], str]]:
    """Yield options that go on with the next command, each as it is typed."""
    for one in typed_options(words):
        option = one.option
        if option is None or (option.kind != _SETTINGS_PROFILES and "--profile" in option.names):
            continue  # ``export --profile`` names a store, which belongs to that one command
        if _CARRIED & set(option.names) and one.value != _STDIN:
            typed = option.names[0] if option.kind is None else f"{option.names[0]} {shlex.quote(one.value)}"
            yield _meant(option), typed


def _meant(option: Option) -> tuple[object, ...]:
    """Return what tells options of one meaning from others of the same name."""
    return option.names[0], option.kind
