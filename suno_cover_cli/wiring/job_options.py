"""Options of the commands that run jobs."""

from pathlib import Path

import msgspec

from suno_cover_cli.wiring.callback_options import CallbackOptions
from suno_cover_cli.wiring.context import ServiceOptions


class JobCommandOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of every command that runs jobs.

    Attributes:
        service: Whom to speak to.
        output: Folder, or ``None`` for the settings' own.
        callback: ``auto``, ``required`` or ``off``; ``None`` for the settings' own.
        callbacks: How callbacks reach us.
        poll_interval_s: Seconds between reads of one job.
        timeout_s: Seconds for a whole job.
        wait: ``False`` ends each job once its cover task id is known.
        concurrency: Jobs under way at once.
        failed_to: File for the ids to try again.
        overwrite: Replace files that are there.
        name: Template of file names; ``None`` for the settings' own.
        write_metadata: Put a JSON beside the covers.
        preview: ``auto`` or ``off``; ``None`` for the settings' own.
        opens_folder: Show the folder of the covers in the desktop's file manager at the end.
        notifies: Send a desktop notification at the end.
        verbosity: 0, or more for details of what happens.
        json: Job objects on stdout instead of paths.
        events: Every event on stdout.
        sandbox: Use the built-in imitation of the service.
        submits: The command submits jobs, so callbacks are worth a listener and a tunnel.
    """

    service: ServiceOptions = ServiceOptions()
    output: Path | None = None
    callback: str | None = None
    callbacks: CallbackOptions = CallbackOptions()
    poll_interval_s: float = 30.0
    timeout_s: float = 900.0
    wait: bool = True
    concurrency: int = 100
    failed_to: Path | None = None
    overwrite: bool = False
    name: str | None = None
    write_metadata: bool = False
    preview: str | None = None
    opens_folder: bool = False
    notifies: bool = False
    verbosity: int = 0
    json: bool = False
    events: bool = False
    sandbox: bool = False
    submits: bool = True
