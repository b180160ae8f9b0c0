"""``verify``: check the signature of recorded callbacks, and say what exactly is wrong."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.declare import Command, duration
from suno_cover_cli.options.groups import JsonOptions, WebhookKeyOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.keys import WebhookKey
    from suno_cover_cli.listen.verification import SignedBody
    from suno_cover_cli.ui.output import Output
    from suno_cover_cli.wiring.context import Context


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(WebhookKeyOptions, JsonOptions):
    """Options of the command."""

    file: Annotated[
        str,
        typer.Argument(metavar="FILE|-", help="Lines of listen --json, or a bare body.", show_default=False),
    ]
    timestamp: Annotated[
        str | None,
        typer.Option("--timestamp", metavar="TEXT", help="Its time stamp header, for a bare body."),
    ] = None
    signature: Annotated[
        str | None,
        typer.Option("--signature", metavar="TEXT", help="Its signature header, for a bare body."),
    ] = None
    max_age_s: Annotated[
        float,
        typer.Option(
            "--max-age",
            metavar="TIME",
            parser=duration,
            help="How old a time stamp may be on arrival. (default: 5m)",
            show_default=False,
        ),
    ] = 300.0


def verify(options: VerifyOptions) -> None:
    """Check the signature of recorded callbacks: which part is wrong, how old the stamp was.

    The image list is not part of what is signed: a valid signature says who
    called, not what is true.

    Exit code: 0 when every signature is right and fresh, 10 otherwise.

    Example: suno-cover verify events.json --webhook-key-file key.txt
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_verification(options, context), is_json=options.json)


COMMAND = Command(verify)


def prepare_verification(options: VerifyOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Read input and key, and return the rest: print a verdict for each callback in the input.

    Raises:
        UsageError: No key, an input that cannot be read or holds no callback, or headers without a body.
    """
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.providers import WEBHOOK_KEY_VARIABLE
    from suno_cover_cli.listen.verification import SignedBody, find_signed_bodies, read_signed_input

    sources = context.sources(options.profile)
    key = context.webhook_key(sources, options)
    if key is None:
        page = context.provider(sources, options).webhook_page or next(
            (provider.webhook_page for provider in context.providers.signing()), ""
        )
        raise UsageError(
            "there is no webhook key to check with",
            code="no_webhook_key",
            hint=f"Set {WEBHOOK_KEY_VARIABLE} or add --webhook-key-file FILE. Keys: {page}",
        )
    raw = read_signed_input(options.file, context.output.streams.stdin)
    if options.timestamp is not None or options.signature is not None:
        given = (
            (key.scheme.timestamp_header, options.timestamp),
            (key.scheme.signature_header, options.signature),
        )
        headers = tuple((name, value) for name, value in given if value is not None)
        signed = [SignedBody(body=raw, headers=headers, arrived_at=context.clock.time())]
    else:
        signed = list(find_signed_bodies(raw, options.file))
    return _verify(signed, key, options.max_age_s, context.output)


async def _verify(signed: "list[SignedBody]", key: "WebhookKey", max_age_s: float, output: "Output") -> "ExitCode":
    import math

    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.models import SignatureState, json_text
    from suno_cover_cli.base.text import clean
    from suno_cover_cli.listen.verification import SignatureLine, check_signed_body

    is_all_right = True
    for one in signed:
        task_id, report = check_signed_body(one, key, max_age_s)
        is_all_right = is_all_right and report.state is SignatureState.OK
        if output.is_json:
            age_s = None if report.age_s is None else round(report.age_s, 3)
            line = SignatureLine(task_id=task_id, signature=report.state, reason=report.reason, age_s=age_s)
            output.write_line(json_text(line))
            continue
        # Rounded up, as its reason is: a stamp that is a little too old is not shown as just old enough.
        age = "" if report.age_s is None else f"  stamp {math.ceil(report.age_s)} s old on arrival"
        reason = f"  {clean(report.reason)}" if report.reason else ""
        output.write_row(f"{report.state}  {task_id or '-'}{age}{reason}", hang=4)
    return ExitCode.OK if is_all_right else ExitCode.BAD_SIGNATURE
