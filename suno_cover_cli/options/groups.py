"""The options that several commands share, each declared once: name, default, help.

What overrides a setting takes its words from :mod:`suno_cover_cli.base.settings_table`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from suno_cover_cli.base.environment import WEBHOOK_KEY_VARIABLE
from suno_cover_cli.base.providers import PROVIDERS
from suno_cover_cli.options.declare import CALLBACK, OUTPUT, SERVICE, setting_option

_KEY_VARIABLES = " or ".join(PROVIDERS.key_variables)
_SIGNING = ", ".join(provider.name for provider in PROVIDERS.signing())


@dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """Which profile of the settings file counts."""

    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME", help="Profile of the settings file.", rich_help_panel=SERVICE),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ProviderOptions(ProfileOptions):
    """Whose paths, keys and signatures count; ``None`` means not given."""

    provider: Annotated[str | None, setting_option("provider", panel=SERVICE)] = None


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class RateOptions:
    """How fast a command may call the service."""

    rate: Annotated[str | None, setting_option("rate", panel=SERVICE)] = None


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class CallbackModeOptions:
    """Whether a tunnel is tried, demanded or left out."""

    callback: Annotated[str | None, setting_option("callback", panel=CALLBACK)] = None


@dataclass(frozen=True, kw_only=True)
class TunnelOptions:
    """How callbacks reach the listener."""

    public_url: Annotated[
        str | None,
        typer.Option(
            "--public-url",
            metavar="URL",
            help="An address of your own that leads to the listener, instead of ngrok.",
            rich_help_panel=CALLBACK,
        ),
    ] = None
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
    domain: Annotated[str | None, setting_option("domain", panel=CALLBACK)] = None
    ngrok_path: Annotated[
        str | None,
        typer.Option(
            "--ngrok-path",
            metavar="FILE",
            help="ngrok agent to use. (env: PYNGROK_NGROK_PATH)",
            rich_help_panel=CALLBACK,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class CallbackOptions(TunnelOptions, CallbackModeOptions):
    """Whether a tunnel is tried, demanded or left out, and how callbacks reach the listener."""


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where covers go."""

    output: Annotated[Path | None, setting_option("output", "-o", panel=OUTPUT)] = None


@dataclass(frozen=True, kw_only=True)
class JsonOptions:
    """The product as JSON."""

    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object a line.", rich_help_panel=OUTPUT)
    ] = False
