"""``listen``: show callbacks as they arrive, record them, send them on.

Checks the options, builds the parts and hands them to a session.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from suno_cover_cli.base.errors import SunoCoverError, UsageError
from suno_cover_cli.base.events import NullSink
from suno_cover_cli.base.files import replace_file
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.providers import WEBHOOK_KEY_VARIABLE, ChildEnviron
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.task_ids import checked_cover_task_id
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.connections import ConnectionLimits
from suno_cover_cli.callbacks.listener import CallbackListener
from suno_cover_cli.callbacks.sending.delivery import FORWARD_S, CallbackSender
from suno_cover_cli.callbacks.sending.targets import Target, parse_header, parse_target
from suno_cover_cli.callbacks.signature import MAX_AGE_S
from suno_cover_cli.journal.database import DatabaseError
from suno_cover_cli.journal.known_ids import find_covers
from suno_cover_cli.journal.recorder import Recorder
from suno_cover_cli.journal.recordings import RecordingStore
from suno_cover_cli.listen.answers import MAX_TARGETS, Answers, Forwarding
from suno_cover_cli.listen.events import EventLog
from suno_cover_cli.listen.inspecting import InspectedView, open_inspector
from suno_cover_cli.listen.options import ListenOptions
from suno_cover_cli.listen.presenter import ListenPresenter
from suno_cover_cli.listen.recorded import list_events
from suno_cover_cli.listen.saving import open_saves
from suno_cover_cli.listen.session import Endpoint, Goal, ListenSession
from suno_cover_cli.options.declare import options_as
from suno_cover_cli.options.groups import JobCommandOptions, OutputOptions, RateOptions, ServiceOptions
from suno_cover_cli.tunnels.channel import HEARTBEAT_S
from suno_cover_cli.wiring.callbacks import ChosenTunnel, choose_tunnel, open_channel, refuse_malformed_proxy
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.jobs import JobStart, Unfinished, prepare_jobs
from suno_cover_cli.wiring.ready_file import ReadyFile
from suno_cover_cli.wiring.subprocess import run_program

# Of the two seconds after a signal: answers that are owed first, then the record and the tunnel's agent.
_CLOSING_S = 1.3
_RELAY_S = 0.2  # part of the same two seconds
_URL_VARIABLE = "SUNO_CALLBACK_URL"
# Without its tunnel this command is nothing: the first run waits for the agent's download.
_DOWNLOAD_S = 120.0
# More than is read as a callback: what is too large for one is to be seen and sent on all the same.
_MAX_BODY_BYTES = 4 * 1024 * 1024
# The public path, kept from run to run: an address that was given to a sender goes on working.
_PATH_FILE = "listen-path"
_PATH = re.compile(r"/callback/[0-9a-f]{32}")
_MAX_PATH_BYTES = 100


class ListenPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before the loop starts.

    Attributes:
        options: Of the command.
        settings: Merged.
        webhook_key: Signs callbacks, or ``None``.
        targets: Where every request is sent on to.
        headers: Sent along to each of them.
        jobs: What the jobs of ``--save`` start from, or ``None``.
        until_tasks: Ids of the task whose last event ends it.
    """

    options: ListenOptions
    settings: Settings
    webhook_key: WebhookKey | None = None
    targets: tuple[Target, ...] = ()
    headers: Headers = ()
    jobs: JobStart | None = None
    until_tasks: frozenset[str] = frozenset()

    @property
    def job_options(self) -> JobCommandOptions:
        """Options of the jobs of ``--save``."""
        return options_as(
            JobCommandOptions, self.options, OutputOptions, ServiceOptions, RateOptions, submits=False
        )


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
        until_tasks=_ids_of(options.until_task, settings.journal_path),
    )
    if options.max_age_s is not None and plan.webhook_key is None:
        hint = f"Set {WEBHOOK_KEY_VARIABLE} or add --webhook-key-file FILE."
        raise UsageError("--max-age has no effect without a webhook key", hint=hint)
    if options.save:
        plan = msgspec.structs.replace(plan, jobs=prepare_jobs(context, plan.job_options))
    return _listen(plan, context, unfinished)


def _ids_of(task_id: str | None, journal: Path) -> frozenset[str]:
    """Return the ids by which callbacks of a task may call it: a known job's cover task has one of its own."""
    if task_id is None:
        return frozenset()
    cover = find_covers(journal, [task_id]).get(task_id)
    return frozenset({task_id} if cover is None else {task_id, cover})


def _check(options: ListenOptions) -> None:
    pairs = (
        (options.once and options.count not in {None, 1}, "--once and --count", "Give one."),
        (options.json and options.print_url, "--json and --print-url", "Each of them uses stdout alone."),
        (options.print_url and options.command, "--print-url and a command", "The command has stdout to itself."),
        (options.forward_to and options.answer, "--forward-to and --answer", "One of them decides the answer."),
        (options.tunnel is False and options.public_url, "--no-tunnel and --public-url", "Give one."),
        (options.path is not None and options.has_new_path, "--path and --new-path", "Give one."),
    )
    for is_given, names, hint in pairs:
        if is_given:
            raise UsageError(f"{names} exclude each other", hint=hint)
    if len(options.forward_to or ()) > MAX_TARGETS:
        hint = "The first one answers; put a program of your own there that sends on to the others."
        raise UsageError(f"--forward-to takes at most {MAX_TARGETS} receivers", code="too_many_targets", hint=hint)
    if not options.forward_to and (options.headers or options.is_insecure):
        name = "--header" if options.headers else "--insecure"
        raise UsageError(f"{name} has no effect without a receiver", hint="Add --forward-to.")
    if options.until_task is not None:
        checked_cover_task_id(options.until_task)


async def _listen(plan: ListenPlan, context: Context, unfinished: Unfinished) -> int:
    presenter = ListenPresenter(plan.options, context.output, context.clock)
    goal = Goal(plan.options.wanted_count, plan.until_tasks)
    view = InspectedView(presenter.view)
    log = EventLog(view if plan.options.inspect else presenter.view, on_event=goal.take)
    log.report_unmatched = presenter.report_unmatched
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
    if end.said:
        presenter.report_timeout(end.said, end.hint)
    await presenter.report_end(end.reason, log)
    return end.code


@asynccontextmanager
async def open_session(
    plan: ListenPlan,
    context: Context,
    *,
    presenter: ListenPresenter,
    view: InspectedView,
    log: EventLog,
    goal: Goal,
    unfinished: Unfinished,
) -> AsyncIterator[ListenSession]:
    """Open everything.

    On leaving, the listener goes first: the answers that are still owed need the tunnel, and then the record.

    Raises:
        UsageError: A port in use, a path or a public URL that cannot be, a journal of a newer version.
    """
    options = plan.options
    async with AsyncExitStack() as last, AsyncExitStack() as first:
        ready_file = await ReadyFile(options.ready_file).__aenter__()
        await _open_record(last, plan, context, presenter, log)
        saves = None
        if plan.jobs is not None:
            saves = await last.enter_async_context(
                open_saves(context, plan.jobs, plan.job_options, sink=presenter, unfinished=unfinished)
            )
            log.save = saves.save
        senders = [await last.enter_async_context(_make_sender(target, plan, context)) for target in plan.targets]
        answers = await _open_answers(last, options, context, log, senders)
        chosen = None
        if options.tunnel is not False:
            chosen = choose_tunnel(context, options, plan.settings, install_s=_DOWNLOAD_S)
            await asyncio.to_thread(refuse_malformed_proxy, chosen)
        listener = await first.enter_async_context(_make_listener(plan, context, log, answers, chosen))
        # While nothing is received any longer, nothing is said to be ready.
        first.push_async_exit(ready_file)
        path = options.path
        if path is None:
            path = await asyncio.to_thread(keep_path, plan.settings.state_dir, is_new=options.has_new_path)
        listener.open_inbox(path, is_read=False)
        if options.inspect:
            own = await last.enter_async_context(_make_sender(Target(listener.local_url + path), plan, context))
            named = {f"forward {n}" if n > 1 else "forward": sender for n, sender in enumerate(senders, 1)}
            inspector = open_inspector(context, presenter, {"listener": own, **named})
            view.inspector = await last.enter_async_context(inspector)
        endpoint = Endpoint(local=listener.local_url, path=path, targets=tuple(senders))
        yield ListenSession(
            options,
            endpoint=await _with_channel(endpoint, last, context, listener, chosen),
            presenter=presenter,
            log=log,
            goal=goal,
            clock=context.clock,
            ready_file=ready_file,
            run_command=_program(options, context),
            wait_saved=saves.wait_idle if saves is not None else None,
        )


async def _open_record(
    stack: AsyncExitStack, plan: ListenPlan, context: Context, presenter: ListenPresenter, log: EventLog
) -> None:
    """Open the record of events; without one, events are still shown."""
    try:
        database = await stack.enter_async_context(context.open_journal(plan.settings.state_dir))
    except DatabaseError as error:
        presenter.report_trouble(DatabaseError(f"events are not recorded: {error.message}", hint=error.hint))
        return
    recorder = await stack.enter_async_context(
        Recorder(
            RecordingStore(database, retention=plan.settings.retention),
            clock=context.clock,
            on_written=log.take_numbers,
            on_trouble=presenter.report_trouble,
        )
    )
    log.record, log.record_answer = recorder.record, recorder.record_answer


async def _open_answers(
    stack: AsyncExitStack,
    options: ListenOptions,
    context: Context,
    log: EventLog,
    senders: Sequence[CallbackSender],
) -> Answers:
    """Open what decides the answers: the receivers where there are some, else the options."""
    forwarding = None
    if senders:
        forwarding = await stack.enter_async_context(Forwarding(senders, on_delivery=log.take_delivery))
    return Answers(
        log.take_arrival,
        clock=context.clock,
        status=options.answer,
        delay_s=options.delay_s,
        forward=forwarding.forward if forwarding is not None else None,
    )


def _make_listener(
    plan: ListenPlan, context: Context, log: EventLog, answers: Answers, chosen: ChosenTunnel | None
) -> CallbackListener:
    options = plan.options
    return CallbackListener(
        clock=context.clock,
        host=options.listen_host,
        port=options.listen_port,
        webhook_key=plan.webhook_key,
        signature_age_s=MAX_AGE_S if options.max_age_s is None else options.max_age_s,
        max_body_bytes=_MAX_BODY_BYTES,
        # A client on this machine is its agent then, as far as we can tell.
        trusts_forwarded_for=chosen is not None and chosen.kind.opens_something,
        responder=answers.answer,
        on_exchange=log.take_exchange,
        limits=ConnectionLimits(closing_s=_CLOSING_S),
    )


def _make_sender(target: Target, plan: ListenPlan, context: Context) -> CallbackSender:
    context.output.redactor.add(target.login)
    return CallbackSender(
        target,
        clock=context.clock,
        timeout_s=FORWARD_S,
        headers=plan.headers,
        is_insecure=plan.options.is_insecure,
    )


async def _with_channel(
    endpoint: Endpoint,
    stack: AsyncExitStack,
    context: Context,
    listener: CallbackListener,
    chosen: ChosenTunnel | None,
) -> Endpoint:
    """Begin to open the way to the listener from outside, unless none is wanted."""
    if chosen is None:
        return endpoint
    # The session asks for each change itself.
    channel = await open_channel(stack, context, chosen, listener, sink=NullSink(), heartbeat_s=HEARTBEAT_S)
    # The agent still has to carry the last answer out: one that was written a moment ago is lost with it, and the
    # service would call again.
    stack.push_async_callback(context.clock.sleep, _RELAY_S)
    return msgspec.structs.replace(
        endpoint,
        channel=channel,
        inspector=lambda: chosen.tunnel.inspector,
        opens_tunnel=chosen.kind.opens_something,
    )


def _program(options: ListenOptions, context: Context) -> Callable[[str], Awaitable[int]] | None:
    if not options.command:
        return None
    environ = context.child_environ
    names = (*context.providers.key_variables, WEBHOOK_KEY_VARIABLE)
    # A program that wants to call the service itself would otherwise fail without a reason to be seen.
    if withheld := [name for name in names if name in context.output.streams.environ and name not in environ]:
        context.output.write_words(f"Not passed to {clean(options.command[0], 60)}: {', '.join(withheld)}")
    return partial(_run_program, options, environ)


async def _run_program(options: ListenOptions, environ: ChildEnviron, url: str) -> int:
    return await run_program(
        options.command or (),
        environ={**environ, _URL_VARIABLE: url},
        # Under --json, stdout has no room for other output.
        has_stdout=not options.json,
        hint="What follows the options is a program to run. To send callbacks on, use --forward-to.",
    )


def keep_path(state_dir: Path, *, is_new: bool) -> str:
    """Return the path of the last run, or a new secret one that the next run will return. Blocks.

    Where nothing can be kept, the path is a new one each time.

    Args:
        state_dir: Where it is kept, readable by its owner alone.
        is_new: Make a new one in any case.
    """
    file = state_dir / _PATH_FILE
    if not is_new:
        with suppress(OSError, ValueError), file.open("rb") as stream:
            kept = stream.read(_MAX_PATH_BYTES).decode().strip()
            if _PATH.fullmatch(kept):
                return kept
    path = f"/callback/{secrets.token_hex(16)}"
    with suppress(OSError):
        replace_file(file, f"{path}\n".encode(), mode=0o600)
    return path
