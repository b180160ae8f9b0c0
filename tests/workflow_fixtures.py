"""A workflow over real parts, from the sandbox to the listener; only time and the channel are the test's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.providers import SUNOAPI
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.exchanges import CallbackInbox
from suno_cover_cli.callbacks.listener import CallbackListener
from suno_cover_cli.images.downloader import Downloader
from suno_cover_cli.jobs.job_run import JobOutcome, JobRequest
from suno_cover_cli.jobs.poller import Timing
from suno_cover_cli.jobs.ports import ImageSaver
from suno_cover_cli.jobs.workflow import CoverWorkflow
from suno_cover_cli.journal.journal import Journal
from suno_cover_cli.journal.rows import JobOptions
from suno_cover_cli.sandbox.app import Sandbox
from suno_cover_cli.service.api import SunoApi
from suno_cover_cli.service.limiter import RequestLimiter
from tests.clocks import ScaledClock
from tests.image_fixtures import ENVIRON
from tests.journal_fixtures import Listening


class OpenChannel:
    """A channel whose losses are the test's to decide; open from the start.

    Attributes:
        watched: Set while somebody waits for the next loss.
    """

    def __init__(self, url: str) -> None:
        self.url: str | None = url
        self._known_url = url
        self._down = asyncio.Event()
        self._up = asyncio.Event()
        self.watched = asyncio.Event()

    def lose(self) -> None:
        """Let no callback through from now on."""
        self.url = None
        self.watched.clear()
        self._up.clear()
        self._down.set()

    def restore(self) -> None:
        """Let callbacks through again."""
        self.url = self._known_url
        self._down.clear()
        self._up.set()

    async def wait_open(self) -> str | None:
        """Return the URL, or ``None`` while it is lost."""
        return self.url

    async def wait_lost(self) -> str:
        """Wait for the next loss."""
        self.watched.set()
        await self._down.wait()
        return "the test said so"

    async def wait_restored(self) -> str | None:
        """Wait until it is back."""
        await self._up.wait()
        return self.url


class CountingListener:
    """The real listener, and how many of its inboxes are open."""

    def __init__(self, listener: CallbackListener) -> None:
        self._listener = listener
        self.opened: list[CallbackInbox] = []

    def open_inbox(self) -> CallbackInbox:
        """Open one and remember it."""
        inbox = self._listener.open_inbox()
        self.opened.append(inbox)
        return inbox

    async def still_open(self) -> int:
        """Ask the listener itself: a path that is closed may be opened again."""
        count = 0
        for inbox in self.opened:
            try:
                self._listener.open_inbox(inbox.path).close()
            except Exception:  # noqa: BLE001 -- the listener says that the path is taken
                count += 1
        return count


class Rig:
    """One workflow and everything around it.

    Attributes:
        sandbox: The service.
        workflow: Under test.
        api: Its client of the sandbox.
        journal: Its journal.
        heard: Every event.
        channel: Of the test, when callbacks are on.
        listener: Of the test, when callbacks are on.
        output: Folder for covers.
    """

    def __init__(self, sandbox: Sandbox, journal: Journal, heard: Listening, output: Path) -> None:
        self.sandbox = sandbox
        self.journal = journal
        self.heard = heard
        self.output = output
        self.workflow: CoverWorkflow
        self.api: SunoApi
        self.channel: OpenChannel | None = None
        self.listener: CountingListener | None = None

    def request(
        self, music_task_id: str | None, *, n: int = 1, task_id: str | None = None, **options: object
    ) -> JobRequest:
        """Describe a job."""
        return JobRequest(
            n=n,
            service="test",
            provider="sunoapi",
            output=self.output,
            absolute_output=str(self.output),
            options=JobOptions(**options),  # type: ignore[arg-type]
            music_task_id=music_task_id,
            task_id=task_id,
        )

    async def run(self, music_task_id: str | None, **more: object) -> JobOutcome:
        """Run one job."""
        return await self.workflow.run_job(self.request(music_task_id, **more))  # type: ignore[arg-type]

    def calls(self, path_end: str) -> list[float]:
        """Return when the service got requests to a path, oldest first, in the sandbox's seconds."""
        return [logged.at_s for logged in self.sandbox.request_log if logged.path.endswith(path_end)]


@contextlib.asynccontextmanager
async def rig(
    tmp_path: Path,
    *,
    clock: Clock | None = None,
    sandbox: Sandbox | None = None,
    timing: Timing | None = None,
    callbacks: bool = False,
    key: str | None = None,
    saver: ImageSaver | None = None,
    wait: bool = True,
    rate: tuple[int | None, float] = (None, 10.0),
) -> AsyncIterator[Rig]:
    """Open a workflow over real parts.

    Args:
        tmp_path: For journal and covers; a second rig in the same folder is a later run.
        clock: Of everything but the sandbox.
        sandbox: Entered already, when several rigs share one.
        timing: Durations.
        callbacks: Open a listener, reachable through a channel of the test's.
        key: Instead of the right one.
        saver: Instead of the downloader.
        wait: See :class:`CoverWorkflow`.
        rate: Limit and window of the limiter.
    """
    clock = clock or ScaledClock(30)
    heard = Listening()
    async with contextlib.AsyncExitStack() as stack:
        if sandbox is None:
            sandbox = await stack.enter_async_context(Sandbox(generation_s=0.05))
        journal = await stack.enter_async_context(Journal(tmp_path / "state", clock=clock, sink=heard))
        limiter = await stack.enter_async_context(RequestLimiter(*rate, clock=clock))
        api = await stack.enter_async_context(
            SunoApi(
                base_url=sandbox.url,
                key=Secret(key or sandbox.api_key),
                provider=SUNOAPI,
                limiter=limiter,
                clock=clock,
                sink=heard,
                user_agent="test/1",
            )
        )
        downloader = await stack.enter_async_context(
            Downloader(allow_loopback=True, clock=clock, user_agent="test/1", environ=ENVIRON)
        )
        opened = Rig(sandbox, journal, heard, tmp_path / "covers")
        opened.api = api
        if callbacks:
            listener = await stack.enter_async_context(CallbackListener(clock=clock))
            opened.listener = CountingListener(listener)
            opened.channel = OpenChannel(listener.local_url)
        opened.workflow = await stack.enter_async_context(
            CoverWorkflow(
                service=api,
                journal=journal,
                saver=saver or downloader,
                sink=heard,
                clock=clock,
                timing=timing or Timing(poll_interval_s=3.0, timeout_s=300.0),
                channel=opened.channel,
                open_inbox=opened.listener.open_inbox if opened.listener is not None else None,
                wait=wait,
            )
        )
        yield opened
