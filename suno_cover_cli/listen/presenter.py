"""The presenter of ``listen``: what stdout is, what stderr says, in each way of running it."""

import asyncio
from urllib.parse import urlsplit

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import SunoCoverError, TunnelError
from suno_cover_cli.base.events import Event, JobEnded, JobPolled, JobStarted
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.exchanges import Exchange
from suno_cover_cli.listen.events import EventLog, EventView
from suno_cover_cli.listen.lines import LinesView
from suno_cover_cli.listen.ndjson import EndLine, JsonView, PageLine, ReadyLine, ReconnectingLine, ascii_line
from suno_cover_cli.listen.options import ListenOptions
from suno_cover_cli.listen.printers import MAX_WORDS_BYTES, ProductPrinter, WordsPrinter
from suno_cover_cli.ui.choice import choose_paint
from suno_cover_cli.ui.output import Output, error_object
from suno_cover_cli.ui.words import EventLines, Line

_MAX_PATHS = 10


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Where callbacks get through.

    Attributes:
        url: What to give to the service, path included.
        local: The same on this machine.
        inspector: Local page of the tunnel's agent, or ``None``.
        forwards_to: Where events are sent on to, each in words.
    """

    url: str
    local: str
    inspector: str | None = None
    forwards_to: tuple[str, ...] = ()


class ListenPresenter:
    """Tells everything, each thing on its stream. A sink for the jobs of ``--save`` as well.

    stdout is the product: lines of events; with ``--json`` objects; with ``--print-url`` the URL alone; with a
    command it is the command's. Whatever is not there is on stderr.

    Args:
        options: Of the command.
        output: Its streams.
        clock: Time.

    Attributes:
        view: Shows events.
    """

    def __init__(self, options: ListenOptions, output: Output, clock: Clock) -> None:
        self._options = options
        self._output = output
        self._clock = clock
        self._was_ready = False
        self._elsewhere = WrongPaths()
        # --save may find any number of jobs, so each line names its own.
        self._lines = EventLines(2, sums_up=False)
        streams = output.streams
        is_one_terminal = streams.stdout_is_terminal and streams.stderr_is_terminal
        words_paint = choose_paint(streams.environ, is_terminal=streams.stderr_is_terminal)
        self._words = WordsPrinter(output, paint=words_paint)
        self.view: EventView
        if options.json:
            self._printer = self._product_printer()
            self.view = JsonView(self._printer.write)
            return
        paint = words_paint
        is_on_stderr = options.print_url or bool(options.command)
        if is_on_stderr:
            self._printer = ProductPrinter(
                self._words.print_text,
                self._words.waiting_bytes,
                on_dropped=self._report_dropped,
                max_waiting_bytes=MAX_WORDS_BYTES // 2,
            )
        else:
            self._printer = self._product_printer()
            paint = choose_paint(streams.environ, is_terminal=streams.stdout_is_terminal)
            if is_one_terminal:
                # Two writers of one terminal would overtake each other.
                self._words = WordsPrinter(output, paint=words_paint, print_text=output.write_line)
        self.view = LinesView(
            self._printer.write,
            paint=paint,
            clock=clock,
            verbosity=options.verbosity,
            columns=lambda: output.words_columns if is_on_stderr else output.product_columns,
            sends_on=bool(options.forward_to),
            names_receiver=len(options.forward_to or ()) > 1,
        )

    def _product_printer(self) -> ProductPrinter:
        return ProductPrinter(
            self._output.write_line, lambda: self._output.waiting_bytes, on_dropped=self._report_dropped
        )

    # --- the way in ------------------------------------------------------------------------------------------

    def report_opening(self) -> None:
        """A tunnel is being opened, which takes a moment."""
        self._say("opening", "a tunnel")

    def report_ready(self, ready: Ready, before: Ready | None) -> None:
        """Callbacks get through; ``before`` is where they did before a loss."""
        self._was_ready = True
        is_new = before is None or before.url != ready.url
        first: str | None = None
        if self._options.json:
            first = ascii_line(ReadyLine(url=ready.url, local=ready.local, inspector=ready.inspector))
        elif self._options.print_url and is_new:
            self._output.write_line(ready.url)
        self._elsewhere.path = urlsplit(ready.local).path
        self._words.say(Line("ready", ready.url, "good"))
        if before is None:
            self._report_start(ready)
        elif is_new:
            self._say("", "The address is new: give it to the sender of the callbacks.", "warning")
            if self._options.command:
                self._say("", "The command was started with the old one.", "warning")
        self._printer.begin(first)

    def report_page(self, url: str) -> None:
        """Requests are shown on a page of this machine as well."""
        if self._options.json:
            self._output.write_line(ascii_line(PageLine(url=url)))
        self._say("page", url)

    async def wait_printed(self) -> None:
        """Wait until what was said is written, or a moment: a slow reader does not hold up the end."""
        await self._output.wait_written()
        await self._words.wait_written()

    def _report_start(self, ready: Ready) -> None:
        if ready.local != ready.url:
            self._say("", f"leads to {ready.local}")
        if ready.inspector is not None:
            self._say("", f"traffic also at {ready.inspector}")
        for target in ready.forwards_to:
            self._say("", f"sends on to {target}")
        if not self._options.command and self._output.streams.stderr_is_terminal:
            more = {0: "-v shows headers, -vv bodies; ", 1: "-vv shows bodies; "}.get(self._options.verbosity, "")
            self._say("", f"{more}Ctrl-C ends it")

    def report_lost(self, reason: str) -> None:
        """Callbacks do not get through; the tunnel reconnects."""
        if self._options.json:
            self._output.write_line(ascii_line(ReconnectingLine(reason=clean(reason))))
        self._say("lost", f"callbacks do not get through ({clean(reason)}); reconnecting", "warning")

    # --- the rest --------------------------------------------------------------------------------------------

    def report_waiting(self, text: str) -> None:
        """A sign of life where nothing is drawn."""
        self._say("waiting", text)

    def report_unmatched(self, exchange: Exchange) -> None:
        """Something came to another path, or was no request: the first to each path is worth a line."""
        shows_all = self._options.verbosity and not self._options.json
        if not shows_all and (text := self._elsewhere.describe(exchange)):
            self._say("elsewhere", text, "faint")

    def report_trouble(self, error: SunoCoverError) -> None:
        """Something is wrong that stops nothing."""
        self._say("warning", clean(error.message), "warning")
        if error.hint:
            self._say("", clean(error.hint))

    def emit(self, event: Event) -> None:
        """See :class:`base.events.Sink`."""
        if isinstance(event, JobStarted | JobPolled):
            return
        if isinstance(event, JobEnded) and self._options.json:
            self._output.write_line(ascii_line(event.result))
        for line in self._lines.lines_of(event):
            self._words.say(line)

    def report_timeout(self, said: str, hint: str) -> None:
        """Time was up before what was waited for happened."""
        # What has come stands above it.
        self._printer.begin(None)
        self._say("timeout", said, "warning")
        if hint:
            self._say("", hint)

    async def report_end(self, reason: str, log: EventLog, error: SunoCoverError | None = None) -> None:
        """It is over; the last words. Returns once stderr has taken them, or does not."""
        self._printer.begin(None)
        log.show_cut_off()
        self._printer.report_dropped()
        if self._options.json:
            if error is not None:
                said = {**error_object(error), "hint": self._output.complete(error.hint)}
                self._output.write_line(ascii_line(said))
            events = sum(log.counts[kind] for kind in ("events", "refused", "cut off"))
            self._output.write_line(ascii_line(EndLine(events=events, reason=reason)))
        if error is not None:
            self._say("error", clean(error.message), "bad")
            if error.hint:
                self._say("", clean(error.hint))
            if isinstance(error, TunnelError) and not self._was_ready:
                self._say("", "Without a tunnel, for this machine alone: suno-cover listen --no-tunnel")
        if reason == "interrupted" and self._output.streams.stderr_is_terminal:
            self._words.break_line()  # the terminal has drawn ^C
        self._say("ended", describe_counts(log))
        await asyncio.to_thread(self._words.finish)

    def _say(self, label: str, text: str, tone: str = "plain") -> None:
        self._words.say(Line(label, text, tone))  # type: ignore[arg-type]

    def _report_dropped(self, lines: int) -> None:
        stream = "stderr" if self._options.print_url or self._options.command else "stdout"
        self.report_trouble(
            SunoCoverError(
                f"{lines} lines were not printed: the reader of {stream} did not read",
                hint="suno-cover listen --list shows what was recorded.",
            )
        )


class WrongPaths:
    """Says of the first request to each wrong path where it went and where it should have gone.

    Of so many paths at most. What begins as the open path does is more likely a slip than a scan: both have room
    of their own.

    Attributes:
        path: The open one; until it is known nothing is said.
    """

    def __init__(self) -> None:
        self.path = ""
        self._slips: set[str] = set()
        self._scans: set[str] = set()

    def describe(self, exchange: Exchange) -> str:
        """Return what is to be said of a request to another path; mostly nothing."""
        path = exchange.path.partition("?")[0]
        begins_so = path.startswith(f"/{self.path[1:].partition('/')[0]}")
        known = self._slips if begins_so else self._scans
        if not (self.path and exchange.method) or path in known or len(known) > _MAX_PATHS:
            return ""
        known.add(path)
        if len(known) > _MAX_PATHS:
            return "requests to more paths are only counted"
        method, status = clean(exchange.method, 20), exchange.status
        return f"{method} {clean(path, 200)}: nothing is received there ({status}); the path is {self.path}"


def describe_counts(log: EventLog) -> str:
    """Say how much came, and of what kind."""
    counts = log.counts
    parts = ["1 event" if counts["events"] == 1 else f"{counts['events']} events"]
    if counts["duplicates"]:
        kind = "a duplicate" if counts["duplicates"] == 1 else "duplicates"
        parts.append(f"{counts['duplicates']} of them {kind}")
    if counts["refused"]:
        parts.append(f"{counts['refused']} refused")
    if counts["late"]:
        parts.append(f"{counts['late']} after the last one")
    if log.unanswered:
        parts.append(f"{log.unanswered} cut off by the end")
    not_callbacks = log.not_callbacks
    if not_callbacks:
        kinds = "; ".join(f"{count} {reason}" for reason, count in not_callbacks.most_common(4))
        rest = sum(not_callbacks.values()) - sum(count for _, count in not_callbacks.most_common(4))
        others = f"; {rest} other{'s' if rest > 1 else ''}" if rest else ""
        total = not_callbacks.total()
        what = "1 request that was not a callback" if total == 1 else f"{total} requests that were not callbacks"
        parts.append(f"{what} ({kinds}{others})")
    return ", ".join(parts)
