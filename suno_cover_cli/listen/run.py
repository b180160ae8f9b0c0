"""``listen``: show callbacks as they arrive, record them, send them on."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from suno_cover_cli.base.errors import SunoCoverError, UsageError
from suno_cover_cli.base.task_ids import checked_cover_task_id
from suno_cover_cli.callbacks.targets import parse_header, parse_target
from suno_cover_cli.listen.events import EventLog
from suno_cover_cli.listen.forwarding import MAX_TARGETS
from suno_cover_cli.listen.inspecting import InspectedView
from suno_cover_cli.listen.options import ListenOptions
from suno_cover_cli.listen.parts import ListenPlan, open_session
from suno_cover_cli.listen.presenter import ListenPresenter
from suno_cover_cli.listen.recorded import list_events
from suno_cover_cli.listen.session import Goal
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.jobs import Unfinished, prepare_jobs


def prepare_session(options: ListenOptions, context: Context, unfinished: Unfinished) -> Coroutine[Any, Any, int]:
    """Check everything that can be checked without a network, and return the rest of the command.

    Raises:
        SunoCoverError: Options that exclude each other, settings that cannot be, no key for ``--save``.
    """
    _check(options)
    settings, sources = context.settings(options)
    if options.list_events:
        return list_events(settings.state_dir, context)
    # What generate is to do about callbacks is not asked here: listen is there for nothing else.
    settings = msgspec.structs.replace(settings, callback="required" if options.tunnel else "auto")
    plan = ListenPlan(
        options=options,
        settings=settings,
        webhook_key=context.webhook_key(sources, options),
        targets=tuple(map(parse_target, options.forward_to or ())),
        headers=tuple(map(parse_header, options.headers or ())),
    )
    if options.save:
        plan = msgspec.structs.replace(plan, jobs=prepare_jobs(context, plan.job_options))
    return _listen(plan, context, unfinished)


async def _listen(plan: ListenPlan, context: Context, unfinished: Unfinished) -> int:
    presenter = ListenPresenter(plan.options, context.output, context.clock)
    goal = Goal(plan.options)
    view = InspectedView(presenter.view)
    log = EventLog(view, on_event=goal.take)
    log.report_stranger = presenter.report_stranger
    try:
        async with open_session(
            plan, context, presenter=presenter, view=view, log=log, goal=goal, unfinished=unfinished
        ) as session:
            end = await session.run()
    except SunoCoverError as error:
        await presenter.report_end("error", log, error)
        return error.exit_code
    except asyncio.CancelledError:
        await presenter.report_end("interrupted", log)
        raise
    await presenter.report_end(end.reason, log)
    return end.code


def _check(options: ListenOptions) -> None:
    pairs = (
        (options.once and options.count not in {None, 1}, "--once and --count", "Give one."),
        (options.json and options.print_url, "--json and --print-url", "Both want stdout for themselves."),
        (options.print_url and options.command, "--print-url and a command", "The command has stdout to itself."),
        (options.forward_to and options.answer, "--forward-to and --answer", "One of them decides the answer."),
        (options.tunnel is False and options.public_url, "--no-tunnel and --public-url", "Give one."),
    )
    for is_given, names, hint in pairs:
        if is_given:
            raise UsageError(f"{names} exclude each other", hint=hint)
    if len(options.forward_to or ()) > MAX_TARGETS:
        hint = "The first one answers; put a program of your own there that sends on to the others."
        raise UsageError(f"--forward-to takes at most {MAX_TARGETS} receivers", code="too_many_targets", hint=hint)
    if not options.forward_to and (options.headers or options.is_insecure):
        name = "--header" if options.headers else "--insecure"
        raise UsageError(f"{name} has no receiver to go to", hint="Add --forward-to.")
    if options.until_task is not None:
        checked_cover_task_id(options.until_task)
