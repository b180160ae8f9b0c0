"""``gallery``: all covers on a local page, to look at and to pick from."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import JsonOptions, PortOptions, ProfileOptions

if TYPE_CHECKING:
    from pathlib import Path

    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.web.gallery import Gallery
    from suno_cover_cli.web.server import PageServer
    from suno_cover_cli.wiring.context import Context


@dataclass(frozen=True, kw_only=True)
class GalleryOptions(JsonOptions, ProfileOptions, PortOptions):
    """Options of the command."""

    task_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK_ID...]", help="Only these jobs, by music or cover task id.", show_default=False
        ),
    ] = None
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True
    once: Annotated[bool, typer.Option("--once", help="End when every job that is shown is decided.")] = False
    read_only: Annotated[bool, typer.Option("--read-only", help="Only show the covers; picking is off.")] = False


def gallery(options: GalleryOptions) -> None:
    """Look at all covers on a page of this machine, and pick one of each job.

    Press ? on the page for its keys. What you pick is kept in the journal, where export and embed find it.
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_gallery(options, context), is_json=options.json)


COMMAND = Command(gallery)


def prepare_gallery(options: GalleryOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check the options, and return the rest of the command.

    Raises:
        UsageError: Options that do not go together.
    """
    from suno_cover_cli.base.errors import UsageError

    if options.once and options.read_only:
        raise UsageError("--once and --read-only exclude each other", hint="A page without picks never ends.")
    settings, _ = context.settings(options)
    return _serve(options, settings.state_dir, context)


async def _serve(options: GalleryOptions, state_dir: "Path", context: "Context") -> "ExitCode":
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.release.measures import measure_border
    from suno_cover_cli.ui.gallery import GalleryReport
    from suno_cover_cli.web.gallery import Gallery
    from suno_cover_cli.web.looks import Looker, LookRoom
    from suno_cover_cli.web.server import PageServer
    from suno_cover_cli.web.thumbnails import ThumbnailFolder
    from suno_cover_cli.wiring.covers import JournalJobs, read_marks

    report = GalleryReport(context.output)
    async with context.open_journal(state_dir) as database:
        jobs = JournalJobs(database, state_dir, clock=context.clock)
        await jobs.open(options.task_ids or ())
        looker = Looker(ThumbnailFolder(state_dir / "thumbnails"), read_marks, measure_border)
        async with LookRoom(looker) as room:
            page = Gallery(
                jobs, room, clock=context.clock, is_read_only=options.read_only, on_picked=report.report_picked
            )
            server = PageServer(
                page.page, clock=context.clock, port=options.port, on_trouble=report.report_trouble
            )
            reason = "interrupted"
            try:
                async with server:
                    report.report_ready(server.url, count=jobs.count, is_read_only=options.read_only)
                    reason = await _run(page, server, options, context, report)
            finally:
                report.report_end(reason)
    return ExitCode.OK


async def _run(
    page: "Gallery", server: "PageServer", options: GalleryOptions, context: "Context", report: Any
) -> str:
    """Serve until every job is decided, with ``--once``, or until it is interrupted."""
    import asyncio

    from suno_cover_cli.ui.desktop import open_url

    async with asyncio.TaskGroup() as group:
        following = group.create_task(page.follow_changes())
        if options.opens:
            # A program's arguments can be read by others: this address is good once.
            url = server.make_opening_url()
            if not await asyncio.to_thread(open_url, url, context.child_environ):
                report.report_unopened(server.url)
        if options.once:
            await page.wait_decided()
            following.cancel()
        else:
            await following
    return "decided"
