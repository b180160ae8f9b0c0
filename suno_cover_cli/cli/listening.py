"""The options of ``listen``."""

from pathlib import Path
from typing import Annotated

import typer

from suno_cover_cli.cli import options as opt

ENDS = "When it ends"
ANSWERS = "What it answers"

ForwardToOption = Annotated[
    str | None,
    typer.Option(
        "--forward-to",
        metavar="URL|PORT",
        help="Send every callback on, byte for byte, and answer what that receiver answers: "
        "3000, 3000/path, /path, host:port or a URL.",
        rich_help_panel=ANSWERS,
    ),
]
AnswerOption = Annotated[
    int | None,
    typer.Option(
        "--answer",
        min=200,
        max=599,
        metavar="STATUS",
        help="Answer this instead of 200, to watch the service try again.",
        rich_help_panel=ANSWERS,
    ),
]
DelayOption = Annotated[
    float | None,
    typer.Option(
        "--delay",
        metavar="TIME",
        parser=opt.duration,
        help="Wait this long before each answer.",
        rich_help_panel=ANSWERS,
    ),
]
OnceOption = Annotated[
    bool, typer.Option("--once", help="End after one event, as --count 1.", rich_help_panel=ENDS)
]
CountOption = Annotated[
    int | None, typer.Option("--count", min=1, metavar="N", help="End after N events.", rich_help_panel=ENDS)
]
UntilTaskOption = Annotated[
    str | None,
    typer.Option(
        "--until-task",
        metavar="COVER_TASK_ID",
        help="End after an event of this cover task.",
        rich_help_panel=ENDS,
    ),
]
ListenTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="TIME",
        parser=opt.duration,
        help="Give up after this time with exit code 8, opening the tunnel included: 30, 30s, 15m, 1h.",
        rich_help_panel=ENDS,
    ),
]
PathOption = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="/PATH",
        help="Receive on this path instead of a secret one. Whoever guesses it can send events.",
        rich_help_panel=opt.TUNNEL,
    ),
]
TunnelOption = Annotated[
    bool | None,
    typer.Option(
        "--tunnel/--no-tunnel",
        help="Insist on ngrok, or do without. (default: ngrok, unless the service itself is on this machine)",
        rich_help_panel=opt.TUNNEL,
        show_default=False,
    ),
]
SaveOption = Annotated[
    bool,
    typer.Option(
        "--save", help="Read each announced job with the API key and save its covers.", rich_help_panel=opt.OUTPUT
    ),
]
ListenJsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print NDJSON: ready, event, reconnecting, error, end. Nothing else goes to stdout.",
        rich_help_panel=opt.OUTPUT,
    ),
]
PrintUrlOption = Annotated[
    bool,
    typer.Option(
        "--print-url", help="Print the URL alone on stdout; events go to stderr.", rich_help_panel=opt.OUTPUT
    ),
]
ReadyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ready-file",
        metavar="FILE",
        help="Write the URL here, in one step, once callbacks get through.",
        rich_help_panel=opt.OUTPUT,
    ),
]
VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        metavar="",
        show_default=False,
        help="-v shows headers and requests that are no callbacks, -vv bodies too.",
        rich_help_panel=opt.OUTPUT,
    ),
]


def listen(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="Run this with SUNO_CALLBACK_URL set once callbacks get through, and end with its exit code.",
            show_default=False,
        ),
    ] = None,
    forward_to: ForwardToOption = None,
    answer: AnswerOption = None,
    delay: DelayOption = None,
    once: OnceOption = False,
    count: CountOption = None,
    until_task: UntilTaskOption = None,
    timeout: ListenTimeoutOption = None,
    as_json: ListenJsonOption = False,
    print_url: PrintUrlOption = False,
    ready_file: ReadyFileOption = None,
    verbose: VerboseOption = 0,
    list_events: Annotated[
        bool,
        typer.Option("--list", help="List the recorded events and exit.", rich_help_panel=opt.OUTPUT),
    ] = False,
    save: SaveOption = False,
    output: opt.OutputOption = None,
    path: PathOption = None,
    tunnel: TunnelOption = None,
    public_url: opt.PublicUrlOption = None,
    listen_host: opt.ListenHostOption = "127.0.0.1",
    listen_port: opt.ListenPortOption = 0,
    domain: opt.DomainOption = None,
    ngrok_path: opt.NgrokPathOption = None,
    webhook_key_file: opt.WebhookKeyFileOption = None,
    provider: opt.ProviderOption = None,
    base_url: opt.BaseUrlOption = None,
    api_key_file: opt.ApiKeyFileOption = None,
    rate: opt.RateOption = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Show callbacks as they arrive, record them, send them on.

    Two lines an event go to stdout: --> what came, <-- what was answered. Everything else goes to stderr.

    With --json, stdout is NDJSON; with --print-url, the URL; with a command, the command's.

    The newest 1,000 events are recorded: suno-cover replay sends one again.

    Example: suno-cover listen --forward-to 3000/suno-cover-callback
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import listen as module
    from suno_cover_cli.listen.options import ListenOptions
    from suno_cover_cli.ui.output import Output, standard_streams
    from suno_cover_cli.wiring.callback_options import CallbackOptions
    from suno_cover_cli.wiring.context import ServiceOptions

    if once and count not in {None, 1}:
        raise typer.BadParameter("--once and --count exclude each other")
    options = ListenOptions(
        service=ServiceOptions(
            provider=provider,
            base_url=base_url,
            api_key_file=api_key_file,
            webhook_key_file=webhook_key_file,
            rate=rate,
            profile=profile,
        ),
        callbacks=CallbackOptions(
            public_url=public_url,
            listen_host=listen_host,
            listen_port=listen_port,
            domain=domain,
            ngrok_path=ngrok_path,
        ),
        tunnel=tunnel,
        path=path,
        forward_to=forward_to,
        answer=answer,
        delay_s=delay,
        count=1 if once else count,
        until_task=until_task,
        timeout_s=timeout,
        save=save,
        output=output,
        json=as_json,
        print_url=print_url,
        ready_file=ready_file,
        list_events=list_events,
        verbosity=verbose,
        command=tuple(command or ()),
    )
    module.run(options, Output(standard_streams(), clock=SystemClock(), is_json=as_json))
