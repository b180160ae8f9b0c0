"""Chooses what a person sees: nothing, plain lines, or a live display."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.events import Sink
from suno_cover_cli.ui.output import Output
from suno_cover_cli.ui.plain import PlainScreen
from suno_cover_cli.ui.words import HANG_CHARS, Line


class ChosenScreen(msgspec.Struct, frozen=True):
    """A screen to enter, and the printer of product lines that goes with it."""

    screen: AbstractAsyncContextManager[Sink]
    write_product: Callable[[str], None]


def choose_screen(
    output: Output, *, clock: Clock, job_count: int, poll_interval_s: float, is_verbose: bool = False
) -> ChosenScreen:
    """Choose by the terminal: live only where stderr can be drawn on and nobody asked for quiet.

    Args:
        output: Streams and wishes.
        clock: Time.
        job_count: Jobs of the command.
        poll_interval_s: For the count-down to the first read, in seconds.
        is_verbose: Say more.
    """
    streams = output.streams
    if streams.stderr_is_terminal and not output.is_quiet:
        from suno_cover_cli.ui.screen import LiveScreen, make_console

        live = LiveScreen(
            make_console(streams.stderr),
            clock=clock,
            redactor=output.redactor,
            job_count=job_count,
            poll_interval_s=poll_interval_s,
            shows_product=streams.stdout_is_terminal and not output.is_json,
            is_verbose=is_verbose,
        )
        # Two writers on one terminal would draw over each other, so there the display prints the paths.
        return ChosenScreen(live, live.write_product if live.shows_product else output.write_line)
    plain = PlainScreen(
        plain_writer(output),
        clock=clock,
        job_count=job_count,
        is_quiet=output.is_quiet,
        is_verbose=is_verbose,
    )
    return ChosenScreen(plain, output.write_line)


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Tell whether to colour: on a terminal that can, or where somebody insists; never against NO_COLOR."""
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or (is_terminal and environ.get("TERM") != "dumb")


def plain_writer(output: Output) -> Callable[[Line], None]:
    """Return a printer of single lines, coloured when somebody insists on colour in a pipe."""
    if wants_colour(output.streams.environ, is_terminal=False):
        from suno_cover_cli.ui.screen import make_console, styled

        console = make_console(output.streams.stderr)
        return lambda line: console.print(
            styled(Line(line.label, output.redactor.redact(line.text), line.tone)), soft_wrap=True
        )
    return lambda line: output.write_words(str(line), hang=HANG_CHARS)
