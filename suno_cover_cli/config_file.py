"""The settings file ``config.toml``: where it is, what may stand in it, what is wrong with it."""

import os
import stat
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from suno_cover_cli.errors import UsageError
from suno_cover_cli.text import clean

FILE_KEYS = {
    "provider": "provider",
    "base-url": "base_url",
    "output": "output",
    "callback": "callback",
    "domain": "domain",
    "rate": "rate",
}
"""Key in ``config.toml`` -> setting. ``api-key`` and ``webhook-key`` may stand there too."""

SECRET_FILE_KEYS = ("api-key", "webhook-key")


def config_path(environ: Mapping[str, str]) -> Path:
    """Return where ``config.toml`` is looked for, whether it exists or not."""
    if named := environ.get("SUNO_COVER_CONFIG"):
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("suno-cover", appauthor=False) / "config.toml"


class ConfigFile(msgspec.Struct, frozen=True):
    """A settings file that was read: its path, its plain values and its named profiles."""

    path: Path
    values: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {}

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
                else f"Add a [profiles.{clean(profile, 60)}] table to it.",
            )
        return {**self.values, **self.profiles[profile]}


def load_config_file(path: Path) -> ConfigFile:
    """Read ``config.toml``; a missing file is an empty one.

    Raises:
        UsageError: Unreadable, a syntax error (with line and column), an unknown key (with the nearest known
            one) or a value of the wrong type.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return ConfigFile(path)
    except IsADirectoryError:
        raise UsageError(
            f"{path} is a folder, not a settings file", hint="Move it away or set SUNO_COVER_CONFIG."
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="Fix its permissions.") from None
    try:
        found = tomllib.loads(raw.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {clean(error, 200)}", hint="Fix that line.") from None
    profiles = found.pop("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise UsageError(f"{path}: profiles must be tables", hint="Write [profiles.NAME] and the keys below it.")
    for where, table in [("", found), *((f"profiles.{name}.", table) for name, table in profiles.items())]:
        _check_table(path, where, table)
    config = ConfigFile(path, found, profiles)
    if any(key in table for key in SECRET_FILE_KEYS for table in (found, *profiles.values())):
        _check_private(path)
    return config


def _check_table(path: Path, where: str, table: Mapping[str, Any]) -> None:
    known = (*FILE_KEYS, *SECRET_FILE_KEYS)
    for key, value in table.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise UsageError(
                f'{path}: there is no setting "{where}{clean(key, 60)}"',
                hint=f'Did you mean "{near[0]}"?' if near else f"Known settings: {', '.join(known)}.",
            )
        if not isinstance(value, str):
            raise UsageError(
                f"{path}: {where}{key} must be text in quotes, not {type(value).__name__}",
                hint=f'Write {key} = "{clean(value, 60)}".',
            )


def _check_private(path: Path) -> None:
    if os.name != "posix":
        return
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{path} holds a key and others can read it", hint=f"Run: chmod 600 '{path}'")
