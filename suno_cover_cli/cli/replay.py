"""``replay``: send a recorded callback again, byte for byte."""

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.groups import JsonOptions, ProfileOptions
from suno_cover_cli.options.senders import ReceiverOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.callbacks.targets import Target
    from suno_cover_cli.wiring.context import Context


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(JsonOptions, ReceiverOptions):
    """Options of the command."""

    event: Annotated[
        str,
        typer.Argument(metavar="[EVENT]", help="Number or id of a recorded event, or last.", show_default=False),
    ] = "last"


def replay(options: ReplayOptions) -> None:
    """Send a recorded callback again, byte for byte, to any receiver.

    listen records what it accepts; suno-cover listen --list shows it.

    Example: suno-cover replay last --to 3000/suno-cover-callback
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_replay(options, context), is_json=options.json)


def prepare_replay(options: ReplayOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check the receiver's address, and return the rest: find the event, send it, report the answer.

    Raises:
        UsageError: A receiver that cannot be, or no such event.
        DatabaseError: The journal cannot be read.
    """
    from suno_cover_cli.callbacks.targets import parse_target

    target = parse_target(options.to)
    settings, _ = context.settings(ProfileOptions())
    return _replay(options.event, target, settings.state_dir, context)


async def _replay(event: str, target: "Target", state_dir: Path, context: "Context") -> "ExitCode":
    from suno_cover_cli.callbacks.delivery import CallbackSender
    from suno_cover_cli.journal.recordings import RecordingStore
    from suno_cover_cli.listen.deliveries import exit_code_of, write_delivery

    async with context.open_journal(state_dir) as database:
        recording = await RecordingStore(database).find(event)
    async with CallbackSender(target, clock=context.clock) as sender:
        # The bytes and the sender's own headers, an old signature included: that is what a replay is for.
        delivery = await sender.deliver(
            recording.body, recording.headers, method=recording.method, query=recording.query
        )
    write_delivery(context.output, f"event-{recording.n}", recording.task_id, delivery)
    return exit_code_of([delivery])
