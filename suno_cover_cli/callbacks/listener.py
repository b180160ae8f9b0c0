"""The local HTTP server that callbacks arrive at. Any program may have sent what it reads.

One request, one of these answers (the statuses are a contract): 200 ``{"status":"received"}`` before any work,
404 for a path that is not open, and on an open one those of :func:`~suno_cover_cli.callbacks.verdict.judge`.
Where a job waits, any POST on its secret path wakes it and is answered with 200, except under a webhook key:
then only a right signature does. Unknown senders learn nothing else, cost bounded memory and time, and write
nothing on the terminal.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import msgspec

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import UsageError, explain_bind_error
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.callbacks.bodies import MAX_BODY_BYTES
from suno_cover_cli.callbacks.connections import ConnectionLimits, ConnectionRegistry, descriptor_room
from suno_cover_cli.callbacks.content import ReceivedRequest
from suno_cover_cli.callbacks.exchanges import Answer, CallbackInbox, Exchange, Responder, decoded
from suno_cover_cli.callbacks.intake import Intake, Taken
from suno_cover_cli.callbacks.replies import (
    bounded,
    plain_path,
    read_body,
    write_answer,
    write_long_answer,
    write_refusal,
)
from suno_cover_cli.callbacks.signature import MAX_AGE_S
from suno_cover_cli.callbacks.verdict import BodyFault, refusal
from suno_cover_cli.callbacks.wire import Connection, Later, Refusal, Request

_SWEEP_S = 1.0
# Turns of the event loop from bytes that lie in the kernel to a request that is owed an answer.
_TURNS_TO_ANSWER = 4
# A connection is read some three turns of the loop after its acceptance. Were all places given away within
# those, a crowd would push out callbacks that were not read yet.
_TURNS_TO_FILL = 8
# The crowd waits in the kernel instead, as long a queue as the system allows; asking again takes a client 1 s.
_QUEUE = 4096
_PLAIN_TEXT = ((b"Content-Type", b"text/plain"),)
_UNKNOWN_PATH = "unknown path"
_PLAIN_PATH = re.compile(r"/[!-\"$->@-~]{0,1000}", re.ASCII)


class Arrival(msgspec.Struct, eq=False, gc=False):
    """A request, and when its head was here: on the clock that only goes on, and on the wall's."""

    request: Request
    began_s: float
    ts: float


class CallbackListener:
    """Receives callbacks, on loopback or wherever ``host`` says, until it is left.

    An async context manager: entering means bound and serving; leaving stops accepting, lets answers that are
    owed go out for at most ``limits.closing_s`` and cuts the rest.

    Args:
        clock: Time of arrival and of waiting.
        host: Address to bind.
        port: Port to bind, 0 for any free one.
        webhook_key: Key that signs callbacks; ``None`` leaves signatures unchecked.
        signature_age_s: Seconds a signature's stamp may lie behind or ahead.
        max_body_bytes: Above this a body is not read at all.
        trusts_forwarded_for: A client on this machine is the tunnel's agent, and its word for the
            sender's address counts.
        responder: Decides the answer to requests on open paths; without one it is given at once.
        on_exchange: Told of every request after its answer, those on other paths included, our probe's not. It
            must neither block nor raise.
        limits: See :class:`ConnectionLimits`.

    Attributes:
        local_url: ``http://127.0.0.1:PORT``, known once entered.
        probe_path: A GET of it, by whatever way, is answered with ``probe_answer``. Both are random.
        probe_answer: See ``probe_path``.

    Raises:
        UsageError: On entering, when the address cannot be bound.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        webhook_key: WebhookKey | None = None,
        signature_age_s: float = MAX_AGE_S,
        max_body_bytes: int = MAX_BODY_BYTES,
        trusts_forwarded_for: bool = False,
        responder: Responder | None = None,
        on_exchange: Callable[[Exchange], None] | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self.local_url = ""
        self.probe_path = f"/probe/{secrets.token_hex(16)}"
        self.probe_answer = secrets.token_hex(16)
        self._clock = clock
        self._host = host
        self._port = port
        self._intake = Intake(
            webhook_key=webhook_key,
            signature_age_s=signature_age_s,
            trusts_forwarded_for=trusts_forwarded_for,
        )
        self._max_body_bytes = max_body_bytes
        self._responder = responder
        self._on_exchange = on_exchange
        self._limits = limits or ConnectionLimits()
        # The time a look-up takes does not tell how near a guess was: two texts are compared letter by letter only
        # where their hashes are the same, and those are 64 bits made with a secret of the process.
        self._inboxes: dict[str, CallbackInbox] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        # Twice as many, because those accepted in a turn are there before any can be dropped.
        room = descriptor_room(2 * self._limits.max_connections) // 2
        limits = msgspec.structs.replace(self._limits, max_connections=min(self._limits.max_connections, room))
        self._connections = ConnectionRegistry(limits, self._clock)
        connect = partial(Connection, registry=self._connections, serve=self._serve, start=self._start)
        loop = asyncio.get_running_loop()
        try:
            # asyncio accepts "backlog" connections a turn, and asks the kernel for a queue of that length.
            at_once = max(limits.max_connections // _TURNS_TO_FILL, 1)
            self._server = await loop.create_server(connect, self._host, self._port, backlog=at_once)
            for bound in self._server.sockets:
                with bound.dup() as same:
                    same.listen(_QUEUE)
        except (OSError, OverflowError) as error:
            raise explain_bind_error(error, self._host, self._port, option="--listen-port") from error
        self.local_url = _url_of(self._server.sockets[0].getsockname())
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        try:
            for _ in range(_TURNS_TO_ANSWER):
                await asyncio.sleep(0)
            with suppress(TimeoutError):  # what is still owed then is cut with the rest
                async with asyncio.timeout(self._limits.closing_s):
                    await self._connections.wait_settled()
        finally:
            self._connections.drop_all()
            for inbox in list(self._inboxes.values()):
                inbox.close()
            # One that has not begun would complain that what it was to wait for never ran.
            await asyncio.sleep(0)
            self._sweeper.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.wait([self._sweeper, *self._tasks])

    def open_inbox(self, path: str | None = None, *, is_read: bool = True) -> CallbackInbox:
        """Open a path for callbacks, from this moment on.

        Args:
            path: A path of one's own choice; by default ``/callback/`` and a new random 128-bit token.
            is_read: Callbacks are received from the inbox, not only seen by the responder.

        Raises:
            UsageError: ``path`` is not a plain absolute path, or is taken.
        """
        if path is None:
            path = f"/callback/{secrets.token_hex(16)}"
        if _PLAIN_PATH.fullmatch(path) is None:
            hint = "Start it with / and leave out blanks, ? and #, as in --path /suno-callback"
            raise UsageError("The callback path is not a plain path", code="bad_path", hint=hint)
        if path in self._inboxes:
            raise UsageError("The callback path is taken", code="bad_path", hint="Choose another --path")
        inbox = CallbackInbox(path, on_close=partial(self._inboxes.pop, path), is_read=is_read)
        self._inboxes[path] = inbox
        return inbox

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_S)
            self._connections.drop_overdue()

    def _find_inbox(self, path: str) -> CallbackInbox | None:
        # Some senders put a slash behind the address they were given.
        return self._inboxes.get(path) or self._inboxes.get(path.rstrip("/"))

    def _start(self, later: Later) -> "asyncio.Task[None]":
        task = asyncio.create_task(later)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _serve(self, arrival: Request | Refusal) -> Later | None:
        """Answer what came, now or in the coroutine that is returned."""
        try:
            later = self._note_refusal(arrival) if isinstance(arrival, Refusal) else self._answer(arrival)
        except Exception as error:  # noqa: BLE001 -- reported, and the sender hears of it
            self._fail(arrival, error)
            return None
        return None if later is None else self._serve_later(arrival, later)

    async def _serve_later(self, arrival: Request | Refusal, later: Later) -> None:
        try:
            await later
        except Exception as error:  # noqa: BLE001 -- as above
            self._fail(arrival, error)

    def _fail(self, arrival: Request | Refusal, error: Exception) -> None:
        """Report a fault of our own. The sender gets 500, and tries again."""
        context = {"message": "A callback could not be answered", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        if isinstance(arrival, Request) and not arrival.is_answered:
            arrival.stays_open = False
            write_answer(arrival, refusal(500, "internal error"))
            arrival.finish()
        else:
            arrival.connection.drop()

    def _answer(self, request: Request) -> Later | None:
        arrival = Arrival(request, self._clock.monotonic(), self._clock.time())
        path = plain_path(request.target)
        if path == self.probe_path and request.method in {"GET", "HEAD"}:
            self._connections.waits(request.connection, is_known=True)
            write_answer(request, Answer(body=self.probe_answer.encode(), headers=_PLAIN_TEXT))
            request.finish()
            return None
        inbox = self._find_inbox(path)
        if inbox is None:
            return self._finish(arrival, None, refusal(404, _UNKNOWN_PATH))
        if not request.payload.is_eof():
            return self._read_and_take(arrival, inbox)
        # The usual case: the body came in one piece with its head.
        body, fault = bounded(request.payload.read_nowait(), self._max_body_bytes)
        return self._take(arrival, inbox, body, fault)

    async def _read_and_take(self, arrival: Arrival, inbox: CallbackInbox) -> None:
        body, fault = await read_body(arrival.request, self._connections, max_bytes=self._max_body_bytes)
        later = self._take(arrival, inbox, body, fault)
        if later is not None:
            await later

    def _take(self, arrival: Arrival, inbox: CallbackInbox, body: bytes, fault: BodyFault | None) -> Later | None:
        """Take in a request on an open path, hand it on, and answer it."""
        taken = self._intake.take(inbox, arrival.request, body, fault, arrival.ts)
        answer = taken.answer if self._responder is None else self._responder(taken.received, taken.answer)
        if not isinstance(answer, Answer):
            return self._answer_later(arrival, inbox, taken, answer)
        taken.hand_on(inbox)
        return self._finish(arrival, taken.received, answer)

    async def _answer_later(
        self, arrival: Arrival, inbox: CallbackInbox, taken: Taken, answering: Awaitable[Answer]
    ) -> None:
        if taken.received.is_whole:
            self._connections.answers(arrival.request.connection)
        answer = await answering
        taken.hand_on(inbox)
        later = self._finish(arrival, taken.received, answer)
        if later is not None:
            await later

    def _finish(self, arrival: Arrival, received: ReceivedRequest | None, answer: Answer) -> Later | None:
        """Write an answer and report it."""
        connection = arrival.request.connection
        if answer.rest is not None:
            on_progress = partial(self._connections.waits, connection)
            on_progress()
            writing = write_long_answer(arrival.request, answer, answer.rest, on_progress=on_progress)
            return self._finish_later(arrival, received, answer, writing)
        is_lost = write_answer(arrival.request, answer)
        if connection.writing_paused:
            # From here on the client is waited for: one that reads no answers is not owed any.
            self._connections.waits(connection)
        elif connection.is_half_closed:
            # It is owed until it is known whether it arrived: one that went out at the end was not cut off.
            self._connections.answers(connection)
        else:
            self._report(arrival, received, answer, is_lost=is_lost)
            return None
        return self._finish_later(arrival, received, answer, connection.wait_sent())

    async def _finish_later(
        self, arrival: Arrival, received: ReceivedRequest | None, answer: Answer, sending: Awaitable[bool]
    ) -> None:
        self._report(arrival, received, answer, is_lost=await sending)

    def _report(
        self, arrival: Arrival, received: ReceivedRequest | None, answer: Answer, *, is_lost: bool
    ) -> None:
        request = arrival.request
        reason = _UNKNOWN_PATH if received is None else received.why_refused
        self._connections.waits(request.connection, is_known=not reason)
        request.finish()
        if self._on_exchange is None:
            return
        self._on_exchange(
            Exchange(
                method=request.method,
                path=request.target,
                headers=received.headers if received else decoded(request.raw_headers),
                remote=received.remote if received else self._intake.remote_of(request),
                ts=arrival.ts,
                status=answer.status,
                reason=reason,
                latency_ms=(self._clock.monotonic() - arrival.began_s) * 1000,
                request=received,
                is_answer_lost=is_lost,
            )
        )

    def _note_refusal(self, refused: Refusal) -> Later | None:
        answer, unread, ts = refusal(refused.status, refused.reason), refused.unread, self._clock.time()
        is_lost = write_refusal(refused.connection, answer)
        inbox = None if unread is None else self._find_inbox(plain_path(unread.target))
        if unread is not None and inbox is not None:
            peer, reason = refused.connection.peer, refused.reason
            taken = self._intake.take_unread(inbox, unread, peer=peer, reason=reason, answer=answer, ts=ts)
            return self._hand_on_unread(inbox, taken, is_lost=is_lost)
        if self._on_exchange is not None:
            exchange = Exchange(ts=ts, status=refused.status, reason=refused.reason, is_answer_lost=is_lost)
            self._on_exchange(exchange)
        return None

    async def _hand_on_unread(self, inbox: CallbackInbox, taken: Taken, *, is_lost: bool) -> None:
        received = taken.received
        if self._responder is not None:
            answer = self._responder(received, taken.answer)
            if not isinstance(answer, Answer):
                await answer
        taken.hand_on(inbox)
        if self._on_exchange is not None:
            self._on_exchange(
                Exchange(
                    method=received.method,
                    path=received.path,
                    headers=received.headers,
                    remote=received.remote,
                    ts=received.ts,
                    status=taken.answer.status,
                    reason=received.reason,
                    request=received,
                    is_answer_lost=is_lost,
                )
            )


def _url_of(address: tuple[Any, ...]) -> str:
    """Return the URL by which this machine reaches a socket bound to ``address``."""
    host, port = str(address[0]), address[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- read, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
