"""Options whose value is one of a few words."""

from collections.abc import Sequence

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.text import clean


def checked_choice(value: str, option: str, words: Sequence[str]) -> str:
    """Return the word that an option was given.

    Raises:
        UsageError: It is none of those that it takes.
    """
    word = value.strip().lower()
    if word in words:
        return word
    *most, last = words
    raise UsageError(f'{option} does not take "{clean(value, 40)}"', hint=f"Use {', '.join(most)} or {last}.")
