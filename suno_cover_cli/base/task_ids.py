"""Task ids as users give them: from arguments, a file or standard input. Everything wrong is told at once."""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.models import is_device_name, is_safe_task_id
from suno_cover_cli.base.text import clean

_MAX_ID_CHARS = 128
_MAX_INPUT_BYTES = 64 * 1024 * 1024
_MAX_TOLD = 10
_USABLE = re.compile(r"[A-Za-z0-9_.:-]+")
_USABLE_AS_FOLDER = re.compile(r"[A-Za-z0-9_-]+")
_ADDRESS = re.compile(r"https?://|www\.|(?:^|[/.])suno\.(?:com|ai)\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"<[^>]*>|\[[^\]]*\]|\.\.\.|(?:MUSIC|COVER|YOUR)?[_-]?(?:TASK)?[_-]?ID|音乐任务ID|封面任务ID", re.IGNORECASE
)
_AUDIO = frozenset({".mp3", ".wav", ".flac", ".m4a", ".ogg", ".opus", ".aiff", ".aif", ".aac", ".wma"})
_SOURCES = {
    "music task id": "It is data.taskId of the music generation's answer; the provider's log lists it.",
    "cover task id": "It is what generate --no-wait prints; suno-cover history lists those you have.",
}
_SONG_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class TaskIds(msgspec.Struct, frozen=True):
    """Ids to run, in order, each once, and how many repeats were left out."""

    ids: tuple[str, ...]
    repeats: int = 0

    @property
    def looks_like_song(self) -> str | None:
        """The first id that has the shape of a song id rather than a task id, or ``None``."""
        return next((task_id for task_id in self.ids if _SONG_ID.fullmatch(task_id)), None)


def find_fault(task_id: str, *, names_folder: bool = False) -> str | None:
    """Say what is wrong with an id, or ``None``.

    One that names a folder has letters, digits, - and _ only, no - at its beginning, and is no device on Windows.
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
    return "Windows has a device of that name" if is_device_name(task_id) else None


class _Mistake(NamedTuple):
    """Something that is not an id but can be recognised: what it is, and what to do with it."""

    fault: str
    hint: str


def _recognise(text: str, what: str, *, may_be_file: bool) -> _Mistake | None:
    """Recognise what people type instead of an id, by its shape or because a file bears the name."""
    sources = _SOURCES[what]
    if _PLACEHOLDER.fullmatch(text.strip()):
        return _Mistake("it stands for an id of your own", sources)
    if _ADDRESS.search(text):
        return _Mistake("it is an address, and the API has ids of its own", sources)
    if may_be_file and re.search(r"[./\\]", text) and text.isprintable() and _is_file(text):
        if Path(text).suffix.lower() in _AUDIO:
            return _Mistake("it is a song file", sources)
        command = "generate" if what == "music task id" else "wait"
        return _Mistake("it is a file", f"To read ids from it: suno-cover {command} --input {shlex.quote(text)}")
    if text.strip() and not text.isascii() and text.isprintable():
        return _Mistake("it is text, not an id", sources)
    return None


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
        raise UsageError(
            f'not a cover task id: "{clean(task_id, 60)}"{f": {mistake.fault}" if mistake is not None else ""}',
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
        input_path: A file with one id a line, ``-`` for standard input, or ``None``. Blank lines, ``#``
            comments, CRLF and a byte order mark are fine.
        stdin: Binary stream behind ``-``.
        what: ``music task id`` or ``cover task id``, for messages.
        names_folder: The ids become names of folders, as cover task ids do.

    Raises:
        UsageError: No id at all, or any that cannot be one; tells each with its line.
    """
    found: list[str] = []
    faults: list[str] = []
    hint = ""
    listed = _read_list(input_path, stdin) if input_path is not None else ()
    for where, task_id in (*(("", task_id) for task_id in arguments), *listed):
        mistake = _recognise(task_id, what, may_be_file=not where)
        fault = mistake.fault if mistake is not None else find_fault(task_id, names_folder=names_folder)
        if fault is not None:
            faults.append(f'{where}{", " if where else ""}"{clean(task_id, 40)}": {fault}')
            hint = hint or (mistake.hint if mistake is not None else "")
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
    return TaskIds(ids, len(found) - len(ids))


def _read_list(path: str, stdin: BinaryIO) -> Iterator[tuple[str, str]]:
    """Yield each id of a list, and where it stands."""
    where = "standard input" if path == "-" else path
    try:
        raw = stdin.read(_MAX_INPUT_BYTES + 1) if path == "-" else _read_capped(path)
    except OSError as error:
        raise UsageError(
            f"cannot read {where}: {error.strerror}", hint="Check the path given to --input."
        ) from None
    if len(raw) > _MAX_INPUT_BYTES:
        raise UsageError(f"{where} is larger than 64 MiB", hint="Split the list.")
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        text = line.decode("utf-8", "backslashreplace").strip()
        task_id = text.partition("#")[0].strip()
        if task_id:
            yield f"{where}, line {number}", task_id


def _read_capped(path: str) -> bytes:
    with Path(path).expanduser().open("rb") as stream:
        return stream.read(_MAX_INPUT_BYTES + 1)
