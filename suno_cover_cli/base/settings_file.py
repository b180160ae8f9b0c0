"""The settings file ``config.toml``: where it is, what may stand in it, what is wrong with it, and its changes.

A change keeps what a person wrote: comments, order, blank lines. The file may hold a key: it is written aside with
mode 0600, synced, and takes its name in one step.
"""

import os
import stat
from collections.abc import Mapping
from difflib import get_close_matches
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from suno_cover_cli.base.errors import UsageError, disk_hint
from suno_cover_cli.base.files import is_file, is_folder, open_plain, read_capped, replace_file
from suno_cover_cli.base.folders import settings_path
from suno_cover_cli.base.settings_table import FILE_KEYS, KNOWN_KEYS, NUMBER, SECRET_FILE_KEYS, SETTINGS
from suno_cover_cli.base.text import clean

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.items import Table

_PROFILES = "profiles"
MAX_FILE_BYTES = 1024 * 1024

_STARTER = """\
# Settings of suno-cover. A flag or an environment variable overrides what is set here;
# suno-cover config show prints what is in force and where it comes from.
#
# A key is kept here by:       suno-cover config set api-key -
# Another account, in short:   suno-cover config set --profile work provider kie
# and then everywhere:         suno-cover generate --profile work ...

"""


def config_path(environ: Mapping[str, str]) -> Path:
    """Return where ``config.toml`` is looked for, whether it exists or not.

    Raises:
        UsageError: The path starts with the home of a user who does not exist.
    """
    if named := environ.get("SUNO_COVER_CONFIG"):
        return expand_user(named, "SUNO_COVER_CONFIG")
    return settings_path(environ)


def expand_user(path: str, source: str) -> Path:
    """Replace a leading ``~``.

    Raises:
        UsageError: There is no such user, or the text can be no path.
    """
    if not path.isprintable():
        raise UsageError(f'"{clean(path, 100)}" cannot be a path ({source})', hint=f"Correct {source}.")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f'"{clean(path, 100)}" starts with a home folder that does not exist ({source})',
            hint="Write the whole path.",
        ) from None


class ConfigFile(msgspec.Struct, frozen=True):
    """A settings file that was read.

    Attributes:
        path: Where it is, or would be.
        values: Its plain values.
        profiles: Its named profiles, each with values that go before the plain ones.
        is_there: Whether there is such a file.
    """

    path: Path
    values: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {}
    is_there: bool = True

    def section(self, profile: str | None) -> dict[str, Any]:
        """Return the values with a profile's laid over them.

        Raises:
            UsageError: No such profile.
        """
        if profile is None:
            return self.values
        if profile not in self.profiles:
            near = get_close_matches(profile, self.profiles, n=1)
            raise UsageError(
                f'there is no profile "{clean(profile, 60)}" in {self.path}',
                hint=f"Did you mean --profile {near[0]}?"
                if near
                else "Make it by setting a value in it: suno-cover config set --profile NAME KEY VALUE",
            )
        return {**self.values, **self.profiles[profile]}

    def source_of(self, key: str, profile: str | None) -> str:
        """Say in which file, and in which table of it, a key's value stands."""
        if profile is not None and key in self.profiles.get(profile, {}):
            return f"{self.path} [{_PROFILES}.{profile}]"
        return str(self.path)


def load_config_file(path: Path, *, is_named: bool = True) -> ConfigFile:
    """Read ``config.toml``; a missing file is an empty one.

    Args:
        path: Where it is.
        is_named: The user named it. If not, one in a folder that cannot be entered counts as missing: the home
            that a container gives to an unknown user is another user's.

    Raises:
        UsageError: Unreadable, a syntax error (with line and column), an unknown key (with the nearest known
            one), a value of the wrong type, or a key in a file that others can read.
    """
    try:
        with open_plain(path) as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
            is_private = _is_private(stream)
    except FileNotFoundError:
        return ConfigFile(path, is_there=False)
    except OSError as error:
        if not is_named and _is_locked_away(path):
            return ConfigFile(path, is_there=False)
        if is_folder(path):  # asked for, because Windows calls it "permission denied"
            raise UsageError(
                f"{path} is a folder, not a settings file", hint="Move it away or set SUNO_COVER_CONFIG."
            ) from None
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint=disk_hint(error, "Fix its permissions.")
        ) from None
    found = parse_toml(path, raw)
    profiles = found.pop(_PROFILES, {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise UsageError(
            f"{path}: {_PROFILES} must be tables", hint=f"Write [{_PROFILES}.NAME] and the keys below it."
        )
    _check_table(path, "", found)
    for name, values in profiles.items():
        _check_table(path, f"{_PROFILES}.{name}.", values)
    if not is_private and any(key in table for key in SECRET_FILE_KEYS for table in (found, *profiles.values())):
        raise UsageError(f"{path} holds a key and others can read it", hint=f"Run: chmod 600 '{path}'")
    return ConfigFile(path, found, profiles)


def _is_locked_away(path: Path) -> bool:
    try:
        path.lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def parse_toml(path: Path, raw: bytes) -> dict[str, Any]:
    """Parse a settings file.

    Raises:
        UsageError: It is not valid TOML; says the line and the column.
    """
    import tomllib

    if len(raw) > MAX_FILE_BYTES:
        raise UsageError(f"{path} is far too long for a settings file", hint="Check SUNO_COVER_CONFIG.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise UsageError(
            f"{path} is not valid TOML: not UTF-8 (at line {line}, column {column})", hint="Save it as UTF-8."
        ) from None
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        shown = clean(error, 200).replace("at end of document", f"at the end, line {text.count(chr(10)) + 1}")
        raise UsageError(
            f"{path} is not valid TOML: {shown}", hint='Correct that line; a setting looks like output = "covers".'
        ) from None


def unknown_key(key: str, *, file: str = "", table: str = "") -> UsageError:
    """Return the error for a setting that there is not, with the nearest that there is.

    Args:
        key: As written.
        file: What to say first, such as ``config.toml: ``.
        table: What stands before the key there, such as ``profiles.work.``.
    """
    near = get_close_matches(key.lower().replace("_", "-"), (*KNOWN_KEYS, _PROFILES), n=1)
    return UsageError(
        f'{file}there is no setting "{clean(table + key, 120)}"',
        hint=f'Did you mean "{near[0]}"?' if near else f"Known settings: {', '.join(KNOWN_KEYS)}.",
    )


def _check_table(path: Path, table: str, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key not in KNOWN_KEYS:
            raise unknown_key(key, file=f"{path}: ", table=table)
        is_number = type(value) is int and key in FILE_KEYS and SETTINGS[FILE_KEYS[key]].values == NUMBER
        if not isinstance(value, str) and not is_number:
            raise UsageError(
                f"{path}: {clean(table, 60)}{key} must be text in quotes, not {_kind_of(value)}",
                hint=f'Write {key} = "{_usable_text(key, value)}".',
            )


def _usable_text(key: str, value: Any) -> str:
    """Return what could stand in quotes: the value itself where it is one of that setting, else an example."""
    if key in SECRET_FILE_KEYS or isinstance(value, dict | list):
        # A key pasted without quotes may parse as a number: its value is never repeated.
        return "..."
    from suno_cover_cli.base.providers import PROVIDERS
    from suno_cover_cli.base.settings import checked_value

    shown = clean(value, 60)
    try:
        checked_value(FILE_KEYS[key], shown, key, PROVIDERS)
    except UsageError:
        return SETTINGS[FILE_KEYS[key]].example or SETTINGS[FILE_KEYS[key]].default
    return shown


def _kind_of(value: Any) -> str:
    kinds = {bool: "a boolean", int: "a number", float: "a number", dict: "a table", list: "a list"}
    return kinds.get(type(value), "a date")


def _is_private(stream: FileIO) -> bool:
    """Tell whether only its owner can read an open file; modes say so on POSIX only."""
    return os.name != "posix" or not os.fstat(stream.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO)


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
    if is_file(path) or is_folder(path):
        raise UsageError(
            f"there is a settings file already: {path}",
            hint="Change it with: suno-cover config set KEY VALUE. For one in which everything is explained, "
            "rename it, run this again, and copy your lines over.",
        )
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
    import tomlkit

    document = _load(path)
    table: TOMLDocument | Table = document
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
    import tomlkit

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


def _load(path: Path) -> "TOMLDocument":
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(read_capped(path, MAX_FILE_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        return tomlkit.document()
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint=disk_hint(error, "Fix its permissions.")
        ) from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {clean(error, 200)}", hint="Correct that line.") from None


def _write(path: Path, text: str) -> None:
    # A settings file that is a link, into a folder of dotfiles say, stays one.
    try:
        replace_file(path.resolve(), text.encode(), mode=0o600)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}",
            hint=disk_hint(error, "Fix its permissions or set SUNO_COVER_CONFIG."),
        ) from None
