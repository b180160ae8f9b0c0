"""Options that several commands share, each with its help in one place."""

from pathlib import Path
from typing import Annotated

import typer

from suno_cover_cli.base.durations import parse_duration_s


def duration(text: str | float) -> float:
    """Read an option such as ``30s``; Typer reports what is wrong with it."""
    if isinstance(text, int | float):
        return float(text)
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


PROVIDER = "Service"
TUNNEL = "Callback"
OUTPUT = "Output"

ProviderOption = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="sunoapi|kie",
        help="Which service; resellers count as sunoapi. (env: SUNO_PROVIDER)",
        rich_help_panel=PROVIDER,
    ),
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--base-url", metavar="URL", help="Address of the service. (env: SUNO_BASE_URL)", rich_help_panel=PROVIDER
    ),
]
ApiKeyFileOption = Annotated[
    str | None,
    typer.Option(
        "--api-key-file",
        metavar="FILE|-",
        help="Read the API key from a file or stdin. (env: SUNO_API_KEY or KIE_API_KEY hold the key itself)",
        rich_help_panel=PROVIDER,
    ),
]
WebhookKeyFileOption = Annotated[
    str | None,
    typer.Option(
        "--webhook-key-file",
        metavar="FILE|-",
        help="Key that signs callbacks (kie). (env: SUNO_WEBHOOK_KEY holds the key itself)",
        rich_help_panel=TUNNEL,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Profile of the settings file.", rich_help_panel=PROVIDER),
]
RateOption = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="N/TIME|off",
        help="Most calls to the service in a time, all jobs together. (default: 20/10s)",
        rich_help_panel=PROVIDER,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder that receives one folder per cover task. (default: covers) (env: SUNO_COVER_OUTPUT)",
        rich_help_panel=OUTPUT,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="TEMPLATE",
        help="File names: {n}, {task_id}, {music_task_id}, {title}. (default: cover_{n})",
        rich_help_panel=OUTPUT,
    ),
]
WriteMetadataOption = Annotated[
    bool,
    typer.Option(
        "--write-metadata",
        help="Put a metadata.json beside the covers: where from, when, checksums.",
        rich_help_panel=OUTPUT,
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that are there.", rich_help_panel=OUTPUT)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.", rich_help_panel=OUTPUT)]
EventsOption = Annotated[
    bool, typer.Option("--events", help="Print every event as a JSON line.", rich_help_panel=OUTPUT)
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on stderr.", rich_help_panel=OUTPUT)]
PreviewOption = Annotated[
    str | None,
    typer.Option(
        "--preview",
        metavar="auto|off",
        help="Show the saved covers on the terminal, as far as it can. (default: auto)",
        rich_help_panel=OUTPUT,
    ),
]
OpenOption = Annotated[
    bool, typer.Option("--open", help="Open the folder of the covers at the end.", rich_help_panel=OUTPUT)
]
NotifyOption = Annotated[
    bool, typer.Option("--notify", help="Send a desktop notification at the end.", rich_help_panel=OUTPUT)
]
VerboseOption = Annotated[
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
]
PollIntervalOption = Annotated[
    float,
    typer.Option(
        "--poll-interval",
        metavar="TIME",
        parser=duration,
        help="Between reads of one job: 30, 0.5, 30s, 15m, 1h. (default: 30s)",
        show_default=False,
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="TIME",
        parser=duration,
        help="For a whole job; the job itself goes on at the service. (default: 15m)",
        show_default=False,
    ),
]
ConcurrencyOption = Annotated[
    int, typer.Option("--concurrency", min=1, max=10_000, metavar="N", help="Jobs under way at once.")
]
FailedToOption = Annotated[
    Path | None,
    typer.Option(
        "--failed-to", metavar="FILE", help="Write the ids to try again, one a line.", rich_help_panel=OUTPUT
    ),
]
InputOption = Annotated[
    str | None,
    typer.Option("--input", "-i", metavar="FILE|-", help="Ids, one a line; # starts a comment."),
]
CallbackOption = Annotated[
    str | None,
    typer.Option(
        "--callback",
        metavar="auto|required|off",
        help="Open a tunnel for the service's callback: try, insist, or only poll. (default: auto)",
        rich_help_panel=TUNNEL,
    ),
]
PublicUrlOption = Annotated[
    str | None,
    typer.Option(
        "--public-url",
        metavar="URL",
        help="An address of your own that leads to the listener, instead of ngrok.",
        rich_help_panel=TUNNEL,
    ),
]
ListenHostOption = Annotated[
    str, typer.Option("--listen-host", metavar="HOST", help="Listener's address.", rich_help_panel=TUNNEL)
]
ListenPortOption = Annotated[
    int,
    typer.Option(
        "--listen-port",
        metavar="PORT",
        min=0,
        max=65535,
        help="Listener's port, 0 for any.",
        rich_help_panel=TUNNEL,
    ),
]
DomainOption = Annotated[
    str | None,
    typer.Option("--domain", metavar="NAME", help="ngrok domain of your own.", rich_help_panel=TUNNEL),
]
NgrokPathOption = Annotated[
    str | None,
    typer.Option(
        "--ngrok-path",
        metavar="FILE",
        help="ngrok agent to use. (env: PYNGROK_NGROK_PATH)",
        rich_help_panel=TUNNEL,
    ),
]
