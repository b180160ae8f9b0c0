"""The desktop around the terminal: a notification, a folder opened. What is not there is done without.

Each system's own command is used. Text travels as an argument or a variable of its own, never as part of a script.
Everything here blocks, for a few seconds at most, and is meant for a thread.
"""

import html
import shutil
import subprocess
import sys
from pathlib import Path

from suno_cover_cli.base.providers import ChildEnviron
from suno_cover_cli.base.text import clean

_NOTIFY_S = 5.0
_OPEN_S = 2.0
_APPLE_SCRIPT = (
    "on run argv",
    "display notification (item 2 of argv) with title (item 1 of argv)",
    "end run",
)
_TOAST_SCRIPT = """
$from = 'Windows.UI.Notifications, ContentType=WindowsRuntime'
$manager = [type]"Windows.UI.Notifications.ToastNotificationManager, $from"
$page = $manager::GetTemplateContent(([type]"Windows.UI.Notifications.ToastTemplateType, $from")::ToastText02)
$lines = $page.GetElementsByTagName('text')
[void]$lines.Item(0).AppendChild($page.CreateTextNode($env:SUNO_COVER_TITLE))
[void]$lines.Item(1).AppendChild($page.CreateTextNode($env:SUNO_COVER_TEXT))
$sender = '{1AC14E77-02E7-4E5D-B744-2EB1AE5198B7}\\WindowsPowerShell\\v1.0\\powershell.exe'
$manager::CreateToastNotifier($sender).Show([Windows.UI.Notifications.ToastNotification]::new($page))
"""


def send_notification(title: str, text: str, environ: ChildEnviron) -> bool:
    """Show a desktop notification; tell whether there was something to show it with.

    Args:
        title: First line.
        text: May quote the service; cleaned here.
        environ: Where programs and the desktop are found.
    """
    command, extra = _notify_command(clean(title, 80), clean(text, 300))
    return _run(command, ChildEnviron({**environ, **extra}), _NOTIFY_S) == 0


def _notify_command(title: str, text: str) -> tuple[list[str], dict[str, str]]:
    if sys.platform == "darwin":
        script = [word for line in _APPLE_SCRIPT for word in ("-e", line)]
        return ["osascript", *script, title, text], {}
    if sys.platform == "win32":
        command = ["powershell", "-NoProfile", "-NonInteractive", "-Command", _TOAST_SCRIPT]
        return command, {"SUNO_COVER_TITLE": title, "SUNO_COVER_TEXT": text}
    # Notification servers read the body as markup; "--" keeps a text from being taken for an option.
    return ["notify-send", "--app-name=suno-cover", "--", title, html.escape(text, quote=False)], {}


def open_folder(folder: Path, environ: ChildEnviron) -> bool:
    """Show a folder in the desktop's own file manager; ``False`` when that is known to have failed."""
    return _open(str(folder.absolute()), environ)


def open_url(url: str, environ: ChildEnviron) -> bool:
    """Show an address in the browser; ``False`` when that is known to have failed or there is no screen."""
    has_screen = sys.platform in {"darwin", "win32"} or {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & set(environ)
    # Without a screen a browser for terminals would be found, and take this one.
    return bool(has_screen) and _open(url, environ)


def _open(what: str, environ: ChildEnviron) -> bool:
    if sys.platform == "win32":
        import os

        try:
            os.startfile(what)  # noqa: S606 -- opening by the system's own choice is the point
        except OSError:
            return False
        return True
    command = ["open", what] if sys.platform == "darwin" else ["xdg-open", what]
    # Still running after a moment means that it found something to show it with.
    return _run(command, environ, _OPEN_S) in {0, None}


def _run(command: list[str], environ: ChildEnviron, patience_s: float) -> int | None:
    """Run a command of the desktop, unseen and on its own; ``None`` when it takes longer, 127 without one."""
    program = shutil.which(command[0], path=environ.get("PATH"))
    if program is None:
        return 127
    try:
        child = subprocess.Popen(  # noqa: S603 -- a fixed command; texts are arguments of their own
            [program, *command[1:]],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return 126
    try:
        return child.wait(patience_s)
    except subprocess.TimeoutExpired:
        child.returncode = 0  # it goes on without us: no wait for it, and no ResourceWarning about that
        return None
