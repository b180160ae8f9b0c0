"""Whatever arrives on the path is shown, recorded, sent on byte for byte and can be sent again with its query."""

import base64
import gzip
import json
import zlib
from pathlib import Path

from tests.callback_cases import CASES
from tests.listen_fixtures import listening, receiving
from tests.listener_fixtures import callback_body
from tests.test_bodies import NOT_READ, PACKERS

RAW = callback_body()
UNICODE = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ODD: list[tuple[str, str, bytes, dict[str, str]]] = [
    *[(method, "songId=5&x=%20", b"", {}) for method in ("GET", "HEAD", "OPTIONS", "DELETE")],
    *[(method, "uid=1&sig=a_b", RAW, {}) for method in ("PUT", "PATCH")],
    *[("POST", f"case={name}", json.dumps(case[0]).encode(), {}) for name, case in CASES.items()],
    *[("POST", "", pack(RAW), {"Content-Encoding": coding}) for coding, pack in PACKERS.values()],
    *[("POST", "", body, {}) for body in NOT_READ],
    *[
        ("POST", "", RAW.decode().encode(charset), {})
        for charset in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32")
    ],
    ("POST", "", json.dumps({"code": 400, "msg": "错误", "taskId": "a"}, ensure_ascii=False).encode("gbk"), {}),
    ("POST", "taskId=1", b"code=200&msg=ok&taskId=a&images[]=u", FORM),
    ("POST", "", RAW, {"Content-Encoding": "gzip"}),
    ("POST", "", RAW, {"Content-Type": "text/html; charset=no-such"}),
    ("POST", "", gzip.compress(b" " * 20_000_000), {"Content-Encoding": "gzip"}),
    ("POST", "", zlib.compress(RAW)[:-5], {"Content-Encoding": "deflate"}),
    ("POST", "", callback_body(x="y" * 1_048_000), {}),
]


async def test_nothing_that_arrives_is_invisible(tmp_path: Path) -> None:
    """At least 60 odd requests each have a JSON line, a number, and reach the receiver as they came."""
    assert len(ODD) >= 60
    async with receiving() as receiver, listening(tmp_path, forward_to=[f"{receiver.port}/hook?own=1"]) as run:
        for method, query, body, headers in ODD:
            answer = await run.post(
                body, method=method, headers=headers, path=f"{run.url[run.url.index('/callback') :]}?{query}"
            )
            assert answer.status == 200
        await run.wait_until(lambda: run.stdout.count('"answered"') >= len(ODD) and run.stdout.endswith("\n"))
        lines = [line for line in run.objects if line["type"] in {"event", "request"}]
    assert [line["n"] for line in lines] == list(range(1, len(ODD) + 1))
    for (method, query, body, _), line, request in zip(ODD, lines, receiver.requests, strict=True):
        assert (line["method"], line["query"], line["answered"]) == (method, query, 200)
        assert base64.b64decode(line["body_b64"]) == body
        assert (line["forward"]["status"], line["forward"]["error"]) == (200, None)
        head, _, sent = request.partition(b"\r\n\r\n")
        target = f"/hook?own=1&{query}" if query else "/hook?own=1"
        assert head.startswith(f"{method} {target} HTTP/1.1\r\n".encode())
        assert sent == body


async def test_each_has_a_line_for_people(tmp_path: Path) -> None:
    """On the screen each callback has a pair of lines, and each other request one."""
    for method, query, body, headers in ODD[:12]:
        async with listening(tmp_path, json=False) as run:
            path = f"{run.url[run.url.index('/callback') :]}?{query}"
            await run.post(body, method=method, headers=headers, path=path)
            await run.wait_until(lambda: run.stdout.endswith("\n"))
            await run.interrupt()
        assert "-->" in run.stdout
