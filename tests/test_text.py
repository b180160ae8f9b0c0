"""Foreign text made harmless, secrets taken out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suno_cover_cli.base.text import Redactor, Secret, cells_of, clean, fold


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("a\x00b\x7fc\x85d", "abcd"),
        ("line\r\nnext\tcell", "line next cell"),
        ("safe\u202eevil", "safeevil"),
        ("\x1bPq#0;2;0;0;0\x1b\\sixel", "sixel"),
        ("[bold red]markup[/]", "[bold red]markup[/]"),
        ("\x1b\x1b[2Jx", "x"),
    ],
)
def test_what_could_draw_is_removed(hostile: str, shown: str) -> None:
    """Escape sequences, controls and direction overrides are gone, words and brackets stay."""
    assert clean(hostile) == shown


@given(st.text(max_size=3000))
def test_nothing_unprintable_survives(text: str) -> None:
    """Whatever comes in, one printable line of bounded length comes out."""
    shown = clean(text, 100)
    assert len(shown) <= 100
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)


def test_a_long_escape_does_not_take_long() -> None:
    """A megabyte of half escape sequences is cut, not searched for ever."""
    assert len(clean("\x1b[" * 500_000)) <= 500


@given(st.text(st.sampled_from("ab \u5bd2\u0301"), max_size=200), st.integers(8, 60))
def test_folding_loses_nothing_and_keeps_within_the_edge(text: str, columns: int) -> None:
    """Every word is there, in order, and only a line of one word that has no room anywhere is too long."""
    words = [word for word in text.split(" ") if word]
    lines = fold(" ".join(words), columns, "  ")
    assert [word for line in lines for word in line.split(" ") if word] == words
    for line in lines:
        assert cells_of(line) < columns or any(2 + cells_of(word) >= columns for word in line.split())


def test_folding_stands_below_the_text() -> None:
    """What is folded is indented, blanks between columns stay, and without an edge nothing is folded."""
    line = "state      one two three"
    assert fold(line, 20, " " * 11) == ["state      one two", "           three"]
    assert fold(line, 0, " " * 11) == [line]
    assert fold(line, 25) == [line]
    assert fold("\u5bd2\u5bd2 \u5bd2\u5bd2", 9) == ["\u5bd2\u5bd2", "\u5bd2\u5bd2"], "wide ones take two columns"


def test_a_secret_shows_itself_nowhere() -> None:
    """str, repr and formatting of a secret give three stars."""
    secret = Secret("hunter2-very-secret")
    assert f"{secret} {secret!r} {secret!s}" == "*** *** ***"
    assert secret.reveal() == "hunter2-very-secret"


def test_known_secrets_are_taken_out_of_any_text() -> None:
    """A secret quoted by somebody else's message is redacted; a tiny one does not shred the text."""
    redactor = Redactor()
    redactor.add(Secret("tok_1234567"))
    redactor.add(Secret("a"))
    redactor.add(None)
    assert redactor.redact("bad token: tok_1234567, again tok_1234567") == "bad token: ***, again ***"
