"""The options of listener and tunnel as one thing, whichever kinds of tunnel there are.

A kind takes what it needs, the journal keeps what is not the default, and a restart gets it back; nothing here or
there knows the single option.
"""

from collections.abc import Mapping
from dataclasses import fields, replace

import msgspec

from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.journal.rows import OptionValue
from suno_cover_cli.options.groups import JobCommandOptions, TunnelOptions


def tunnel_options(options: TunnelOptions, settings: Settings) -> dict[str, OptionValue]:
    """Return the options of listener and tunnel by their names; what is also a setting is taken from there."""
    names = (field.name for field in fields(TunnelOptions))
    return {name: getattr(settings if name in SETTINGS else options, name) for name in names}


def kept_tunnel_options(options: TunnelOptions, settings: Settings) -> dict[str, OptionValue]:
    """Return what the journal keeps of them for a restart."""
    defaults = {field.name: field.default for field in fields(TunnelOptions)}
    return {name: value for name, value in tunnel_options(options, settings).items() if value != defaults[name]}


def restore_tunnel_options(
    options: JobCommandOptions, settings: Settings, kept: Mapping[str, OptionValue]
) -> tuple[JobCommandOptions, Settings]:
    """Put the options of a job's first run in place of a command's own.

    Args:
        options: Of the command.
        settings: Merged.
        kept: From the journal. What this version does not know is left out; a value that an option cannot have
            gives way to its default, as a damaged row costs no job.
    """
    found = {}
    for field in fields(TunnelOptions):
        value = kept.get(field.name, field.default)
        try:
            found[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            found[field.name] = field.default
    shared = {name: value for name, value in found.items() if name in SETTINGS}
    return replace(options, **found), msgspec.structs.replace(settings, **shared)
