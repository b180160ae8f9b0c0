"""What a person sees on a terminal: lines of what has happened, and below them what runs. The owner of Rich.

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
    CallbackReceived,
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
from suno_cover_cli.base.text import cells_of, clean, cut, pad
from suno_cover_cli.ui.words import EventLines, Line, format_bytes, format_duration

_STYLES = {"plain": "", "good": "green", "warning": "yellow", "bad": "red", "faint": "dim"}
_MAX_ROWS = 6
_LEFT = 2  # the spinner and a blank
_BAR_CELLS = 24
_LEAST_BAR_CELLS = 8
_LEAST_NAME_CELLS = 8
_IDLE_REFRESH_S = 1.0
_BUSY_REFRESH_S = 0.125
_DOCUMENTED_S = 120.0
"""A cover takes one to three minutes (documented)."""


def styled(line: Line, columns: int = 0) -> Text:
    """Make Rich text of a line, folded for so many columns: the label coloured, the rest as it is."""
    text = Text("\n".join(line.folded(columns)))
    text.stylize(_STYLES[line.tone], 0, None if line.tone == "faint" else len(line.label))
    return text


def progress_of(elapsed_s: float, usual_s: float) -> float:
    """Return how full a bar is for time gone against the usual time: nine tenths by then, and never 1."""
    if elapsed_s <= usual_s:
        return 0.9 * elapsed_s / usual_s
    return 0.9 + 0.09 * (1 - usual_s / elapsed_s)


class _JobView:
    """What the live display knows of one running job.

    Attributes:
        name: How the command calls it.
        phase: ``submitting``, ``waiting`` or ``saving``: a word of the counts.
        submitted_at: When this run submitted it, in the clock's seconds; ``None`` for a job that was begun before.
        next_read_at: When the service is read next.
    """

    def __init__(self, name: str, started: float) -> None:
        self.name = name
        self.started = started
        self.phase = "submitting"
        self.submitted_at: float | None = None
        self.next_read_at: float | None = None
        self._detail = ""
        self._image_count = 0
        self._saved_count = 0
        self.arriving: dict[int, tuple[int, int | None]] = {}

    @property
    def doing(self) -> str:
        """What the job does now, in a word or three."""
        if self.phase == "saving" and self._saved_count:
            return f"saved {self._saved_count}" + (f" of {self._image_count}" if self._image_count else "")
        return self._detail or self.phase

    def follow(self, event: JobEvent, now: float, poll_interval_s: float) -> None:
        """Take in what has happened to the job."""
        if isinstance(event, JobSubmitted | JobFound):
            self.phase = "waiting"
            if isinstance(event, JobSubmitted) and not event.is_existing:
                self.submitted_at, self.next_read_at = now, now + poll_interval_s
        elif isinstance(event, CallbackReceived):
            self._detail, self.next_read_at = "called back", None
        elif isinstance(event, JobPolled):
            self._detail = {"running": "running", "absent": "not listed yet"}.get(event.state, "")
            self.next_read_at = now + event.next_s if event.next_s is not None else None
            if event.state == "succeeded" and event.images:
                self.phase, self._image_count = "saving", event.images
        elif isinstance(event, ImageProgressed | ImageSaved | ImageFailed):
            self.phase, self.next_read_at, self._detail = "saving", None, ""
            self.arriving.pop(event.n, None)
            if isinstance(event, ImageProgressed):
                self.arriving[event.n] = (event.received_bytes, event.total_bytes)
            self._saved_count += isinstance(event, ImageSaved)


class LiveScreen:
    """A sink that draws running jobs below the lines of what has happened.

    An async context manager: leaving ends the display and leaves the lines.

    Args:
        console: Of stderr.
        lines: Says events in words.
        clock: For elapsed times.
        shown: Makes of every text what may be shown.
        job_count: Jobs of the command; above a handful only counts are drawn.
        poll_interval_s: For the count-down to the first read, in seconds.
        usual_s: How long a job usually takes, or ``None`` where only the documentation says.
        shows_product: Saved paths are printed here, because stdout is the same terminal.
        is_verbose: Every read is a line too.
    """

    def __init__(
        self,
        console: Console,
        lines: EventLines,
        *,
        clock: Clock,
        shown: Callable[[str], str],
        job_count: int,
        poll_interval_s: float,
        usual_s: float | None = None,
        shows_product: bool = False,
        is_verbose: bool = False,
    ) -> None:
        self._console = console
        self._lines = lines
        self._clock = clock
        self._shown = shown
        self._job_count = job_count
        self._poll_interval_s = poll_interval_s
        self._usual_s = usual_s
        self.shows_product = shows_product
        self._is_verbose = is_verbose
        self._started = clock.monotonic()
        self._jobs: dict[int, _JobView] = {}
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
        if self._job_count > 1:
            for line in self._lines.summary.lines(self._clock.monotonic() - self._started):
                self._print(line)

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        self._follow(event)
        lines = self._lines.lines_of(event)
        is_product = isinstance(event, ImageSaved) and self.shows_product
        if not is_product and (self._is_verbose or not isinstance(event, JobPolled)):
            for line in lines:
                self._print(line)

    def _print(self, line: Line) -> None:
        text = Line(line.label, self._shown(line.text), line.tone)
        self._console.print(styled(text, self._console.width), soft_wrap=True)

    def write_product(self, line: str) -> None:
        """Print one line of the product above the display: stdout is this very terminal."""
        self._console.print(Text(line), soft_wrap=True)

    def _follow(self, event: Event) -> None:
        now = self._clock.monotonic()
        if isinstance(event, TunnelOpened | TunnelRestored):
            self._channel = "callback open"
        elif isinstance(event, TunnelFailed | TunnelLost):
            self._channel = "polling"
        elif isinstance(event, JobStarted):
            name = clean(event.name or event.music_task_id or event.task_id or "job", 128)
            self._jobs[event.job] = _JobView(name, now)
        elif isinstance(event, JobEnded):
            self._jobs.pop(event.job, None)
        elif isinstance(event, JobEvent) and (view := self._jobs.get(event.job)) is not None:
            view.follow(event, now, self._poll_interval_s)

    # --- what is drawn ----------------------------------------------------------------------------

    async def _refresh_often(self) -> None:
        while True:
            self._live.update(self._draw(), refresh=True)
            is_busy = any(view.arriving for view in self._jobs.values())
            await self._clock.sleep(_BUSY_REFRESH_S if is_busy else _IDLE_REFRESH_S)

    def _draw(self) -> RenderableType:
        if not self._jobs:
            return Text("")
        if self._job_count == 1:
            (view,) = self._jobs.values()
            return self._draw_one(view)
        first, *more = _packed(self._describe_all(), self._console.width - _LEFT - 1)
        rows: list[RenderableType] = [_beside(self._spinner, Text(first))]
        rows += [_beside(Text(" "), Text(line)) for line in more]
        if self._job_count > _MAX_ROWS:
            bar = _bar(self._job_count, self._lines.summary.ends.total(), self._bar_cells)
            rows.append(_beside(Text(" "), bar))
        else:
            rows += self._draw_rows()
        return Group(*rows)

    def _draw_one(self, view: _JobView) -> RenderableType:
        """Name and what is done now; below it the time against the usual, or the images as they arrive."""
        now = self._clock.monotonic()
        news = "  ".join([view.doing, *filter(None, ["; ".join(self._next_of(view, now))])])
        room = self._console.width - _LEFT - 1
        # Where both have no room on a narrow terminal, the news stand below the name.
        first = [f"{view.name}  {news}"] if cells_of(view.name) + 2 + cells_of(news) <= room else [view.name, news]
        rows: list[RenderableType] = [
            _beside(Text(" ") if n else self._spinner, Text(cut(line, room))) for n, line in enumerate(first)
        ]
        if view.arriving:
            rows += [_draw_image(n, *progress) for n, progress in sorted(view.arriving.items())]
        else:
            rows.append(self._draw_time(view, now))
        return Group(*rows)

    def _next_of(self, view: _JobView, now: float) -> list[str]:
        parts = [self._channel] if self._channel and view.phase == "waiting" else []
        if view.next_read_at is not None:
            parts.append(f"check in {max(0, round(view.next_read_at - now))} s")
        return parts

    def _draw_time(self, view: _JobView, now: float) -> RenderableType:
        elapsed = _format_time(now - view.started)
        if view.submitted_at is None:
            return _beside(Text(" "), Text(elapsed, "dim"))
        gone_s = now - view.submitted_at
        usual = "1 to 3 min" if self._usual_s is None else f"about {format_duration(self._usual_s)}"
        usual_s = self._usual_s or _DOCUMENTED_S
        text = f"{elapsed} of {usual}" if gone_s <= usual_s else f"{elapsed}; usually {usual}"
        bar = _bar(1.0, progress_of(gone_s, usual_s), self._bar_cells)
        return _beside(Text(" "), bar, Text(text, "dim"))

    @property
    def _bar_cells(self) -> int:
        return max(min(_BAR_CELLS, self._console.width // 3), _LEAST_BAR_CELLS)

    def _describe_all(self) -> list[str]:
        """Count the jobs, each once: those that have ended, those that run, those to come."""
        ends = self._lines.summary.ends
        parts = [f"{ends.total()}/{self._job_count} jobs"]
        parts += self._lines.summary.counts()
        phases = Counter(view.phase for view in self._jobs.values())
        parts += [f"{phases[phase]} {phase}" for phase in ("submitting", "waiting", "saving") if phases[phase]]
        to_come = self._job_count - ends.total() - len(self._jobs)
        parts += [f"{to_come} to come"] if to_come else []
        parts.append(_format_time(self._clock.monotonic() - self._started))
        return [*parts, *filter(None, [self._channel])]

    def _draw_rows(self) -> list[RenderableType]:
        """One line a job: its name, what it does, the time against the usual, the next read."""
        now = self._clock.monotonic()
        views = list(self._jobs.values())
        doing = max(cells_of(view.doing) for view in views)
        times = [_format_time(now - view.started) for view in views]
        time_cells = max(map(len, times))
        reads = [next((one for one in reversed(self._next_of(view, now)) if "check" in one), "") for view in views]
        bar_cells = self._bar_cells // 2
        longest = max(cells_of(view.name) for view in views)
        # What has no room beside whole names is left out: the bar first, then the next reads.
        room = self._console.width - _LEFT - doing - time_cells - 7
        if bar_cells + 2 + max(map(len, reads)) > room - longest:
            bar_cells = 0
        if not bar_cells and max(map(len, reads)) > room - longest:
            reads = [""] * len(reads)
        room -= max(map(len, reads)) + (bar_cells + 2 if bar_cells else 0)
        name_cells = min(longest, max(room, _LEAST_NAME_CELLS))
        rows: list[RenderableType] = []
        for view, time, read in zip(views, times, reads, strict=True):
            cells: list[RenderableType] = [Text(" "), Text(pad(cut(view.name, name_cells), name_cells) + " ")]
            cells.append(Text(pad(view.doing, doing) + " "))
            if bar_cells:
                gone_s = now - view.submitted_at if view.submitted_at is not None else 0.0
                done = progress_of(gone_s, self._usual_s or _DOCUMENTED_S)
                cells.append(_bar(1.0, done, bar_cells))
            cells += [Text(f" {time:>{time_cells}}", "dim"), Text(f" {read}", "dim")]
            rows.append(_beside(*cells))
        return rows


def _format_time(seconds: float) -> str:
    """Write seconds that are drawn over and over: whole ones, or they would flicker."""
    return f"{int(seconds)} s" if seconds < 60 else format_duration(seconds)  # noqa: PLR2004 -- a minute


def _packed(parts: list[str], cells: int) -> list[str]:
    """Put parts on as few lines as hold them, two blanks between them."""
    lines = [parts[0]]
    for part in parts[1:]:
        if cells_of(lines[-1]) + 2 + cells_of(part) <= cells:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return lines


def _beside(*cells: RenderableType) -> Table:
    row = Table.grid(padding=(0, 1))
    for cell in cells:
        if isinstance(cell, Text):
            cell.no_wrap, cell.overflow = True, "ellipsis"
    row.add_row(*cells)
    return row


def _bar(total: float | None, completed: float, cells: int) -> ProgressBar:
    """Make a bar; without a total it only moves. Its colours are those of the terminal, dark or light."""
    return ProgressBar(
        total=total,
        completed=completed,
        width=cells,
        pulse=total is None,
        style="dim",
        complete_style="green",
        finished_style="green",
        pulse_style="green",
    )


def _draw_image(n: int, received_bytes: int, total_bytes: int | None) -> RenderableType:
    of = f" of {format_bytes(total_bytes)}" if total_bytes else ""
    bar = _bar(total_bytes, received_bytes, _BAR_CELLS)
    return _beside(Text(" "), Text(f"image {n}"), bar, Text(f"{format_bytes(received_bytes)}{of}", "dim"))


def make_console(stream: object, *, width: int | None = None) -> Console:
    """Make the console of stderr. NO_COLOR, FORCE_COLOR and TERM are honoured by Rich itself."""
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)  # type: ignore[arg-type]


def make_paint() -> Callable[[str, str], str]:
    """Return a painter of texts for a terminal that another module writes to.

    The codes of each tone are made once: a thousand lines a second are too many for rendering each.
    """
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard")
    codes: dict[str, tuple[str, str]] = {}
    for tone, style in _STYLES.items():
        with console.capture() as capture:
            console.print(Text("|", style), end="")
        before, _, after = capture.get().partition("|")
        codes[tone] = before, after

    def paint(text: str, tone: str) -> str:
        before, after = codes[tone]
        return before + text + after

    return paint
