"""Builds the parts that job commands share and hands them to the workflow: generate, wait, resume."""

import asyncio
import os
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import msgspec

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.events import Event, JobEnded, JobFound, JobPolled, JobSubmitted, Sink, WarningRaised
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.models import RecordState, SavedImage
from suno_cover_cli.base.proxies import find_proxy
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.text import Secret
from suno_cover_cli.jobs.job_run import JobRequest
from suno_cover_cli.jobs.poller import Timing
from suno_cover_cli.jobs.workflow import CoverWorkflow
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.key_marks import KeyMarks
from suno_cover_cli.journal.rows import SANDBOX_SERVICE, JobOptions
from suno_cover_cli.options.groups import JobCommandOptions
from suno_cover_cli.ui.choice import ScreenOptions, choose_screen
from suno_cover_cli.ui.sinks import EventsSink, JsonSink, PathSink, TaskIdSink, TeeSink
from suno_cover_cli.ui.words import format_count
from suno_cover_cli.wiring.callbacks import kept_tunnel_options
from suno_cover_cli.wiring.context import Context, report_details
from suno_cover_cli.wiring.post_actions import PostActions
from suno_cover_cli.wiring.runner import loading

if TYPE_CHECKING:
    from suno_cover_cli.images.downloader import Downloader
    from suno_cover_cli.service.api import SunoApi


class Unfinished:
    """A sink that counts what an interrupt would leave behind.

    Attributes:
        job_count: Jobs of the command, once they are known.
    """

    def __init__(self) -> None:
        self.job_count = 0
        self._ended = 0
        # Job -> whether the service is known to have it.
        self._begun: dict[int, bool] = {}
        self._is_kept = True
        self.resume_command = "suno-cover resume"

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if isinstance(event, JobSubmitted | JobFound):
            self._begun[event.job] = isinstance(event, JobSubmitted)
        elif isinstance(event, JobPolled) and event.job in self._begun:
            self._begun[event.job] = event.state != RecordState.ABSENT
        elif isinstance(event, JobEnded):
            self._begun.pop(event.job, None)
            self._ended += 1
        elif isinstance(event, WarningRaised) and event.code == "journal_unavailable":
            self._is_kept = False

    def describe(self) -> str | None:
        """Say how to go on, or ``None`` when nothing is left."""
        left = self.job_count - self._ended
        if left <= 0:
            return None
        known = sum(self._begun.values())
        parts = [f"{known} {'job goes' if known == 1 else 'jobs go'} on at the service"] if known else []
        unknown = len(self._begun) - known
        parts += [f"{format_count(unknown, 'job')} not known to the service so far"] if unknown else []
        waiting = left - len(self._begun)
        parts += [f"{waiting} not submitted yet"] if waiting > 0 else []
        resume_command = self.resume_command if self._is_kept else "the same command again"
        return f"interrupted: {', '.join(parts)}; nothing is lost. Go on with: {resume_command}"


class LateSink:
    """A sink for what speaks before the screen is there; what it says is passed on when it is."""

    def __init__(self) -> None:
        self._said: list[Event] = []
        self._sink: Sink | None = None

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if self._sink is None:
            self._said.append(event)
        else:
            self._sink.emit(event)

    def open(self, sink: Sink) -> None:
        """Pass on what was said and what will be."""
        self._sink = sink
        for event in self._said:
            sink.emit(event)
        self._said.clear()


class JobStart(msgspec.Struct, frozen=True, kw_only=True):
    """What jobs start from: settings and keys; no ``key`` for the built-in sandbox, which makes one up.

    ``key_mark`` tells the jobs of this key from those of others; see :mod:`suno_cover_cli.journal.key_marks`.
    """

    settings: Settings
    key: Secret | None
    webhook_key: WebhookKey | None
    key_mark: str | None = None

    @property
    def service(self) -> str:
        """The service as the journal knows it."""
        return SANDBOX_SERVICE if self.key is None else self.settings.base_url

    def request(
        self,
        n: int,
        kept: JobOptions,
        *,
        music_task_id: str | None = None,
        task_id: str | None = None,
        typed: str = "",
    ) -> JobRequest:
        """Describe a job of the command; see :class:`JobRequest`.

        Args:
            n: Its number.
            kept: What a restart has to know, as of :func:`kept_options`.
            music_task_id: To be submitted.
            task_id: To be waited for.
            typed: What the user typed, where that is not the id.
        """
        return JobRequest(
            n=n,
            service=self.service,
            provider=SANDBOX_SERVICE if self.key is None else self.settings.provider.name,
            output=self.settings.output,
            absolute_output=str(self.settings.output.absolute()),
            options=kept,
            music_task_id=music_task_id,
            task_id=task_id,
            typed=typed,
            key_mark=self.key_mark,
        )


def prepare_jobs(context: Context, options: JobCommandOptions) -> JobStart:
    """Merge settings and find keys; reads files and perhaps standard input, so before the loop starts.

    Raises:
        UsageError: A value that is not valid, or the proxy on the way to the service is not.
        KeyRefusedError: No key.
    """
    settings, sources = context.settings(options)
    if options.verbosity:
        report_details(context, settings)
    if options.sandbox:
        # Where it cannot be made, history is not kept, and the journal says so.
        with suppress(OSError):
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return JobStart(settings=settings, key=None, webhook_key=None)
    find_proxy(settings.base_url)  # a malformed one is reported before an agent starts in vain
    key = context.api_key(settings, sources, options)
    return JobStart(
        settings=settings,
        key=key,
        webhook_key=context.webhook_key(sources, options),
        key_mark=KeyMarks.open(settings.state_dir).mark(settings.base_url, key),
    )


def add_label_to(image: SavedImage) -> tuple[SavedImage, str]:
    """Add the AI label to a saved cover. Blocks; imported when the first one is asked for.

    Returns:
        The file as it stands then, and why nothing was added, in words; empty when it is labelled.
    """
    from suno_cover_cli.release.labels import label_saved

    return label_saved(image)


def kept_options(settings: Settings, options: JobCommandOptions) -> JobOptions:
    """Return what a restart of the command's jobs has to know."""
    return JobOptions(
        callback=settings.callback,
        name=settings.name,
        write_metadata=options.write_metadata,
        overwrite=options.overwrite,
        label=settings.label,
        tunnel=kept_tunnel_options(options, settings),
    )


async def open_workflow(
    stack: AsyncExitStack,
    context: Context,
    options: JobCommandOptions,
    start: JobStart,
    *,
    sink: Sink,
    journal: Journal,
) -> CoverWorkflow:
    """Open what is needed for the jobs of one account at one service.

    Raises:
        UsageError: A port in use, a public URL that cannot be.
        TunnelError: ``--tunnel`` and no tunnel.
    """
    settings, key = start.settings, start.key
    # Who does not wait is gone before the service can call.
    is_called = options.submits and not options.no_wait and settings.callback != "off"
    chosen = None
    if is_called:
        from suno_cover_cli.wiring.callbacks import begin_tunnel, open_callbacks

        chosen = await begin_tunnel(stack, context, options, settings, is_inside=key is None)
    if key is None:
        settings, key = await open_sandbox(stack, context, settings)
    api, saver = await _open_clients(stack, context, settings, key, sink)
    listener, channel = None, None
    if chosen is not None:
        listener, channel = await open_callbacks(
            stack,
            context,
            options,
            chosen=chosen,
            webhook_key=start.webhook_key,
            sink=sink,
        )
    if channel is not None and settings.callback == "required" and await channel.wait_open() is None:
        raise channel.failure or TunnelError("no tunnel could be opened", hint="suno-cover doctor shows why.")
    return await stack.enter_async_context(
        CoverWorkflow(
            service=api,
            journal=journal,
            saver=saver,
            add_label=add_label_to,
            sink=sink,
            clock=context.clock,
            timing=Timing(poll_interval_s=options.poll_interval_s, timeout_s=options.timeout_s),
            channel=channel,
            open_inbox=listener.open_inbox if listener is not None else None,
            wait=not options.no_wait,
        )
    )


async def open_sandbox(stack: AsyncExitStack, context: Context, settings: Settings) -> tuple[Settings, Secret]:
    """Start the imitation of the service inside this process and point the settings at it."""
    from suno_cover_cli.sandbox.app import Sandbox

    can_write = await asyncio.to_thread(os.access, settings.state_dir, os.W_OK)
    state_file = settings.state_dir / "sandbox.jsonl" if can_write else None
    sandbox = await stack.enter_async_context(Sandbox(state_file=state_file, provider=settings.provider.name))
    key = Secret(sandbox.api_key)
    context.output.redactor.add(key)
    # There is no account to protect, and no limit to wait for.
    return msgspec.structs.replace(settings, base_url=sandbox.url, rate="off"), key


async def open_sink(
    stack: AsyncExitStack,
    context: Context,
    options: JobCommandOptions,
    settings: Settings,
    *,
    job_count: int,
    unfinished: Unfinished,
    usual_s: float | None = None,
) -> Sink:
    """Open what events go to: the product on stdout, the words for people on stderr, what follows at the end.

    Args:
        stack: Closes it.
        context: Streams and time.
        options: Of the command.
        settings: Merged.
        job_count: Jobs of the command.
        unfinished: Hears of starts and ends.
        usual_s: How long a job of the command usually takes, if that is known.
    """
    post_actions = await stack.enter_async_context(
        PostActions(
            context,
            job_count=job_count,
            shows_pictures=settings.preview != "off",
            opens_folder=options.opens_folder,
            notifies=options.notifies,
        )
    )
    chosen = choose_screen(
        context.output,
        ScreenOptions(
            job_count=job_count,
            poll_interval_s=options.poll_interval_s,
            usual_s=usual_s,
            is_verbose=options.verbosity > 0,
            waits=not options.no_wait,
            needs_tunnel=settings.callback == "required",
        ),
        clock=context.clock,
    )
    product: Sink
    if options.events:
        product = EventsSink(context.output.write_line, context.clock, context.output.complete)
    elif options.json:
        product = JsonSink(context.output.write_line, context.output.complete)
    elif not options.no_wait:
        product = PathSink(chosen.write_product)
    else:
        product = TaskIdSink(chosen.write_product)
    sinks: list[Sink] = [] if isinstance(product, PathSink) and post_actions.take_product(product) else [product]
    sinks = [unfinished, *sinks, await stack.enter_async_context(chosen.screen), post_actions]
    if context.output.annotates:
        from suno_cover_cli.ui.github import GitHubReport

        report = GitHubReport(context.output, context.output.streams.environ)
        sinks.append(await stack.enter_async_context(report))
    return TeeSink(*sinks)


async def _open_clients(
    stack: AsyncExitStack, context: Context, settings: Settings, key: Secret, sink: Sink
) -> "tuple[SunoApi, Downloader]":
    """Load the HTTP client, which takes a tenth of a second, and what speaks through it."""
    with loading():
        from suno_cover_cli.images.downloader import Downloader
        from suno_cover_cli.service.api import JOBS

    api = await stack.enter_async_context(context.open_api(settings, key, sink=sink, policy=JOBS))
    saver = Downloader(
        allow_loopback=settings.is_loopback,
        clock=context.clock,
        user_agent=context.user_agent,
        environ=context.child_environ,
    )
    return api, await stack.enter_async_context(saver)
