"""What counts as a callback: tolerance for the service's habits, and none for anything else."""

import gc
import gzip
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suno_cover_cli.base.models import is_safe_task_id
from suno_cover_cli.callbacks.content import NotACallbackError, parse_callback
from tests.listener_fixtures import IMAGES, TASK, callback_body, connect, new_listener, post, request_bytes


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (callback_body(), (TASK, 200, "success", IMAGES)),
        (callback_body(code=501), (TASK, 501, "failed", ())),
        (b'{"code":200,"data":{"task_id":"a-b_C"}}', ("a-b_C", 200, "", ())),
        (b'{"code":200,"data":{"taskId":"one","task_id":"two"}}', ("one", 200, "", ())),
        (b'{"code":200,"data":{"taskId":null,"task_id":"two"}}', ("two", 200, "", ())),
        (b'{"code":"200","data":{"taskId":"a"},"msg":null}', ("a", 200, "", ())),
        (b'{"code":200.0,"data":{"taskId":12345}}', ("12345", 200, "", ())),
        (b'\xef\xbb\xbf {"code":200,"data":{"taskId":"a"}}\r\n', ("a", 200, "", ())),
        (b'{"new":[{}],"code":200,"data":{"x":1,"taskId":"a"}}', ("a", 200, "", ())),
        (b'{"code":1,"code":2,"data":{"taskId":"a"}}', ("a", 2, "", ())),
        (b'{"code":200,"data":{"taskId":"a","images":"none"}}', ("a", 200, "", ())),
        (b'{"code":200,"data":{"taskId":"a","images":["u",null,7]}}', ("a", 200, "", ("u",))),
        ('{"code":200,"msg":"好","data":{"taskId":"a"}}'.encode(), ("a", 200, "好", ())),
        (b'{"code":200,"msg":"\xff","data":{"taskId":"a"}}', ("a", 200, "\xff", ())),
        ('{"code":200,"data":{"taskId":"a"}}'.encode("utf-16"), ("a", 200, "", ())),
        ('{"code":200,"data":{"taskId":"a"}}'.encode("utf-32-be"), ("a", 200, "", ())),
        ('{"code":200,"data":{"taskId":"a"}}'.encode("utf-16-le"), ("a", 200, "", ())),
        ('{"code":200,"data":{"taskId":"a"}}'.encode("utf-32-le"), ("a", 200, "", ())),
        (b"taskId=a&code=200", ("a", 200, "", ())),
        (rb'{"code":200,"msg":"\ud83d","data":{"taskId":"a"}}', ("a", 200, "\ufffd", ())),
        (rb'{"code":200,"msg":"x\uDE00\ud83d\ude00","data":{"taskId":"a"}}', ("a", 200, "x\ufffd\U0001f600", ())),
        (rb'{"code":200,"msg":"\\ud83d","data":{"taskId":"a"}}', ("a", 200, "\\ud83d", ())),
        (rb'{"code":200,"\ud800":1,"data":{"taskId":"a","title":"\udc00"}}', ("a", 200, "", ())),
        ('{"code":200,"msg":"好\\ud83d","data":{"taskId":"a"}}'.encode(), ("a", 200, "好\ufffd", ())),
        ('{"code":200,"msg":"\\ud83d","data":{"taskId":"a"}}'.encode("utf-16"), ("a", 200, "\ufffd", ())),
        (rb'{"code":200,"data":"{\"taskId\":\"a\",\"title\":\"\\ud83d\"}"}', ("a", 200, "", ())),
        (rb'code=200&msg=\ud83d&data={"taskId":"a","images":["\ud83d"]}', ("a", 200, r"\ud83d", ("\ufffd",))),
        (rb'code=200&taskId=a&images=["u","\ud83d"]', ("a", 200, "", ("u", "\ufffd"))),
        (rb'payload={"code":200,"msg":"\ud83d","data":{"taskId":"a"}}', ("a", 200, "\ufffd", ())),
        (b'{"code":200,"msg":"\xf0\x9f\x98","data":{"taskId":"a"}}', ("a", 200, "\ufffd", ())),
        (b'{"code":200,"msg":"\xed\xa0\xbd","data":{"taskId":"a"}}', ("a", 200, 3 * "\ufffd", ())),
        ('{"code":200,"msg":"好好'.encode() + b'\xe5","data":{"taskId":"a"}}', ("a", 200, "好好\ufffd", ())),
        (b'{"code":200,"taskId":"a","images":["u"],"data":null}', ("a", 200, "", ("u",))),
    ],
)
def test_habits_of_the_service_are_tolerated(body: bytes, read: tuple[Any, ...]) -> None:
    """Either spelling of the id, numbers as text and text as numbers, unknown fields and a mark are all read."""
    content = parse_callback(body)
    assert (content.task_id, content.code, content.message, content.image_urls) == read


def test_a_deep_body_leaves_room_for_whatever_runs_while_it_is_read() -> None:
    """The garbage collector may strike at any depth of a body, and what it calls does not run out of stack."""
    ended = []

    def go_down(levels: int) -> int:
        return levels and go_down(levels - 1)

    class Garbage:
        def __init__(self) -> None:
            self.itself = self  # only the collector ends it

        def __del__(self) -> None:
            ended.append(go_down(20))

    body = b'{"code":200,"data":{"taskId":"a","images":' + b"[" * 3000
    before = gc.get_threshold()
    gc.freeze()  # the collector's own time is not what this is about
    thresholds = range(800, 1000)
    try:
        for threshold in thresholds:
            gc.collect()
            gc.set_threshold(threshold, 1000, 1000)
            Garbage()
            with pytest.raises(NotACallbackError):
                parse_callback(body)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        gc.collect()
    assert len(ended) == len(thresholds)


NOT_CALLBACKS = [
    b"",
    b" ",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b"taskId=a",
    b"<html></html>",
    b'{"code":200}',
    b'{"code":200,"data":null}',
    b'{"code":200,"data":[]}',
    b'{"code":200,"data":"a"}',
    b'{"code":200,"data":{}}',
    b'{"code":200,"data":{"taskId":""}}',
    b'{"code":200,"data":{"taskId":true}}',
    b'{"code":200,"data":{"taskId":1.5}}',
    b'{"code":200,"data":{"taskId":["a"]}}',
    b'{"code":200,"data":{"taskId":"../../etc/passwd"}}',
    b'{"code":200,"data":{"taskId":"a\\u001b[31m"}}',
    b'{"code":200,"data":{"taskId":"a\\n"}}',
    b'{"code":200,"data":{"taskId":"' + b"a" * 129 + b'"}}',
    b'{"data":{"taskId":"a"}}',
    b'{"code":null,"data":{"taskId":"a"}}',
    b'{"code":true,"data":{"taskId":"a"}}',
    b'{"code":"two hundred","data":{"taskId":"a"}}',
    b'{"code":200.5,"data":{"taskId":"a"}}',
    b'{"code":NaN,"data":{"taskId":"a"}}',
    b'{"code":1e999,"data":{"taskId":"a"}}',
    b'{"code":1' + b"0" * 300 + b',"data":{"taskId":"a"}}',
    b'{"code":1' + b"0" * 9000 + b',"data":{"taskId":"a"}}',
    b'{"code":200,"data":{"taskId":1' + b"0" * 9000 + b"}}",
    b'{"code":200,"data":{"taskId":"a"}} trailing',
    b'{"code":200,"data":{"taskId":"a\\ud800"}}',
    b'{"code":200,"data":{"taskId":"a"},"msg":"\\ud8"}',
    '{"code":200,"data":{"taskId":"a"}'.encode("utf-16"),
    b'{"code":200,"data":{"taskId":"a","images":' + b"[" * 100_000,
    b'{"code":200,"data":{"taskId":"a"},"x":' + b'{"x":' * 100_000,
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
]


@pytest.mark.parametrize("body", NOT_CALLBACKS, ids=range(len(NOT_CALLBACKS)))
async def test_what_is_no_callback_is_400(body: bytes) -> None:
    """Wrong types, encodings, depths, sizes of numbers and foreign formats are all 400 in words of our own."""
    async with new_listener() as listener:
        inbox = listener.open_inbox(is_read=False)
        answer = await post(listener, inbox.path, body)
        refusal = json.loads(answer.body)
        assert (answer.status, refusal["status"]) == (400, "refused")
        assert refusal["reason"].isascii()
        assert (await post(listener, inbox.path, callback_body())).status == 200


def test_long_texts_and_lists_are_cut() -> None:
    """A message of a megabyte and a list of thousands of images are kept only as far as anybody would read."""
    body = callback_body(images=["u"] * 5000).replace(b"success", b"m" * 500_000)
    content = parse_callback(body)
    assert (len(content.message), len(content.image_urls)) == (2000, 100)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["code", "data", "taskId", "task_id", "images", "msg"]), inner, max_size=5
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    """JSON of any shape is either a callback with a safe id or refused; nothing else can come of it."""
    with suppress(NotACallbackError):
        assert is_safe_task_id(parse_callback(json.dumps(value).encode()).task_id)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Bytes of any kind never end in another error."""
    with pytest.raises(NotACallbackError):
        parse_callback(body)


@pytest.mark.parametrize(
    "headers",
    [("Content-Type: text/html; charset=utf-16",), ("Content-Type:",), (), ("Content-Encoding: identity",)],
)
async def test_headers_do_not_decide_what_a_body_is(headers: tuple[str, ...]) -> None:
    """A callback is one by its bytes, whatever its headers claim."""
    async with new_listener() as listener, connect(listener) as wire:
        await wire.send(request_bytes(listener.open_inbox().path, callback_body(), headers=headers))
        assert (await wire.read_answer()).status == 200


async def test_a_bomb_is_refused() -> None:
    """A body that would unpack to 50 MB is refused, and says what it is."""
    bomb = gzip.compress(b" " * 50_000_000)
    async with new_listener() as listener:
        path = listener.open_inbox(is_read=False).path
        answer = await post(listener, path, bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status == 413
    assert json.loads(answer.body)["reason"] == "gzip of over 1 MiB when unpacked"


@pytest.mark.parametrize("letters", [b"caf\xc3\xa9", b"caf\xe9"], ids=["utf-8", "latin-1"])
async def test_headers_keep_their_order_spelling_and_letters(letters: bytes) -> None:
    """Headers reach the inbox in their order and spelling, repeated ones and letters beyond ASCII included."""
    body = callback_body()
    async with new_listener() as listener, connect(listener) as wire:
        inbox = listener.open_inbox()
        head = f"POST {inbox.path} HTTP/1.1\r\nContent-Length: {len(body)}\r\nHost: h\r\n".encode()
        await wire.send(head + b"x-b: 1\r\nX-A: 2\r\nx-B: " + letters + b"\r\nx-a: 4\r\n\r\n" + body)
        assert (await wire.read_answer()).status == 200
        callback = await inbox.receive()
    assert callback.headers[2:] == (("x-b", "1"), ("X-A", "2"), ("x-B", "caf\xe9"), ("x-a", "4"))
