"""``credits``: the balance of the account."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import JsonOptions, ServiceOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.settings import Settings
    from suno_cover_cli.base.text import Secret
    from suno_cover_cli.wiring.context import Context


@dataclass(frozen=True, kw_only=True)
class CreditsOptions(ServiceOptions, JsonOptions):
    """Options of the command."""


def show_credits(options: CreditsOptions) -> None:
    """Print the balance of the account."""
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: fetch_credits(options, context), is_json=options.json)


COMMAND = Command(show_credits)


def fetch_credits(options: CreditsOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Find settings and key, and return the rest of the command.

    Raises:
        SunoCoverError: No key, or a value that cannot be.
    """
    settings, sources = context.settings(options)
    key = context.api_key(settings, sources, options)
    return _fetch_credits(settings, key, context)


async def _fetch_credits(settings: "Settings", key: "Secret", context: "Context") -> "ExitCode":
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.models import json_text

    async with context.open_api(settings, key) as api:
        balance = await api.fetch_credits()
    # Documented as an integer, recorded as a decimal: whole numbers are shown whole.
    shown = int(balance) if balance.is_integer() else balance
    if context.output.is_json:
        entry = {"v": 1, "type": "credits", "credits": shown, "provider": settings.provider.name}
        context.output.write_line(json_text({**entry, "base_url": settings.base_url}))
    else:
        context.output.write_line(str(shown))
    return ExitCode.OK
