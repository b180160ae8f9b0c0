"""``replay``: send a recorded callback again, byte for byte."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.callbacks.delivery import CallbackSender, parse_target
from suno_cover_cli.journal.database import Database
from suno_cover_cli.journal.recordings import RecordingStore
from suno_cover_cli.listen.deliveries import exit_code_of, write_delivery
from suno_cover_cli.ui.output import Output
from suno_cover_cli.wiring.context import Context, ServiceOptions
from suno_cover_cli.wiring.runner import run as run_command


def run(event: str, to: str, output: Output) -> NoReturn:
    """Run the command and leave the process."""
    run_command(lambda: replay(event, to, Context(output=output)), output)


def replay(event: str, to: str, context: Context) -> Coroutine[Any, Any, ExitCode]:
    """Check the receiver's address, and return the rest: find the event, send it, tell the answer.

    Args:
        event: Number or id of a recorded event, or ``last``.
        to: The receiver, as for ``listen --forward-to``.
        context: Streams and time.

    Raises:
        UsageError: A receiver that cannot be, or no such event.
        DatabaseError: The journal cannot be read.
    """
    url = parse_target(to)
    settings, _ = context.settings(ServiceOptions())
    return _replay(event, url, settings.state_dir, context)


async def _replay(event: str, url: str, state_dir: Path, context: Context) -> ExitCode:
    async with Database(state_dir / "journal.sqlite3") as database:
        recording = await RecordingStore(database).find(event)
    async with CallbackSender(url, clock=context.clock) as sender:
        # The bytes and the sender's own headers, an old signature included: that is what a replay is for.
        delivery = await sender.deliver(recording.body, recording.headers)
    write_delivery(context.output, f"event-{recording.n}", recording.task_id, delivery)
    return exit_code_of([delivery])
