"""The options of ``doctor``."""

from dataclasses import dataclass
from typing import Annotated

import typer

from suno_cover_cli.options.declare import OUTPUT
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
