"""File names of covers: what ``--name`` may say, and what becomes of it.

A name is one path component that every system takes, whatever the service put into a title. The number of the
image is part of it, so no two images of a job can meet.
"""

import re
import unicodedata
from difflib import get_close_matches
from string import Formatter

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.text import clean, graphemes_of

FIELDS = ("n", "task_id", "music_task_id", "title")
DEFAULT_NAME = "cover_{n}"

# 255 bytes are allowed for a name; ".<8 hex digits>.part" and an extension come after ours.
_MAX_STEM_BYTES = 200
# What no title can make shorter: literal text, and numbers of up to nine digits.
_MAX_OWN_BYTES = 100
_MAX_NUMBER_BYTES = 9
_NOT_IN_NAMES = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f]')
_NUMBER_FORMAT = re.compile(r"0?[1-9]?d?")
# Windows opens a device for these, whatever extension follows.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)

_Piece = tuple[str, str | None, str]
"""Literal text, then a field or ``None``, then the field's format."""


class NameTemplate:
    """A checked ``--name``.

    Args:
        text: Such as ``{title} {n:02}``; without ``{n}``, ``_{n}`` is added.
        source: Where it came from, for messages.

    Raises:
        UsageError: Unknown fields, a path, or characters that file names cannot have everywhere.
    """

    def __init__(self, text: str, source: str = "--name") -> None:
        self._pieces = _parse(text, source)
        if not any(field == "n" for _, field, _ in self._pieces):
            self._pieces.append(("_", "n", ""))
        self.uses_title = any(field == "title" for _, field, _ in self._pieces)

    def stem(self, *, n: int, task_id: str, music_task_id: str | None = None, title: str | None = None) -> str:
        """Return the name of one image, without extension.

        Args:
            n: Number of the image, from 1.
            task_id: Cover task id.
            music_task_id: Where it is not known, the cover task id stands in.
            title: Untrusted; where there is none, the music task id stands in.
        """
        known = music_task_id or task_id
        values = {
            "task_id": plain_part(task_id),
            "music_task_id": plain_part(known),
            "title": plain_part(title or "") or plain_part(known),
        }
        while True:
            stem = self._fill(n, values)
            excess = len(stem.encode()) - _MAX_STEM_BYTES
            if excess <= 0:
                return f"_{stem}" if _DEVICES.match(stem) else stem
            used = {field for _, field, _ in self._pieces if field in values}
            longest = max(used, key=lambda field: len(values[field].encode()))
            values[longest] = _shorten(values[longest], excess)

    def _fill(self, n: int, values: dict[str, str]) -> str:
        filled = []
        for literal, field, number_format in self._pieces:
            filled.append(literal)
            if field is not None:
                filled.append(format(n, number_format) if field == "n" else values[field])
        return "".join(filled).strip(" ").lstrip(".") or str(n)


def plain_part(text: str) -> str:
    """Turn foreign text into something that can be part of a file name anywhere; may be empty."""
    shown = unicodedata.normalize("NFC", clean(text, 200))
    return _NOT_IN_NAMES.sub("_", shown).strip(". ")


def _shorten(text: str, by_bytes: int) -> str:
    """Cut at least ``by_bytes`` bytes of UTF-8 off the end, between graphemes: half a flag is another picture."""
    room, kept = len(text.encode()) - by_bytes, ""
    for grapheme in graphemes_of(text):
        room -= len(grapheme.encode())
        if room < 0:
            break
        kept += grapheme
    return kept.rstrip(". ")


def _parse(text: str, source: str) -> list[_Piece]:
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise _refuse(text, source, f"{error}", "Write {{ and }} for literal braces.") from None
    pieces: list[_Piece] = []
    for literal, field, spec, conversion in parsed:
        if _NOT_IN_NAMES.search(literal) or not literal.isprintable():
            raise _refuse(
                text,
                source,
                "it holds something that cannot be part of a file name",
                'Leave out / \\ < > : " | ? *; choose the folder with --output.',
            )
        if field is not None and field not in FIELDS:
            raise _unknown_field(text, source, field)
        if conversion or (spec and (field != "n" or not _NUMBER_FORMAT.fullmatch(spec))):
            raise _refuse(
                text, source, f"{{{field}}} does not take this format", "Only {n} takes one, such as {n:02}."
            )
        pieces.append((literal, field, spec or ""))
    own_bytes = sum(
        len(literal.encode()) + (_MAX_NUMBER_BYTES if field == "n" else 0) for literal, field, _ in pieces
    )
    if own_bytes > _MAX_OWN_BYTES:
        hint = f"Use at most {_MAX_OWN_BYTES} letters of your own, or a third of that in Chinese."
        raise _refuse(text, source, "it is too long", hint)
    if not pieces:
        raise _refuse(text, source, "it is empty", "Write something like {title}_{n}.")
    return pieces


def _unknown_field(text: str, source: str, field: str) -> UsageError:
    near = get_close_matches(field, FIELDS, n=1)
    fields = ", ".join(f"{{{name}}}" for name in FIELDS)
    return _refuse(
        text,
        source,
        f"there is no field {{{clean(field, 40)}}}",
        f"Did you mean {{{near[0]}}}?" if near else f"There are {fields}.",
    )


def _refuse(text: str, source: str, why: str, hint: str) -> UsageError:
    return UsageError(f'"{clean(text, 80)}" cannot name files: {why} ({source})', code="bad_name", hint=hint)
