"""The options that several commands share, each declared once: name, default, help.

What overrides a setting takes its words from :mod:`suno_cover_cli.base.settings_table`. Groups are neither
compared nor printed: methods for that would be made in every run, a quarter of the time this file takes to load.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from suno_cover_cli.base.providers import PROVIDERS, WEBHOOK_KEY_VARIABLE
from suno_cover_cli.base.settings_table import JOB_TIMEOUT_S
from suno_cover_cli.options.declare import (
    CALLBACK,
    OUTPUT,
    SERVICE,
    TUNNEL,
    duration,
    setting_option,
    verbose_option,
)
from suno_cover_cli.tunnels.kinds import KindOptions

_KEY_VARIABLES = " or ".join(PROVIDERS.key_variables)
_SIGNING = ", ".join(provider.name for provider in PROVIDERS.signing())


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProfileOptions:
    """Which profile of the settings file counts."""

    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME", help="Profile of the settings file.", rich_help_panel=SERVICE),
    ] = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProviderOptions(ProfileOptions):
    """Whose paths, keys and signatures count; ``None`` means not given."""

    provider: Annotated[str | None, setting_option("provider", panel=SERVICE)] = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ServiceOptions(ProviderOptions):
    """Which service a command speaks to, and with which key; ``None`` means not given."""

    base_url: Annotated[str | None, setting_option("base_url", panel=SERVICE)] = None
    api_key_file: Annotated[
        str | None,
        typer.Option(
            "--api-key-file",
            metavar="FILE|-",
            help=f"Read the API key from a file or stdin. (env: {_KEY_VARIABLES} hold the key itself)",
            rich_help_panel=SERVICE,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RateOptions:
    """How fast a command may call the service."""

    rate: Annotated[str | None, setting_option("rate", panel=SERVICE)] = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class WebhookKeyOptions(ProviderOptions):
    """The key that signs callbacks."""

    webhook_key_file: Annotated[
        str | None,
        typer.Option(
            "--webhook-key-file",
            metavar="FILE|-",
            help=f"Key that signs callbacks ({_SIGNING}). (env: {WEBHOOK_KEY_VARIABLE} holds the key itself)",
            rich_help_panel=CALLBACK,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TunnelChoiceOptions:
    """Whether a tunnel is demanded or left out; ``None`` means that the command decides."""

    tunnel: Annotated[
        bool | None,
        typer.Option(
            "--tunnel/--no-tunnel",
            help="Require a tunnel for callbacks, or open none. "
            "(default: one is tried, unless the service is on this machine)",
            rich_help_panel=TUNNEL,
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CallbackModeOptions(TunnelChoiceOptions):
    """The same for commands that can do without one, where the settings file may say it as well."""

    callback: Annotated[str | None, setting_option("callback", panel=CALLBACK, hidden=True)] = None

    def __post_init__(self) -> None:
        """Take the choice for the setting's value."""
        if self.tunnel is not None:
            object.__setattr__(self, "callback", "required" if self.tunnel else "off")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TunnelOptions(KindOptions):
    """How callbacks reach the listener; what belongs to one kind of tunnel is declared with the kinds."""

    listen_host: Annotated[
        str, typer.Option("--listen-host", metavar="HOST", help="Listener's address.", rich_help_panel=CALLBACK)
    ] = "127.0.0.1"
    listen_port: Annotated[
        int,
        typer.Option(
            "--listen-port",
            metavar="PORT",
            min=0,
            max=65535,
            help="Listener's port, 0 for any.",
            rich_help_panel=CALLBACK,
        ),
    ] = 0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CallbackOptions(TunnelOptions, CallbackModeOptions):
    """Whether a tunnel is tried, demanded or left out, and how callbacks reach the listener."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OutputOptions:
    """Where covers go."""

    output: Annotated[Path | None, setting_option("output", "-o", panel=OUTPUT)] = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PortOptions:
    """Where a command serves on this machine."""

    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, metavar="PORT", help="Serve on this port of 127.0.0.1, 0 for any."
        ),
    ] = 0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class JsonOptions:
    """The product as JSON."""

    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object a line.", rich_help_panel=OUTPUT)
    ] = False


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReceiverOptions:
    """Where callbacks are sent, and with what."""

    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL|PORT",
            help="The receiver: 3000, 3000/hook, host:port/hook or a URL, with user:password@ if needed.",
            show_default=False,
        ),
    ]
    body_file: Annotated[
        str | None, typer.Option("--body", metavar="FILE|-", help="Send these bytes instead.", show_default=False)
    ] = None
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="TEXT", help="Send this header along, 'Name: value'; may be repeated."),
    ] = None
    is_insecure: Annotated[bool, typer.Option("--insecure", help="Accept any certificate of the receiver.")] = (
        False
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
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
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE|-",
            help="Ids, one a line, or CSV: music_task_id,title. # starts a comment.",
        ),
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
        bool, typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.", rich_help_panel=OUTPUT)
    ] = False
    verbosity: Annotated[int, verbose_option("Say more: versions, settings, every read and retry.")] = 0
    preview: Annotated[str | None, setting_option("preview", panel=OUTPUT)] = None
    opens_folder: Annotated[
        bool, typer.Option("--open", help="Open the folder of the covers at the end.", rich_help_panel=OUTPUT)
    ] = False
    notifies: Annotated[
        bool, typer.Option("--notify", help="Send a desktop notification at the end.", rich_help_panel=OUTPUT)
    ] = False
