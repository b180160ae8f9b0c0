"""What a person sees on stderr: plain lines in a log, a live display on a terminal. The owner of Rich.

Foreign text reaches Rich only as plain ``Text``, never as markup.
"""

import asyncio
import io
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.events import (
    Event,
    ImageFailed,
    ImageProgressed,
    ImageSaved,
    JobEnded,
    JobEvent,
    JobFound,
    JobPolled,
    JobStarted,
    JobSubmitted,
    TunnelFailed,
    TunnelLost,
    TunnelOpened,
    TunnelRestored,
)
from suno_cover_cli.base.text import Redactor
from suno_cover_cli.ui.words import BatchTotals, Line, format_bytes, format_duration, lines_of

_STYLES = {"plain": "", "good": "green", "warning": "yellow", "bad": "red"}
_MAX_ROWS = 6
_ROW_MARGIN = 5  # spinner, gaps and the last column, which some terminals wrap at
_LEAST_NAME = 8
_IDLE_REFRESH_S = 1.0
_BUSY_REFRESH_S = 0.125


def styled(line: Line, columns: int = 0) -> Text:
    """Make Rich text of a line, folded for so many columns: the label coloured, the rest as it is."""
    text = Text("\n".join(line.folded(columns)))
    text.stylize(_STYLES[line.tone], 0, len(line.label))
    return text


class _JobView:
    """What the live display knows of one running job."""

    def __init__(self, name: str, started: float) -> None:
        self.name = name
        self.started = started
        self.state = "submitting"
        self.next_read_at: float | None = None
        self.has_callback = False
        self.images: dict[int, tuple[int, int | None]] = {}


class LiveScreen:
    """A sink that draws running jobs below the lines of what has happened.

    An async context manager: leaving ends the display and leaves the lines.

    Args:
        console: Of stderr.
        clock: For elapsed times.
        redactor: Applied to every line.
        job_count: Jobs of the command; above a handful only counts are drawn.
        poll_interval_s: For the count-down to the first read, in seconds.
        shows_product: Saved paths are printed here, because stdout is the same terminal.
        is_verbose: Every read is a line too, and so is every step of many jobs.
    """

    def __init__(
        self,
        console: Console,
        *,
        clock: Clock,
        redactor: Redactor,
        job_count: int,
        poll_interval_s: float,
        shows_product: bool = False,
        is_verbose: bool = False,
    ) -> None:
        self._console = console
        self._clock = clock
        self._redactor = redactor
        self._job_count = job_count
        self._is_batch = job_count > _MAX_ROWS
        self._poll_interval_s = poll_interval_s
        self.shows_product = shows_product
        self._is_verbose = is_verbose
        self._started = clock.monotonic()
        self._jobs: dict[int, _JobView] = {}
        self._totals = BatchTotals(job_count)
        self._channel = ""
        self._spinner = Spinner("dots" if console.encoding.lower().startswith("utf") else "line")
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stderr=False)
        self._refreshing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._live.start()
        self._refreshing = asyncio.create_task(self._refresh_often(), name="screen")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})
        self._live.update(Text(""))
        self._live.stop()
        if self._is_batch:
            self._print(self._totals.line(self._clock.monotonic() - self._started))

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        self._follow(event)
        if isinstance(event, ImageSaved) and self.shows_product:
            return
        if self._is_verbose or not isinstance(event, JobPolled):
            is_brief = self._is_batch and not self._is_verbose
            for line in lines_of(event, is_batch=is_brief, names_jobs=self._job_count > 1):
                self._print(line)

    def _print(self, line: Line) -> None:
        shown = Line(line.label, self._redactor.redact(line.text), line.tone)
        self._console.print(styled(shown, self._console.width), soft_wrap=True)

    def write_product(self, line: str) -> None:
        """Print one line of the product above the display: stdout is this very terminal."""
        self._console.print(Text(line), soft_wrap=True)

    def _follow(self, event: Event) -> None:
        if isinstance(event, TunnelOpened | TunnelRestored):
            self._channel = "callback open"
        elif isinstance(event, TunnelFailed | TunnelLost):
            self._channel = "polling only"
        elif isinstance(event, JobStarted):
            name = event.music_task_id or event.task_id or ""
            self._jobs[event.job] = _JobView(name, self._clock.monotonic())
        elif isinstance(event, JobEnded):
            self._jobs.pop(event.job, None)
            self._totals.add(event.result)
        elif isinstance(event, JobEvent) and (view := self._jobs.get(event.job)) is not None:
            self._follow_job(view, event)

    def _follow_job(self, view: _JobView, event: JobEvent) -> None:
        now = self._clock.monotonic()
        if isinstance(event, JobFound):
            view.state = "waiting"
        elif isinstance(event, JobSubmitted):
            view.name = event.task_id or view.name
            view.state = "waiting"
            view.has_callback = event.callback
            view.next_read_at = None if event.is_existing else now + self._poll_interval_s
        elif isinstance(event, JobPolled):
            view.state = event.state
            view.next_read_at = now + event.next_s if event.next_s is not None else None
        elif isinstance(event, ImageProgressed):
            view.state = "saving"
            view.next_read_at = None
            view.images[event.n] = (event.received_bytes, event.total_bytes)
        elif isinstance(event, ImageSaved | ImageFailed):
            view.images.pop(event.n, None)

    async def _refresh_often(self) -> None:
        while True:
            self._live.update(self._draw(), refresh=True)
            is_busy = any(view.images for view in self._jobs.values())
            await self._clock.sleep(_BUSY_REFRESH_S if is_busy else _IDLE_REFRESH_S)

    def _draw(self) -> RenderableType:
        if not self._jobs:
            return Text("")
        if self._is_batch:
            return self._row(Text(self._counts()))
        rows: list[RenderableType] = []
        for view in self._jobs.values():
            rows.append(self._row(self._describe(view)))
            rows.extend(_draw_image(n, *progress) for n, progress in sorted(view.images.items()))
        return Group(*rows)

    def _row(self, text: Text) -> RenderableType:
        row = Table.grid(padding=(0, 1))
        text.no_wrap = True
        text.overflow = "ellipsis"
        row.add_row(self._spinner, text)
        return row

    def _describe(self, view: _JobView) -> Text:
        now = self._clock.monotonic()
        parts = [view.state, format_duration(round(now - view.started))]
        if view.has_callback or self._channel:
            parts.append(self._channel or "callback open")
        if view.next_read_at is not None:
            parts.append(f"next check in {max(0, round(view.next_read_at - now))} s")
        news = "  ".join(parts)
        # On a narrow terminal the id gives way, not the news.
        name = Text(view.name)
        name.truncate(max(self._console.width - len(news) - _ROW_MARGIN, _LEAST_NAME), overflow="ellipsis")
        return Text.assemble(name, "  ", news)

    def _counts(self) -> str:
        ends = self._totals.ends
        parts = [f"{ends.total()}/{self._job_count} jobs"]
        parts += [f"{count} {state}" for state, count in sorted(ends.items())]
        states = Counter(view.state for view in self._jobs.values())
        parts += [f"{count} {state}" for state, count in sorted(states.items())]
        parts.append(format_duration(round(self._clock.monotonic() - self._started)))
        return "  ".join(parts)


def _draw_image(n: int, received_bytes: int, total_bytes: int | None) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    of = f"of {format_bytes(total_bytes)}" if total_bytes else ""
    bar = ProgressBar(total=total_bytes, completed=received_bytes, width=24, pulse=total_bytes is None)
    row.add_row(Text(f"  image {n}"), bar, Text(f"{format_bytes(received_bytes)} {of}"))
    return row


def make_console(stream: object, *, width: int | None = None) -> Console:
    """Make the console of stderr. NO_COLOR, FORCE_COLOR and TERM are honoured by Rich itself."""
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)  # type: ignore[arg-type]


def make_paint() -> Callable[[str, str], str]:
    """Return a painter of texts for a terminal that somebody else writes to.

    The codes of each tone are made once: a thousand lines a second are too many for rendering each.
    """
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard")
    codes: dict[str, tuple[str, str]] = {}
    for tone, style in {**_STYLES, "faint": "dim"}.items():
        with console.capture() as capture:
            console.print(Text("|", style), end="")
        before, _, after = capture.get().partition("|")
        codes[tone] = before, after

    def paint(text: str, tone: str) -> str:
        before, after = codes[tone]
        return before + text + after

    return paint
