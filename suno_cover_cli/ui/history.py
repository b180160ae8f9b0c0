"""What ``history`` shows of a job: as an object, as lines of a list, as facts one by one."""

import time
from pathlib import Path
from typing import Any

from suno_cover_cli.base.models import JobState
from suno_cover_cli.base.text import cells_of, clean, fold
from suno_cover_cli.journal.history import links_expire_at
from suno_cover_cli.journal.rows import JobRow, RowState

_DAY_S = 24 * 3600.0
EXPIRES_SOON_S = 3 * _DAY_S
_MAX_NOTE_CHARS = 500  # of what the service said; whole for all that has been seen


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


def lines_of(row: JobRow, now: float, columns: int) -> list[str]:
    """Put a job on one line; on a terminal that is too narrow, what has no room stands below. Ids stay whole."""
    moment = _moment(row.created_at)
    start = f"{moment}  {row.state:<10}"
    parts = [clean(row.music_task_id or "-", 128), clean(row.task_id or "-", 128), _note_on(row, now)]
    line = "  ".join([start, *parts]).rstrip()
    if not columns or cells_of(line) < columns:
        return [line]
    indent = " " * (len(moment) + 2)
    lines = [f"{start}  {parts[0]}"]
    for part in filter(None, parts[1:]):
        if cells_of(lines[-1]) + 2 + cells_of(part) < columns:
            lines[-1] += f"  {part}"
        else:
            lines += fold(f"{indent}{part}", columns, indent)
    return lines


def _note_on(row: JobRow, now: float) -> str:
    notes = {RowState.QUEUED: "not submitted yet", RowState.SUBMITTING: "not known to be submitted"}
    told = [notes[row.state]] if row.state in notes else []
    if row.result is not None and row.result.images:
        covers = len(row.result.images)
        told.append("1 cover" if covers == 1 else f"{covers} covers")
    if row.pick is not None:
        told.append("none picked" if row.pick.n is None else f"number {row.pick.n} picked")
    if row.result is not None and row.result.error is not None:
        told.append(clean(row.result.error.message, _MAX_NOTE_CHARS))
    if links := _links_note(row, now):
        told.append(links)
    return "; ".join(told)


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


def facts_of(row: JobRow, now: float) -> list[tuple[str, str]]:
    """Return all that is known of a job as pairs of name and value."""
    facts = [
        ("music task", row.music_task_id or "-"),
        ("cover task", row.task_id or "-"),
        ("state", "; ".join(part for part in (row.state.value, _note_on(row, now)) if part)),
        ("service", f"{row.service} ({row.provider})"),
        ("folder", str(Path(row.output) / row.task_id) if row.task_id is not None else row.output),
        ("begun", _moment(row.created_at)),
        ("submitted", _moment(row.submitted_at)),
        ("completed", _moment(row.completed_at)),
        ("links expire", _moment(links_expire_at(row))),
    ]
    if row.pick is not None:
        facts.append(("picked", "none of them" if row.pick.n is None else f"{row.pick.n}: {row.pick.path}"))
    if row.result is not None:
        facts += [("saved", image.path) for image in row.result.images]
        facts += [("missing", f"{image.url}: {image.error}") for image in row.result.failed_images]
        if row.result.error is not None and row.result.error.hint:
            facts.append(("hint", row.result.error.hint))
    return [(name, clean(value, 4096)) for name, value in facts]


def _moment(epoch_s: float | None) -> str:
    """Write a moment as the user's clocks show it."""
    return "-" if epoch_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(epoch_s))
