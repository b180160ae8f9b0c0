"""``history``: the journal, as a list, as one job whole, as JSON lines; and what of it may be forgotten."""

import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import JobState
from suno_cover_cli.base.text import cells_of, clean, fold
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.history import JobHistory, RowFilter, links_expire_at
from suno_cover_cli.journal.rows import JobRow, RowState
from suno_cover_cli.journal.run_locks import RunLocks
from suno_cover_cli.listen.recorded import list_events
from suno_cover_cli.ui.output import Output, json_line
from suno_cover_cli.wiring.context import Context, ServiceOptions
from suno_cover_cli.wiring.runner import run as run_command

_DAY_S = 24 * 3600.0
_EXPIRES_SOON_S = 3 * _DAY_S
_MAX_NOTE_CHARS = 500  # of what the service said; whole for all that has been seen
_DEFAULT_LIMIT = 30
_DEFAULT_KEEP_DAYS = 14.0

_PENDING = frozenset(state for state in RowState if state.is_pending)
_UNFINISHED = _PENDING | {RowState.PARTIAL}
_ENDED = frozenset(state for state in RowState if state.is_terminal)
# The words of the job object, the finer ones of the journal, and one for what ``resume`` would take.
_STATES: dict[str, frozenset[RowState]] = {
    **{state.value: frozenset({state}) for state in RowState},
    "pending": _PENDING,
    "unfinished": _UNFINISHED,
}
STATE_WORDS = "|".join(_STATES)


class HistoryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the command; see its help.

    Attributes:
        task_id: Show this job whole.
        state: A word of :data:`STATE_WORDS`.
        limit: How many to list; 0 means all, ``None`` a screenful or, as JSON, all.
        prunes: Forget jobs instead of showing them.
        keep_days: Forget none younger; ``None`` means two weeks, or any age for a job that is named.
        events: List recorded callbacks instead of jobs; ``task_id`` is then that of a cover task.
    """

    task_id: str | None = None
    state: str | None = None
    limit: int | None = None
    prunes: bool = False
    keep_days: float | None = None
    events: bool = False


def run(options: HistoryOptions, output: Output) -> NoReturn:
    """Run the command and leave the process."""
    run_command(lambda: history(options, Context(output=output)), output)


def history(options: HistoryOptions, context: Context) -> Coroutine[Any, Any, ExitCode]:
    """Check the options, and return the rest of the command.

    Raises:
        UsageError: No such state, or options that do not go together.
    """
    if options.events and (options.prunes or options.state is not None):
        raise UsageError("--events goes with neither --state nor --prune", hint="It lists recorded callbacks.")
    if options.state is not None and options.state not in _STATES:
        raise UsageError(
            f'there is no state "{clean(options.state, 40)}"', hint=f"Use one of {', '.join(_STATES)}."
        )
    settings, _ = context.settings(ServiceOptions())
    if options.events:
        limit = _DEFAULT_LIMIT if options.limit is None and not context.output.is_json else options.limit
        return list_events(
            settings.state_dir, context.output, limit=limit or None, task_id=options.task_id, newest_first=True
        )
    return _history(options, settings.state_dir, context)


async def _history(options: HistoryOptions, state_dir: Path, context: Context) -> ExitCode:
    async with Database(state_dir / "journal.sqlite3") as database:
        jobs = JobHistory(database, RunLocks(state_dir / "runs"))
        states = _STATES[options.state] if options.state is not None else frozenset[RowState]()
        wanted = RowFilter(states=states, task_id=options.task_id)
        if options.prunes:
            await _prune(jobs, wanted, options, context)
        elif options.task_id is not None:
            await _show_one(jobs, wanted, context)
        else:
            await _list(jobs, wanted, options, context)
    return ExitCode.OK


async def _list(jobs: JobHistory, wanted: RowFilter, options: HistoryOptions, context: Context) -> None:
    output, now = context.output, context.clock.time()
    limit = options.limit
    if limit is None and not output.is_json:
        limit = _DEFAULT_LIMIT
    shown, columns = 0, output.product_columns
    async for row in jobs.find(wanted, limit=limit or None):
        lines = [json_line(job_entry(row, now))] if output.is_json else _lines_of(row, now, columns)
        for line in lines:
            output.write_line(line)
        shown += 1
    if output.is_json:
        return
    total = await jobs.count(wanted)
    if not total:
        output.write_words("No job is in the journal." if not wanted.states else "No job is in this state.")
    elif shown < total:
        output.write_words(f"The newest {shown} of {total} jobs; --limit 0 lists all.")
    expiring = await jobs.count_expiring(now=now, within_s=_EXPIRES_SOON_S)
    if expiring:
        are = "1 job has covers that are" if expiring == 1 else f"{expiring} jobs have covers that are"
        output.write_words(f"{are} not saved, and links that expire within {_EXPIRES_SOON_S / _DAY_S:g} days.")
        output.write_labelled("hint", "Save them with: suno-cover resume")


async def _show_one(jobs: JobHistory, wanted: RowFilter, context: Context) -> None:
    output, now = context.output, context.clock.time()
    is_known = False
    async for row in jobs.find(wanted):
        if output.is_json:
            output.write_line(json_line(job_entry(row, now)))
        else:
            if is_known:
                output.write_line("")
            for name, value in _facts_of(row, now):
                output.write_line(f"{name:<14} {value}")
        is_known = True
    if not is_known:
        raise UsageError(
            f'the journal knows no job "{clean(wanted.task_id, 128)}"',
            code="unknown_job",
            hint="suno-cover history lists those it knows; suno-cover status asks the service.",
        )


async def _prune(jobs: JobHistory, wanted: RowFilter, options: HistoryOptions, context: Context) -> None:
    keep_days, states = options.keep_days, wanted.states
    if options.task_id is None:
        # Unless somebody says so, nothing goes that is young or that ``resume`` could still finish.
        keep_days = _DEFAULT_KEEP_DAYS if keep_days is None else keep_days
        states = states or _ENDED
    before = context.clock.time() - (keep_days or 0.0) * _DAY_S
    count = await jobs.prune(msgspec.structs.replace(wanted, states=states, changed_before=before))
    if context.output.is_json:
        context.output.write_line(json_line({"v": 1, "type": "pruned", "jobs": count}))
    context.output.write_words(f"{count} {'job' if count == 1 else 'jobs'} removed from the journal.")


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
        "links_expire_soon": expires_at is not None and now < expires_at < now + _EXPIRES_SOON_S,
        "job": row.result,
    }


def _lines_of(row: JobRow, now: float, columns: int) -> list[str]:
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
    if left_s > _EXPIRES_SOON_S:
        return ""
    saved = " (its covers are saved)" if row.state is RowState.SUCCEEDED else ""
    return f"its links expire in {_days(left_s)}{saved}"


def _days(seconds: float) -> str:
    hours = int(seconds // 3600)
    if hours < 48:  # noqa: PLR2004 -- up to two days, hours are news
        return "1 hour" if hours == 1 else f"{hours} hours"
    return f"{hours // 24} days"


def _facts_of(row: JobRow, now: float) -> list[tuple[str, str]]:
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
    if row.result is not None:
        facts += [("saved", image.path) for image in row.result.images]
        facts += [("missing", f"{image.url}: {image.error}") for image in row.result.failed_images]
        if row.result.error is not None and row.result.error.hint:
            facts.append(("hint", row.result.error.hint))
    return [(name, clean(value, 4096)) for name, value in facts]


def _moment(epoch_s: float | None) -> str:
    """Write a moment as the user's clocks show it."""
    return "-" if epoch_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(epoch_s))
