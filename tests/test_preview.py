"""Pictures on emulated terminals, decoded back; terminals that answer nothing; the desktop's own commands."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from suno_cover_cli.base.providers import without_secrets
from suno_cover_cli.ui.desktop import open_folder
from suno_cover_cli.ui.terminal import Protocol, ShownPicture, TerminalFacts, render_pictures
from tests.cli_fixtures import Cli
from tests.terminal_fixtures import (
    BOTH,
    KITTY,
    PLAIN,
    SIXEL,
    Answerer,
    Terminal,
    answers,
    decode_blocks,
    decode_iterm,
    decode_kitty,
    decode_sixel,
    looks_like,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals elsewhere")

PROCESS = "tests.standins.afterwards_process"
TRUECOLOR = {"COLORTERM": "truecolor"}


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two pictures that cannot be taken for one another, nor for themselves turned or mirrored."""
    across = Image.linear_gradient("L").rotate(90)
    down = Image.linear_gradient("L")
    flat = Image.new("L", (256, 256), 40)
    paths = [tmp_path / "cover_1.png", tmp_path / "cover_2.png"]
    Image.merge("RGB", (across, down, flat)).resize((512, 512)).save(paths[0])
    Image.merge("RGB", (flat, across, down)).resize((300, 300)).save(paths[1])
    return paths


def show(cli: Cli, terminal: Terminal, pictures: list[Path], **environ: str) -> str:
    """Show pictures on a terminal, and return what the program wrote to stdout."""
    cli.start_on(terminal, *map(str, pictures), module=PROCESS, **(TRUECOLOR | environ))
    code, stdout = terminal.finish()
    assert code == 0
    return stdout


# --- each protocol --------------------------------------------------------------------------------------------


def test_kitty_gets_both_pictures_and_room_for_them(cli: Cli, pictures: list[Path]) -> None:
    """A terminal that answers Kitty's question is sent both pictures whole, and placeholders side by side."""
    with Terminal(answer=KITTY) as terminal:
        stdout = show(cli, terminal, pictures)
        shown = decode_kitty(terminal.sent)
    assert [looks_like(picture, path) for picture, path in zip(shown, pictures, strict=True)] == [True, True]
    assert not looks_like(shown[0], pictures[1])
    lines = [line for line in terminal.sent.decode().split("\n") if "\U0010eeee" in line]
    assert {line.count("\U0010eeee") for line in lines} == {2 * 34}
    assert stdout == ""


def test_sixel_terminals_get_both_pictures(cli: Cli, pictures: list[Path]) -> None:
    """A terminal that lists sixel among its attributes gets both pictures so, even if it knows Kitty's too."""
    for answer in (SIXEL, BOTH):
        with Terminal(answer=answer) as terminal:
            show(cli, terminal, pictures)
            shown = decode_sixel(terminal.sent)
        assert [looks_like(picture, path) for picture, path in zip(shown, pictures, strict=True)] == [True, True]
        assert decode_kitty(terminal.sent) == []


@pytest.mark.parametrize("variable", ["TERM_PROGRAM=iTerm.app", "LC_TERMINAL=iTerm2"])
def test_iterm_gets_both_pictures_in_its_own_protocol(cli: Cli, pictures: list[Path], variable: str) -> None:
    """iTerm2, here or at the other end of ssh, is recognised by what it says of itself and is asked nothing."""
    name, _, value = variable.partition("=")
    with Terminal() as terminal:
        show(cli, terminal, pictures, **{name: value})
        shown = decode_iterm(terminal.sent)
    assert [looks_like(picture, path) for picture, path in zip(shown, pictures, strict=True)] == [True, True]
    assert b"\x1b[c" not in terminal.sent


@pytest.mark.parametrize("answer", [PLAIN, None, answers(b"\x1b[?6c")])
def test_other_terminals_get_half_blocks(cli: Cli, pictures: list[Path], answer: Answerer | None) -> None:
    """Any other terminal shows the pictures in half blocks, side by side with a gap between them."""
    with Terminal(answer=answer) as terminal:
        show(cli, terminal, pictures)
        sheet = decode_blocks(terminal.sent)
    first = sheet.crop((0, 0, 34, sheet.height))
    second = sheet.crop((36, 0, 70, sheet.height))
    assert looks_like(first, pictures[0])
    assert looks_like(second, pictures[1])
    assert "cover_1.png" in terminal.text
    assert "cover_2.png" in terminal.text


def test_inside_tmux_the_outer_terminals_name_counts_for_nothing(cli: Cli, pictures: list[Path]) -> None:
    """A multiplexer does not pass iTerm2's sequences on, so what it answers itself decides."""
    with Terminal(answer=PLAIN) as terminal:
        show(cli, terminal, pictures, TERM_PROGRAM="iTerm.app", TMUX="socket,1,0")
    assert decode_iterm(terminal.sent) == []
    assert "▀" in terminal.text


def test_the_size_of_a_cell_comes_from_the_system_or_the_terminal(cli: Cli, pictures: list[Path]) -> None:
    """Pictures keep their shape: a square is as high as it is wide, whatever the shape of a cell."""
    with Terminal(answer=SIXEL) as told, Terminal(answer=answers(b"\x1b[?62;4c"), pixels=(7, 21)) as known:
        show(cli, told, pictures)
        show(cli, known, pictures)
    assert decode_sixel(told.sent)[0].size == (34 * 8, 17 * 16)
    assert decode_sixel(known.sent)[0].size == (34 * 7, 11 * 21)


# --- no hang, no trace ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "least_s"),
    [(None, 0.5), (answers(b"junk" * 2000), 0.0), (answers(b"\x1b_Gi=31;OK\x1b\\"), 0.5), (PLAIN, 0.0)],
)
def test_a_terminal_that_does_not_answer_costs_half_a_second(
    cli: Cli, pictures: list[Path], answer: Answerer | None, least_s: float
) -> None:
    """Silence, rubbish and half an answer end at the limit; the terminal's modes are what they were."""
    with Terminal(answer=answer) as terminal:
        modes = terminal.modes_now()
        stdout = show(cli, terminal, pictures, ASK_FIRST="1")
        assert terminal.modes_now() == modes
    *_, took_s = stdout.split()
    assert least_s <= float(took_s) < 3
    assert "▀" in terminal.text


def test_keys_typed_ahead_are_left_for_the_shell(cli: Cli, pictures: list[Path]) -> None:
    """When the user has typed something the terminal is not asked, so that no key is lost."""
    with Terminal(answer=KITTY) as terminal:
        terminal.type(b"ls\n")
        show(cli, terminal, pictures)
    assert b"\x1b[c" not in terminal.sent
    assert "▀" in terminal.text


def test_a_stream_that_is_no_terminal_is_asked_and_sent_nothing(cli: Cli, pictures: list[Path]) -> None:
    """In a pipe there is no question and no picture."""
    run = cli.run(*map(str, pictures), module=PROCESS, TERM="xterm-256color", **TRUECOLOR)
    assert (run.code, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_dumb_or_colourless_terminal_is_left_alone(
    cli: Cli, pictures: list[Path], variables: dict[str, str]
) -> None:
    """TERM=dumb and NO_COLOR mean no question and no picture."""
    with Terminal(answer=KITTY) as terminal:
        show(cli, terminal, pictures, **variables)
    assert terminal.sent == b""


async def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    """A file that is no picture any more, or is gone, yields nothing rather than an error."""
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    facts = TerminalFacts(protocol=Protocol.BLOCKS)
    shown = [ShownPicture(path=str(tmp_path / name), caption="1") for name in ("broken.png", "gone.png")]
    assert await render_pictures(shown, facts, columns=80, rows=24, environ=without_secrets(os.environ, ())) == b""


async def test_an_encoder_that_takes_too_long_is_ended(pictures: list[Path]) -> None:
    """The encoder has a limit of its own, after which there is no picture."""
    shown = [ShownPicture(path=str(path), caption="1") for path in pictures]
    facts = TerminalFacts(protocol=Protocol.SIXEL)
    environ = without_secrets(os.environ, ())
    assert await render_pictures(shown, facts, columns=80, rows=24, environ=environ, timeout_s=0.01) == b""


# --- through the whole command --------------------------------------------------------------------------------


def test_generate_shows_what_it_saved_unless_told_otherwise(cli: Cli) -> None:
    """A run on a terminal ends with its covers on the screen; with --preview off it does not."""
    with Terminal(100, 40, answer=KITTY) as terminal:
        cli.start_on(terminal, "generate", "--sandbox", "sandbox-instant", **TRUECOLOR)
        code, stdout = terminal.finish()
        shown = decode_kitty(terminal.sent)
    paths = sorted(cli.cwd / line for line in stdout.splitlines())
    assert code == 0
    assert len(paths) == 2
    assert all(looks_like(picture, path) for picture, path in zip(shown, paths, strict=True))
    with Terminal(100, 40, answer=KITTY) as terminal:
        cli.start_on(terminal, "generate", "--sandbox", "sandbox-instant", "--preview", "off", **TRUECOLOR)
        assert terminal.finish()[0] == 0
    assert b"\x1b[c" not in terminal.sent
    assert cli.run("generate", "--sandbox", "sandbox-instant", "--preview", "big").code == 2


def test_paths_stand_below_the_pictures_in_order(cli: Cli) -> None:
    """On one terminal the pictures of all jobs come first, each naming its song; the paths come last, in order."""
    # The first job ends last: the order is that of the command.
    slow, quick = "sandbox-success-slow", "sandbox-instant-quick"
    words = ("generate", "--sandbox", slow, quick, "--name", "{music_task_id}-{n}")
    with Terminal(150, 40, answer=PLAIN) as terminal:
        cli.start_on(terminal, *words, streams="012", **TRUECOLOR)
        assert terminal.finish()[0] == 0
        lines = [line.strip() for line in terminal.text.splitlines() if line.strip()]
    above, paths = lines[:-4], [Path(line) for line in lines[-4:]]
    assert [path.name for path in paths] == [f"{song}-{n}.png" for song in (slow, quick) for n in (1, 2)]
    assert all((cli.cwd / path).is_file() for path in paths)
    assert not {str(path) for path in paths} & set(above)
    *drawn, captions, _names = above
    assert captions.split() == ["1:", slow, "2:", slow, "1:", quick, "2:", quick]
    assert "▀" in drawn[-1]


def test_an_interrupted_run_still_prints_what_it_saved(cli: Cli) -> None:
    """Ctrl-C while another job waits: the paths of the job that has ended are printed, without pictures."""
    with Terminal(150, 40, answer=PLAIN) as terminal:
        cli.start_on(
            terminal, "generate", "--sandbox", "sandbox-instant", "sandbox-stuck", streams="012", **TRUECOLOR
        )
        terminal.wait_for(b"1 succeeded", 20)
        terminal.type(b"\x03")
        code, _ = terminal.finish()
    assert code == -signal.SIGINT
    assert "cover_1.png" in terminal.text
    assert "cover_2.png" in terminal.text
    assert "▀" not in terminal.text


# --- the desktop ----------------------------------------------------------------------------------------------


def install(folder: Path, name: str, body: str = "") -> Path:
    """Put a command of the desktop on a PATH of its own; it writes down its words and variables."""
    folder.mkdir(exist_ok=True)
    record = folder / f"{name}.json"
    program = folder / name
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys, time\n"
        f"json.dump([sys.argv[1:], dict(os.environ)], open({str(record)!r}, 'w'))\n{body}\n"
    )
    program.chmod(0o755)
    return record


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other commands")
def test_notify_and_open_use_the_desktops_own_commands(cli: Cli, tmp_path: Path) -> None:
    """The notification says what was saved, the folder opened is the job's, and neither sees a secret."""
    notified = install(tmp_path / "bin", "notify-send")
    opened = install(tmp_path / "bin", "xdg-open")
    run = cli.run(
        "generate",
        *("--sandbox", "sandbox-instant", "--notify", "--open"),
        PATH=str(tmp_path / "bin"),
        SUNO_API_KEY="key-0123456789",
        NGROK_AUTHTOKEN="token-0123456789",
    )
    assert run.code == 0
    words, environ = json.loads(notified.read_text())
    assert words == ["--app-name=suno-cover", "--", "suno-cover", "2 covers saved"]
    folder, _ = json.loads(opened.read_text())
    assert folder == [str((cli.cwd / run.lines[0]).parent)]
    assert not {"SUNO_API_KEY", "NGROK_AUTHTOKEN"} & environ.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other commands")
def test_several_jobs_open_the_folder_around_them(cli: Cli, tmp_path: Path) -> None:
    """With more than one job the folder that holds theirs is opened, and failures are counted."""
    notified = install(tmp_path / "bin", "notify-send")
    opened = install(tmp_path / "bin", "xdg-open")
    run = cli.run(
        "generate",
        *("--sandbox", "a", "b", "sandbox-failed-501", "--notify", "--open"),
        PATH=str(tmp_path / "bin"),
    )
    assert run.code == 6
    assert json.loads(notified.read_text())[0][-1] == "4 covers saved, 1 failed"
    assert json.loads(opened.read_text())[0] == [str(cli.cwd / "covers")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other commands")
def test_a_desktop_that_is_not_there_or_hangs_costs_nothing(cli: Cli, tmp_path: Path) -> None:
    """Without the commands covers are saved with one line said; a command that never ends is left to itself."""
    (tmp_path / "empty").mkdir()
    without = cli.run(
        "generate", "--sandbox", "sandbox-instant", "--notify", "--open", PATH=str(tmp_path / "empty")
    )
    assert (without.code, len(without.lines)) == (0, 2)
    assert without.stderr.count("warning") == 1
    assert "opens the folder" in without.stderr
    install(tmp_path / "bin", "xdg-open", "time.sleep(20)")
    began = time.monotonic()
    assert open_folder(cli.cwd, without_secrets({"PATH": str(tmp_path / "bin")}, ()))
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("columns", [60, 80])
def test_no_caption_is_cut(cli: Cli, columns: int) -> None:
    """An id that has no room below its picture stands whole above the pictures of its song, numbers below each."""
    songs = [f"5c79be8e10f14bb28a4a5e5fd5b1f3{n:02}" for n in range(2)]
    with Terminal(columns, 60, answer=PLAIN) as terminal:
        cli.start_on(terminal, "generate", "--sandbox", *songs, streams="012", **TRUECOLOR)
        assert terminal.finish()[0] == 0
        lines = [line.rstrip() for line in terminal.text.splitlines()]
    for song in songs:
        above = lines.index(song)
        assert "▀" in lines[above + 1]
        numbers = next(line for line in lines[above + 1 :] if "▀" not in line)
        assert numbers.split() == ["1", "2"]
    assert "…" not in terminal.text
