"""The course of ``listen``: open, say so, go on until something ends it, restore what is lost meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.callbacks.sending.delivery import CallbackSender
from suno_cover_cli.callbacks.sending.targets import refuse_loop
from suno_cover_cli.listen.events import EventLog, ListenEvent
from suno_cover_cli.listen.options import ListenOptions
from suno_cover_cli.listen.presenter import ListenPresenter, Ready
from suno_cover_cli.tunnels.channel import CallbackChannel
from suno_cover_cli.ui.words import format_count, format_duration
from suno_cover_cli.wiring.ready_file import ReadyFile

_LIFE_SIGN_S = 60.0
_OPENING_S = 0.5
_MINUTE_S = 60.0
_TRY_IT = (
    "Does the sender call the address above? To try it while this listens: suno-cover trigger success --to URL"
)

T = TypeVar("T")


class End(msgspec.Struct, frozen=True):
    """Why it is over.

    Attributes:
        reason: ``count``, ``task``, ``timeout``, ``command``.
        code: To exit with.
        said: What did not happen in time; empty where the reason says it all.
        hint: What helps.
    """

    reason: str
    code: int = ExitCode.OK
    said: str = ""
    hint: str = ""


class Goal:
    """What the command is waiting for: so many events, or the last one of a task.

    Args:
        wanted_count: So many events, or ``None``.
        task_ids: Of the task: a job is known by its music task and by its cover task.

    Attributes:
        reason: ``count`` or ``task``, once it is reached.
        of_task: Callbacks of the task so far.
    """

    def __init__(self, wanted_count: int | None, task_ids: Collection[str] = ()) -> None:
        self._left = wanted_count
        self._task_ids = task_ids
        self._reached = asyncio.Event()
        self.reason = ""
        self.of_task = 0

    def take(self, event: ListenEvent) -> bool:
        """Count an event; ``True`` when it was the last one waited for."""
        content = event.request.content
        if content is not None and content.task_id in self._task_ids:
            self.of_task += 1
            # Music comes in stages: the first tracks are not the end.
            self.reason = "task" if content.is_final else ""
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self.reason = self.reason or "count"
        if self.reason:
            self._reached.set()
        return bool(self.reason)

    async def wait_reached(self) -> str:
        """Wait for it, endlessly when there is none; return :attr:`reason`."""
        await self._reached.wait()
        return self.reason


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How callbacks reach the listener.

    Attributes:
        local: Base URL on this machine.
        path: Where callbacks are received.
        channel: Leads there from outside, or ``None`` when none is wanted.
        inspector: Asks for the local page of the tunnel's agent.
        targets: Where events are sent on to.
        opens_tunnel: The channel opens a tunnel, and not only checks an address.
    """

    local: str
    path: str
    channel: CallbackChannel | None = None
    inspector: Callable[[], str | None] = lambda: None
    targets: tuple[CallbackSender, ...] = ()
    opens_tunnel: bool = False


class ListenSession:
    """One run of the command, over parts that are open.

    Args:
        options: Of the command.
        endpoint: See :class:`Endpoint`.
        presenter: Tells what happens.
        log: For counts.
        goal: What ends it.
        clock: Time.
        run_command: Runs the command's own program, or ``None``.
        ready_file: Of the command, entered.
        wait_saved: Waits until no covers are being saved.
    """

    def __init__(
        self,
        options: ListenOptions,
        *,
        endpoint: Endpoint,
        presenter: ListenPresenter,
        log: EventLog,
        goal: Goal,
        clock: Clock,
        ready_file: ReadyFile,
        run_command: Callable[[str], Awaitable[int]] | None = None,
        wait_saved: Callable[[], Awaitable[ExitCode]] | None = None,
    ) -> None:
        self._options = options
        self._endpoint = endpoint
        self._presenter = presenter
        self._log = log
        self._goal = goal
        self._clock = clock
        self._ready_file = ready_file
        self._run_command = run_command
        self._wait_saved = wait_saved
        self._ready: Ready | None = None
        self._is_command_running = False

    async def run(self) -> End:
        """Go on until the goal, the end of the command or the time-out.

        Raises:
            TunnelError: No way in, or lost for good.
            UsageError: The command cannot be started, or the ready file not be written.
        """
        if self._options.timeout_s is None:
            return await self._open_and_serve()
        return await first_of(self._open_and_serve(), self._time_out(self._options.timeout_s))

    async def _open_and_serve(self) -> End:
        channel = self._endpoint.channel
        if channel is None:
            url = await self._announce(None)
            return await first_of(self._serve(url), self._give_life_signs())
        base = await self._wait_open(channel)
        if base is None:
            raise _failure_of(channel)
        url = await self._announce(base)
        return await first_of(self._serve(url), self._follow(channel), self._give_life_signs())

    async def _wait_open(self, channel: CallbackChannel) -> str | None:
        """Wait for the way in; without a token nothing is opened, and nothing said of it."""
        if self._endpoint.opens_tunnel:
            with suppress(TimeoutError):
                return await within(self._clock, _OPENING_S, channel.wait_open())
            self._presenter.report_opening()
        return await channel.wait_open()

    async def _serve(self, url: str) -> End:
        if self._run_command is not None:
            self._is_command_running = True
            code = await self._run_command(url)
            self._is_command_running = False
            if code or not self._options.has_goal:
                return End("command", code)
        reason = await self._goal.wait_reached()
        code = await self._wait_saved() if self._wait_saved is not None else ExitCode.OK
        return End(reason, code)

    async def _follow(self, channel: CallbackChannel) -> End:
        """Tell losses and returns, until there is no return."""
        while True:
            self._presenter.report_lost(await channel.wait_lost())
            base = await channel.wait_restored()
            if base is None:
                raise _failure_of(channel)
            await self._announce(base)

    async def _announce(self, public_base: str | None) -> str:
        """Say that callbacks get through, by way of ``public_base`` or of this machine alone; return the URL."""
        endpoint = self._endpoint
        for sender in endpoint.targets:
            await refuse_loop(sender.target.url, local_url=endpoint.local, public_url=public_base)
        local = endpoint.local + endpoint.path
        ready = Ready(
            url=local if public_base is None else public_base + endpoint.path,
            local=local,
            inspector=endpoint.inspector(),
            forwards_to=tuple(_described(sender) for sender in endpoint.targets),
        )
        self._presenter.report_ready(ready, self._ready)
        self._ready = ready
        if self._options.ready_file is not None:
            # A process that waits for the file may read our output next.
            await self._presenter.wait_printed()
            await self._ready_file.publish(f"{ready.url}\n")
        return ready.url

    async def _time_out(self, timeout_s: float) -> End:
        await self._clock.sleep(timeout_s)
        said, hint = self._describe_timeout(
            format_duration(timeout_s) if timeout_s >= _MINUTE_S else f"{timeout_s:g} s"
        )
        return End("timeout", ExitCode.PENDING, said, hint)

    def _describe_timeout(self, lasted: str) -> tuple[str, str]:
        """Say what did not happen within the time-out, and what helps."""
        if self._ready is None:
            return f"callbacks did not get through within {lasted}", "suno-cover doctor shows why."
        if self._is_command_running:
            return f"the command had not ended after {lasted}", "A longer --timeout gives it time."
        if self._goal.reason:
            return f"the covers were not saved within {lasted}", "A longer --timeout gives them time."
        return self._describe_missing(lasted)

    def _describe_missing(self, lasted: str) -> tuple[str, str]:
        options, counts = self._options, self._log.counts
        task, came = options.until_task, counts["events"]
        if self._goal.of_task:
            count = format_count(self._goal.of_task, "callback")
            return f"task {task} did not end within {lasted}; {count} of it came", "A longer --timeout waits on."
        if task is None and came:
            if options.wanted_count is None:
                return f"the time is over: {lasted}", ""
            return (
                f"{came} of {options.wanted_count} callbacks came within {lasted}",
                "A longer --timeout waits on.",
            )
        happened, hint = "came", _TRY_IT
        if counts["refused"]:
            happened, hint = "was accepted", "Is the webhook key the sender's? Signatures are shown above."
        elif self._log.unanswered:
            happened, hint = "was answered", "A longer --timeout gives the receiver time."
        elif came:
            hint = "Others came: suno-cover listen --list shows of which tasks."
        return f"no callback {f'of task {task} ' if task else ''}{happened} within {lasted}", hint

    async def _give_life_signs(self) -> End:
        """Say once a minute that there is something still to wait for; a plain log shows nothing else."""
        began_s = self._clock.monotonic()
        while True:
            await self._clock.sleep(_LIFE_SIGN_S)
            if self._options.has_goal and not self._goal.reason:
                events = self._log.counts["events"]
                self._presenter.report_waiting(
                    f"{format_duration(self._clock.monotonic() - began_s)}; {format_count(events, 'event')} so far"
                )


async def first_of(*works: Coroutine[Any, Any, T]) -> T:
    """Run several things and return what the first one to end returns, or raise what it raises; end the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _failure_of(channel: CallbackChannel) -> TunnelError:
    return channel.failure or TunnelError("no tunnel could be opened", hint="suno-cover doctor shows why.")


def _described(sender: CallbackSender) -> str:
    proxy = f" through the proxy in {sender.proxy.source} ({sender.proxy.shown})" if sender.proxy else ""
    return sender.target.url + proxy
