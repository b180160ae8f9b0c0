"""What ``-v`` says before anything happens: versions, and every setting with its source."""

import platform

from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.base.text import clean
from suno_cover_cli.ui.output import Output
from suno_cover_cli.ui.words import HANG_CHARS, Line

PACKAGES = ("suno-cover", "aiohttp", "msgspec", "Pillow", "pyngrok", "rich", "typer")


def package_versions() -> dict[str, str]:
    """Return the versions of this program and of what it leans on. Blocks: it reads files."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def report_details(output: Output, settings: Settings) -> None:
    """Say what a report of a fault should start with. Blocks: it reads files."""
    for line in [] if output.is_quiet else _detail_lines(settings):
        output.write_words(str(line), hang=HANG_CHARS)


def _detail_lines(settings: Settings) -> list[Line]:
    own, *others = (f"{name} {number}" for name, number in package_versions().items())
    system = f"Python {platform.python_version()} on {platform.system()} {platform.release()}"
    lines = [Line("version", f"{own}, {system}"), Line("", ", ".join(others))]
    for setting, declared in SETTINGS.items():
        value = getattr(settings, setting)
        if value is not None:
            key = declared.key or setting.replace("_", "-")
            lines.append(Line("setting", f"{key} = {clean(value)} ({clean(settings.sources[setting])})"))
    return lines
