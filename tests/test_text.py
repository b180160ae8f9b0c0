"""Foreign text made harmless, secrets taken out."""

import json
import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suno_cover_cli.base.text import (
    Redactor,
    Secret,
    cells_of,
    clean,
    cut,
    fold,
    graphemes_of,
    pad,
    with_whole_characters,
)

HALVES = st.sampled_from(["\\", "u", "d83d", "\ud83d", "\ude00", "\U0001f600", "a", "\n"])


@given(st.lists(HALVES, max_size=12).map("".join))
def test_halves_of_characters_stand_for_themselves_no_more(text: str) -> None:
    """JSON with any escapes is readable: whole characters and backslashes stay, halves are U+FFFD."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert msgspec.json.decode(with_whole_characters(json.dumps([text]).encode())) == [whole]


def test_text_without_halves_costs_little_more_than_reading_it() -> None:
    """Escapes of whole characters, as PHP writes all of Chinese, are not gone through one by one."""
    text = json.dumps(["\u4f60\u597d" * 50_000]).encode()

    def took_s(step: Callable[[bytes], object]) -> float:
        began_s = time.process_time()
        step(text)
        return time.process_time() - began_s

    read_s, made_whole_s = (
        min(took_s(step) for _ in range(5)) for step in (msgspec.json.decode, with_whole_characters)
    )
    assert made_whole_s < 10 * read_s


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


FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f1e8\U0001f1f3"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
THUMB = "\U0001f44d\U0001f3fd"
HEART = "\u2764\ufe0f\u200d\U0001f525"
ACCENT = "e\u0301"
SYLLABLE = "\u1112\u1161\u11ab"
WHOLE = (FAMILY, FLAG, ENGLAND, THUMB, HEART, ACCENT, SYLLABLE)
"""Characters of several code points each: joined, of two letters, of tags, with a skin, with marks, of jamo."""

WORDS = st.lists(st.sampled_from(["a", "b", " ", "\u5bd2", "\u3002", "\u05e9", *WHOLE]), max_size=60).map("".join)


@pytest.mark.parametrize(
    ("kept", "cells"),
    [
        *((whole, 1 if whole == ACCENT else 2) for whole in WHOLE),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", 7),
        ("\u591c\u66f2 Nocturne", 13),
        ("\u05e9\u05dc\u05d5\u05dd", 4),
        ("na\u00efve \u2026 \u2014", 9),
    ],
)
def test_what_belongs_to_a_visible_character_is_kept(kept: str, cells: int) -> None:
    """Joiners and tags inside an emoji, a flag or a word are part of it; the columns are those of a terminal."""
    assert clean(kept) == kept
    assert cells_of(kept) == cells


@pytest.mark.parametrize(
    "stray", ["\u200d", "a\u200db", "\U0001f468\u200d", "\u200c x", "x\U000e0067\U000e007f", f"{FAMILY}\u200d"]
)
def test_joiners_and_tags_that_join_nothing_are_removed(stray: str) -> None:
    """Outside a character of several parts they are invisible, and a way to make two texts look alike."""
    assert clean(stray) == stray.strip("\u200d\u200c\U000e0067\U000e007f").replace("a\u200d", "a").strip()


def test_piled_marks_do_not_reach_the_lines_around() -> None:
    """Of hundreds of marks on one letter a few remain; those of real scripts all do."""
    assert clean("Z" + "\u0300" * 400 + "y") == "Z" + "\u0300" * 8 + "y"
    assert clean("\u1ec7") == "\u1ec7"


@given(WORDS, st.integers(1, 40))
def test_text_is_cut_between_characters_and_filled_up_to_columns(text: str, cells: int) -> None:
    """What is cut has room, begins as the text does, and holds no part of a character; the rest is blanks."""
    shown = cut(text, cells)
    assert cells_of(shown) <= cells
    whole = list(graphemes_of(text))
    kept = shown.removesuffix("\u2026")
    assert shown == text or kept in {"".join(whole[:n]) for n in range(len(whole) + 1)}
    assert cells_of(pad(shown, cells)) == cells


@given(WORDS, st.integers(2, 12))
def test_a_limit_in_characters_cuts_between_them(text: str, limit: int) -> None:
    """A text that is cut for its length ends with a whole character wherever one has room."""
    shown = clean(text, limit)
    assert len(shown) <= limit
    whole = list(graphemes_of(clean(text)))
    starts = {"".join(whole[:n]) for n in range(len(whole) + 1)}
    assert shown in starts or shown[:-1] in starts or len(whole[0]) >= limit


@given(WORDS, st.integers(8, 60))
def test_folding_loses_nothing_and_keeps_within_the_edge(text: str, columns: int) -> None:
    """Everything is there, in order, no line ends within a character, and none reaches the edge."""
    text = " ".join(text.split())
    lines = fold(text, columns, "  ")
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    characters = [one for line in lines for one in graphemes_of(line) if one != " "]
    assert characters == [one for one in graphemes_of(text) if one != " "]
    for line in lines:
        # A run of ASCII stays whole, and what must not begin or end a line stays with its neighbour.
        assert cells_of(line) < columns or any(2 + cells_of(word) >= columns for word in line.split())


def test_a_long_word_of_a_wide_script_is_folded_and_a_path_is_not() -> None:
    """Chinese goes on in the next line, with its full stop; an address stays whole, so that it can be copied."""
    assert fold("done \u5bd2\u5bd2\u5bd2\u5bd2\u5bd2\u3002\u5bd2", 12, "  ") == [
        "done \u5bd2\u5bd2\u5bd2",
        "  \u5bd2\u5bd2\u3002\u5bd2",
    ]
    path = "covers/\u5bd2\u5bd2\u5bd2\u5bd2/x.png"
    assert path in fold(f"saved {path}", 12, "  ")[-1]
    address = "https://example.com/" + "x" * 40
    assert address in fold(f"see {address}", 30)[-1]


def test_folding_stands_below_the_text() -> None:
    """What is folded is indented, blanks between columns stay, and without an edge nothing is folded."""
    line = "state      one two three"
    assert fold(line, 20, " " * 11) == ["state      one two", "           three"]
    assert fold(line, 0, " " * 11) == [line]
    assert fold(line, 25) == [line]
    assert fold("\u5bd2\u5bd2 \u5bd2\u5bd2", 9) == ["\u5bd2\u5bd2", "\u5bd2\u5bd2"], "wide ones take two columns"


def test_a_command_to_type_stays_on_one_line() -> None:
    """What follows a colon is one line where there is room for it; in running text it is folded as words are."""
    hint = "Without one, for this machine alone: suno-cover listen --no-tunnel; or get one."
    assert fold(hint, 50) == ["Without one, for this machine alone:", "suno-cover listen --no-tunnel; or get one."]
    assert fold("Go on with: suno-cover wait abc", 24) == ["Go on with:", "suno-cover wait abc"]
    assert fold("Run suno-cover resume in a while.", 20) == ["Run suno-cover", "resume in a while."]
    aside = "so: suno-cover pick x (or let it be picked)"
    assert fold(aside, 30) == ["so: suno-cover pick x (or let", "it be picked)"]
    narrow = fold("so: suno-cover wait 3bd4984085841fdeedebe6d710a971c7", 24)
    assert narrow == ["so: suno-cover wait", "3bd4984085841fdeedebe6d710a971c7"]


def test_a_word_without_room_begins_at_the_left_edge() -> None:
    """An address that is wider than the rest of a line stands below, as far left as it needs to be whole."""
    address = "https://example.com/0123456789"
    assert fold(f"ready      {address}", 40, " " * 11) == ["ready", " " * 9 + address]
    assert fold(f"ready      {address}", 30, " " * 11) == ["ready", address]
    assert fold(f"    {address}", 32, "    ") == [f" {address}"]
    assert fold(f"see {address} now", 20, "  ") == ["see", address, "  now"]


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
