"""Chooses what a person sees: nothing, plain lines, or a live display; colours or none."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.events import Sink
from suno_cover_cli.ui.output import Output
from suno_cover_cli.ui.sinks import PlainScreen
from suno_cover_cli.ui.words import HANG_CHARS, EventLines, Line

Paint = Callable[[str, str], str]
"""Colours a text for a tone of :data:`ui.words.Tone`."""


class ScreenOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a screen has to know of its command.

    Attributes:
        job_count: Jobs of the command.
        poll_interval_s: Between reads of one job, in seconds.
        usual_s: How long a job usually takes, or ``None`` where only the documentation says.
        is_verbose: Say more.
        waits: Jobs are waited for.
        needs_tunnel: Without a tunnel the command ends.
    """

    job_count: int
    poll_interval_s: float
    usual_s: float | None = None
    is_verbose: bool = False
    waits: bool = True
    needs_tunnel: bool = False


class ChosenScreen(msgspec.Struct, frozen=True):
    """A screen to enter, and the printer of product lines that goes with it."""

    screen: AbstractAsyncContextManager[Sink]
    write_product: Callable[[str], None]


def choose_screen(output: Output, options: ScreenOptions, *, clock: Clock) -> ChosenScreen:
    """Choose by the terminal: live only where stderr can be drawn on, and not with ``--quiet``."""
    streams = output.streams
    lines = EventLines(
        options.job_count,
        is_verbose=options.is_verbose,
        waits=options.waits,
        needs_tunnel=options.needs_tunnel,
        poll_interval_s=options.poll_interval_s,
        sums_up=not output.is_quiet,
    )
    # Paths that are printed on the same terminal need no lines of their own.
    shows_product = streams.stdout_is_terminal and streams.stderr_is_terminal and not output.is_json
    if streams.draws and not output.is_quiet:
        from suno_cover_cli.ui.screen import LiveScreen, make_console

        live = LiveScreen(
            make_console(streams.stderr),
            lines,
            clock=clock,
            shown=output.shown,
            job_count=options.job_count,
            poll_interval_s=options.poll_interval_s,
            usual_s=options.usual_s,
            shows_product=shows_product,
            is_verbose=options.is_verbose,
        )
        # Two writers on one terminal would draw over each other, so there the display prints the paths.
        return ChosenScreen(live, live.write_product if live.shows_product else output.write_line)
    plain = PlainScreen(
        plain_writer(output),
        lines,
        clock=clock,
        job_count=options.job_count,
        is_quiet=output.is_quiet,
        shows_product=shows_product,
    )
    return ChosenScreen(plain, output.write_line)


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Return whether to colour: on a terminal that can, or because of FORCE_COLOR; never against NO_COLOR."""
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or (is_terminal and environ.get("TERM") != "dumb")


def choose_paint(environ: Mapping[str, str], *, is_terminal: bool) -> Paint:
    """Return what colours texts where that is wanted, see :func:`wants_colour`; else what leaves them alone."""
    if not wants_colour(environ, is_terminal=is_terminal):
        return lambda text, _tone: text
    from suno_cover_cli.ui.screen import make_paint

    return make_paint()


def plain_writer(output: Output) -> Callable[[Line], None]:
    """Return a printer of single lines, coloured when FORCE_COLOR asks for that in a pipe."""
    if wants_colour(output.streams.environ, is_terminal=False):
        from suno_cover_cli.ui.screen import make_console, styled

        console = make_console(output.streams.stderr)
        return lambda line: console.print(
            styled(Line(line.label, output.guarded(output.shown(line.text)), line.tone)), soft_wrap=True
        )
    return lambda line: output.write_words(str(line), hang=HANG_CHARS)
