"""``replay``: send a recorded callback again, byte for byte."""

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.declare import Command
from suno_cover_cli.options.groups import JsonOptions, ProfileOptions, ReceiverOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.callbacks.sending.delivery import CallbackSender
    from suno_cover_cli.wiring.context import Context


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(JsonOptions, ReceiverOptions):
    """Options of the command."""

    event: Annotated[
        str,
        typer.Argument(metavar="[EVENT]", help="Number or id of a recorded event, or last.", show_default=False),
    ] = "last"


def replay(options: ReplayOptions) -> None:
    """Send a recorded request again to any receiver: method, query, headers and body byte for byte.

    listen records whatever arrives; suno-cover listen --list shows it. With
    --body the rest stays and the bytes are yours.

    Example: suno-cover replay last --to 3000/suno-cover-callback
    """
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: prepare_replay(options, context), is_json=options.json)


COMMAND = Command(replay)


def prepare_replay(options: ReplayOptions, context: "Context") -> "Coroutine[Any, Any, ExitCode]":
    """Check the options, and return the rest: find the event, send it, report the answer.

    Raises:
        UsageError: A receiver or a body that cannot be, no such event, or one of which only a part is recorded.
        DatabaseError: The journal cannot be read.
    """
    from suno_cover_cli.listen.deliveries import make_sender, read_body_file

    sender = make_sender(options, context)
    body = None
    if options.body_file is not None:
        body = read_body_file(options.body_file, context.output.streams.stdin)
    settings, _ = context.settings(ProfileOptions())
    return _replay(options.event, body, sender, settings.state_dir, context)


async def _replay(
    event: str, body: bytes | None, sender: "CallbackSender", state_dir: Path, context: "Context"
) -> "ExitCode":
    from suno_cover_cli.callbacks.samples import WANTED
    from suno_cover_cli.journal.recordings import RecordingStore
    from suno_cover_cli.listen.deliveries import exit_code_of, replay_recording, write_delivery

    async with context.open_journal(state_dir) as database:
        recording = await RecordingStore(database).find(event)
    async with sender:
        delivery = await replay_recording(recording, sender, body=body)
    write_delivery(context.output, f"event-{recording.n}", recording.task_id, delivery, WANTED, advised=set())
    return exit_code_of([(delivery, WANTED)])
