"""Jobs that are named one by one, by arguments or a list: ``generate`` by music task, ``wait`` by cover task."""

import os
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.events import Sink, WarningRaised
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.task_ids import TaskIds, collect_task_ids
from suno_cover_cli.jobs.batch import BatchRunner
from suno_cover_cli.jobs.job_run import JobRequest
from suno_cover_cli.journal.known_ids import find_cover_tasks, find_covers
from suno_cover_cli.options.jobs import JobCommandOptions
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.failed_ids import failed_ids, open_failed_to
from suno_cover_cli.wiring.jobs import (
    JobParts,
    JobStart,
    Unfinished,
    kept_options,
    open_job_parts,
    prepare_jobs,
)
from suno_cover_cli.wiring.runner import run_command

_LEAST_FREE_BYTES = 16 * 1024 * 1024


def run_listed_jobs(options: JobCommandOptions) -> NoReturn:
    """Run ``generate`` or ``wait`` and leave the process."""
    unfinished = Unfinished()
    run_command(
        lambda context: prepare_listed_jobs(options, context, unfinished),
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
            "--no-wait leaves before a callback can come, so --callback required cannot be kept",
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
    start = prepare_jobs(context, options)
    ids = _sorted_out(ids, start.settings.state_dir / "journal.sqlite3", options, context)
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
    with failed_to or nullcontext():
        async with (
            open_job_parts(context, options, start, job_count=len(ids.ids), unfinished=unfinished) as parts,
            failed_ids(failed_to, parts.sink) as note_failed,
        ):
            _report_oddities(ids, options, parts.sink)
            if len(ids.ids) > 1:
                await parts.workflow.enqueue(_requests(ids, start.settings, options, parts))
            batch = BatchRunner(parts.workflow.run_job, concurrency=options.concurrency, on_failed=note_failed)
            return await batch.run(_requests(ids, start.settings, options, parts))


def _requests(
    ids: TaskIds, settings: Settings, options: JobCommandOptions, parts: JobParts
) -> Iterator[JobRequest]:
    kept, absolute_output = kept_options(settings, options), str(settings.output.absolute())
    for n, task_id in enumerate(ids.ids, 1):
        yield JobRequest(
            n=n,
            service=parts.service_name,
            provider=parts.provider_name,
            output=settings.output,
            absolute_output=absolute_output,
            options=kept,
            music_task_id=task_id if options.submits else None,
            task_id=None if options.submits else task_id,
        )


def _report_oddities(ids: TaskIds, options: JobCommandOptions, sink: Sink) -> None:
    if ids.repeats:
        sink.emit(
            WarningRaised(
                code="repeated_ids",
                message=f"{ids.repeats} ids were given more than once; each runs once",
            )
        )
    if options.submits and (song := ids.looks_like_song) is not None:
        sink.emit(
            WarningRaised(
                code="song_id",
                message=f"{song} looks like a song id, not a music task id",
                hint="A music task id is what the generation call returned as data.taskId.",
            )
        )


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
    found = tuple(dict.fromkeys(covers.get(task_id) or task_id for task_id in ids.ids))
    return TaskIds(found, ids.repeats + len(ids.ids) - len(found))


def check_output_folder(folder: Path) -> None:
    """Make the folder and write a byte into it, before anything is submitted.

    Raises:
        UsageError: It cannot be made or written, or the disk is as good as full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
            probe.flush()
            os.fsync(probe.fileno())
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise UsageError(
            f"cannot write into the output folder {folder}: {error.strerror}",
            code="output_unwritable",
            hint="Fix its permissions or give --output another folder. Nothing was submitted.",
        ) from None
    if free_bytes < _LEAST_FREE_BYTES:
        raise UsageError(
            f"the disk of the output folder {folder} is full ({free_bytes // 1024 // 1024} MiB left)",
            code="disk_full",
            hint="Free some space or give --output another folder. Nothing was submitted.",
        )
