"""Changes the settings file and keeps what a person wrote in it: comments, order, blank lines. Owner of tomlkit.

The file may hold a key: it is written aside with mode 0600, synced, and takes its name in one step.
"""

from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.files import read_capped, replace_file
from suno_cover_cli.base.settings_file import MAX_FILE_BYTES
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.base.text import clean

_STARTER = """\
# Settings of suno-cover. A flag or an environment variable overrides what is set here;
# suno-cover config show prints what is in force and where it comes from.
#
# A key is kept here by:       suno-cover config set api-key -
# Another account, in short:   suno-cover config set --profile work provider kie
# and then everywhere:         suno-cover generate --profile work ...

"""


def _starter() -> str:
    """Return a settings file in which everything is explained and nothing is set."""
    lines = []
    for setting in SETTINGS.values():
        if setting.key:
            shown = f'# {setting.key} = "{setting.example or setting.default}"'
            lines.append(f"{shown:<41} # {setting.note}\n")
    return f"{_STARTER}{''.join(lines)}\n"


def write_starter(path: Path) -> None:
    """Make a settings file in which everything is explained and nothing is set.

    Raises:
        UsageError: There is one already, or it cannot be written.
    """
    if path.exists():
        raise UsageError(f"there is a settings file already: {path}", hint="See it with: suno-cover config show")
    _write(path, _starter())


def set_value(path: Path, key: str, value: str, *, profile: str | None) -> None:
    """Write one setting.

    Args:
        path: Settings file; made when missing.
        key: As the file spells it, already checked.
        value: Already checked.
        profile: Write it into this profile's table.

    Raises:
        UsageError: The file cannot be read or written.
    """
    document = _load(path)
    table: tomlkit.TOMLDocument | Table = document
    if profile is not None:
        profiles = document.setdefault("profiles", tomlkit.table(is_super_table=True))
        table = profiles.setdefault(profile, tomlkit.table())
    table[key] = value
    _write(path, tomlkit.dumps(document))


def unset_value(path: Path, key: str, *, profile: str | None) -> bool:
    """Take one setting out, and its profile with the last of it; tell whether it was there.

    Raises:
        UsageError: The file cannot be read or written.
    """
    document = _load(path)
    profiles = document.get("profiles", {})
    table = document if profile is None else profiles.get(profile, {})
    if key not in table:
        return False
    del table[key]
    if profile is not None and not table:
        del profiles[profile]
    _write(path, tomlkit.dumps(document))
    return True


def _load(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(read_capped(path, MAX_FILE_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        return tomlkit.document()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="Fix its permissions.") from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {clean(error, 200)}", hint="Correct that line.") from None


def _write(path: Path, text: str) -> None:
    # A settings file that is a link, into a folder of dotfiles say, stays one.
    try:
        replace_file(path.resolve(), text.encode(), mode=0o600)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", hint="Fix its permissions or set SUNO_COVER_CONFIG."
        ) from None
