"""Where the user's files are. Light: every TAB asks here."""

from collections.abc import Mapping
from pathlib import Path

LEAST_FREE_BYTES = 16 * 1024 * 1024
"""A disk with less room is as good as full: one cover may need more."""

JOURNAL_NAME = "journal.sqlite3"
"""Of the journal, in the state folder."""

_NAME = "suno-cover"
# The home of a user id that nothing knows, without HOME, as containers have it: where only root can write. Some
# platformdirs leave "~" in a path then, which would be a folder of that name: expanduser() raises, as others do.
_NO_HOME = Path("/")


def settings_path(environ: Mapping[str, str]) -> Path:
    """Return where ``config.toml`` is looked for, whether it exists or not.

    Raises:
        RuntimeError: The path starts with the home of a user who does not exist.
    """
    if named := environ.get("SUNO_COVER_CONFIG"):
        return Path(named).expanduser()
    from platformdirs import user_config_path

    try:
        return user_config_path(_NAME, appauthor=False).expanduser() / "config.toml"
    except RuntimeError:
        return _NO_HOME / ".config" / _NAME / "config.toml"


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the journal.

    Raises:
        RuntimeError: The path starts with the home of a user who does not exist.
    """
    if named := environ.get("SUNO_COVER_STATE_DIR"):
        return Path(named).expanduser()
    from platformdirs import user_state_path

    try:
        return user_state_path(_NAME, appauthor=False).expanduser()
    except RuntimeError:
        return _NO_HOME / ".local" / "state" / _NAME


def working_folder() -> Path | None:
    """Return the folder the user is in; ``None`` when it was removed. Blocks."""
    try:
        return Path.cwd()
    except OSError:
        return None


def seen_from(here: Path | None, path: Path) -> Path:
    """Return a path as all commands print it: from the folder you are in where it lies below it, else whole."""
    return path.relative_to(here) if here is not None and path.is_relative_to(here) else path


def probe_folder(folder: Path) -> int:
    """Write a byte into a folder, leaving no trace, and return how many bytes its disk has left. Blocks.

    Raises:
        OSError: It cannot be written.
    """
    import os
    import shutil
    import tempfile

    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"\0")
        probe.flush()
        os.fsync(probe.fileno())
    return shutil.disk_usage(folder).free
