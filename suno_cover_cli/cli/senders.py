"""Commands that send callbacks to a receiver and check them: trigger, replay, verify."""

from typing import Annotated

import typer

from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.cli import options as opt

ToOption = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="URL|PORT",
        help="The receiver: 3000, 3000/hook, host:port/hook or a URL.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command()(trigger)
    app.command()(replay)
    app.command()(verify)


def _complete_sample(incomplete: str) -> list[tuple[str, str]]:
    return [(name.value, name.description) for name in SampleName if name.startswith(incomplete)]


def scenario(text: str) -> SampleName:
    """Find a sample by its name; help shows the name of this function as the kind of the argument.

    Raises:
        typer.BadParameter: There is none of that name.
    """
    try:
        return SampleName(text)
    except ValueError:
        raise typer.BadParameter(f"no such sample; there are {', '.join(SampleName)}") from None


def trigger(
    sample: Annotated[
        SampleName,
        typer.Argument(
            metavar="SCENARIO",
            parser=scenario,
            autocompletion=_complete_sample,
            help="success, failed-501, duplicate, bad-signature ...",
            show_default=False,
        ),
    ],
    to: ToOption,
    task_id: Annotated[
        str | None, typer.Option("--task-id", metavar="ID", help="Cover task id to name; random otherwise.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="URL", help="Image to name; may be repeated.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=1_000_000, metavar="N", help="How often.")] = 1,
    rate: Annotated[
        str | None,
        typer.Option("--rate", metavar="N/TIME", help="Without waiting for answers, such as 20/1s."),
    ] = None,
    as_json: opt.JsonOption = False,
    webhook_key_file: opt.WebhookKeyFileOption = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Send a sample callback to any receiver, offline: no key, no account, no service.

    Samples: success, failed-501, refunded-531, error-500, validation-400,
    timeout-408, duplicate, late, malformed, empty, huge, wrong-task, unsigned,
    bad-signature, stale-signature.

    Exit code: 0 when the receiver answered 200 within 15 s each time, as the
    service wants it; 5 when it never answered; 1 otherwise.

    Example: suno-cover trigger success --to 3000/suno-cover-callback
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import trigger as command
    from suno_cover_cli.ui.output import Output, standard_streams

    options = command.TriggerOptions(
        to=to,
        task_id=task_id,
        image_urls=tuple(image or ()),
        count=count,
        rate=rate,
        webhook_key_file=webhook_key_file,
        profile=profile,
    )
    command.run(sample, options, Output(standard_streams(), clock=SystemClock(), is_json=as_json))


def replay(
    to: ToOption,
    event: Annotated[
        str,
        typer.Argument(metavar="[EVENT]", help="Number or id of a recorded event, or last.", show_default=False),
    ] = "last",
    as_json: opt.JsonOption = False,
) -> None:
    """Send a recorded callback again, byte for byte, to any receiver.

    listen records what it accepts; suno-cover listen --list shows it.

    Example: suno-cover replay last --to 3000/suno-cover-callback
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import replay as command
    from suno_cover_cli.ui.output import Output, standard_streams

    command.run(event, to, Output(standard_streams(), clock=SystemClock(), is_json=as_json))


def verify(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE|-", help="Lines of listen --json, or a bare body.", show_default=False),
    ],
    timestamp: Annotated[
        str | None, typer.Option("--timestamp", metavar="TEXT", help="X-Webhook-Timestamp of a bare body.")
    ] = None,
    signature: Annotated[
        str | None, typer.Option("--signature", metavar="TEXT", help="X-Webhook-Signature of a bare body.")
    ] = None,
    max_age: Annotated[
        float,
        typer.Option(
            "--max-age",
            metavar="TIME",
            parser=opt.duration,
            help="How old a stamp may be on arrival. (default: 5m)",
            show_default=False,
        ),
    ] = 300.0,
    as_json: opt.JsonOption = False,
    webhook_key_file: opt.WebhookKeyFileOption = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Check the signature of recorded callbacks: which part is wrong, how old the stamp was.

    The image list is not part of what is signed: a valid signature says who
    called, not what is true.

    Exit code: 0 when every signature is right and fresh, 10 otherwise.

    Example: suno-cover verify events.json --webhook-key-file key.txt
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import verify as command
    from suno_cover_cli.ui.output import Output, standard_streams

    options = command.VerifyOptions(
        timestamp=timestamp,
        signature=signature,
        max_age_s=max_age,
        webhook_key_file=webhook_key_file,
        profile=profile,
    )
    command.run(file, options, Output(standard_streams(), clock=SystemClock(), is_json=as_json))
