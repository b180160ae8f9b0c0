"""Task ids from arguments and lists: what is taken, what is told."""

import csv
import io
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.models import is_device_name, is_safe_task_id
from suno_cover_cli.base.task_ids import collect_task_ids, find_fault
from suno_cover_cli.cli.status import StatusOptions, read_status
from suno_cover_cli.sandbox.app import Sandbox
from tests.command_fixtures import Commands


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
    assert collect_task_ids([song], None, io.BytesIO(), what="music task id").looks_like_song == song
    assert collect_task_ids(["0f3d1c527a3e"], None, io.BytesIO(), what="music task id").looks_like_song is None


@pytest.mark.parametrize(
    ("typed", "said", "hint"),
    [
        ("https://suno.com/song/e2310000-0000-0000-0000-00008cadc7dc", "address", "data.taskId"),
        ("suno.com/song/abc", "address", "data.taskId"),
        ("www.example.com/x", "address", "data.taskId"),
        ("MUSIC_TASK_ID", "placeholder", "data.taskId"),
        ("<music-task-id>", "placeholder", "data.taskId"),
        ("...", "placeholder", "data.taskId"),
        ("ID", "placeholder", "data.taskId"),
        ("音乐任务ID", "placeholder", "data.taskId"),
        ("夜行", "text", "data.taskId"),
        ("ids.txt", "it is a file", "suno-cover generate --input ids.txt"),
        ("./my ids.csv", "it is a file", "suno-cover generate --input './my ids.csv'"),
        ("song.MP3", "song file", "data.taskId"),
    ],
)
def test_what_is_not_an_id_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, said: str, hint: str
) -> None:
    """An address, a placeholder, a file or a title is named as what it is, with where the right id is."""
    monkeypatch.chdir(tmp_path)
    for name in ("ids.txt", "my ids.csv", "song.MP3"):
        (tmp_path / name).write_text("x")
    with pytest.raises(UsageError) as caught:
        collect(typed)
    assert said in caught.value.message
    assert typed[:20] in caught.value.message
    assert hint in caught.value.hint


def test_ids_that_only_look_odd_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody relies on the shape of an id: one with a dot, one that a folder bears, one that ends like a word."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abc").write_text("a file that bears the name of an id")
    assert collect("a.b", "abc", "solid", "candid-1") == ("a.b", "abc", "solid", "candid-1")


async def test_ids_of_the_other_kind_are_set_right(tmp_path: Path) -> None:
    """A known cover task id is not submitted; a known music task id finds its cover task in wait and status."""
    commands = Commands(tmp_path)
    async with Sandbox(generation_s=0.1) as sandbox:
        environ = {"SUNO_BASE_URL": sandbox.url, "SUNO_API_KEY": sandbox.api_key}
        made = await commands.begin("song-1", environ=environ)
        (job,) = made.objects
        submits = [logged.path for logged in sandbox.request_log if logged.path.endswith("generate")]
        wrong = await commands.begin(job["task_id"], environ=environ)
        assert (wrong.code, wrong.objects[0]["code"]) == (2, "bad_id")
        assert f"suno-cover wait {job['task_id']}" in wrong.stderr
        assert [logged.path for logged in sandbox.request_log if logged.path.endswith("generate")] == submits
        found = await commands.wait("song-1", job["task_id"], environ=environ)
        assert found.code == 0
        assert [one["task_id"] for one in found.objects] == [job["task_id"]]
        assert f"its cover task is {job['task_id']}" in found.stderr
        read = await commands.run(
            lambda context: read_status(StatusOptions(task_id="song-1"), context), environ=environ
        )
        assert (read.code, read.lines[0]) == (0, "succeeded")


@pytest.mark.parametrize("task_id", ["-", "-rf", "--output", "con", "NUL", "com1", "Lpt9", "prn", "aux"])
def test_ids_that_cannot_name_a_folder_are_refused(task_id: str) -> None:
    """What a shell takes for an option, or Windows for a device, is no cover task id; a music task id may be."""
    assert not is_safe_task_id(task_id)
    assert find_fault(task_id, names_folder=True)
    assert find_fault(task_id) is None


@pytest.mark.parametrize(
    "task_id", ["nul.txt", "con.png", "a.", "a ", ".", "..", "a/b", "", "x" * 129, "ü", "a\n"]
)
def test_ids_that_are_no_single_plain_word_are_refused(task_id: str) -> None:
    """Dots, blanks, separators and what is too long never become a folder."""
    assert not is_safe_task_id(task_id)
    assert find_fault(task_id, names_folder=True)


@pytest.mark.parametrize("task_id", ["a-", "console", "com10", "_con", "null", "21aee3c3c2a01fa5e030b3799fa4dd56"])
def test_ids_that_only_resemble_those_are_taken(task_id: str) -> None:
    """A device's name inside a longer one is just an id."""
    assert is_safe_task_id(task_id)
    assert find_fault(task_id, names_folder=True) is None


@pytest.mark.parametrize("name", ["nul", "NUL.txt", "con .png", "COM1.tar.gz"])
def test_a_device_is_one_whatever_its_extension(name: str) -> None:
    """Windows looks at what stands before the first dot, blanks aside."""
    assert is_device_name(name)


# --- lists with titles ------------------------------------------------------------------------------------

TITLES = {"a1": "Nocturne", "b2": "\u591c\u66f2, No. 2 #1", "c3": 'Say "hi"; go'}


def titled(raw: bytes) -> dict[str, str]:
    """Collect from a list and return the titles, in the order of the ids."""
    found = collect_task_ids([], "-", io.BytesIO(raw), what="music task id")
    return {task_id: found.titles.get(task_id, "") for task_id in found.ids}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header", [None, ["music_task_id", "title"], ["Title", "Artist", "Music Task ID"], ["音乐任务ID", "歌名"]]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_list_may_be_what_a_spreadsheet_writes(
    delimiter: str, header: list[str] | None, encoding: str, line_end: str
) -> None:
    """With or without a header, quoted where needed, in any order of columns: each id keeps its title."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, delimiter=delimiter, lineterminator=line_end)
    if header is not None:
        writer.writerow(header)
    for task_id, title in TITLES.items():
        writer.writerow([title, "x", task_id] if header is not None and len(header) == 3 else [task_id, title])
    sheet.write(f"# a comment, with a comma{line_end}{line_end}")
    assert titled(sheet.getvalue().encode(encoding)) == TITLES


@pytest.mark.parametrize(
    ("raw", "titles"),
    [
        (b"a1,Song\nb2\nc3,\n", {"a1": "Song", "b2": "", "c3": ""}),
        (b"sep=;\r\na1;Song\r\n", {"a1": "Song"}),
        (b"music_task_id\na1\n", {"a1": ""}),
        (b"a1 # one, two\nb2\n", {"a1": "", "b2": ""}),
        (b"a1,First\na1,Second\n", {"a1": "First"}),
        (b"a1,Song,an artist,2026\n", {"a1": "Song"}),
        (b'a1,"two\nlines"\nb2,x\n', {"a1": "two lines", "b2": "x"}),
        (b"a1,\x1b[31mred\x1b[0m\n", {"a1": "red"}),
        (b"id,artist\na1,Somebody,Else\n", {"a1": ""}),
    ],
)
def test_lists_with_titles_may_be_untidy(raw: bytes, titles: dict[str, str]) -> None:
    """Missing titles, comments, further columns and repeats are fine; the first title of an id counts."""
    assert titled(raw) == titles


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"a1,ok\nb/2,bad\n", "line 2"),
        (b'a1,"never closed\nb2,x\n', "quotes"),
        (b"a1,caf\xe9\n", "UTF-8"),
        (b"a1,ok\n,no id\n", "line 2"),
        (b"id,title\na1,Hello, World\n", "line 2: more cells"),
        (b"%b,%b\n" % (b"0" * 32, b"1" * 32), "two ids on one line"),
    ],
)
def test_a_list_that_is_wrong_is_told_before_anything_is_submitted(raw: bytes, words: str) -> None:
    """A wrong id, an open quote, another encoding, two ids in a row: each is told with its place or its cure."""
    with pytest.raises(UsageError) as caught:
        titled(raw)
    assert words in f"{caught.value.message} {caught.value.hint}"


def test_a_long_list_with_titles_is_read_whole() -> None:
    """A hundred thousand rows give a hundred thousand titles."""
    assert len(titled(b"".join(b"id-%d,Song %d\n" % (n, n) for n in range(100_000)))) == 100_000
