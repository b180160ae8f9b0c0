"""What runs that were killed left behind, removed by the next run of any command, secrets first.

A file that is being written, and a run itself, holds a lock for as long as it lives: what is not locked is dead.
When nothing died, this costs the reading of three small folders.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.files import sweep_parts
from suno_cover_cli.base.folders import state_folder
from suno_cover_cli.base.settings_file import config_path
from suno_cover_cli.tunnels.kinds import TunnelKinds

_JOURNAL = "journal.sqlite3"


def sweep_leftovers(environ: Mapping[str, str], tunnels: TunnelKinds) -> None:
    """Remove what is left. Blocks; raises nothing: the command itself says what is wrong with a folder."""
    # Whichever it is that names no folder is reported where it is used.
    with suppress(OSError, RuntimeError, ValueError, UsageError):
        config = config_path(environ).resolve()
        sweep_parts(config.parent, config.name)
    with suppress(OSError, RuntimeError, ValueError):
        state = state_folder(environ)
        if state.is_dir():
            _sweep_state(state, tunnels)


def _sweep_state(state: Path, tunnels: TunnelKinds) -> None:
    for kind in tunnels.known:
        with suppress(OSError, RuntimeError):  # a user without a home
            kind.sweep(state)
    sweep_parts(state)
    runs = state / "runs"
    if not any(runs.glob("*.lock")):
        return
    from suno_cover_cli.journal.run_locks import RunLocks

    if RunLocks(runs).sweep():
        from suno_cover_cli.journal.check import find_begun_folders

        for folder in find_begun_folders(state / _JOURNAL):
            with suppress(OSError):
                sweep_parts(folder, with_downloads=True)
