"""What ``history`` shows of a job: as an object, as a line of a list, as facts one by one."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suno_cover_cli.base.folders import seen_from
from suno_cover_cli.base.models import JobState
from suno_cover_cli.base.text import cells_of, clean, fold, pad
from suno_cover_cli.journal.history import links_expire_at
from suno_cover_cli.journal.rows import JobRow, RowState
from suno_cover_cli.ui.words import format_count

_DAY_S = 24 * 3600.0
EXPIRES_SOON_S = 3 * _DAY_S
_MAX_NOTE_CHARS = 500  # of what the service said; whole for all that has been seen
_WIDTHS = (4, 9, 8)
"""Cells of age, state and covers."""
_ID_CELLS = 32
_FOLDER_CELLS = len("covers/") + _ID_CELLS
_GAP = "  "
_TONES = {
    RowState.SUCCEEDED: "good",
    RowState.PARTIAL: "bad",
    RowState.FAILED: "bad",
    RowState.REJECTED: "bad",
    RowState.QUEUED: "warning",
    RowState.SUBMITTING: "warning",
    RowState.SUBMITTED: "warning",
}


def job_entry(row: JobRow, now: float) -> dict[str, Any]:
    """Make the object of one job as ``history --json`` prints it; ``job`` is its last job object."""
    expires_at = links_expire_at(row)
    return {
        "v": 1,
        "type": "history",
        "music_task_id": row.music_task_id,
        "task_id": row.task_id,
        "state": JobState.PENDING if row.state.is_pending else row.state.value,
        "step": row.state,
        "service": row.service,
        "sandbox": row.is_of_sandbox,
        "provider": row.provider,
        "output": row.output,
        "options": row.options,
        "created_at": row.created_at,
        "submitted_at": row.submitted_at,
        "completed_at": row.completed_at,
        "updated_at": row.updated_at,
        "links_expire_at": expires_at,
        "links_expire_soon": expires_at is not None and now < expires_at < now + EXPIRES_SOON_S,
        "picked": row.pick.picked if row.pick is not None else None,
        "job": row.result,
    }


class JobTable:
    """The list of jobs as a terminal shows it: a header, then a line a job, or more where one has no room.

    Ids and paths are what people copy: they are whole, however narrow the terminal is.

    Args:
        columns: Of the terminal.
        now: Epoch seconds.
        paint: Colours a text for a tone.
        here: The folder that paths below it are shown from.
    """

    def __init__(
        self, columns: int, *, now: float, paint: Callable[[str, str], str], here: Path | None = None
    ) -> None:
        self._now = now
        self._here = here
        self._paint = paint
        self._columns = columns
        left = sum(_WIDTHS) + len(_GAP) * len(_WIDTHS)
        # Where a job's folder has no room beside its id, it stands below.
        self._is_wide = not columns or columns - 1 - left - _ID_CELLS - len(_GAP) >= _FOLDER_CELLS
        self._hang = " " * (left + _ID_CELLS + len(_GAP) if self._is_wide else _WIDTHS[0] + len(_GAP))

    def header(self, *, is_sandbox: bool) -> str:
        """Return the line above the jobs."""
        title = "SANDBOX TASK" if is_sandbox else "MUSIC TASK"
        cells = [*self._padded("AGE", "STATE", "COVERS"), pad(title, _ID_CELLS), "WHERE"]
        return self._paint(_GAP.join(cells if self._is_wide else cells[:-1]).rstrip(), "faint")

    def lines_of(self, row: JobRow) -> list[str]:
        """Return the lines of a job: its state and id, where its covers are, what there is to say of it."""
        covers = str(len(row.result.images)) if row.result is not None and row.result.images else "-"
        where = self._folder_of(row) if covers != "-" else ""
        if row.pick is not None:
            covers += f" pick {'-' if row.pick.n is None else row.pick.n}"
        name = clean(row.music_task_id or row.task_id or "-", 128)
        notes = "; ".join(filter(None, [*_reasons_of(row), _links_note(row, self._now)]))
        first = _GAP.join([*self._padded(_age(self._now - row.created_at), row.state, covers), name])
        more = [text for text in (where, notes) if text]
        if self._is_wide and more and cells_of(first) < len(self._hang):
            first = pad(first, len(self._hang)) + more.pop(0)
        lines = [line for text in (first, *(self._hang + text for text in more)) for line in self._fold(text)]
        lines[0] = lines[0].replace(f" {row.state} ", f" {self._paint(row.state, _TONES[row.state])} ", 1)
        return lines

    def _fold(self, text: str) -> list[str]:
        return fold(text, self._columns, self._hang)

    def _padded(self, *cells: str) -> list[str]:
        return [pad(cell, width) for cell, width in zip(cells, _WIDTHS, strict=True)]

    def _folder_of(self, row: JobRow) -> str:
        return clean(seen_from(self._here, Path(row.output) / (row.task_id or "")), 4096)


def fields_of(row: JobRow, now: float) -> list[str]:
    """Return a job as a script takes it apart: when, state, music task, cover task, notes, service."""
    ids = [row.music_task_id or "-", row.task_id or "-"]
    found = [_moment(row.created_at), row.state.value, *ids, _note_on(row, now), row.service]
    return [clean(field, 4096) for field in found]


def paths_of(row: JobRow, here: Path | None) -> list[Path]:
    """Return the files of a job's covers as they are printed."""
    if row.result is None or row.task_id is None:
        return []
    folder = Path(row.output) / row.task_id
    return [seen_from(here, folder / Path(image.path).name) for image in row.result.images]


def _age(seconds: float) -> str:
    """Write how long ago something was in four characters at most: ``now``, ``5m``, ``3h``, ``12d``, ``40w``."""
    for unit, length_s, most in (("m", 60, 60), ("h", 3600, 48), ("d", 86400, 100)):
        if seconds < length_s * most:
            return f"{int(seconds // length_s)}{unit}" if seconds >= 60 else "now"  # noqa: PLR2004 -- a minute
    return f"{min(int(seconds // (7 * 86400)), 999)}w"


def _reasons_of(row: JobRow) -> list[str]:
    notes = {RowState.QUEUED: "not submitted yet", RowState.SUBMITTING: "may not have been submitted"}
    reasons = [notes[row.state]] if row.state in notes else []
    if row.result is not None and row.result.error is not None:
        reasons.append(clean(row.result.error.message, _MAX_NOTE_CHARS))
    return reasons


def _note_on(row: JobRow, now: float) -> str:
    notes = []
    if row.result is not None and row.result.images:
        notes.append(format_count(len(row.result.images), "cover"))
    if row.pick is not None:
        notes.append("none picked" if row.pick.n is None else f"number {row.pick.n} picked")
    return "; ".join(filter(None, [*notes, *_reasons_of(row), _links_note(row, now)]))


def _links_note(row: JobRow, now: float) -> str:
    """Point out links that are about to expire, and those that have where covers are still missing."""
    expires_at = links_expire_at(row)
    if expires_at is None:
        return ""
    left_s = expires_at - now
    if left_s <= 0:
        return "" if row.state is RowState.SUCCEEDED else "its links have expired"
    if left_s > EXPIRES_SOON_S:
        return ""
    saved = " (its covers are saved)" if row.state is RowState.SUCCEEDED else ""
    return f"its links expire in {_days(left_s)}{saved}"


def _days(seconds: float) -> str:
    hours = int(seconds // 3600)
    if hours < 48:  # noqa: PLR2004 -- up to two days, hours are news
        return "1 hour" if hours == 1 else f"{hours} hours"
    return f"{hours // 24} days"


def facts_of(row: JobRow, now: float, here: Path | None) -> list[tuple[str, str]]:
    """Return all that is known of a job as pairs of name and value, paths as they are printed."""
    facts = [
        ("music task", row.music_task_id or "-"),
        ("cover task", row.task_id or "-"),
        ("state", "; ".join(part for part in (row.state.value, _note_on(row, now)) if part)),
        ("service", f"{row.service} ({row.provider})"),
        ("folder", str(seen_from(here, Path(row.output) / (row.task_id or "")))),
        ("begun", _moment(row.created_at)),
        ("submitted", _moment(row.submitted_at)),
        ("completed", _moment(row.completed_at)),
        ("links expire", _moment(links_expire_at(row))),
    ]
    if row.pick is not None:
        path = "" if row.pick.path is None else seen_from(here, Path(row.pick.path))
        facts.append(("picked", "none of them" if row.pick.n is None else f"{row.pick.n}: {path}"))
    if row.result is not None:
        facts += [("saved", str(path)) for path in paths_of(row, here)]
        facts += [("missing", f"{image.url}: {image.error}") for image in row.result.failed_images]
        if row.result.error is not None and row.result.error.hint:
            facts.append(("hint", row.result.error.hint))
    return [(name, clean(value, 4096)) for name, value in facts]


def _moment(epoch_s: float | None) -> str:
    """Write a moment as the user's clocks show it."""
    return "-" if epoch_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(epoch_s))
