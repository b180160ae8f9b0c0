"""The agent's log, read from a real process as pyngrok opens it."""

import subprocess

import pytest

from suno_cover_cli.tunnels.ngrok_log import read_lines


def lines_of(octal: str) -> list[str]:
    """Return the lines of a process that prints all of this at once, read from a stream of strict text."""
    command = ["printf", octal]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        return [line.rstrip("\n") for line in read_lines(process.stdout)]


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        (r"one\ntwo\n", ["one", "two"]),
        (r"one\nlast", ["one", "last"]),
        (r"\377 noise\nsession closed\n", ["\ufffd noise", "session closed"]),
        (r"one\ncut \303\nsession closed\nand more\n", ["one", "cut \ufffd", "session closed", "and more"]),
        (r"\200\377\376 ends so", ["\ufffd\ufffd\ufffd ends so"]),
        (r"one\ncut in two \303", ["one", "\ufffd"]),
        (r"", []),
    ],
)
def test_no_line_is_lost_to_bytes_that_are_no_text(printed: str, lines: list[str]) -> None:
    """What is printed together with bytes that are no text is read all the same, each line by itself."""
    assert lines_of(printed) == lines


def test_a_line_that_goes_on_after_noise_is_one_line() -> None:
    """A line begun in the same breath as noise is put together with its rest."""
    script = "printf '\\377 noise\\nsession '; head -c 1 <&3 >/dev/null; printf 'closed\\n'"
    with subprocess.Popen(
        ["bash", "-c", f"exec 3<&0; {script}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = read_lines(process.stdout)
        assert next(lines) == "\ufffd noise"
        process.stdin.write("x")
        process.stdin.close()
        assert list(lines) == ["session closed\n"]


def test_a_line_without_end_comes_in_pieces() -> None:
    """A log that never ends its line fills no memory: it is read in pieces."""
    script = "head -c 200000 /dev/zero | tr '\\0' x"
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        assert [len(piece) for piece in read_lines(process.stdout)] == [65536, 65536, 65536, 3392]
