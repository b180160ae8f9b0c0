"""The tunnel through ngrok, as the rest of the program sees it: asynchronous, bounded in time, quiet."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.environment import secret_variables
from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.text import Secret
from suno_cover_cli.tunnels.ngrok_agent import AgentThread
from suno_cover_cli.tunnels.ngrok_errors import plain_error
from suno_cover_cli.tunnels.ngrok_reports import (
    AgentEnded,
    AgentFailed,
    AgentOpened,
    AgentPlan,
    AgentReport,
    LinkChanged,
)
from suno_cover_cli.tunnels.tunnel import TunnelChange

# The end of a process is awaited in the machine's own seconds: no clock of ours hastens it.
_POLITE_S = 0.7
_FORCED_S = 0.6
_SIGNAL_EVERY_S = 0.05


class _Life:
    """What is known of one agent in the event loop; reports of an earlier life find it ended."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[AgentOpened] = asyncio.get_running_loop().create_future()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.is_over = False


class NgrokTunnel:
    """A tunnel to ``local_url``; see :class:`~suno_cover_cli.tunnels.tunnel.Tunnel`.

    Args:
        local_url: Where the listener is, with scheme and address, never a bare port: ``http://127.0.0.1:PORT``;
            ``None`` when :meth:`lead_to` will tell.
        authtoken: From ``NGROK_AUTHTOKEN``; without one, that of the user's own ngrok.yml is used.
        domain: A domain of the account, or ``None`` for the one ngrok gives.
        ngrok_path: ``--ngrok-path``, or ``None`` to look for the agent.
        state_dir: The state folder; private files of running agents go below it.
        clock: Time.
        deadline_s: For opening, all together.
        private_variables: Environment variables that the agent does not get: keys, tokens.
        use_proxy: Leave proxy variables to the agent (ngrok wants a paid plan for that).
        notify: Takes lines for people, in the event loop.
        download_s: Granted on top of ``deadline_s`` when the agent has to be downloaded first. Without it, opening
            fails in time, the download goes on, and the next run finds it done.
        download_url: Archive to take instead of the one pyngrok knows.
        may_update: Let an agent that is too old update itself, once.
    """

    def __init__(
        self,
        local_url: str | None,
        *,
        authtoken: Secret | None,
        domain: str | None,
        ngrok_path: str | None,
        state_dir: Path,
        clock: Clock,
        notify: Callable[[str], None],
        deadline_s: float = 8.0,
        private_variables: tuple[str, ...] = secret_variables(),
        use_proxy: bool = False,
        download_s: float = 0.0,
        download_url: str | None = None,
        may_update: bool = True,
    ) -> None:
        self._local_url: Future[str] = Future()
        if local_url is not None:
            self._local_url.set_result(local_url)
        self._plan = AgentPlan(
            local_url=self._local_url,
            token=authtoken,
            # People paste what the dashboard shows, scheme and all.
            domain=domain.strip().removeprefix("https://").strip("/") if domain else None,
            ngrok_path=ngrok_path,
            state_dir=state_dir,
            private_variables=private_variables,
            use_proxy=use_proxy,
            startup_s=deadline_s + download_s,
            download_url=download_url,
            may_update=may_update,
        )
        self._clock = clock
        self._deadline_s = deadline_s
        self._download_s = download_s
        self._notify = notify
        self._running: tuple[AgentThread, _Life] | None = None
        self._changes: asyncio.Queue[TunnelChange] = asyncio.Queue()
        self.url = ""
        self.inspector: str | None = None

    async def begin(self) -> None:
        """Start the agent ahead of entering, while there is other work to do; leaving ends it, entered or not.

        Returns as soon as the rest is waiting: until then two threads would only be in each other's way.
        """
        _, life = self._start()
        await life.begun.wait()

    def lead_to(self, local_url: str) -> None:
        """Tell where the listener is, once, when it was not known at first."""
        self._local_url.set_result(local_url)

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def next_change(self) -> TunnelChange:
        """See :meth:`Tunnel.next_change`."""
        return await self._changes.get()

    async def reopen(self) -> None:
        """See :meth:`Tunnel.reopen`."""
        await self._stop()
        while not self._changes.empty():  # they speak of the agent that was
            self._changes.get_nowait()
        await self._open()

    async def _open(self) -> None:
        agent, life = self._running or self._start()
        try:
            opened = await self._wait_opened(agent, life)
        except TimeoutError:
            raise await self._give_up(agent, life) from None
        except BaseException:
            await self._stop()
            raise
        self.url, self.inspector = opened.url, opened.inspector

    def _start(self) -> tuple[AgentThread, _Life]:
        loop = asyncio.get_running_loop()
        life = _Life()

        def in_loop(call: Callable[..., None], *arguments: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(call, *arguments)

        agent = AgentThread(
            self._plan,
            report=lambda report: in_loop(self._take_report, life, report),
            notify=lambda line: in_loop(self._notify, line),
        )
        agent.start()
        self._running = agent, life
        return self._running

    async def _wait_opened(self, agent: AgentThread, life: _Life) -> AgentOpened:
        try:
            return await within(self._clock, self._deadline_s, asyncio.shield(life.opened))
        except TimeoutError:
            if not self._download_s or agent.download_progress is None:
                raise
        return await within(self._clock, self._download_s, asyncio.shield(life.opened))

    async def _give_up(self, agent: AgentThread, life: _Life) -> TunnelError:
        """End what did not open in time, and say as closely as known why it did not."""
        progress = agent.download_progress
        if progress is not None and not self._download_s:
            agent.finish_download_only()
            life.is_over = True
            self._running = None
            return plain_error(
                "ngrok_downloading",
                f"the ngrok agent is still being downloaded ({progress})",
                "The next run finds it installed.",
            )
        trouble = agent.trouble
        await self._stop()
        return trouble or plain_error(
            "ngrok_timeout",
            f"the ngrok agent did not open a tunnel within {self._deadline_s:g} s",
        )

    def _take_report(self, life: _Life, report: AgentReport) -> None:
        life.begun.set()
        if isinstance(report, AgentEnded):
            life.ended.set()
        if life.is_over:
            return
        if not life.opened.done():
            if isinstance(report, AgentOpened):
                life.opened.set_result(report)
            elif isinstance(report, AgentFailed):
                life.is_over = True
                life.opened.set_exception(report.error)
        elif isinstance(report, LinkChanged):
            self.url = report.url
            self._changes.put_nowait(
                TunnelChange(lost=not report.is_up, reason=report.reason, url=report.url if report.is_up else None)
            )
        elif isinstance(report, AgentFailed | AgentEnded):
            life.is_over = True
            reason = report.error.message if isinstance(report, AgentFailed) else "the ngrok agent has ended"
            self._changes.put_nowait(TunnelChange(lost=True, reason=reason, is_dead=True))

    async def _stop(self) -> None:
        """End the agent: politely, so that ngrok frees the domain at once, then by force."""
        if self._running is None:
            return
        agent, life = self._running
        self._running = None
        life.is_over = True
        self._local_url.cancel()  # whoever still waits for it will not hear it; one that was told stays
        if life.opened.done():
            life.opened.exception()  # looked at, or asyncio would complain of one that nobody waited for
        try:
            for force, patience_s in ((False, _POLITE_S), (True, _FORCED_S)):
                # Repeated, because the thread may only just be starting the process.
                for _ in range(round(patience_s / _SIGNAL_EVERY_S)):
                    agent.signal(force=force)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_SIGNAL_EVERY_S):
                            await life.ended.wait()
                            return
        except asyncio.CancelledError:
            agent.signal(force=True)
            raise
