"""Recorded events, listed: ``listen --list`` and ``history --events``."""

from pathlib import Path

from suno_cover_cli.commands.listen_json import ascii_line, recording_line
from suno_cover_cli.commands.listen_lines import describe_recording
from suno_cover_cli.database import Database
from suno_cover_cli.exits import ExitCode
from suno_cover_cli.output import Output
from suno_cover_cli.recordings import RecordingStore


async def list_events(state_dir: Path, output: Output) -> int:
    """Print what is recorded, oldest first; under ``--json`` as lines of events.

    Raises:
        SunoCoverError: The journal cannot be read.
    """
    async with Database(state_dir / "journal.sqlite3") as database:
        recordings = await RecordingStore(database).load_newest()
    for recording in recordings:
        output.write_line(
            ascii_line(recording_line(recording)) if output.is_json else describe_recording(recording)
        )
    if not recordings and not output.is_json:
        output.write_words("No event has been recorded. suno-cover listen records what it accepts.")
    return ExitCode.OK
