"""The very end of the process: quick, with its exit code, and nothing that waits for it left undone."""

import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import atexit, sys
from suno_cover_cli.cli.main import QuickEnd

quick_end = QuickEnd()
"""


def run(body: str, *options: str, stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    """Run a program that begins by preparing its end; what the environment asks of Python does not count."""
    return subprocess.run(
        [sys.executable, "-E", *options, "-c", PRELUDE + body],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=20,
        check=False,
    )


def test_what_waits_for_the_end_is_called_and_what_was_written_arrives() -> None:
    """Handlers of libraries run, a thread's work is waited for, buffered words arrive, the code is kept."""
    done = run("""
import threading
atexit.register(lambda: print("handler"))
threading.Thread(target=lambda: (threading.main_thread().join(), print("thread"))).start()
print("written")
quick_end.code = 7
sys.exit(7)
""")
    assert (done.returncode, done.stdout.split(), done.stderr) == (7, ["written", "thread", "handler"], "")


@pytest.mark.parametrize(("code", "is_quick"), [(0, True), (None, False)])
def test_libraries_are_taken_to_pieces_only_without_a_code(code: int | None, is_quick: bool) -> None:
    """With a known code the process leaves at once; without one it ends as any Python program does."""
    done = run(f"""
class Library:
    def __del__(self):
        print("taken to pieces", flush=True)

library = Library()
quick_end.code = {code}
""")
    assert (done.returncode, done.stdout == "") == (0, is_quick)


def test_who_asks_for_warnings_hears_of_what_was_left_open() -> None:
    """With -W, a file that nobody closed is told although the process leaves at once."""
    body = """
class Ring:
    pass

ring = Ring()
ring.itself, ring.file = ring, open("/dev/null")
del ring
quick_end.code = 0
"""
    assert "unclosed file" in run(body, "-W", "default").stderr
    assert run(body).stderr == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_words_that_cannot_be_written_are_an_error_all_the_same() -> None:
    """When the last words meet a full disk, the exit code says so, as Python's own does."""
    with Path("/dev/full").open("w") as full:
        done = run('print("lost")\nquick_end.code = 0', stdout=full.fileno())
    assert done.returncode == 120
    assert "No space left" in done.stderr
