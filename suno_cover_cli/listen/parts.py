"""Builds the parts of ``listen`` and hands them to its session."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import msgspec

from suno_cover_cli.base.events import NullSink
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.providers import WEBHOOK_KEY_VARIABLE, ChildEnviron
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.connections import ConnectionLimits
from suno_cover_cli.callbacks.delivery import FORWARD_S, CallbackSender
from suno_cover_cli.callbacks.listener import CallbackListener
from suno_cover_cli.callbacks.targets import Target
from suno_cover_cli.journal.database import DatabaseError
from suno_cover_cli.journal.recorder import Recorder
from suno_cover_cli.journal.recordings import RecordingStore
from suno_cover_cli.listen.answers import Answers
from suno_cover_cli.listen.events import EventLog
from suno_cover_cli.listen.forwarding import Forwarding
from suno_cover_cli.listen.inspecting import InspectedView, open_inspector
from suno_cover_cli.listen.kept_path import keep_path
from suno_cover_cli.listen.options import ListenOptions
from suno_cover_cli.listen.presenter import ListenPresenter
from suno_cover_cli.listen.saving import open_saves
from suno_cover_cli.listen.session import Endpoint, Goal, ListenSession
from suno_cover_cli.options.declare import options_as
from suno_cover_cli.options.groups import JobCommandOptions, OutputOptions, RateOptions, ServiceOptions
from suno_cover_cli.tunnels.channel import HEARTBEAT_S
from suno_cover_cli.wiring.callbacks import ChosenTunnel, choose_tunnel, open_channel, refuse_malformed_proxy
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.jobs import JobStart, Unfinished
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


class ListenPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before the loop starts.

    Attributes:
        options: Of the command.
        settings: Merged.
        webhook_key: Signs callbacks, or ``None``.
        targets: Where every request is sent on to.
        headers: Sent along to each of them.
        jobs: What the jobs of ``--save`` start from, or ``None``.
    """

    options: ListenOptions
    settings: Settings
    webhook_key: WebhookKey | None = None
    targets: tuple[Target, ...] = ()
    headers: Headers = ()
    jobs: JobStart | None = None

    @property
    def job_options(self) -> JobCommandOptions:
        """Options of the jobs of ``--save``."""
        return options_as(
            JobCommandOptions, self.options, OutputOptions, ServiceOptions, RateOptions, submits=False
        )


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
    options, clock = plan.options, context.clock
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
        forwarding = None
        if senders:
            forwarding = await last.enter_async_context(Forwarding(senders, on_delivery=log.take_delivery))
        answers = Answers(
            log.take_arrival,
            clock=clock,
            status=options.answer,
            delay_s=options.delay_s,
            forward=forwarding.forward if forwarding is not None else None,
        )
        chosen = None
        if options.tunnel is not False:
            chosen = choose_tunnel(context, options, plan.settings, install_s=_DOWNLOAD_S)
            await asyncio.to_thread(refuse_malformed_proxy, chosen)
        listener = await first.enter_async_context(
            CallbackListener(
                clock=clock,
                host=options.listen_host,
                port=options.listen_port,
                webhook_key=plan.webhook_key,
                signature_age_s=options.max_age_s,
                max_body_bytes=_MAX_BODY_BYTES,
                # A client on this machine is its agent then, as far as we can tell.
                trusts_forwarded_for=chosen is not None and chosen.kind.opens_something,
                responder=answers.answer,
                on_exchange=log.take_exchange,
                limits=ConnectionLimits(closing_s=_CLOSING_S),
            )
        )
        # While nothing is received any longer, nothing is said to be ready.
        first.push_async_exit(ready_file)
        path = options.path
        if path is None:
            path = await asyncio.to_thread(keep_path, plan.settings.state_dir, is_new=options.has_new_path)
        listener.open_inbox(path, is_read=False)
        if options.inspect:
            own = Target(listener.local_url + path)
            named = {"listener": await last.enter_async_context(_make_sender(own, plan, context))}
            named |= {f"forward {n}" if n > 1 else "forward": sender for n, sender in enumerate(senders, 1)}
            view.inspector = await last.enter_async_context(open_inspector(context, presenter, named))
        endpoint = Endpoint(local=listener.local_url, path=path, targets=tuple(senders))
        yield ListenSession(
            options,
            endpoint=await _with_channel(endpoint, last, context, listener, chosen),
            presenter=presenter,
            log=log,
            goal=goal,
            clock=clock,
            ready_file=ready_file,
            run_command=_program(options, context),
            wait_saved=saves.wait_idle if saves is not None else None,
        )


async def _open_record(
    stack: AsyncExitStack, plan: ListenPlan, context: Context, presenter: ListenPresenter, log: EventLog
) -> None:
    """Open the record of events; without one, events are shown all the same."""
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
