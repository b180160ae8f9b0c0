"""README's pictures, exported from the running program: ``python -m tests.pictures`` writes them.

Each runs real commands on a terminal, in a folder of its own, and keeps what is left on the screen; once for
readers of a dark page, once for those of a light one.
"""

import os
import re
import shutil
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme
from rich.text import Text

from tests.starter import Starter
from tests.terminal_fixtures import PLAIN, Terminal

FOLDER = Path(__file__).parent.parent / ".github" / "screens"
WIDTH = 100
ROWS = 40
BASH = shutil.which("bash") or "/bin/bash"
THEMES = {"dark": MONOKAI, "light": DEFAULT_TERMINAL_THEME}

SCREENS = {
    "generate": ["suno-cover generate --sandbox night-drive"],
    "listen": [
        "suno-cover listen --no-tunnel --count 2 --ready-file ready &",
        'suno-cover trigger duplicate --to "$(suno-cover-url)" --task-id 21aee3c3c2a01fa5e030b3799fa4dd56',
    ],
    "history": [
        "suno-cover generate --sandbox night-drive sandbox-refunded-531 >/dev/null 2>&1; suno-cover history"
    ],
}
"""Name of the picture -> what is typed. ``suno-cover-url`` stands for copying the address from the screen."""

_SHIM = """
suno-cover() {{ "{python}" -m suno_cover_cli "$@"; }}
suno-cover-url() {{ until [ -e ready ]; do sleep 0.1; done; grep -o 'http://[^"]*' ready | head -n 1; }}
"""


def screen_of(lines: list[str], folder: Path) -> str:
    """Run what is typed and return what the terminal shows in the end, its colours as escape sequences."""
    script = _SHIM.format(python=sys.executable)
    for line in lines:
        shown = line.replace('"$(suno-cover-url)"', "http://127.0.0.1:…/…").split(">/dev/null")[0]
        shown = shown if ">/dev/null" not in line else line.rsplit("; ", 1)[1]
        script += f"printf '$ %s\\n' '{shown}'\n{line}\n"
    script = (
        f"mkdir -p .config/suno-cover && echo 'preview = \"off\"' > .config/suno-cover/config.toml\n{script}wait"
    )
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "SUNO_COVER_CONFIG": str(folder / ".config/suno-cover/config.toml"),
    }
    with Starter({"PATH": os.environ["PATH"]}) as starter, Terminal(WIDTH, ROWS, answer=PLAIN) as terminal:
        started = starter.start(
            [BASH, "-c", script],
            environ=environ,
            cwd=folder,
            tty=terminal.name,
            on_tty="012",
            module="tests.standins.become",
        )
        terminal.own(started)
        terminal.finish(timeout_s=60)
        return settled(terminal.sent.decode())


def settled(sent: str) -> str:
    """Return what is left to see of what a terminal was sent: live lines are drawn, wiped and drawn again."""
    rows, row = [""], 0
    for part in re.split(r"(\x1b\[\d*A|\x1b\[2K|\n)", re.sub(r"\r|\x1b\[\?25[lh]", "", sent)):
        if part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            rows[row] = ""
        elif part == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        else:
            rows[row] += part
    return "\n".join(rows)


def picture_of(shown: str, theme: TerminalTheme, unique_id: str) -> str:
    """Draw what a terminal shows as SVG, in the colours of a theme."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(shown.rstrip()))
    drawn = console.export_svg(title="suno-cover", theme=theme, unique_id=unique_id)
    # Some viewers drop the blanks before a text otherwise, and with them the columns.
    return drawn.replace("<svg ", '<svg xml:space="preserve" ', 1)


def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, lines in SCREENS.items():
        with tempfile.TemporaryDirectory() as folder:
            shown = screen_of(lines, Path(folder))
        for theme_name, theme in THEMES.items():
            drawn = picture_of(shown, theme, f"screen-{name}")
            (FOLDER / f"{name}-{theme_name}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
