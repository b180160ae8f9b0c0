"""What ``-v`` says before anything happens: versions, and every setting with its source."""

import platform
from collections.abc import Iterable

from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.base.text import clean
from suno_cover_cli.ui.words import HANG_CHARS, Line
from suno_cover_cli.wiring.context import Context

PACKAGES = ("suno-cover", "aiohttp", "msgspec", "Pillow", "rich", "typer")


def package_versions(more: Iterable[str]) -> dict[str, str]:
    """Return the versions of this program and of what it leans on. Blocks: it reads files.

    Args:
        more: Names of further packages, such as those of the tunnels.
    """
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in (*PACKAGES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def report_details(context: Context, settings: Settings) -> None:
    """Say what a report of a fault should start with. Blocks: it reads files."""
    output = context.output
    for line in [] if output.is_quiet else _detail_lines(settings, context.tunnels.packages):
        output.write_words(str(line), hang=HANG_CHARS)


def _detail_lines(settings: Settings, packages: Iterable[str]) -> list[Line]:
    own, *others = (f"{name} {number}" for name, number in package_versions(packages).items())
    system = f"Python {platform.python_version()} on {platform.system()} {platform.release()}"
    lines = [Line("version", f"{own}, {system}"), Line("", ", ".join(others))]
    for setting, declared in SETTINGS.items():
        value = getattr(settings, setting)
        if value is not None:
            key = declared.key or setting.replace("_", "-")
            shown = clean(getattr(value, "name", value))
            lines.append(Line("setting", f"{key} = {shown} ({clean(settings.sources[setting])})"))
    return lines
