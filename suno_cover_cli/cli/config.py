"""``config``: look at the settings file, change it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from suno_cover_cli.base.settings_table import FILE_KEYS, KNOWN_KEYS, SECRET_FILE_KEYS, SETTINGS, VARIABLES
from suno_cover_cli.options.declare import Command, CommandGroup
from suno_cover_cli.options.groups import JsonOptions, ProfileOptions

if TYPE_CHECKING:
    from pathlib import Path

    from suno_cover_cli.base.settings import Settings, Sources
    from suno_cover_cli.base.text import Secret
    from suno_cover_cli.ui.output import Output
    from suno_cover_cli.wiring.context import Context


@dataclass(frozen=True, kw_only=True)
class ShowOptions(ProfileOptions, JsonOptions):
    """Options of ``config show``."""


@dataclass(frozen=True, kw_only=True)
class KeyOptions(ProfileOptions):
    """Options of the commands that change one setting."""

    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Such as provider, output or api-key.", show_default=False)
    ]


@dataclass(frozen=True, kw_only=True)
class SetOptions(KeyOptions):
    """Options of ``config set``."""

    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE|-", help="A key is read from stdin only: -", show_default=False),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ShownSetting:
    """One setting in force. ``value`` is ``None`` for a secret and for what is not set."""

    key: str
    value: str | None
    source: str
    is_set: bool = True
    is_secret: bool = False

    @property
    def shown(self) -> str:
        """The value as a person sees it; never a secret's."""
        if self.is_secret:
            return "(set, not shown)" if self.is_set else "(not set)"
        return self.value if self.value is not None else "(not set)"


def show(options: ShowOptions) -> None:
    """Show every setting in force and where it comes from; keys are never shown."""
    _run(lambda context: show_settings(context, options.profile), is_json=options.json)


def path() -> None:
    """Print where the settings file is."""
    _run(print_path)


def init() -> None:
    """Make a settings file in which everything is explained and nothing is set."""
    _run(write_starter_file)


def set_(options: SetOptions) -> None:
    """Check one setting and save it.

    Example: suno-cover config set api-key - < key.txt
    """
    _run(lambda context: set_one(context, options.key, options.value, options.profile))


def unset(options: KeyOptions) -> None:
    """Remove one setting from the file."""
    _run(lambda context: unset_one(context, options.key, options.profile))


COMMAND = CommandGroup(
    "Look at the settings file, and change it.\n\n"
    "A flag overrides an environment variable, which overrides the file, which overrides the default.",
    {
        "show": Command(show),
        "path": Command(path),
        "init": Command(init),
        "set": Command(set_),
        "unset": Command(unset),
    },
)


def _run(step: "Callable[[Context], None]", *, is_json: bool = False) -> NoReturn:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.wiring.runner import run_command

    async def end() -> int:
        return ExitCode.OK

    def begin(context: "Context") -> Any:
        step(context)
        return end()

    run_command(begin, is_json=is_json)


def show_settings(context: "Context", profile: str | None) -> None:
    """Print every setting in force and where it comes from.

    Raises:
        UsageError: A setting that cannot be.
    """
    from suno_cover_cli.base.models import json_text
    from suno_cover_cli.base.text import clean

    settings, sources = context.settings(ProfileOptions(profile=profile))
    rows = [*_plain_settings(settings), *_secrets(context, settings, sources)]
    output = context.output
    if output.is_json:
        output.write_line(
            json_text(
                {
                    "v": 1,
                    "type": "config",
                    "path": str(sources.config.path),
                    "exists": sources.config.is_there,
                    "profile": profile,
                    "profiles": sorted(sources.config.profiles),
                    "settings": [_as_object(row) for row in rows],
                }
            )
        )
        return
    _print_aligned(rows, sources.config.path, output)
    there = "" if sources.config.is_there else " (not there; suno-cover config init makes it)"
    output.write_words(f"settings file: {sources.config.path}{there}")
    if sources.config.profiles:
        output.write_words(f"profiles: {', '.join(clean(name, 64) for name in sorted(sources.config.profiles))}")


def _plain_settings(settings: "Settings") -> list[ShownSetting]:
    from suno_cover_cli.base.text import clean

    rows = []
    for setting, declared in SETTINGS.items():
        key = declared.key or setting.replace("_", "-")
        value = getattr(settings, setting)
        value = getattr(value, "name", value) if setting == "provider" else value
        source = settings.sources[setting]
        rows.append(
            ShownSetting(
                key=key, value=None if value is None else clean(value), source=source, is_set=value is not None
            )
        )
    return rows


def _secrets(context: "Context", settings: "Settings", sources: "Sources") -> list[ShownSetting]:
    from contextlib import suppress

    from suno_cover_cli.base.errors import KeyRefusedError
    from suno_cover_cli.base.keys import find_webhook_key, load_api_key

    found: dict[str, tuple[Secret, str] | None] = {"api-key": None, "webhook-key": find_webhook_key(sources)}
    with suppress(KeyRefusedError):
        found["api-key"] = load_api_key(
            settings.provider, sources, key_file=None, stdin=context.output.streams.stdin
        )
    return [
        ShownSetting(
            key=key,
            value=None,
            source=pair[1] if pair is not None else "default",
            is_set=pair is not None,
            is_secret=True,
        )
        for key, pair in found.items()
    ]


def _as_object(row: ShownSetting) -> dict[str, Any]:
    return {
        "key": row.key,
        "value": row.value,
        "source": row.source,
        "is_set": row.is_set,
        "is_secret": row.is_secret,
    }


def _print_aligned(rows: list[ShownSetting], path: "Path", output: "Output") -> None:
    """Print three columns, or two where a terminal is too narrow; the file stands below, so its name is enough."""
    from suno_cover_cli.base.text import cells_of, clean, pad

    sources = [clean(row.source.replace(str(path), path.name)) for row in rows]
    key_width = max(len(row.key) for row in rows) + 2
    value_width = max(cells_of(row.shown) for row in rows) + 2
    columns = output.product_columns
    is_wide = not columns or key_width + value_width + max(map(cells_of, sources)) < columns
    for row, source in zip(rows, sources, strict=True):
        shown = pad(row.shown, value_width) + source if is_wide else row.shown
        if not is_wide and row.is_set:
            shown += f" ({source})"
        output.write_row(f"{row.key:<{key_width}}{shown}", hang=key_width)


def print_path(context: "Context") -> None:
    """Print where the settings file is, or would be."""
    from suno_cover_cli.base.settings_file import config_path

    context.output.write_line(str(config_path(context.output.streams.environ)))


def write_starter_file(context: "Context") -> None:
    """Make a settings file in which everything is explained.

    Raises:
        UsageError: There is one already, or it cannot be written.
    """
    from suno_cover_cli.base.settings_file import config_path, write_starter

    path = config_path(context.output.streams.environ)
    write_starter(path)
    context.output.write_line(str(path))
    context.output.write_words("Keep a key there with: suno-cover config set api-key -")


def set_one(context: "Context", key: str, value: str | None, profile: str | None) -> None:
    """Check one setting and save it.

    Raises:
        UsageError: No such setting, a value that cannot be, a secret on the command line, or an unusable file.
    """
    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.settings import checked_value
    from suno_cover_cli.base.settings_file import config_path, load_config_file, set_value
    from suno_cover_cli.base.text import clean

    name = _known_key(key)
    _check_profile_name(profile)
    path = config_path(context.output.streams.environ)
    load_config_file(path)
    if name in SECRET_FILE_KEYS:
        kept = _read_secret(context, name, value)
    else:
        if value is None:
            raise UsageError(f"{name} needs a value", hint=f"Write: suno-cover config set {name} VALUE")
        kept = checked_value(FILE_KEYS[name], value, "config set", context.providers)
    set_value(path, name, kept, profile=profile)
    shown = "is kept, readable by you alone," if name in SECRET_FILE_KEYS else f"= {clean(kept, 100)}"
    table = f" [profiles.{profile}]" if profile else ""
    context.output.write_words(f"{name} {shown} in {path}{table}")
    variable = VARIABLES.get(FILE_KEYS.get(name, ""))
    if variable and context.output.streams.environ.get(variable):
        context.output.write_labelled("warning", f"{variable} is set in the environment and overrides it")


def _read_secret(context: "Context", name: str, value: str | None) -> str:
    """Read a secret from standard input, unseen where that is a terminal."""
    from getpass import getpass

    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.keys import checked_secret, read_secret_file, tidy_key

    if value not in {None, "-"}:
        raise UsageError(
            f"a key does not belong on a command line: others can see it there ({name})",
            code="secret_on_command_line",
            hint=f"Pipe it in: suno-cover config set {name} - < FILE (or run that and paste it). "
            "Replace the one you typed: others may have seen it.",
        )
    stdin = context.output.streams.stdin
    if not stdin.isatty():
        return read_secret_file("-", stdin=stdin, what=name).reveal()
    try:
        typed = getpass(f"{name} (not shown): ", stream=context.output.streams.stderr)
    except EOFError:
        typed = ""
    return checked_secret(tidy_key(typed), f"the {name}").reveal()


def unset_one(context: "Context", key: str, profile: str | None) -> None:
    """Take one setting out of the file.

    Raises:
        UsageError: No such setting or profile, or an unusable file.
    """
    from suno_cover_cli.base.settings_file import config_path, load_config_file, unset_value

    name = _known_key(key)
    path = config_path(context.output.streams.environ)
    load_config_file(path).section(profile)
    was_there = unset_value(path, name, profile=profile)
    change = "is no longer set" if was_there else "was not set"
    context.output.write_words(f"{name} {change} in {path}")


def _known_key(key: str) -> str:
    from suno_cover_cli.base.settings_file import unknown_key

    if key not in KNOWN_KEYS:
        raise unknown_key(key)
    return key


def _check_profile_name(profile: str | None) -> None:
    import re

    from suno_cover_cli.base.errors import UsageError
    from suno_cover_cli.base.text import clean

    if profile is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", profile):
        raise UsageError(
            f'"{clean(profile, 60)}" cannot name a profile', hint="Use letters, digits, - and _, at most 64."
        )
