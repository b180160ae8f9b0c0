"""The inbox: secret paths, order, duplicates, and the end of it."""

import asyncio
import re

import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.providers import KIE_SIGNATURE
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.content import parse_callback
from suno_cover_cli.callbacks.exchanges import CallbackInbox, Exchange, InboxClosedError
from suno_cover_cli.callbacks.signature import sign
from tests.clocks import ManualClock
from tests.listener_fixtures import (
    TASK,
    callback_body,
    new_listener,
    post,
)

KEY = WebhookKey(Secret("whk_0123456789"), KIE_SIGNATURE)


async def test_each_inbox_has_a_secret_path_of_its_own() -> None:
    """Every inbox gets another 128-bit token, and sees only what is sent to it."""
    async with new_listener() as listener:
        inboxes = [listener.open_inbox() for _ in range(50)]
        assert all(re.fullmatch(r"/callback/[0-9a-f]{32}", inbox.path) for inbox in inboxes)
        assert len({inbox.path for inbox in inboxes}) == 50
        await post(listener, inboxes[7].path, callback_body("seven"))
        await post(listener, inboxes[3].path, callback_body("three"))
        assert (await inboxes[3].receive()).task_id == "three"
        assert (await inboxes[7].receive()).task_id == "seven"


async def test_what_came_before_the_reader_is_kept_in_order() -> None:
    """Callbacks that arrive before anybody reads are delivered afterwards, in their order, counted from 1."""
    async with new_listener() as listener:
        inbox = listener.open_inbox()
        for task in ("first", "second", "third"):
            await post(listener, inbox.path, callback_body(task))
        received = [await inbox.receive() for _ in range(3)]
    assert [(one.n, one.task_id) for one in received] == [(1, "first"), (2, "second"), (3, "third")]


async def test_a_waiting_reader_wakes() -> None:
    """A reader that waits already gets the callback when it comes."""
    async with new_listener() as listener, asyncio.TaskGroup() as group:
        inbox = listener.open_inbox()
        reading = group.create_task(inbox.receive())
        await asyncio.sleep(0)
        assert not reading.done()
        await post(listener, inbox.path, callback_body())
        assert (await reading).task_id == TASK


async def test_a_closed_inbox_is_an_unknown_path() -> None:
    """After closing, the path is 404, what was unread can still be read, and then the reader is told the end."""
    async with new_listener() as listener:
        with listener.open_inbox() as inbox:
            await post(listener, inbox.path, callback_body())
        assert (await post(listener, inbox.path, callback_body())).status == 404
        assert (await inbox.receive()).task_id == TASK
        with pytest.raises(InboxClosedError):
            await inbox.receive()


async def test_leaving_the_listener_ends_every_wait() -> None:
    """A reader that still waits when the listener is left hears that nothing more will come."""
    async with new_listener() as listener:
        reading = asyncio.ensure_future(listener.open_inbox().receive())
        await asyncio.sleep(0)
    with pytest.raises(InboxClosedError):
        await reading


async def test_duplicates_are_told() -> None:
    """The same body for the same task names the first one; another task, code or body does not."""
    exchanges: list[Exchange] = []
    bodies = [
        callback_body(),
        callback_body("other"),
        callback_body(),
        callback_body(code=501),
        callback_body(images=[]),
        callback_body(),
    ]
    async with new_listener(on_exchange=exchanges.append) as listener:
        inbox = listener.open_inbox()
        for body in bodies:
            assert (await post(listener, inbox.path, body)).status == 200
    seen = [exchange.request for exchange in exchanges if exchange.request]
    assert [one.n for one in seen] == [1, 2, 3, 4, 5, 6]
    assert [one.duplicate_of for one in seen] == [None, None, 1, None, None, 1]


async def test_a_forged_copy_makes_no_duplicate_of_the_real_one() -> None:
    """A callback refused for its signature is not remembered as the first of its kind."""
    stamp = "1700000000"
    signed = {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": sign(KEY, TASK, stamp)}
    clock = ManualClock(start=1_700_000_000.0)
    async with new_listener(webhook_key=KEY, clock=clock) as listener:
        inbox = listener.open_inbox()
        assert (await post(listener, inbox.path, callback_body())).status == 401
        assert (await post(listener, inbox.path, callback_body(), headers=signed)).status == 200
        assert (await inbox.receive()).duplicate_of is None


async def test_a_repeat_wakes_again_once_the_first_was_read() -> None:
    """Repeats collapse while unread; one that comes after the reader has read wakes it again."""
    async with new_listener() as listener:
        inbox = listener.open_inbox()
        for _ in range(5):
            await post(listener, inbox.path, callback_body())
        assert (await inbox.receive()).n == 1
        await post(listener, inbox.path, callback_body())
        repeat = await inbox.receive()
        assert (repeat.n, repeat.duplicate_of) == (6, 1)


async def test_a_fixed_path_can_be_chosen() -> None:
    """A path of one's own is taken as it is, and cannot be opened twice."""
    async with new_listener() as listener:
        inbox = listener.open_inbox("/suno-cover-callback")
        assert (await post(listener, "/suno-cover-callback?x=%20", callback_body())).status == 200
        assert (await inbox.receive()).path == "/suno-cover-callback?x=%20"
        with pytest.raises(UsageError, match="taken"):
            listener.open_inbox("/suno-cover-callback")
        inbox.close()
        listener.open_inbox("/suno-cover-callback")


@pytest.mark.parametrize("path", ["", "callback", "/a b", "/a?b", "/a#b", "/\n", "/caf\xe9", "/" + "a" * 2000])
async def test_a_path_that_is_none_is_refused(path: str) -> None:
    """A fixed path with blanks, a query, letters beyond ASCII or no slash ends in exit 2 with an example."""
    with pytest.raises(UsageError) as caught:
        new_listener().open_inbox(path)
    assert "--path /" in caught.value.hint


def test_what_is_remembered_of_duplicates_is_bounded() -> None:
    """After a thousand other callbacks the first of its kind is forgotten, and its repeat counts as new."""
    inbox = CallbackInbox("/", on_close=list)

    def admit(task: str) -> int | None:
        body = callback_body(task)
        return inbox.number(parse_callback(body), body, is_accepted=True).duplicate_of

    assert [admit(f"t{n}") for n in range(1000)] == [None] * 1000
    assert admit("t0") == 1
    assert admit("t1000") is None
    assert admit("t0") is None


async def test_an_inbox_that_nobody_reads_keeps_nothing() -> None:
    """Where callbacks are only watched, they are answered and numbered, and none is kept for a reader."""
    async with new_listener() as listener:
        inbox = listener.open_inbox(is_read=False)
        for _ in range(2):
            assert (await post(listener, inbox.path, callback_body())).status == 200
        inbox.close()
        with pytest.raises(InboxClosedError):
            await inbox.receive()


def test_ids_do_not_come_again() -> None:
    """Each callback is named at random, also beyond those that one look at the system's randomness yields."""
    inbox = CallbackInbox("/hook", on_close=list)
    content = parse_callback(callback_body())
    ids = {inbox.number(content, b"", is_accepted=True).id for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"evt_[0-9a-f]{8}", one) for one in ids)
