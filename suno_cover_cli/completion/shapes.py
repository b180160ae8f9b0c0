"""What the completion table is made of, and the names shells know."""

from typing import NamedTuple

VARIABLE = "_SUNO_COVER_COMPLETE"
"""Holds the name of the shell that asks."""


class Option(NamedTuple):
    """One option.

    Attributes:
        names: All its spellings.
        kind: What its value is, empty for anything; ``None`` for an option without one.
        meaning: A few words.
    """

    names: tuple[str, ...]
    kind: str | None
    meaning: str


class Command(NamedTuple):
    """One command, or the program itself.

    Attributes:
        options: In the order of ``--help``.
        arguments: Kind of each argument.
        repeats: Whether the last argument may be given many times.
        commands: Name and meaning of each command below it.
        runs_program: What follows the first word that is not an option is the command line of another program.
    """

    options: tuple[Option, ...]
    arguments: tuple[str, ...] = ()
    repeats: bool = False
    commands: dict[str, str] = {}  # noqa: RUF012 -- a default that never changes
    runs_program: bool = False
