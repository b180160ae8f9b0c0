"""Recorded events, listed: ``listen --list`` and ``history --callbacks``."""

from pathlib import Path

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.journal.recordings import RecordingStore
from suno_cover_cli.listen.ndjson import ascii_line, recording_line
from suno_cover_cli.listen.words import describe_recording
from suno_cover_cli.wiring.context import Context

_HANG = 7  # under the time, beside the number


async def list_events(
    state_dir: Path,
    context: Context,
    *,
    limit: int | None = None,
    task_id: str | None = None,
) -> ExitCode:
    """Print what is recorded, the newest first as jobs are listed; under ``--json`` as lines of events.

    Args:
        state_dir: Folder of the journal.
        context: Streams.
        limit: The newest so many, ``None`` for all.
        task_id: Of this cover task alone.

    Raises:
        SunoCoverError: The journal cannot be read.
    """
    output = context.output
    async with context.open_journal(state_dir) as database:
        recordings = await RecordingStore(database).load_newest(limit, task_id=task_id)
    for recording in reversed(recordings):
        if output.is_json:
            output.write_line(ascii_line(recording_line(recording)))
        else:
            output.write_row(describe_recording(recording), hang=_HANG)
    if not recordings and not output.is_json:
        output.write_words("No such event has been recorded. suno-cover listen records what arrives.")
    return ExitCode.OK
