"""The options of ``listen``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from suno_cover_cli.options.declare import CALLBACK, OUTPUT, duration, verbose_option
from suno_cover_cli.options.groups import (
    OutputOptions,
    RateOptions,
    ServiceOptions,
    TunnelChoiceOptions,
    TunnelOptions,
    WebhookKeyOptions,
)

ENDS = "When it ends"
ANSWERS = "What it answers"


@dataclass(frozen=True, kw_only=True)
class ListenOptions(
    RateOptions, ServiceOptions, WebhookKeyOptions, TunnelOptions, TunnelChoiceOptions, OutputOptions
):
    """Options of the command."""

    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="Run this with SUNO_CALLBACK_URL set once callbacks get through, and end with its exit code.",
            show_default=False,
        ),
    ] = None
    forward_to: Annotated[
        list[str] | None,
        typer.Option(
            "--forward-to",
            metavar="URL|PORT",
            help="Send every request on, byte for byte, and answer what that receiver answers: 3000, 3000/path, "
            "/path, host:port or a URL, with user:password@ if needed. Of several, the first one answers.",
            rich_help_panel=ANSWERS,
        ),
    ] = None
    headers: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="TEXT",
            help="Send this header along to the receivers, 'Name: value'; may be repeated.",
            rich_help_panel=ANSWERS,
        ),
    ] = None
    is_insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Accept any certificate of a receiver.", rich_help_panel=ANSWERS),
    ] = False
    answer: Annotated[
        int | None,
        typer.Option(
            "--answer",
            min=200,
            max=599,
            metavar="STATUS",
            help="Answer every request with this, to watch the service retry.",
            rich_help_panel=ANSWERS,
        ),
    ] = None
    delay_s: Annotated[
        float | None,
        typer.Option(
            "--delay",
            metavar="TIME",
            parser=duration,
            help="Wait this long before each answer.",
            rich_help_panel=ANSWERS,
        ),
    ] = None
    once: Annotated[
        bool, typer.Option("--once", help="End after one event, as --count 1.", rich_help_panel=ENDS)
    ] = False
    count: Annotated[
        int | None, typer.Option("--count", min=1, metavar="N", help="End after N events.", rich_help_panel=ENDS)
    ] = None
    until_task: Annotated[
        str | None,
        typer.Option(
            "--until-task",
            metavar="TASK_ID",
            help="End after the last event of this task: music comes in stages.",
            rich_help_panel=ENDS,
        ),
    ] = None
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="TIME",
            parser=duration,
            help="Give up after this time with exit code 8, opening the tunnel included: 30, 30s, 15m, 1h.",
            rich_help_panel=ENDS,
        ),
    ] = None
    path: Annotated[
        str | None,
        typer.Option(
            "--path",
            metavar="/PATH",
            help="Receive on this path instead of a secret one. Anyone who guesses it can send events.",
            rich_help_panel=CALLBACK,
        ),
    ] = None
    has_new_path: Annotated[
        bool,
        typer.Option(
            "--new-path",
            help="Make a new secret path instead of that of the last run.",
            rich_help_panel=CALLBACK,
        ),
    ] = False
    max_age_s: Annotated[
        float | None,
        typer.Option(
            "--max-age",
            metavar="TIME",
            parser=duration,
            help="How old the stamp of a signature may be. (default: 5m)",
            show_default=False,
            rich_help_panel=CALLBACK,
        ),
    ] = None
    save: Annotated[
        bool,
        typer.Option(
            "--save", help="Read each announced job with the API key and save its covers.", rich_help_panel=OUTPUT
        ),
    ] = False
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print NDJSON: ready, event, request, forwarded, reconnecting, error, end. "
            "Nothing else goes to stdout.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    print_url: Annotated[
        bool,
        typer.Option(
            "--print-url", help="Print the URL alone on stdout; events go to stderr.", rich_help_panel=OUTPUT
        ),
    ] = False
    ready_file: Annotated[
        Path | None,
        typer.Option(
            "--ready-file",
            metavar="FILE",
            help="Write the URL here, in one step, once callbacks get through.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    inspect: Annotated[
        bool,
        typer.Option(
            "--inspect",
            help="Show requests on a page of this machine too: search them, compare them, send them again.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    list_events: Annotated[
        bool,
        typer.Option("--list", help="List what is recorded, the newest first, and exit.", rich_help_panel=OUTPUT),
    ] = False
    verbosity: Annotated[
        int,
        verbose_option("-v shows headers and requests to other paths, -vv bodies too; of answers as well."),
    ] = 0

    @property
    def wanted_count(self) -> int | None:
        """Events after which to end."""
        return 1 if self.once else self.count

    @property
    def has_goal(self) -> bool:
        """Whether events end it."""
        return self.wanted_count is not None or self.until_task is not None
