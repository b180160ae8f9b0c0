"""What ``listen`` shows on terminals of every width, of wrong paths, and to a runner that reads commands."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from suno_cover_cli.callbacks.content import CallbackContent, ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Delivery, Exchange, Outcome
from suno_cover_cli.callbacks.kinds import CallbackKind, CallbackStage
from suno_cover_cli.listen.events import ListenEvent
from suno_cover_cli.listen.lines import LinesView
from suno_cover_cli.listen.presenter import WrongPaths
from suno_cover_cli.listen.words import describe_said
from tests.callback_cases import TASK
from tests.cli_fixtures import Cli
from tests.clocks import ManualClock
from tests.listen_fixtures import listening, receiving
from tests.listener_fixtures import callback_body
from tests.terminal_fixtures import PLAIN, Terminal, cut_words
from tests.test_listen_forward import unused_port
from tests.test_listen_tunnel import Make
from tests.test_stages import handler, send

on_terminals = pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals elsewhere")
CHINESE = "\u5185\u5bb9\u5ba1\u6838\u672a\u901a\u8fc7\uff0c\u8bf7\u4fee\u6539\u63d0\u793a\u8bcd\u3002"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
QUERY = "songId=8551****662c&uid=42"
INDENT = 13


def said(text: str) -> bytes:
    """Return a callback of a failure with these words."""
    return json.dumps({"code": 501, "msg": text, "data": {"taskId": TASK}}, ensure_ascii=False).encode()


@on_terminals
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_an_event_is_whole_at_every_width(cli: Cli, columns: int) -> None:
    """Ids, queries, addresses and advice stay whole; what has no room goes on below, wide text as well."""
    with handler() as port, Terminal(columns, 60, answer=PLAIN) as terminal:
        target = f"http://127.0.0.1:{port}/hook"
        cli.start_on(terminal, "listen", "--no-tunnel", "--forward-to", target, "--count", "4", streams="012")
        terminal.wait_for(b"Ctrl-C ends it")
        url = next(word for word in terminal.text.split() if "/callback/" in word)
        assert send(f"{url}?{QUERY}", callback_body()) == 200
        assert send(url, said(CHINESE * 2)) == 200
        assert send(url, said(FAMILY * 6 + " " + CHINESE)) == 200
        assert send(url, callback_body(x="unwanted")) == 500
        code, _ = terminal.finish()
        shown = terminal.text
    assert code == 0
    answers = re.findall(r"evt_[0-9a-f]{8}", shown)
    assert len(set(answers)) == 4, "each event is named"
    copied = [TASK, url, target, f"?{QUERY}", *answers]
    assert cut_words(shown, columns, copied, copied) == []
    lines = [line.rstrip() for line in shown.splitlines()]
    begins = next(n for n, line in enumerate(lines) if " --> " in line)
    events = lines[begins : next(n for n, line in enumerate(lines) if line.startswith("ended"))]
    stamped = r"\d\d:\d\d:\d\d (-->|<--) \d "
    assert all(re.match(stamped, line) or line[:INDENT].isspace() for line in events if line)
    assert all(line[INDENT] != " " for line in events if line)
    joined = "".join(line.strip() for line in events)
    assert (CHINESE * 2 if columns == 120 else CHINESE[:6]) in joined
    assert (FAMILY * 6 if columns == 120 else FAMILY * 3) in joined
    assert "\u200d\n" not in shown, "no line ends within a character"
    assert "the service would try again after 1, 5 and 15 minutes" in " ".join(line.strip() for line in events)


def lines_at_80(content: CallbackContent, query: str, delivery: Delivery | None, n: int) -> list[str]:
    """Return what a usual terminal shows of a callback that came for the second time, and of its answer."""
    written: list[str] = []
    view = LinesView(
        lambda text, _: written.extend(text.split("\n")),
        paint=lambda text, _: text,
        clock=ManualClock(),
        columns=lambda: 80,
        sends_on=delivery is not None,
    )
    request = ReceivedRequest(
        n=2,
        id="evt_0123abcd",
        ts=0.0,
        path=f"/callback/x{query}",
        headers=(),
        body=b"x" * 941,
        content=content,
        duplicate_of=1,
    )
    event = ListenEvent(request, n=n, duplicate_of=n - 1, delivery=delivery)
    view.show_arrival(event)
    status = 200 if delivery is None else delivery.status or 502
    view.show_answer(event, Exchange(ts=0.0, status=status, latency_ms=12.3, request=request))
    view.flush()
    return written


@pytest.mark.parametrize("n", [7, 132, 9_999])
@pytest.mark.parametrize("status", [None, 500])
@pytest.mark.parametrize(
    ("content", "query"),
    [
        (CallbackContent(TASK, 200, "ok", ("u", "v"), items=2), ""),
        (CallbackContent(TASK, 200, "ok", (), CallbackKind.MUSIC, CallbackStage.COMPLETE, 2), ""),
        (CallbackContent(TASK, 200, "ok", (), CallbackKind.LYRICS, CallbackStage.COMPLETE, 2, "gzip"), ""),
        (CallbackContent(TASK, 200, "ok", (), CallbackKind.MUSIC, CallbackStage.FIRST, 1), "?songId=12345"),
    ],
)
def test_an_event_takes_two_lines_whatever_its_number(
    content: CallbackContent, query: str, status: int | None, n: int
) -> None:
    """Also as a duplicate; one that the receiver refuses takes three, with its words and what helps."""
    delivery = None
    if status is not None:
        body = json.dumps({"error": "the database is not there", "trace": "x" * 200}).encode()
        delivery = Delivery(
            url="http://localhost:3000/hook", outcome=Outcome.ANSWERED, status=status, latency_ms=9, body=body
        )
    lines = lines_at_80(content, query, delivery, n)
    assert len(lines) == (2 if status is None else 3), lines
    assert max(map(len, lines)) < 80
    assert TASK in lines[0]
    assert query in lines[0]
    assert f"a duplicate of {n - 1}" in lines[1]
    assert status is None or '"{"error' in lines[1].replace("'", '"')


@on_terminals
def test_a_callback_that_finds_nobody_takes_three_lines(cli: Cli) -> None:
    """At 80 columns what came, what was answered and why fit a line each."""
    with Terminal(80, 30, answer=PLAIN) as terminal:
        target = f"localhost:{unused_port()}/hook"
        cli.start_on(terminal, "listen", "--no-tunnel", "--forward-to", target, "--count", "1", streams="012")
        terminal.wait_for(b"Ctrl-C ends it")
        url = next(word for word in terminal.text.split() if "/callback/" in word)
        assert send(url, callback_body()) == 502
        code, _ = terminal.finish()
        lines = [line.rstrip() for line in terminal.text.splitlines()]
    assert code == 0
    begins = next(n for n, line in enumerate(lines) if " --> " in line)
    came, answered, why, ended = lines[begins : begins + 4]
    assert " <-- 1 502 in " in answered, came
    assert why.endswith("; is it running?")
    assert ended.startswith("ended")


@on_terminals
@pytest.mark.parametrize(
    ("status", "answer", "words", "advice"),
    [
        (
            500,
            b"\n  KeyError: 'x'\nmore",
            "\"KeyError: 'x'\"",
            "the service would try again after 1, 5 and 15 minutes",
        ),
        (
            422,
            b'{"detail":"who?"}',
            '"{"detail":"who?"}"',
            "your handler misses fields that it wants in the body or query",
        ),
        (401, b"who?", '"who?"', "does your handler want a login? (--header) Or a signed callback?"),
        (403, b"no", '"no"', "does it want a login, or another Host or Origin? (--header)"),
        (404, b"what?", '"what?"', "check the path: requests go to exactly the address that you gave"),
        (415, b"", "", "your handler does not take this Content-Type or Content-Encoding"),
        (429, b"slow down", '"slow down"', "your handler accepts no more requests right now"),
        (500, b"", "", "the service would try again after 1, 5 and 15 minutes"),
        (500, bytes(range(256)), "(256 B, not text)", "the service would try again after 1, 5 and 15 minutes"),
        (
            500,
            "\u7b7e\u540d\u65e0\u6548".encode("utf-16"),
            '"\u7b7e\u540d\u65e0\u6548"',
            "the service would try again",
        ),
        (
            500,
            b"long " * 40,
            '"long long \u2026"',
            "the service would try again after 1, 5 and 15 minutes",
        ),
    ],
)
def test_what_a_handler_said_is_beside_its_status(
    cli: Cli, status: int, answer: bytes, words: str, advice: str
) -> None:
    """At 80 columns: what came, what the handler answered in its own words, our advice; a line each.

    The query takes a line more; that it was here before takes none, and a good answer has no words.
    """
    with handler(status, answer) as port, Terminal(80, 40, answer=PLAIN) as terminal:
        target = f"localhost:{port}/hook"
        cli.start_on(terminal, "listen", "--no-tunnel", "--forward-to", target, "--count", "4", streams="012")
        terminal.wait_for(b"Ctrl-C ends it")
        url = next(word for word in terminal.text.split() if "/callback/" in word)
        assert send(url, callback_body()) == 200
        assert send(url, callback_body()) == 200
        assert send(url, callback_body(x="unwanted")) == status
        assert send(f"{url}?{QUERY}", callback_body(x="unwanted")) == status
        code, _ = terminal.finish()
        lines = [line.rstrip() for line in terminal.text.splitlines()]
    assert code == 0
    begins = next(n for n, line in enumerate(lines) if " --> " in line)
    events = lines[begins : next(n for n, line in enumerate(lines) if line.startswith("ended"))]
    assert [line[9:12] if line[9:12] in {"-->", "<--"} else "" for line in events] == [
        *("-->", "<--", "-->", "<--"),
        *("-->", "<--", "", "-->", "", "<--", ""),
    ]
    assert re.fullmatch(r"\S+ <-- 1 200 in \S+ ms(, signature unchecked)?, evt_\w{8}", events[1])
    assert re.fullmatch(r"\S+ <-- 2 200 in \S+ ms, a duplicate of 1(, signature unchecked)?, evt_\w{8}", events[3])
    # How much of it has room depends on the latency.
    said = re.escape(f", {words}" if words else "").replace("\u2026", "[long ]*\u2026")
    assert re.fullmatch(rf"\S+ <-- 3 {status} in \S+ ms(, signature unchecked)?, evt_\w{{8}}{said}", events[5])
    assert events[6].strip().startswith(advice)
    assert "/hook" not in "".join(events)


@on_terminals
def test_of_several_handlers_each_is_named(cli: Cli) -> None:
    """With two receivers each answer says whose it is."""
    with handler() as port, handler() as other, Terminal(80, 40, answer=PLAIN) as terminal:
        words = (
            "listen",
            "--no-tunnel",
            "--timeout",
            "30",
            "--forward-to",
            f"{port}/a",
            "--forward-to",
            f"{other}/b",
        )
        cli.start_on(terminal, *words, streams="012")
        terminal.wait_for(b"Ctrl-C ends it")
        url = next(word for word in terminal.text.split() if "/callback/" in word)
        assert send(url, callback_body()) == 200
        terminal.wait_for(b"evt_")
        terminal.wait_for(b"which the")
        shown = terminal.text
    assert f" 200 from http://localhost:{port}/a in " in shown
    assert f" 200 from http://localhost:{other}/b in " in shown


@on_terminals
def test_headers_and_bodies_are_folded(cli: Cli) -> None:
    """With ``-vv`` no header and no line of a body leaves the edge; an address stays whole."""
    address = "https://example.com/0123456789012345678901234567890123456789.png"
    with handler() as port, Terminal(80, 80, answer=PLAIN) as terminal:
        words = ("listen", "--no-tunnel", "-vv", "--forward-to", str(port), "--once")
        cli.start_on(terminal, *words, streams="012")
        terminal.wait_for(b"Ctrl-C ends it")
        url = next(word for word in terminal.text.split() if "/callback/" in word)
        assert send(url, callback_body(x="unwanted " * 20, images=[address])) == 500
        terminal.finish()
        shown = terminal.text
    assert cut_words(shown, 80, [address, url], [address, url]) == []
    assert "KeyErrorInTheHandler" in shown


@on_terminals
def test_a_signature_is_shown_at_every_width(cli: Cli, tmp_path: Path) -> None:
    """What a checked signature is worth, and what is wrong with it, is never left out for want of room."""
    key = tmp_path / "key"
    key.write_text("a-webhook-key-for-tests")
    with Terminal(60, 60, answer=PLAIN) as terminal:
        words = ("listen", "--no-tunnel", "--provider", "kie", "--webhook-key-file", str(key), "--timeout", "6")
        cli.start_on(terminal, *words, streams="012")
        terminal.wait_for(b"Ctrl-C ends it")
        url = next(word for word in terminal.text.split() if "/callback/" in word)
        assert send(url, callback_body()) == 401
        terminal.wait_for(b"evt_")
        shown = " ".join(terminal.text.split())
    assert "401 in " in shown
    assert "signature missing" in shown


@pytest.mark.parametrize("json_lines", [False, True])
async def test_a_mistyped_path_is_shown_once_with_the_right_one(tmp_path: Path, json_lines: bool) -> None:
    """The first request to each wrong path is one line on stderr with both paths; all are counted at the end."""
    async with listening(tmp_path, json=json_lines) as run:
        path = "/" + run.url.split("/", 3)[3]
        for wrong in (path[:-1], path[:-1] + "?a=1", "/callback", "/hook", "/hook"):
            assert (await run.post(callback_body(), path=wrong)).status == 404
        assert (await run.post(callback_body())).status == 200
        await run.wait_until(lambda: TASK in run.stdout)
        await run.interrupt()
    assert [line for line in run.stderr.splitlines() if line.startswith("elsewhere")] == [
        f"elsewhere  POST {wrong}: nothing is received there (404); the path is {path}"
        for wrong in (path[:-1], "/callback", "/hook")
    ]
    assert "/hook" not in run.stdout
    assert "1 event, 5 requests that were not callbacks (5 unknown path)" in run.stderr


def test_a_flood_of_paths_neither_scrolls_nor_grows() -> None:
    """Of 10,000 paths ten are said, and that no more will be; a slip of the pen has room beside them."""
    paths = WrongPaths()

    def ask(path: str) -> str:
        return paths.describe(Exchange(method="GET", path=path, ts=0.0, status=404, reason="unknown path"))

    assert not ask("/early")
    paths.path = "/callback/5c79be8e10f14bb28a4a5e5fd5b1f3a0"
    told = [text for text in map(ask, (f"/{n}/wp-login.php" for n in range(10_000))) if text]
    assert len(told) == 11
    assert told[-1] == "requests to more paths are only counted"
    assert paths.path in ask("/callback/5c79be8e10f14bb28a4a5e5fd5b1f3a")
    assert len([text for text in map(ask, (f"/callback/{n}" for n in range(10_000))) if text]) == 10


def test_no_tunnel_is_said_to_open_without_a_token(cli: Cli, ngrok_standin: Make) -> None:
    """Without a token the first line is why there is no tunnel; with one, that it is being opened."""
    without = cli.run("listen", "--tunnel", "--timeout", "5")
    assert without.code == 9
    assert "opening" not in without.stderr
    assert without.stderr.startswith("error      NGROK_AUTHTOKEN is not set")
    agent = ngrok_standin("ok", start_delay_s=1.0)
    opened = cli.run("listen", "--tunnel", "--timeout", "3", **agent.environ)
    assert opened.stderr.splitlines()[0] == "opening    a tunnel"


COMMANDS = (
    "::error title=x::pwned",
    "::set-output name=a::b",
    "##[error]pwned",
    "%0A::warning::pwned",
    "::stop-commands::x",
)


@pytest.mark.parametrize("json_lines", [False, True])
async def test_no_sender_commands_the_runner_of_a_workflow(tmp_path: Path, json_lines: bool) -> None:
    """In GitHub Actions nothing of what arrives, in any part of a request or answer, commands its runner."""
    environ = {"GITHUB_ACTIONS": "true"}
    bodies = [
        *(said(one) for one in COMMANDS),
        *(f"{one}\n\n  {one}".encode() for one in COMMANDS),
        json.dumps({"code": 200, "data": {"taskId": TASK, "images": ["\n::error::x", "##[error]y"]}}).encode(),
    ]
    answer = "\r\n".join(COMMANDS).encode()
    async with (
        receiving(500, answer) as behind,
        listening(
            tmp_path,
            environ=environ,
            json=json_lines,
            verbosity=0 if json_lines else 2,
            forward_to=[f"127.0.0.1:{behind.port}"],
        ) as run,
    ):
        path = "/" + run.url.split("/", 3)[3]
        for body in bodies:
            await run.post(body, headers={"X-Words": COMMANDS[0], "User-Agent": COMMANDS[2]})
        for one in ("%0A::error::x", "::error::x", "%23%23[error]y"):
            await run.post(b"x", path=f"{path}?{one}")
            await run.post(b"x", path=f"/{one}")
        await run.interrupt()
    lines = (run.stdout + run.stderr).splitlines()
    assert len(lines) > len(bodies)
    assert [line for line in lines if line.lstrip().startswith("::") or "##[" in line] == []
    assert "pwned" in run.stdout


def test_no_sender_commands_the_runner_beside_a_process(cli: Cli) -> None:
    """The same of a process of its own whose streams a runner joins: a body and a path are only shown."""
    script = (
        "import os, urllib.request as u, contextlib as c\n"
        "url = os.environ['SUNO_CALLBACK_URL']\n"
        "with c.suppress(OSError): u.urlopen(url.rpartition('/')[0] + '/%0A::error::x', b'##[error]x')\n"
        f"u.urlopen(url, {said('##[error]pwned')!r}).close()\n"
        "u.urlopen(url + '?::error::x', b'{}')\n"
    )
    words = ("listen", "--no-tunnel", "--once", "-vv", "--", sys.executable, "-c", script)
    run = cli.run(*words, GITHUB_ACTIONS="true")
    lines = (run.stdout + run.stderr).splitlines()
    assert [line for line in lines if line.lstrip().startswith("::") or "##[" in line] == []
    assert any("pwned" in line for line in lines)
    assert any("/%0A::error::x" in line for line in lines)


EXPRESS = (
    b'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
    b"<body>\n<pre>Cannot POST /hook</pre>\n</body>\n</html>\n"
)
NGINX = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center>nginx</center>\r\n</body></html>"
)
STYLED = (
    b"<HTML><style>"
    + b"p { color: red }\n" * 50
    + b"</STYLE><!-- <p>hidden</p> --><h1>Caf&eacute; &lt;closed&gt;</h1>"
)


@pytest.mark.parametrize(
    ("page", "quote"),
    [
        (EXPRESS, "Error Cannot POST /hook"),
        (NGINX, "502 Bad Gateway nginx"),
        (STYLED, "Caf\u00e9 <closed>"),
        (b"<p>half a <b", "half a"),
        (b"<html><script>" + b"x" * 5000, ""),
        (b"<error>not a page</error>", "<error>not a page</error>"),
    ],
)
def test_of_a_page_its_words_are_quoted(page: bytes, quote: str) -> None:
    """A handler that answers with a page of HTML is quoted with what a reader of that page sees."""
    delivery = Delivery(url="http://a", outcome=Outcome.ANSWERED, status=500, latency_ms=1.0, body=page)
    assert describe_said(delivery) == (f'"{quote}"' if quote else "")
