"""Jobs that are named one by one, by arguments or a list: ``generate`` by music task, ``wait`` by cover task."""

import asyncio
import csv
import dataclasses
import io
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec

from suno_cover_cli.base.errors import KeyRefusedError, UsageError, disk_code, disk_hint
from suno_cover_cli.base.events import NoteRaised, Sink, WarningRaised
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.files import is_file, make_folders
from suno_cover_cli.base.folders import LEAST_FREE_BYTES, probe_folder
from suno_cover_cli.base.task_ids import TaskIds, collect_task_ids
from suno_cover_cli.base.text import clean, did_you_mean
from suno_cover_cli.jobs.batch import BatchRunner
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest
from suno_cover_cli.journal.known_ids import find_cover_tasks, find_covers
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.ui.words import format_count
from suno_cover_cli.ui.writer import LineWriter
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.jobs import (
    JobStart,
    LateSink,
    Unfinished,
    kept_options,
    open_sink,
    open_workflow,
    prepare_jobs,
)
from suno_cover_cli.wiring.origins import are_of_sandbox
from suno_cover_cli.wiring.runner import run_command

_LAST_LINES_S = 1.0
_MAX_MISSPELT = 5
_SONG_HINT = "A music task id is what the generation call returned as data.taskId."


def run_listed_jobs(options: JobCommandOptions) -> NoReturn:
    """Run ``generate`` or ``wait`` and leave the process."""
    unfinished = Unfinished()
    run_command(
        partial(prepare_listed_jobs, options, unfinished=unfinished),
        is_json=options.json or options.events,
        is_quiet=options.quiet,
        on_interrupt=unfinished.describe,
    )


def prepare_listed_jobs(
    options: JobCommandOptions, context: Context, unfinished: Unfinished
) -> Coroutine[Any, Any, ExitCode]:
    """Check everything that can be checked without a network, and return the rest of the command.

    Args:
        options: Of the command; its ids are those of music tasks when it ``submits``, else of cover tasks.
        context: Streams and time.
        unfinished: Told of starts and ends.

    Raises:
        SunoCoverError: Whatever stops the command before there is a job.
    """
    if options.callback == "required" and options.no_wait:
        raise UsageError(
            "--no-wait ends before a callback can arrive, so --tunnel cannot be met",
            hint="Leave one of the two out.",
        )
    if options.no_wait:
        context.output.check_product()
    ids = collect_task_ids(
        options.task_ids or (),
        options.input_file,
        context.output.streams.stdin,
        what="music task id" if options.submits else "cover task id",
        names_folder=not options.submits,
    )
    settings, _ = context.settings(options)
    ids = _sorted_out(ids, settings.journal_path, options, context)
    if not options.submits and not options.sandbox:
        options = dataclasses.replace(options, sandbox=are_of_sandbox(ids.ids, settings))
        if options.sandbox:
            unfinished.resume_command = "suno-cover resume --sandbox"
    try:
        start = prepare_jobs(context, options)
    except KeyRefusedError:
        # A key would not help an id of the wrong kind.
        if options.submits and (song := ids.looks_like_song) is not None:
            context.output.write_labelled("warning", f"{_song_words(song)}. {_SONG_HINT}")
        raise
    check_output_folder(start.settings.output)
    failed_to = open_failed_to(options.failed_to)
    return _run(ids, start, options, context, unfinished=unfinished, failed_to=failed_to)


async def _run(
    ids: TaskIds,
    start: JobStart,
    options: JobCommandOptions,
    context: Context,
    *,
    unfinished: Unfinished,
    failed_to: BinaryIO | None,
) -> ExitCode:
    early = LateSink()
    unfinished.job_count = len(ids.ids)
    async with AsyncExitStack() as stack:
        if failed_to is not None:
            stack.enter_context(failed_to)
        # The journal first: it knows how long a job usually takes.
        journal = await stack.enter_async_context(context.open_job_journal(start.settings, early))
        sink = await open_sink(
            stack,
            context,
            options,
            start.settings,
            job_count=len(ids.ids),
            unfinished=unfinished,
            usual_s=await journal.usual_duration_s(start.service),
        )
        early.open(sink)
        workflow = await open_workflow(stack, context, options, start, sink=sink, journal=journal)
        note_failed = await stack.enter_async_context(failed_ids(failed_to, sink))
        _report_oddities(ids, options, sink)
        if len(ids.ids) > 1:
            await workflow.enqueue(_requests(ids, start, options))
        batch = BatchRunner(workflow.run_job, concurrency=options.concurrency, on_failed=note_failed)
        return await batch.run(_requests(ids, start, options))


def _requests(ids: TaskIds, start: JobStart, options: JobCommandOptions) -> Iterator[JobRequest]:
    kept = kept_options(start.settings, options)
    for n, task_id in enumerate(ids.ids, 1):
        title = ids.titles.get(task_id)
        yield start.request(
            n,
            kept if title is None else msgspec.structs.replace(kept, title=title),
            music_task_id=task_id if options.submits else None,
            task_id=None if options.submits else task_id,
            typed=ids.typed.get(task_id, ""),
        )


def _song_words(song: str) -> str:
    return f"{song} looks like a song id, not a music task id"


def _report_oddities(ids: TaskIds, options: JobCommandOptions, sink: Sink) -> None:
    if ids.repeats:
        sink.emit(NoteRaised(code="repeated_ids", message=f"{format_count(ids.repeats, 'duplicate id')} ignored"))
    if options.submits and (song := ids.looks_like_song) is not None:
        sink.emit(
            WarningRaised(
                code="song_id",
                message=_song_words(song),
                hint=_SONG_HINT,
            )
        )
    if options.submits:
        _report_misspelt(ids, sink)


def _report_misspelt(ids: TaskIds, sink: Sink) -> None:
    """Say which ids ask the sandbox for a scenario that it has not."""
    if not any(task_id.startswith("sandbox-") for task_id in ids.ids):
        return
    from suno_cover_cli.sandbox.scenarios import PREFIX, SCENARIOS, is_misspelt

    for task_id in list(filter(is_misspelt, ids.ids))[:_MAX_MISSPELT]:
        name = clean(task_id.removeprefix(PREFIX), 60)
        near = did_you_mean(task_id, [f"{PREFIX}{known}" for known in SCENARIOS])
        message = f'the sandbox has no scenario "{name}": it treats {clean(task_id, 128)} as any other id'
        hint = f"{near}All of them: suno-cover sandbox --list"
        sink.emit(WarningRaised(code="unknown_scenario", message=message, hint=hint))


def _sorted_out(ids: TaskIds, journal: Path, options: JobCommandOptions, context: Context) -> TaskIds:
    """Set right ids of the other kind, as far as the journal knows them.

    Raises:
        UsageError: A cover task id where a music task id is wanted, or a music task that was not submitted yet.
    """
    if options.submits:
        if swapped := find_cover_tasks(journal, ids.ids):
            first = next(task_id for task_id in ids.ids if task_id in swapped)
            raise UsageError(
                f"{first} is a cover task id: its music task was submitted already",
                code="bad_id",
                hint=f"Wait for it, or find its files: suno-cover wait {first}",
            )
        return ids
    covers = find_covers(journal, ids.ids)
    for music_task_id, task_id in covers.items():
        if task_id is None:
            raise UsageError(
                f"{music_task_id} is a music task id, and its cover job was not submitted yet",
                code="bad_id",
                hint=f"Submit it: suno-cover generate {music_task_id}",
            )
        context.output.write_words(f"{music_task_id} is a music task id; its cover task is {task_id}")
    known = {music_task_id: task_id for music_task_id, task_id in covers.items() if task_id is not None}
    found = tuple(dict.fromkeys(known.get(task_id, task_id) for task_id in ids.ids))
    return TaskIds(
        found,
        ids.repeats + len(ids.ids) - len(found),
        {known.get(task_id, task_id): title for task_id, title in ids.titles.items()},
        {task_id: music_task_id for music_task_id, task_id in known.items()},
    )


def check_output_folder(folder: Path) -> None:
    """Make the folder and write a byte into it, before anything is submitted.

    Raises:
        UsageError: It cannot be made or written, or the disk is as good as full.
    """
    hint = "Fix its permissions or give --output another folder."
    try:
        make_folders(folder)
        free_bytes = probe_folder(folder)
    except (FileExistsError, NotADirectoryError):
        in_the_way = next((one for one in (folder, *folder.parents) if is_file(one)), folder)
        raise UsageError(
            f"the output folder {folder} cannot be made: {in_the_way} is a file",
            code="output_unwritable",
            hint="Move it away or give --output another folder. Nothing was submitted.",
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot write into the output folder {folder}: {error.strerror}",
            code=disk_code(error, "output_unwritable"),
            hint=f"{disk_hint(error, hint)} Nothing was submitted.",
        ) from None
    if free_bytes < LEAST_FREE_BYTES:
        raise UsageError(
            f"the disk of the output folder {folder} is full ({free_bytes // 1024 // 1024} MiB left)",
            code="disk_full",
            hint="Free some space or give --output another folder. Nothing was submitted.",
        )


def open_failed_to(path: Path | None) -> BinaryIO | None:
    """Open the list before anything is submitted.

    Raises:
        UsageError: It cannot be written.
    """
    if path is None:
        return None
    try:
        return path.expanduser().open("wb", buffering=0)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Give --failed-to another path.") from None


@asynccontextmanager
async def failed_ids(
    stream: BinaryIO | None, sink: Sink
) -> AsyncIterator[Callable[[JobRequest, JobOutcome], None] | None]:
    """Yield what takes a job that did not end well, or ``None`` when no list was asked for.

    Args:
        stream: As opened by :func:`open_failed_to`; written to until the end, and left open.
        sink: Hears when the list cannot be written any more.
    """
    if stream is None:
        yield None
        return
    loop = asyncio.get_running_loop()

    def report_unwritable() -> None:
        warning = WarningRaised(
            code="failed_to_unwritable",
            message="the list of failed ids cannot be written any more",
            hint="suno-cover history shows them.",
        )
        loop.call_soon_threadsafe(sink.emit, warning)

    # A thread of its own writes: a disk that takes its time must not stop callbacks from being answered.
    writer = LineWriter(stream, report_unwritable)
    try:
        yield lambda request, outcome: writer.write_line(failed_line(request, outcome))
    finally:
        await asyncio.to_thread(writer.finish, _LAST_LINES_S)


def failed_line(request: JobRequest, outcome: JobOutcome) -> str:
    """Return the line for one job: its id, with its title if it has one, or a comment with the reason."""
    task_id = request.music_task_id or request.task_id or ""
    if outcome.is_lasting:
        error = outcome.result.error
        return f"# {task_id}: {clean(error.message) if error is not None else outcome.result.state}"
    if request.options.title is None:
        return task_id
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([task_id, request.options.title])
    return line.getvalue()
