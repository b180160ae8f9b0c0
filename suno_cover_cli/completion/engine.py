"""What TAB offers: commands and options from a table, ids and profiles from the user's files.

A shell's script (:mod:`completion.scripts`) starts the program with ``_SUNO_COVER_COMPLETE`` set to its name and
the words up to the cursor. The answer's first line says what else the shell is to offer (``:none``, ``:files`` or
``:dirs``), the others are one candidate each with a tab and a few words. The command line's own parser is not
loaded for this: it would take three times as long as all the rest.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from suno_cover_cli.completion.shapes import Command, Option
from suno_cover_cli.completion.table import COMMANDS, SAMPLES, SCENARIOS, VALUES

_MAX_IDS = 50
_BUSY_S = 0.1


class Candidate(NamedTuple):
    """One thing that may stand at the cursor, and what it means."""

    value: str
    meaning: str = ""


class Offer(NamedTuple):
    """Candidates, and whether the shell's own ``files`` or ``dirs`` are wanted instead of ``none``."""

    candidates: list[Candidate]
    also: str = "none"


class _Line(NamedTuple):
    """The command line as far as it is understood."""

    command: Command
    options: frozenset[str]
    positionals: tuple[str, ...]
    pending: Option | None
    is_options_over: bool


def main(shell: str, words: Sequence[str]) -> None:
    """Answer a shell: print what may stand at the cursor, the last of ``words``."""
    if shell == "bash":
        words = _joined(words)
    elif shell == "powershell":
        # It loses an empty word on the way, so the last one comes with a dot before it.
        words = [*words[:-1], words[-1].removeprefix(".")] if words else [""]
    offer = complete(words, os.environ)
    lines = [f":{offer.also}"]
    for candidate in offer.candidates:
        value = _bare(candidate.value) if shell == "bash" else candidate.value
        lines.append(f"{value}\t{_one_line(candidate.meaning)}" if candidate.meaning else value)
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))


def _joined(words: Sequence[str]) -> list[str]:
    """Put ``--option = value`` together again, which bash takes apart."""
    joined: list[str] = []
    for word in words:
        if joined and word == "=" and joined[-1].startswith("--"):
            joined[-1] += "="
        elif joined and joined[-1].startswith("--") and joined[-1].endswith("="):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _bare(value: str) -> str:
    """Return what bash wants to hear: behind an equals sign only the value."""
    return value.partition("=")[2] if value.startswith("--") and "=" in value else value


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def complete(words: Sequence[str], environ: Mapping[str, str]) -> Offer:
    """Say what may stand at the cursor.

    Args:
        words: After the program's name; the last one is being typed and may be empty.
        environ: Says where journal and settings are.
    """
    *before, current = words or [""]
    line = _read(before)
    if line.pending is not None:
        return _offer_values(line.pending.kind, current, line, environ)
    name, has_value, value = current.partition("=")
    if has_value and name.startswith("--") and not line.is_options_over:
        option = _find(line.command, name)
        offer = _offer_values(option.kind if option else "", value, line, environ)
        return Offer([Candidate(f"{name}={one.value}", one.meaning) for one in offer.candidates], offer.also)
    if current.startswith("-") and not line.is_options_over:
        return Offer(list(_options(line, current)))
    if line.command.commands:
        found = [Candidate(*pair) for pair in line.command.commands.items() if pair[0].startswith(current)]
        return Offer(found)
    arguments = line.command.arguments
    if not arguments or (len(line.positionals) >= len(arguments) and not line.command.repeats):
        return Offer([])
    kind = arguments[min(len(line.positionals), len(arguments) - 1)]
    return _offer_values(kind, current, line, environ)


def _read(words: Sequence[str]) -> _Line:
    path, command = "", COMMANDS[""]
    options: set[str] = set()
    positionals: list[str] = []
    pending: Option | None = None
    is_over = False
    for word in words:
        if pending is not None:
            pending = None
        elif is_over or not word.startswith("-") or word == "-":
            if command.commands and f"{path} {word}".strip() in COMMANDS:
                path = f"{path} {word}".strip()
                command = COMMANDS[path]
            else:
                positionals.append(word)
        elif word == "--":
            is_over = True
        else:
            name, has_value, _ = word.partition("=")
            option = _find(command, name)
            if option is not None:
                options.update(option.names)
                pending = option if option.kind is not None and not has_value else None
    return _Line(command, frozenset(options), tuple(positionals), pending, is_over)


def _find(command: Command, name: str) -> Option | None:
    return next((option for option in command.options if name in option.names), None)


def _options(line: _Line, current: str) -> Iterator[Candidate]:
    for option in line.command.options:
        if line.options.isdisjoint(option.names):
            yield from (Candidate(name, option.meaning) for name in option.names if name.startswith(current))


# --- values -----------------------------------------------------------------------------------------------------


def _offer_values(kind: str | None, current: str, line: _Line, environ: Mapping[str, str]) -> Offer:
    """Offer what may stand where a kind of value is wanted."""
    if kind == "setting":
        kind = VALUES.get(line.positionals[0], "") if line.positionals else ""
    if kind in {"files", "dirs"}:
        return Offer([], kind)
    found: list[Candidate] = []
    if kind == "samples":
        found = [Candidate(*pair) for pair in SAMPLES.items()]
    elif kind == "profiles":
        found = _profiles(environ)
    elif kind in {"covers", "music", "events"}:
        found = _scenarios() if kind == "music" and "--sandbox" in line.options else _ids(kind, environ)
    elif kind:
        found = [Candidate(word) for word in kind.split("|")]
    taken = set(line.positionals)
    return Offer([one for one in found if one.value.startswith(current) and one.value not in taken])


def _scenarios() -> list[Candidate]:
    return [Candidate(f"sandbox-{name}", meaning) for name, meaning in SCENARIOS.items()]


def _profiles(environ: Mapping[str, str]) -> list[Candidate]:
    import tomllib

    from suno_cover_cli.base.folders import settings_path

    try:
        with settings_path(environ).open("rb") as stream:
            profiles = tomllib.load(stream).get("profiles", {})
        return [Candidate(str(name), str(table.get("provider", ""))) for name, table in profiles.items()]
    except (OSError, ValueError, RuntimeError, AttributeError, RecursionError):
        # Whatever is wrong with the file is reported by the command; a TAB is silent.
        return []


_QUERIES = {
    "covers": "SELECT task_id, coalesce(music_task_id, ''), state FROM jobs"
    " WHERE task_id IS NOT NULL ORDER BY id DESC LIMIT ?",
    "music": "SELECT music_task_id, coalesce(task_id, ''), state FROM jobs"
    " WHERE music_task_id IS NOT NULL ORDER BY id DESC LIMIT ?",
    "events": "SELECT n, CASE WHEN kind IS NULL THEN method ELSE task_id END,"
    " CASE WHEN kind IS NULL THEN reason ELSE kind || ' ' || code END FROM recordings ORDER BY n DESC LIMIT ?",
}


def _ids(kind: str, environ: Mapping[str, str]) -> list[Candidate]:
    """Return the latest ids of the journal, read without waiting for its writers."""
    import sqlite3
    from urllib.parse import quote

    from suno_cover_cli.base.folders import JOURNAL_NAME, state_folder

    try:
        path = state_folder(environ) / JOURNAL_NAME
        if not path.is_file():
            return []  # a pipe in its place would keep the shell waiting
        # Not as_uri: from Python 3.14 on it loads an HTTP client.
        name = quote(f"/{path.absolute().as_posix().lstrip('/')}")
        connection = sqlite3.connect(f"file://{name}?mode=ro", uri=True, timeout=_BUSY_S)
        try:
            rows = connection.execute(_QUERIES[kind], (_MAX_IDS,)).fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, OSError, ValueError, RuntimeError):
        return []
    found = {
        str(value): Candidate(str(value), f"{other}, {state}".lstrip(", ")) for value, other, state in rows[::-1]
    }
    latest = [Candidate("last", "the latest")] if kind == "events" and found else []
    return latest + list(found.values())[::-1]
