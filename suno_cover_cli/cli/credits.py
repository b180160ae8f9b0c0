"""``credits``: the balance of the account."""

from collections.abc import Coroutine
from typing import Any, NoReturn

from suno_cover_cli.base.events import NullSink
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.text import Secret
from suno_cover_cli.service.api import SunoApi
from suno_cover_cli.service.limiter import RequestLimiter
from suno_cover_cli.ui.output import Output, json_line
from suno_cover_cli.wiring.context import Context, ServiceOptions
from suno_cover_cli.wiring.runner import run as run_command


def run(options: ServiceOptions, output: Output) -> NoReturn:
    """Run the command and leave the process."""
    run_command(lambda: fetch_credits(options, Context(output=output)), output)


def fetch_credits(options: ServiceOptions, context: Context) -> Coroutine[Any, Any, ExitCode]:
    """Find settings and key, and return the rest of the command.

    Raises:
        SunoCoverError: No key, or a value that cannot be.
    """
    settings, where = context.settings(options)
    key = context.api_key(settings, where, options)
    return _fetch_credits(settings, key, context)


async def _fetch_credits(settings: Settings, key: Secret, context: Context) -> ExitCode:
    async with (
        RequestLimiter(None, 1.0, clock=context.clock) as limiter,
        SunoApi(
            base_url=settings.base_url,
            key=key,
            provider=settings.provider,
            limiter=limiter,
            clock=context.clock,
            sink=NullSink(),
            user_agent=context.user_agent,
        ) as api,
    ):
        balance = await api.fetch_credits()
    # Documented as an integer, recorded as a decimal: whole numbers are shown whole.
    shown = int(balance) if balance.is_integer() else balance
    if context.output.is_json:
        entry = {"v": 1, "type": "credits", "credits": shown, "provider": settings.provider}
        context.output.write_line(json_line({**entry, "base_url": settings.base_url}))
    else:
        context.output.write_line(str(shown))
    return ExitCode.OK
