"""``listen -v`` and ``-vv``: what a receiver answers, as far as it is asked for, bounded and harmless."""

import gzip
import json
import re
from pathlib import Path

import pytest

from tests.listen_fixtures import listening
from tests.test_handlers import ask, saying

FIELDS = b"X-Seen: [bold]\x9b2Jyes\r\nSet-Cookie: session=hunter2\r\n"


def answer(fields: bytes, body: bytes) -> bytes:
    """Return a whole 200."""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


@pytest.mark.parametrize("verbosity", [0, 1, 2])
async def test_what_a_handler_answers_is_shown_as_far_as_is_asked_for(tmp_path: Path, verbosity: int) -> None:
    """``-v`` shows the headers of an answer, ``-vv`` its body too, also of a 200 and of a further receiver."""
    body = json.dumps({"stored": "as 7\x9b2J"}, indent=2, ensure_ascii=False).encode()
    async with saying(answer(FIELDS, body)) as port, saying(answer(FIELDS, body)) as other:
        targets = [str(port), str(other)]
        async with listening(tmp_path, json=False, verbosity=verbosity, forward_to=targets) as run:
            assert (await ask(run))[0] == 200
            await run.wait_until(lambda: "does not see" in run.stdout and run.stdout.endswith("\n"))
            await run.interrupt()
    _, *answers = run.stdout.split("<-- 1 200 from ")
    assert len(answers) == 2
    for shown in answers:
        lines = [line.strip() for line in shown.splitlines()]
        assert ("X-Seen: [bold]yes" in lines, "Set-Cookie: ***" in lines) == (verbosity > 0, verbosity > 0)
        assert ('|   "stored": "as 7"' in lines) == (verbosity > 1)
    assert "hunter2" not in run.stdout
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", run.stdout)


async def test_a_long_answer_is_shown_in_part(tmp_path: Path) -> None:
    """However many headers and lines a handler answers, so many are shown, and how many there are in all."""
    fields = b"".join(b"X-%d: 1\r\n" % n for n in range(900))
    async with (
        saying(answer(fields, b"line\n" * 30_000)) as port,
        listening(tmp_path, json=False, verbosity=2, forward_to=[str(port)], count=1) as run,
    ):
        assert (await ask(run))[0] == 200
        done = await run.wait_ended()
    shown = done.stdout[done.stdout.index("<-- 1 200") :]
    assert (shown.count("| line\n"), "| ... 146.5 KiB in all\n" in shown) == (400, True)
    assert (shown.count(" X-"), " ... 900 header lines in all\n" in shown) == (200, True)


async def test_an_answer_without_a_body_is_not_shown_as_a_part_of_one(tmp_path: Path) -> None:
    """A 304, like an answer to HEAD, says how long a body is that it does not have."""
    async with (
        saying(b"HTTP/1.1 304 Not Modified\r\nX-A: 1\r\nContent-Length: 9\r\n\r\n") as port,
        listening(tmp_path, json=False, verbosity=2, forward_to=[str(port)], count=1) as run,
    ):
        assert (await ask(run))[0] == 304
        done = await run.wait_ended()
    shown = done.stdout[done.stdout.index("<-- 1 304") :]
    assert ("X-A: 1" in shown, "in all" in shown) == (True, False)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (bytes(range(256)), "(256 B, not text)"),
        (b"\x00\x01bin", "(5 B, not text)"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "(16 B, not text)"),
        ("\u65e5\u672c\u8a9e text".encode("shift_jis"), "\u65e5\u672c\u8a9e text"),
        ("\u9519\u8bef".encode("utf-16"), "\u9519\u8bef"),
        (gzip.compress(b"zipped words", mtime=0), "zipped words"),
        (b"plain words\x1b[2J", "plain words"),
    ],
)
async def test_a_body_that_is_no_text_is_not_shown_as_words(tmp_path: Path, body: bytes, shown: str) -> None:
    """With ``-vv`` a body of words is shown in its charset; of one that is no text the size is."""
    async with listening(tmp_path, json=False, verbosity=2) as run:
        await run.post(body)
        await run.wait_until(lambda: "Content-Type" in run.stdout and run.stdout.endswith("\n"))
        await run.interrupt()
    assert run.stdout.splitlines()[-1].strip() == shown
