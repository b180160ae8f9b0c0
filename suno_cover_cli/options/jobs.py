"""The options of the commands that run jobs: generate, wait, resume."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from suno_cover_cli.base.durations import JOB_TIMEOUT_S
from suno_cover_cli.options.declare import OUTPUT, duration, setting_option
from suno_cover_cli.options.groups import (
    CallbackOptions,
    JsonOptions,
    OutputOptions,
    RateOptions,
    ServiceOptions,
    WebhookKeyOptions,
)


@dataclass(frozen=True, kw_only=True)
class JobCommandOptions(
    RateOptions, ServiceOptions, WebhookKeyOptions, CallbackOptions, JsonOptions, OutputOptions
):
    """Everything a command that runs jobs may be asked; each offers what makes sense for it.

    Attributes:
        task_ids: The ids given one by one; each command declares them as its argument.
        submits: The command submits jobs, so callbacks are worth a listener and a tunnel.
    """

    task_ids: list[str] | None = None
    submits: bool = True
    input_file: Annotated[
        str | None, typer.Option("--input", "-i", metavar="FILE|-", help="Ids, one a line; # starts a comment.")
    ] = None
    poll_interval_s: Annotated[
        float,
        typer.Option(
            "--poll-interval",
            metavar="TIME",
            parser=duration,
            help="Time between reads of one job: 30, 0.5, 30s, 15m, 1h. (default: 30s)",
            show_default=False,
        ),
    ] = 30.0
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="TIME",
            parser=duration,
            help="Time limit of a job; the job itself continues at the service. (default: 15m)",
            show_default=False,
        ),
    ] = JOB_TIMEOUT_S
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit, print the cover task ids, exit.")] = False
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=10_000, metavar="N", help="Jobs that run at the same time.")
    ] = 100
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Try it on this machine: no key, no account, no network.")
    ] = False
    failed_to: Annotated[
        Path | None,
        typer.Option(
            "--failed-to", metavar="FILE", help="Write the ids to try again, one a line.", rich_help_panel=OUTPUT
        ),
    ] = None
    name: Annotated[str | None, setting_option("name", panel=OUTPUT)] = None
    label: Annotated[str | None, setting_option("label", panel=OUTPUT)] = None
    write_metadata: Annotated[
        bool,
        typer.Option(
            "--write-metadata",
            help="Put a metadata.json beside the covers: where from, when, checksums.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files.", rich_help_panel=OUTPUT)
    ] = False
    events: Annotated[
        bool, typer.Option("--events", help="Print every event as a JSON line.", rich_help_panel=OUTPUT)
    ] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only errors on stderr.", rich_help_panel=OUTPUT)
    ] = False
    verbosity: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            metavar="",
            help="Say more: versions, settings, every read and retry.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = 0
    preview: Annotated[str | None, setting_option("preview", panel=OUTPUT)] = None
    opens_folder: Annotated[
        bool, typer.Option("--open", help="Open the folder of the covers at the end.", rich_help_panel=OUTPUT)
    ] = False
    notifies: Annotated[
        bool, typer.Option("--notify", help="Send a desktop notification at the end.", rich_help_panel=OUTPUT)
    ] = False
