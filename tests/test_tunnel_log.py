"""The agent's log, read from real processes whatever bytes they write."""

import asyncio
import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from suno_cover_cli.tunnels.ngrok.agent import AgentHome, AgentProcess

PRINTF = shutil.which("printf") or "printf"


async def lines_of(folder: Path, *command: str) -> list[str]:
    """Return the lines that a program prints."""
    async with AgentProcess.start(AgentHome(folder), list(command), os.environ) as process:
        return [line async for line in process.lines()]


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        (r"one\ntwo\n", ["one", "two"]),
        (r"one\nlast", ["one", "last"]),
        (r"10 %%\r20 %%\r", ["10 %", "20 %"]),
        (r"\377 noise\nsession closed\n", ["\ufffd noise", "session closed"]),
        (r"one\ncut \303\nsession closed\nand more\n", ["one", "cut \ufffd", "session closed", "and more"]),
        (r"\200\377\376 ends so", ["\ufffd\ufffd\ufffd ends so"]),
        (r"one\ncut in two \303", ["one", "cut in two \ufffd"]),
        (r"", []),
    ],
)
async def test_no_line_is_lost_to_bytes_that_are_not_text(tmp_path: Path, printed: str, lines: list[str]) -> None:
    """What is printed together with bytes that are not text is read all the same, each line by itself."""
    assert await lines_of(tmp_path, PRINTF, printed) == lines


async def test_a_line_that_comes_in_two_parts_is_one_line(tmp_path: Path) -> None:
    """A line begun in the same breath as noise is put together with its rest, a character cut in two as well."""
    script = r"printf '\377 noise\nsession \303'; while [ ! -e go ]; do sleep 0.01; done; printf '\251 closed\n'"
    command = ["/bin/sh", "-c", f"cd {tmp_path}; {script}"]
    async with AgentProcess.start(AgentHome(tmp_path), command, os.environ) as process:
        lines = process.lines()
        assert await anext(lines) == "\ufffd noise"
        await asyncio.to_thread((tmp_path / "go").touch)
        assert [line async for line in lines] == ["session \u00e9 closed"]


async def test_a_line_without_end_comes_in_pieces(tmp_path: Path) -> None:
    """A log that never ends its line fills no memory: it is read in pieces."""
    script = "head -c 400000 /dev/zero | tr '\\0' x"
    pieces = await lines_of(tmp_path, "/bin/sh", "-c", script)
    assert "".join(pieces) == "x" * 400_000
    assert max(map(len, pieces)) < 200_000


@pytest.mark.parametrize(
    ("script", "ending"),
    [
        ("exit 0", "ended with exit status 0"),
        ("exit 7", "ended with exit status 7"),
        ("kill -KILL $$", "was ended by SIGKILL"),
        ("kill -64 $$", "was ended by SIGRTMAX"),
    ],
)
async def test_how_a_program_has_ended(tmp_path: Path, script: str, ending: str) -> None:
    """The exit status of a program that ends, or the name of the signal that ended it, is told."""
    async with AgentProcess.start(AgentHome(tmp_path), ["/bin/sh", "-c", script], os.environ) as process:
        assert [line async for line in process.lines()] == []
        assert await process.wait() == ending


async def test_odd_paths(tmp_path: Path) -> None:
    """Blanks and quotes in paths and arguments reach the program as they are, and its last words the log."""
    home = AgentHome(tmp_path / 'it\'s a "home" $HOME')
    home.path.mkdir()
    agent = tmp_path / "an agent's file"
    agent.write_text('#!/bin/sh\nprintf "%s|" "$0" "$@"; echo trouble >&2\n')
    agent.chmod(0o755)
    async with AgentProcess.start(home, [str(agent), "a b", "$c"], os.environ) as process:
        assert [line async for line in process.lines()] == [f"{agent}|a b|$c|"]
        assert await process.last_words() == "trouble"


async def test_endless_complaints_fill_neither_disk_nor_memory(tmp_path: Path) -> None:
    """Of 64 MiB that a program writes to standard error, its last words are known and nothing is on the disk."""
    script = "head -c 67108864 /dev/zero | tr '\\0' x >&2; echo >&2; echo the end >&2"
    tracemalloc.start()
    try:
        async with AgentProcess.start(AgentHome(tmp_path), ["/bin/sh", "-c", script], os.environ) as process:
            assert [line async for line in process.lines()] == []
            assert await process.wait() == "ended with exit status 0"
            assert await process.last_words() == "the end"
            assert await asyncio.to_thread(os.listdir, tmp_path) == ["agent.pid"]
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()
