"""The options of ``doctor``."""

from dataclasses import dataclass
from typing import Annotated

import typer

from suno_cover_cli.options.declare import CALLBACK, OUTPUT
from suno_cover_cli.options.groups import (
    CallbackOptions,
    JsonOptions,
    OutputOptions,
    ServiceOptions,
    WebhookKeyOptions,
)


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(ServiceOptions, WebhookKeyOptions, CallbackOptions, OutputOptions, JsonOptions):
    """Options of the command."""

    verbosity: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            metavar="",
            help="Show what passed, one line a check.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = 0
    opens_tunnel: Annotated[
        bool,
        typer.Option(
            "--tunnel/--no-tunnel", help="Open a real tunnel and call back through it.", rich_help_panel=CALLBACK
        ),
    ] = True
