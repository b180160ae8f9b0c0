"""What may be shown: foreign text made harmless and fitted into columns, secrets taken out.

A character as a reader sees it (a grapheme) may be several code points: an emoji with joiners, a flag, a letter
with its marks. Text is cut and folded between graphemes only; their widths are the library's (wcwidth).
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, TextIO

_EMOJI = "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
# Scripts that spell with joiners: Arabic, the Indic ones, Burmese, Khmer.
_JOINING = "\u0620-\u0dff\u1000-\u109f\u1780-\u17ff"
# C0 and C1 controls, DEL, line and paragraph separators, bidirectional overrides and other
# invisible format characters: everything with which foreign text could draw on a terminal.
# What is part of a visible character stays: the joiners inside an emoji or a word, the tags of a flag (group 1).
# Not compiled until a text needs it, which most runs do not see: that takes longer than all the rest of this file.
_UNPRINTABLE = (
    "(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{2,6}\U000e007f)"
    f"|(?<![{_EMOJI}\ufe0f{_JOINING}])[\u200c\u200d]|[\u200c\u200d](?![{_EMOJI}{_JOINING}])"
    "|[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# No script stacks more than a few marks on a letter; hundreds of them draw over the lines around it.
_MARK = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_PILED_MARKS = f"({_MARK}{{8}}){_MARK}+"
# Whole escape sequences go, not only their first byte: "[31m" left behind is noise.
# The repetitions are bounded and not nested, so a hostile text cannot make them slow.
_ESCAPE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]{0,2048}(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]{0,4}[0-~]?"
)
# In JSON: runs of backslashes, each of which stands for one, keep what follows from being an escape.
_HALVED = (
    rb"(?<!\\)((?:\\\\)*+)"
    rb"(?:((?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})+)|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
# Emojis looked at in one piece of JSON: what is made of nothing else would take a fifth of a second a mebibyte.
_MAX_CHARACTERS = 20_000
_USUAL_COLUMNS = 80
_BLANKS = re.compile(r"[ \t\r\n]+")
# Below U+0300, and in the punctuation of our own texts, every code point is a grapheme of one column.
_NARROW = re.compile("[ -~\u00a0-\u02ff\u2010-\u2027\u2030-\u203b]*")
# Categories of punctuation: a line does not begin with the first ones, nor end with the second.
_PROGRAM, _STOPS = "suno-cover", ".;,)"
# The blanks of "30 s", "1.5 MiB", "exit 6" and "3000 x 3000": a line does not end there.
_UNITS = re.compile(
    r"(?<=\d) (?=(?:s|ms|min|h|B|KiB|MiB|GiB|MB)\b)|(?<=\bexit) (?=\d)|(?<=\d) (?=x \d)|(?<=\d x) (?=\d)"
)
_CLOSING = frozenset({"Pe", "Pf", "Po"})
_OPENING = frozenset({"Ps", "Pi"})


def with_whole_characters(json: bytes) -> bytes:
    r"""Return JSON with U+FFFD in the place of each half of a character.

    Many programs count a character beyond U+FFFF, such as an emoji, as two (UTF-16), cut a text between them, and
    write the half as ``\ud83d``. RFC 8259, 8.2, allows that; many parsers refuse the whole of it, and no UTF-8
    can carry it.
    """
    # "in" would first try to take the pattern for a number, which costs more than looking for it. Text that is
    # escaped as a whole, such as PHP writes, has no halves mostly; replacing none takes longer than all the rest.
    if json.find(b"\\u") < 0 or (json.find(b"\\ud") < 0 and json.find(b"\\uD") < 0):
        return json
    return re.sub(_HALVED, lambda found: found[1] + (found[2] or rb"\ufffd"), json, count=_MAX_CHARACTERS)


def clean(text: object, limit: int = 500) -> str:
    """Make text from outside safe to show on one line.

    Escape sequences, control and invisible format characters are removed, runs of blanks become one space,
    and what is longer than ``limit`` characters is cut with an ellipsis. Rich markup is the printer's
    business: foreign text is always handed to Rich as plain ``Text``.
    """
    shown = str(text)[: limit * 8]
    if not (shown.isascii() and shown.isprintable()) or "  " in shown:  # most texts are harmless as they are
        shown = _BLANKS.sub(" ", _ESCAPE.sub("", shown))
        shown = re.sub(_PILED_MARKS, r"\1", re.sub(_UNPRINTABLE, r"\1", shown))
    shown = shown.strip()
    if len(shown) <= limit:
        return shown
    kept = ""
    for grapheme in graphemes_of(shown[:limit]):
        if len(kept) + len(grapheme) >= limit:
            break
        kept += grapheme
    # One emoji can be joined of hundreds: where no whole grapheme has room, part of one is better than nothing.
    return (kept or shown[: limit - 1]) + "…"


def graphemes_of(text: str) -> Iterator[str]:
    """Yield what a reader takes for one character each; joined they are the text."""
    if _NARROW.fullmatch(text):
        yield from text
        return
    from wcwidth import iter_graphemes

    yield from iter_graphemes(text)


def cells_of(text: str) -> int:
    """Count the columns a text takes on a terminal: wide characters take two, combining ones none."""
    if _NARROW.fullmatch(text):
        return len(text)
    from wcwidth import width

    return int(width(text))


def cut(text: str, cells: int) -> str:
    """Shorten a text to so many columns, at least 1, with an ellipsis where something is missing."""
    if cells_of(text) <= cells:
        return text
    kept, left = "", cells - 1
    for grapheme in graphemes_of(text):
        left -= cells_of(grapheme)
        if left < 0:
            break
        kept += grapheme
    return kept + "…"


def pad(text: str, cells: int) -> str:
    """Fill a text up with blanks to so many columns; a longer one stays as it is."""
    return text + " " * (cells - cells_of(text))


def fold(text: str, columns: int, indent: str = "") -> list[str]:
    """Break one line at blanks so that a terminal need not break it within a word.

    A word without room on a line of its own is broken between graphemes, as Chinese is. Words of ASCII alone (ids,
    URLs) and paths stay whole: broken, they could not be copied. So does a command of ours behind a colon. A word
    that is too wide for the indentation gets a line that begins farther left.

    Args:
        text: Without escape sequences.
        columns: Of the terminal, whose last one stays empty because some wrap there; 0 means there is no edge.
        indent: Before every line but the first.
    """
    room = columns - 1
    if not columns or cells_of(text) <= room:
        return [text]
    lines, line, used = [], "", 0
    most = room - cells_of(indent)
    for n, word in enumerate(_words_of(text, most)):
        glue = " " if n else ""
        for piece in [word] if cells_of(word) <= most else _pieces_of(word):
            cells = cells_of(piece)
            if used + len(glue) + cells > room and line:
                lines += [line.rstrip()] if line.strip() else []
                # From the left edge alone a terminal that has to wrap a word leaves it whole for copying.
                before = indent[: max(room - cells, 0)]
                line, used = before + piece, cells_of(before) + cells
            else:
                line, used = line + glue + piece, used + len(glue) + cells
            glue = ""
    return [*lines, line]


def _words_of(text: str, cells: int) -> list[str]:
    """Divide a text at its blanks. A figure and its unit are one word.

    So is a command to type, behind a colon, where a line has room for it.
    """
    words = _UNITS.sub("\0", text).split(" ")
    words = [word.replace("\0", " ") for word in words]
    if _PROGRAM not in words:
        return words
    found: list[str] = []
    start = 0
    while start < len(words):
        end = start + 1
        if words[start] == _PROGRAM and found and found[-1].endswith(":"):
            while end < len(words) and words[end][:1] not in {"", "("} and words[end - 1][-1] not in _STOPS:
                end += 1
        command = " ".join(words[start:end])
        found += [command] if cells_of(command) <= cells else words[start:end]
        start = end
    return found


def _pieces_of(word: str) -> list[str]:
    """Divide a word where a line may end within it."""
    if word.isascii() or "/" in word or "\\" in word:
        return [word]
    from unicodedata import category

    pieces: list[str] = []
    before = " "
    for grapheme in graphemes_of(word):
        is_bound = (
            (before + grapheme).isascii() or category(before[0]) in _OPENING or category(grapheme[0]) in _CLOSING
        )
        if pieces and is_bound:
            pieces[-1] += grapheme
        else:
            pieces.append(grapheme)
        before = grapheme
    return pieces


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with the known word that is nearest, a blank behind it; empty when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word.strip().lower(), list(known), n=1)
    return f"Did you mean {near[0]}? " if near else ""


def columns_of(stream: BinaryIO | TextIO, environ: Mapping[str, str]) -> int:
    """Return how many columns a terminal has, as it says itself or as ``COLUMNS`` says; 80 where neither does."""
    if (said := environ.get("COLUMNS", "")).isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


class Secret:
    """A value that is used but never shown: ``str``, ``repr`` and f-strings all give ``***``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself. Call this only where it goes on the wire or into a private file."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)


class Redactor:
    """Takes known secrets out of any text on its way to a person, a log or a file."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def add(self, secret: Secret | None) -> None:
        """Remember a secret. Values under 4 characters are ignored: replacing them would shred every text."""
        if secret is not None and len(secret.reveal()) >= 4:  # noqa: PLR2004 -- explained above
            self._values.add(secret.reveal())

    def redact(self, text: str) -> str:
        """Return ``text`` with every known secret replaced by ``***``."""
        for value in self._values:
            if value in text:
                text = text.replace(value, "***")
        return text
