"""``history``: the journal, as a list, as one job whole, as JSON lines; and what of it may be forgotten."""

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import JsonOptions, ProfileOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.journal.history import JobHistory, RowFilter
    from suno_cover_cli.journal.rows import RowState
    from suno_cover_cli.wiring.context import Context

_DAY_S = 24 * 3600.0
_DEFAULT_LIMIT = 30
_DEFAULT_KEEP_DAYS = 14.0


@dataclass(frozen=True, kw_only=True)
class HistoryOptions(JsonOptions):
    """Options of the command."""

    task_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[TASK_ID]", help="Show this job in full, by music or cover task id.", show_default=False
        ),
    ] = None
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="Only pending, partial, succeeded, failed or rejected jobs, or all unfinished ones; "
            "queued, submitting and submitted select among the pending ones.",
            show_default=False,
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=0,
            metavar="N",
            help="List at most this many, 0 for all. (default: 30; with --json all)",
        ),
    ] = None
    prunes: Annotated[
        bool, typer.Option("--prune", help="Forget jobs that have ended, or those of --state or TASK_ID.")
    ] = False
    keep_days: Annotated[
        float | None,
        typer.Option(
            "--keep-days",
            min=0,
            metavar="DAYS",
            help="With --prune: keep what changed in the last days. (default: 14)",
            show_default=False,
        ),
    ] = None
    paths: Annotated[bool, typer.Option("--paths", help="Print the files of saved covers, one a line.")] = False
    callbacks: Annotated[
        bool,
        typer.Option("--callbacks", help="List what listen has recorded instead; TASK_ID is a cover task's."),
    ] = False


def history(options: HistoryOptions) -> None:
    """Show what became of every job, the newest first; --json exports it, one object a line.

    In a pipe a line holds when, state, music task, cover task, notes and service, with tabs between.

    Links to images live for 14 days at most; those about to expire are marked.
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_history(options, context), is_json=options.json)


COMMAND = Command(history)


def prepare_history(options: HistoryOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check the options, and return the rest of the command.

    Raises:
        UsageError: No such state, or options that do not go together.
    """
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.text import clean, did_you_mean

    if options.callbacks and (options.prunes or options.paths or options.state is not None):
        raise UsageError(
            "--callbacks cannot be combined with --state, --paths or --prune",
            hint="It lists recorded requests.",
        )
    if options.paths and (options.prunes or options.json):
        raise UsageError(
            "--paths cannot be combined with --json or --prune", hint="--json has the paths in job.images."
        )
    states = _states()
    if options.state is not None and options.state not in states:
        raise UsageError(
            f'there is no state "{clean(options.state, 40)}"',
            hint=f"{did_you_mean(options.state, states)}Use one of {', '.join(states)}.",
        )
    settings, _ = context.settings(ProfileOptions())
    if options.callbacks:
        from suno_cover_cli.listen.recorded import list_events

        limit = _DEFAULT_LIMIT if options.limit is None and not context.output.is_json else options.limit
        return list_events(settings.state_dir, context, limit=limit or None, task_id=options.task_id)
    return _history(options, settings.state_dir, context)


def _states() -> "dict[str, frozenset[RowState]]":
    """Return what --state takes: words of the job object, finer ones of the journal, ``unfinished``."""
    from suno_cover_cli.journal.rows import RowState

    pending = frozenset(state for state in RowState if state.is_pending)
    return {
        **{state.value: frozenset({state}) for state in RowState},
        "pending": pending,
        "unfinished": pending | {RowState.PARTIAL},
    }


async def _history(options: HistoryOptions, state_dir: Path, context: "Context") -> "ExitCode":
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.journal.history import JobHistory, RowFilter
    from suno_cover_cli.journal.run_locks import RunLocks

    async with context.open_journal(state_dir) as database:
        jobs = JobHistory(database, RunLocks(state_dir / "runs"))
        states = _states()[options.state] if options.state is not None else frozenset()
        wanted = RowFilter(states=states, task_id=options.task_id)
        if options.prunes:
            await _prune(jobs, wanted, options, context)
        elif options.paths:
            await _print_paths(jobs, wanted, options, context)
        elif options.task_id is not None:
            await _show_one(jobs, wanted, context)
        else:
            await _list(jobs, wanted, options, context)
    return ExitCode.OK


async def _list(jobs: "JobHistory", wanted: "RowFilter", options: HistoryOptions, context: "Context") -> None:
    from suno_cover_cli.ui.history import EXPIRES_SOON_S

    output = context.output
    limit = options.limit
    if limit is None and not output.is_json:
        limit = _DEFAULT_LIMIT
    if output.streams.stdout_is_terminal and not output.is_json:
        shown = await _print_tables(jobs, wanted, limit or None, context)
    else:
        shown = await _print_lines(jobs, wanted, limit or None, context)
    if output.is_json:
        return
    total = await jobs.count(wanted)
    if not total:
        output.write_words("No job is in the journal." if not wanted.states else "No job is in this state.")
    elif shown < total:
        output.write_words(f"The newest {shown} of {total} jobs; --limit 0 lists all.")
    expiring = await jobs.count_expiring(now=context.clock.time(), within_s=EXPIRES_SOON_S)
    if expiring:
        are = "1 job has covers that are" if expiring == 1 else f"{expiring} jobs have covers that are"
        output.write_words(f"{are} not saved, and links that expire within {EXPIRES_SOON_S / _DAY_S:g} days.")
        output.write_labelled("hint", "Save them with: suno-cover resume")


async def _print_tables(jobs: "JobHistory", wanted: "RowFilter", limit: int | None, context: "Context") -> int:
    """Print jobs for a terminal, those of the sandbox apart and below the others; return how many."""
    import msgspec

    from suno_cover_cli.ui.choice import choose_paint
    from suno_cover_cli.ui.history import JobTable

    output = context.output
    paint = choose_paint(output.streams.environ, is_terminal=True)
    table = JobTable(output.product_columns, now=context.clock.time(), paint=paint, here=output.here)
    shown = 0
    limits = await _limits_of_kinds(jobs, wanted, limit)
    for is_sandbox, most in limits.items():
        is_first = True
        async for row in jobs.find(msgspec.structs.replace(wanted, is_sandbox=is_sandbox), limit=most):
            if is_first and shown:
                output.write_line("")
            if is_first:
                output.write_line(table.header(is_sandbox=is_sandbox))
            for line in table.lines_of(row):
                output.write_line(line)
            is_first = False
            shown += 1
    return shown


async def _limits_of_kinds(jobs: "JobHistory", wanted: "RowFilter", limit: int | None) -> "dict[bool, int | None]":
    """Say how many of the newest so many jobs are real ones, and how many the sandbox's, without keeping any."""
    if limit is None:
        return {False: None, True: None}
    sandboxed = total = 0
    async for row in jobs.find(wanted, limit=limit):
        total += 1
        sandboxed += row.is_of_sandbox
    return {False: total - sandboxed, True: sandboxed}


async def _print_lines(jobs: "JobHistory", wanted: "RowFilter", limit: int | None, context: "Context") -> int:
    """Print jobs for a program, a line each; return how many."""
    from suno_cover_cli.base.models import json_text
    from suno_cover_cli.ui.history import fields_of, job_entry

    output, now = context.output, context.clock.time()
    shown = 0
    async for row in jobs.find(wanted, limit=limit):
        output.write_line(json_text(job_entry(row, now)) if output.is_json else "\t".join(fields_of(row, now)))
        shown += 1
    return shown


async def _print_paths(
    jobs: "JobHistory", wanted: "RowFilter", options: HistoryOptions, context: "Context"
) -> None:
    import asyncio

    from suno_cover_cli.ui.history import paths_of

    missing = 0
    async for row in jobs.find(wanted, limit=options.limit or None):
        for path in paths_of(row, context.output.here):
            if await asyncio.to_thread(path.exists):
                context.output.write_line(str(path))
            else:
                missing += 1
    if missing:
        files = "1 saved file is" if missing == 1 else f"{missing} saved files are"
        context.output.write_words(f"{files} missing.")


async def _show_one(jobs: "JobHistory", wanted: "RowFilter", context: "Context") -> None:
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.models import json_text
    from suno_cover_cli.base.task_ids import describe_unknown
    from suno_cover_cli.release.choosing import carried_marks
    from suno_cover_cli.ui.history import facts_of, job_entry

    output, now = context.output, context.clock.time()
    is_known = False
    async for row in jobs.find(wanted):
        carried = await carried_marks(row)
        if output.is_json:
            output.write_line(json_text({**job_entry(row, now), "marks": [one.entry() for one in carried]}))
        else:
            if is_known:
                output.write_line("")
            facts = [*facts_of(row, now, output.here), *(("carries", one.describe()) for one in carried)]
            for name, value in facts:
                output.write_row(f"{name:<14} {value}", hang=15)
        is_known = True
    if not is_known:
        raise UsageError(
            describe_unknown(wanted.task_id or ""),
            code="unknown_job",
            hint="suno-cover history lists those it knows; suno-cover status asks the service.",
        )


async def _prune(jobs: "JobHistory", wanted: "RowFilter", options: HistoryOptions, context: "Context") -> None:
    import msgspec

    from suno_cover_cli.base.models import json_text
    from suno_cover_cli.journal.rows import RowState

    keep_days, states = options.keep_days, wanted.states
    if options.task_id is None:
        # Unless asked for, nothing goes that is young or that ``resume`` could still finish.
        keep_days = _DEFAULT_KEEP_DAYS if keep_days is None else keep_days
        states = states or frozenset(state for state in RowState if state.is_terminal)
    before = context.clock.time() - (keep_days or 0.0) * _DAY_S
    count = await jobs.prune(msgspec.structs.replace(wanted, states=states, changed_before=before))
    if context.output.is_json:
        context.output.write_line(json_text({"v": 1, "type": "pruned", "jobs": count}))
    context.output.write_words(f"{count} {'job' if count == 1 else 'jobs'} removed from the journal.")
    if not count and keep_days:
        context.output.write_labelled(
            "hint", f"Kept: what changed in the last {keep_days:g} days, and what is unfinished. See: --keep-days"
        )
