"""Task ids from arguments and lists: what is taken, what is told."""

import io
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.task_ids import collect_task_ids


def collect(*arguments: str, raw: bytes | None = None) -> tuple[str, ...]:
    """Collect from arguments and, when given, from a list on standard input."""
    found = collect_task_ids(arguments, None if raw is None else "-", io.BytesIO(raw or b""), what="music task id")
    return found.ids


@pytest.mark.parametrize("bad", ["", " ", "a/b", "..", "a..b", "a\x1bb", "x" * 129, "ä", "a b", "a\\b", "a\nb"])
def test_an_id_that_cannot_be_one_is_refused(bad: str) -> None:
    """Empty, blank, over-long, path-like and unprintable ids never get as far as the network."""
    with pytest.raises(UsageError) as caught:
        collect(bad)
    assert caught.value.exit_code == 2
    assert "\x1b" not in caught.value.message


def test_a_list_may_be_untidy() -> None:
    """A byte order mark, CRLF, blank lines, comments and repeats are all fine."""
    assert collect("a", raw=b"\xef\xbb\xbfb\r\n\r\n# comment\n  c  # why\na\nb\n") == ("a", "b", "c")


def test_every_fault_of_a_list_is_told_with_its_line() -> None:
    """Wrong lines are told together, with their numbers, before anything is submitted."""
    with pytest.raises(UsageError) as caught:
        collect(raw=b"good\nbad/one\n\x00\xff\n" + b"x y\n" * 20)
    assert "line 2" in caught.value.message
    assert "line 3" in caught.value.message
    assert "12 more" in caught.value.message


def test_a_long_list_is_read_whole() -> None:
    """A hundred thousand lines give a hundred thousand ids."""
    assert len(collect(raw=b"".join(b"id-%d\n" % n for n in range(100_000)))) == 100_000


def test_no_id_at_all_is_a_usage_error() -> None:
    """An empty list is told, not silently done."""
    with pytest.raises(UsageError):
        collect(raw=b"# nothing\n")


def test_a_list_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    """A missing file and a folder are told with their names."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            collect_task_ids([], str(path), io.BytesIO(), what="music task id")


def test_a_song_id_is_noticed() -> None:
    """A dashed UUID is taken, and known to be the likely wrong kind of id."""
    song = "0f3d1c52-7a3e-4b6e-9a53-1f2e3d4c5b6a"
    assert collect_task_ids([song], None, io.BytesIO(), what="x").looks_like_song == song
    assert collect_task_ids(["0f3d1c527a3e"], None, io.BytesIO(), what="x").looks_like_song is None
