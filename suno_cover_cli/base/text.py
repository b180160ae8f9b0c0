"""What may be shown: foreign text made harmless, secrets taken out."""

import re

# C0 and C1 controls, DEL, line and paragraph separators, bidirectional overrides and other
# invisible format characters: everything with which foreign text could draw on a terminal.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# Whole escape sequences go, not only their first byte: "[31m" left behind is noise.
# The repetitions are bounded and not nested, so a hostile text cannot make them slow.
_ESCAPE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]{0,2048}(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]{0,4}[0-~]?"
)
_BLANKS = re.compile(r"[ \t\r\n]+")


def clean(text: object, limit: int = 500) -> str:
    """Make text from outside safe to show on one line.

    Escape sequences, control and invisible format characters are removed, runs of blanks become one space,
    and what is longer than ``limit`` characters is cut with an ellipsis. Rich markup is the printer's
    business: foreign text is always handed to Rich as plain ``Text``.
    """
    shown = str(text)[: limit * 8]
    if not (shown.isascii() and shown.isprintable()) or "  " in shown:  # most texts are harmless as they are
        shown = _BLANKS.sub(" ", _ESCAPE.sub("", shown))
        shown = _UNPRINTABLE.sub("", shown)
    shown = shown.strip()
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def fold(text: str, columns: int, indent: str = "") -> list[str]:
    """Break one line at blanks so that a terminal need not break it within a word.

    A word for which there is no room even on a line of its own stays where it is.

    Args:
        text: Without escape sequences.
        columns: Of the terminal, whose last one stays empty because some wrap there; 0 means there is no edge.
        indent: Before every line but the first.
    """
    room = columns - 1
    if not columns or cells_of(text) <= room:
        return [text]
    lines = []
    line, *words = text.split(" ")
    for word in words:
        if cells_of(line) + 1 + cells_of(word) <= room or cells_of(indent) + cells_of(word) > room:
            line += f" {word}"
        else:
            lines.append(line.rstrip())
            line = indent + word
    return [*lines, line]


def cells_of(text: str) -> int:
    """Count the columns a text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(2 if east_asian_width(char) in "WF" else not combining(char) for char in text)


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
