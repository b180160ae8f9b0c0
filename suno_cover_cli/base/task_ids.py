"""Task ids as users give them: from arguments, a list or standard input. Everything wrong is reported at once.

A list has one id a line, or is CSV as spreadsheets write it: ``music_task_id,title`` with or without a header.
"""

import csv
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.files import read_given
from suno_cover_cli.base.models import is_device_name, is_safe_task_id
from suno_cover_cli.base.text import clean

_MAX_ID_CHARS = 128
_MAX_INPUT_BYTES = 64 * 1024 * 1024
_MAX_TOLD = 10
_USABLE = re.compile(r"[A-Za-z0-9_.:-]+")
_USABLE_AS_FOLDER = re.compile(r"[A-Za-z0-9_-]+")
_ADDRESS = re.compile(r"https?://|www\.|(?:^|[/.])suno\.(?:com|ai)\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"<[^>]*>|\[[^\]]*\]|\{[^}]*\}|\$\{?\w+\}?|\.{3}|\u2026|x{3,4}"
    r"|(?:YOUR[_-]?)?(?:MUSIC|COVER|SONG|JOB)?[_-]?(?:TASK)?[_-]?ID(?:\.{3}|\|FILE)?"
    r"|(?:音乐|封面)?任务 ?ID",
    re.IGNORECASE,
)
_AUDIO = frozenset({".mp3", ".wav", ".flac", ".m4a", ".ogg", ".opus", ".aiff", ".aif", ".aac", ".wma"})
_SOURCES = {
    "music task id": "It is data.taskId in the answer to your music generation; the provider's log lists it.",
    "task id": "suno-cover history lists the jobs that are known.",
    "cover task id": "It is what generate --no-wait prints; suno-cover history lists those you have.",
}
_SONG_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


# Names of columns, as people write them above their lists.
_ID_COLUMNS = frozenset({"musictaskid", "covertaskid", "taskid", "id", "音乐任务id", "封面任务id", "任务id"})
_TITLE_COLUMNS = frozenset({"title", "name", "song", "歌名", "歌曲名", "歌曲名称", "曲名", "标题", "名称"})
_DELIMITERS = re.compile(r"[,;\t]")
_WHOLE_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MAX_TITLE_CHARS = 200


class TaskIds(msgspec.Struct, frozen=True):
    """Ids to run.

    Attributes:
        ids: In order, each once.
        repeats: How many repeats were left out.
        titles: Id -> title of its song, where a list has one.
        typed: Id -> what was typed instead of it, where that was something else.
    """

    ids: tuple[str, ...]
    repeats: int = 0
    titles: Mapping[str, str] = {}
    typed: Mapping[str, str] = {}

    @property
    def looks_like_song(self) -> str | None:
        """The first id that has the shape of a song id rather than a task id, or ``None``."""
        return next((task_id for task_id in self.ids if _SONG_ID.fullmatch(task_id)), None)


def find_fault(task_id: str, *, names_folder: bool = False) -> str | None:
    """Say what is wrong with an id, or ``None``.

    One that names a folder has letters, digits, - and _ only, no - at its beginning, and is not a device on
    Windows.
    """
    if not task_id.strip():
        return "it is empty"
    if len(task_id) > _MAX_ID_CHARS:
        return f"it has {len(task_id)} characters, more than {_MAX_ID_CHARS}"
    if ".." in task_id:
        return 'it contains ".."'
    usable = _USABLE_AS_FOLDER if names_folder else _USABLE
    if not usable.fullmatch(task_id):
        odd = next(character for character in task_id if not usable.fullmatch(character))
        return f"it contains {odd!a}"
    return _find_fault_of_name(task_id) if names_folder else None


def _find_fault_of_name(task_id: str) -> str | None:
    if task_id.startswith("-"):
        return 'it begins with "-"'
    return "Windows reserves that name" if is_device_name(task_id) else None


class _Mistake(NamedTuple):
    """Something that is not an id but can be recognised: what it is, and what to do with it."""

    fault: str
    hint: str


def _recognise(text: str, what: str, *, may_be_file: bool) -> _Mistake | None:
    """Recognise what people type instead of an id, by its shape or because a file bears the name."""
    sources = _SOURCES[what]
    if _PLACEHOLDER.fullmatch(text.strip()):
        return _Mistake("it is a placeholder for your own id", sources)
    if _ADDRESS.search(text):
        return _Mistake("it is an address; the API uses ids of its own", sources)
    if may_be_file and re.search(r"[./\\]", text) and text.isprintable() and _is_file(text):
        if Path(text).suffix.lower() in _AUDIO:
            return _Mistake("it is a song file", sources)
        command = "generate" if what == "music task id" else "wait"
        return _Mistake("it is a file", f"To read ids from it: suno-cover {command} --input {shlex.quote(text)}")
    if text.strip() and not text.isascii() and text.isprintable():
        return _Mistake("it is text, not an id", sources)
    return None


def describe_unknown(task_id: str) -> str:
    """Say that the journal knows no such job, and what was given instead of an id where its shape shows it."""
    mistake = _recognise(task_id, "task id", may_be_file=False)
    what = "" if mistake is None else f": {mistake.fault}"
    return f'the journal knows no job "{clean(task_id, _MAX_ID_CHARS)}"{what}'


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def checked_cover_task_id(task_id: str) -> str:
    """Return an id that may be a cover task's.

    Raises:
        UsageError: It cannot be one.
    """
    mistake = _recognise(task_id, "cover task id", may_be_file=True)
    if mistake is not None or not is_safe_task_id(task_id):
        why = f": {mistake.fault}" if mistake is not None else ""
        raise UsageError(
            f'not a cover task id: "{clean(task_id, _MAX_ID_CHARS)}"{why}',
            code="bad_id",
            hint=mistake.hint if mistake is not None else "Ids have letters, digits, - and _, at most 128.",
        )
    return task_id


def collect_task_ids(
    arguments: Iterable[str],
    input_path: str | None,
    stdin: BinaryIO,
    *,
    what: str,
    names_folder: bool = False,
) -> TaskIds:
    """Gather ids from the command line and from a list.

    Args:
        arguments: Ids given one by one.
        input_path: A file with one id a line or CSV, ``-`` for standard input, or ``None``. Blank lines, ``#``
            comments, CRLF and a byte order mark are fine.
        stdin: Binary stream behind ``-``.
        what: ``music task id`` or ``cover task id``, for messages.
        names_folder: The ids become names of folders, as cover task ids do.

    Raises:
        UsageError: No id at all, or any that is not one; names each with its line.
    """
    found: list[str] = []
    faults: list[str] = []
    titles: dict[str, str] = {}
    hint = ""
    listed = _read_list(input_path, stdin) if input_path is not None else ()
    for where, task_id, title in (*(("", task_id, "") for task_id in arguments), *listed):
        mistake = _recognise(task_id, what, may_be_file=not where)
        fault = mistake.fault if mistake is not None else find_fault(task_id, names_folder=names_folder)
        if fault is not None:
            faults.append(f'{where}{", " if where else ""}"{clean(task_id, _MAX_ID_CHARS)}": {fault}')
            hint = hint or (mistake.hint if mistake is not None else "")
        if title:
            titles.setdefault(task_id, title)
        found.append(task_id)
    if faults:
        more = f" (and {len(faults) - _MAX_TOLD} more)" if len(faults) > _MAX_TOLD else ""
        raise UsageError(
            f"not a {what}: " + "; ".join(faults[:_MAX_TOLD]) + more,
            code="bad_id",
            hint=hint or "Nothing was submitted. Ids have letters, digits, - and _, at most 128.",
        )
    if not found:
        raise UsageError(f"no {what} was given", hint="Name at least one, or use --input FILE.")
    ids = tuple(dict.fromkeys(found))
    return TaskIds(ids, len(found) - len(ids), titles)


def _read_list(path: str, stdin: BinaryIO) -> Iterator[tuple[str, str, str]]:
    """Yield where an id of a list stands, the id, and the title beside it or an empty one."""
    where = "standard input" if path == "-" else path
    try:
        raw = read_given(path, stdin, _MAX_INPUT_BYTES)
    except OSError as error:
        raise UsageError(
            f"cannot read {where}: {error.strerror}", hint="Check the path given to --input."
        ) from None
    if len(raw) > _MAX_INPUT_BYTES:
        raise UsageError(f"{where} is larger than 64 MiB", hint="Split the list.")
    # Spreadsheets save "Unicode text" with two bytes a character. What is in no encoding becomes no id either.
    is_wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = raw.decode("utf-16", "replace") if is_wide else raw.decode("utf-8-sig", "surrogateescape")
    lines = text.split("\n")
    delimiter = _find_delimiter(lines)
    if delimiter is None:
        ids = ((number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1))
        for n, (number, task_id) in enumerate((number, task_id) for number, task_id in ids if task_id):
            if n or _plain(task_id) not in _ID_COLUMNS:
                yield f"{where}, line {number}", task_id, ""
        return
    try:
        yield from _read_rows(where, lines, delimiter)
    except csv.Error as error:
        hint = "Check the quotes: a title that holds one writes it twice."
        raise UsageError(f"{where} is not readable as CSV: {error}", hint=hint) from None


def _find_delimiter(lines: Iterable[str]) -> str | None:
    """Return what separates the columns of a list, by its first line that has any; ``None`` for a plain list."""
    for line in lines:
        if line.lower().startswith("sep=") and len(line.strip()) == len("sep=;"):
            return line[len("sep=")]
        if (found := _DELIMITERS.search(line.partition("#")[0])) is not None:
            return found[0]
    return None


def _read_rows(where: str, lines: Iterable[str], delimiter: str) -> Iterator[tuple[str, str, str]]:
    # Comments keep their lines, so that the numbers are right.
    kept = ("" if line.lstrip().startswith(("#", "sep=")) else line.removesuffix("\r") + "\n" for line in lines)
    rows = csv.reader(kept, delimiter=delimiter, strict=True)
    id_column, title_column, is_first, width = 0, 1, True, None
    for cells in rows:
        row = [cell.strip() for cell in cells]
        if not any(row):
            continue
        names = [_plain(cell) for cell in row]
        if (
            is_first
            and (found := next((n for n, name in enumerate(names) if name in _ID_COLUMNS), None)) is not None
        ):
            id_column = found
            title_column = next((n for n, name in enumerate(names) if name in _TITLE_COLUMNS), -1)
            is_first, width = False, len(row)
            continue
        is_first = False
        place = f"{where}, line {rows.line_num}"
        if title_column + 1 == width and any(row[width:]):
            mark = "tab" if delimiter == "\t" else f'"{delimiter}"'
            raise UsageError(
                f"{place}: more cells than the first line names",
                hint=f"Put a title that holds a {mark} between double quotes.",
            )
        task_id = row[id_column] if id_column < len(row) else ""
        title = row[title_column] if 0 <= title_column < len(row) else ""
        if _WHOLE_ID.fullmatch(title):
            raise UsageError(f"{place}: two ids on one line", hint="Write one id a line, or its title behind it.")
        if not title.isascii() and any("\ud800" <= character <= "\udfff" for character in title):
            raise UsageError(f"{place}: the title is not UTF-8", hint="Save the list as CSV in UTF-8.")
        yield place, task_id, clean(title, _MAX_TITLE_CHARS)


def _plain(name: str) -> str:
    """Return the name of a column without case, blanks and underscores."""
    return re.sub(r"[\s_-]", "", name).lower()
