"""``listen``: show callbacks as they arrive, record them, send them on."""

from suno_cover_cli.listen.options import ListenOptions
from suno_cover_cli.options.declare import Command


def listen(options: ListenOptions) -> None:
    """Show callbacks as they arrive, record them, send them on.

    Two lines an event go to stdout: --> what came, <-- what was answered. Everything else goes to stderr.

    With --json, stdout is NDJSON; with --print-url, the URL; with a command, the command's.

    The newest 1,000 events are recorded: suno-cover replay sends one again.

    Example: suno-cover listen --forward-to 3000/suno-cover-callback
    """
    from suno_cover_cli.listen.run import prepare_session
    from suno_cover_cli.wiring.jobs import Unfinished
    from suno_cover_cli.wiring.runner import run_command
    from suno_cover_cli.wiring.subprocess import stand_behind_init

    if options.command:
        stand_behind_init()
    unfinished = Unfinished()
    run_command(
        lambda context: prepare_session(options, context, unfinished),
        is_json=options.json,
        on_interrupt=unfinished.describe,
    )


COMMAND = Command(listen, runs_program=True)
