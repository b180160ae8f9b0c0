"""Every screen at 60, 80 and 120 columns, on plain, dumb and colourless terminals: nothing is cut or split."""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_fixtures import START_ENVIRON
from tests.pictures import settled
from tests.starter import Starter
from tests.terminal_fixtures import PLAIN, Terminal, cut_words, strip_escapes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals elsewhere")

MUSIC = tuple(f"5c79be8e10f14bb28a4a5e5fd5b1f3{n:02x}" for n in range(20))
NIGHT = "\u591c\u822a"
TITLES = (NIGHT, "\U0001f468\u200d\U0001f469\u200d\U0001f467 Family", "\u05e9\u05dc\u05d5\u05dd")
FAILING = ("failed-501", "image-404", "refunded-531", "unknown-422", "image-html")
BATCH = " ".join([*MUSIC[:15], *(f"sandbox-{name}" for name in FAILING)])
# The built-in sandbox needs no key and no network; what is shown is the same.
MAKE = "suno-cover generate --sandbox --preview off"

SCREENS = {
    "generate": f"{MAKE} -o a {MUSIC[0]}",
    "generate-dry": f"{MAKE} --no-wait {MUSIC[1]} {MUSIC[2]}",
    "batch": f"{MAKE} -o b --timeout 60 {BATCH}",
    "titles": f"{MAKE} -o t -i songs.csv --name '{{title}}_{{n}}'",
    "wait": "suno-cover wait --sandbox --preview off -o w COVER",
    "timeout": f"{MAKE} --no-tunnel --timeout 0.3 sandbox-slow-{MUSIC[3]}",
    "history": "suno-cover history; suno-cover history -n 2",
    "one-job": f"suno-cover history {MUSIC[0]}",
    "paths": "suno-cover history --paths",
    "recorded": "suno-cover history --callbacks",
    "doctor": "suno-cover doctor -v --no-tunnel",
    "pick": f"suno-cover pick {MUSIC[0]} --auto; suno-cover pick {MUSIC[0]} 2; suno-cover pick --list",
    "undecided": f"suno-cover export {MUSIC[1]}; suno-cover embed song.mp3 --cover {MUSIC[1]}",
    "export": f"suno-cover export {MUSIC[0]} --check; suno-cover export {MUSIC[0]} --upscale lanczos -o e",
    "embed": f"suno-cover embed song.mp3 --cover covers/{MUSIC[0]}.png; suno-cover export song.mp3",
    "help": "suno-cover; suno-cover help listen; suno-cover help config",
    "stores": "suno-cover export --list-profiles",
    "scenarios": "suno-cover sandbox --list",
    "settings": "suno-cover config show; suno-cover config path",
    "senders": f"suno-cover trigger duplicate --to 9 --task-id {MUSIC[0]}; suno-cover replay last --to 9",
    "errors": "suno-cover generate; suno-cover genrate x; suno-cover status a b; suno-cover listen --answer 9; "
    f"suno-cover wait {MUSIC[4]} --provider kei; suno-cover history --events --paths; suno-cover credits; "
    f"suno-cover generate COVER; suno-cover resume {MUSIC[5]}; suno-cover verify nothing.json",
}
"""Name -> what is typed; COVER is the cover task id of the first job."""


class World:
    """A folder with jobs of every kind, which the screens show.

    Attributes:
        folder: To work in.
        known: Ids and paths that must be whole wherever they are shown.
        cover: Cover task id of the first job.
    """

    def __init__(self, folder: Path, starter: Starter) -> None:
        self.folder = folder
        self._starter = starter
        self.known: set[str] = set(MUSIC)
        self.cover = ""
        program = folder / "bin" / "suno-cover"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m suno_cover_cli "$@"\n')
        program.chmod(0o755)
        (folder / "songs.csv").write_text(
            "music_task_id,title\n" + "".join(f"{MUSIC[n]},{title}\n" for n, title in enumerate(TITLES)), "utf-8"
        )
        (folder / "song.mp3").write_bytes(b"ID3\4\0\0\0\0\0\0")
        self._environ = {
            **START_ENVIRON,
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "SUNO_BASE_URL": "http://127.0.0.1:9",
            "SUNO_COVER_CONFIG": "config.toml",
            "SUNO_COVER_STATE_DIR": "state",
        }

    def show(self, typed: str, columns: int, *, within: str = "", **environ: str) -> tuple[str, str]:
        """Run what is typed; return what the terminal shows at the end, and all that it was sent.

        Args:
            typed: Commands with semicolons between them.
            columns: Of the terminal.
            within: What it is typed into, where it is more than commands of the program.
            environ: More variables.
        """
        script = re.sub(r"\bCOVER\b", self.cover or "COVER", typed)
        with Terminal(columns, 400, answer=PLAIN) as terminal:
            started = self._starter.start(
                [within, "-c", script] if within else [script],
                environ={**self._environ, "TERM": "xterm-256color", **environ},
                cwd=self.folder,
                tty=terminal.name,
                on_tty="012",
                module="tests.standins.become" if within else "tests.standins.typed_words",
            )
            terminal.own(started)
            terminal.finish(timeout_s=90)
            sent = terminal.sent.decode("utf-8", "replace")
        return strip_escapes(settled(sent)), sent

    def learn(self) -> None:
        """Note the ids and folders that the journal knows."""
        environ = {**self._environ, "TERM": "dumb"}
        with self._starter.start(["history", "--json"], environ=environ, cwd=self.folder) as started:
            stdout, _ = started.communicate(60.0)
        for line in stdout.splitlines():
            entry = json.loads(line)
            if entry["task_id"] is not None:
                self.known |= {entry["task_id"], f"{Path(entry['output']).name}/{entry['task_id']}"}
            if entry["music_task_id"] == MUSIC[0]:
                self.cover = entry["task_id"]
        self.known |= {str(path.relative_to(self.folder)) for path in self.folder.glob("*/*/*.png")}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make jobs that succeed, fail and miss images, and a callback that was recorded."""
    folder = tmp_path_factory.mktemp("w")
    with Starter({"PATH": os.environ["PATH"]}) as starter:
        made = World(folder, starter)
        more = " ".join(f"sandbox-{name}" for name in FAILING)
        script = (
            f"{MAKE} {MUSIC[0]} {MUSIC[1]} {more}; "
            "suno-cover listen --no-tunnel --once -- sh -c "
            f"'suno-cover trigger failed-501 --to \"$SUNO_CALLBACK_URL\" --task-id {MUSIC[6]}'"
        )
        made.show(script, 200, within="bash")
        made.learn()
        yield made


WAYS: dict[str, dict[str, str]] = {
    "colours": {},
    "no colours": {"NO_COLOR": "1"},
    "dumb": {"TERM": "dumb"},
}


# Only these are laid out in another way where there is more room.
WIDE = {"batch", "history", "recorded", "doctor"}


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        pytest.param(name, columns, marks=() if columns < 120 or name in WIDE else pytest.mark.long)
        for name in SCREENS
        for columns in (60, 80, 120)
    ],
)
def test_a_screen_is_whole(world: World, name: str, columns: int) -> None:
    """No line leaves the edge, no id, path or command is cut or split, and no markup is left over."""
    shown, _ = world.show(SCREENS[name], columns)
    if MAKE in SCREENS[name]:
        world.learn()
    assert shown.strip()
    assert "Traceback" not in shown
    assert cut_words(shown, columns, world.known) == [], shown


@pytest.mark.parametrize("way", ["no colours", "dumb"])
@pytest.mark.parametrize("name", ["generate", "titles", "history", "doctor", "pick", "errors"])
def test_a_screen_is_whole_on_lesser_terminals(world: World, name: str, way: str) -> None:
    """Without colours, and on a terminal that draws nothing, the same holds, without a single colour."""
    shown, sent = world.show(SCREENS[name], 60, **WAYS[way])
    if MAKE in SCREENS[name]:
        world.learn()
    assert cut_words(shown, 60, world.known) == [], shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", sent)
    assert way != "dumb" or "\x1b" not in sent


@pytest.mark.parametrize("name", ["generate", "batch", "history", "doctor"])
def test_a_screen_suits_dark_and_light(world: World, name: str) -> None:
    """Only colours that every theme defines are used, and no background: text is readable on dark and on light."""
    _, sent = world.show(SCREENS[name], 80)
    codes = {code for found in re.findall(r"\x1b\[([0-9;]*)m", sent) for code in found.split(";")}
    assert codes <= {"", "0", "1", "2", "31", "32", "33", "39"}
    assert {"31", "32", "2"} & codes
