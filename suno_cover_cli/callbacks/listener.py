"""The local HTTP server that callbacks arrive at. Everything it reads was sent by anybody.

One request, one of these answers (the statuses are a contract): 200 ``{"status":"received"}`` before any work,
404 for a path nobody opened, 405 for anything but POST, 413 above 1 MiB, 400 for what is not a callback, 401
for a signature that is wrong, missing or stale when a webhook key is set. Strangers learn nothing else, cost
bounded memory and time, and write nothing on the terminal.
"""

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self, cast

import msgspec
from aiohttp import web

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.callbacks.binding import explain_bind_error, local_url
from suno_cover_cli.callbacks.connections import ConnectionLedger, ConnectionLimits, descriptor_room
from suno_cover_cli.callbacks.content import NotACallbackError, ReceivedCallback, parse_callback
from suno_cover_cli.callbacks.exchanges import RECEIVED, Answer, Exchange, Responder
from suno_cover_cli.callbacks.inbox import CallbackInbox, InboxClosedError
from suno_cover_cli.callbacks.listener_http import (
    Connection,
    RefusalError,
    WireAnswer,
    make_request,
    plain_headers,
    read_body,
    send,
)
from suno_cover_cli.callbacks.signature import MAX_AGE_S, check_signature

__all__ = [
    "RECEIVED",
    "Answer",
    "CallbackInbox",
    "CallbackListener",
    "Exchange",
    "InboxClosedError",
    "ReceivedCallback",
    "Responder",
]

_SWEEP_S = 1.0
# The part of the closing time that cutting the last connections may take, at most twice over.
_CUTTING_S = 0.1
# Turns of the event loop from bytes that lie in the kernel to a request that is owed an answer.
_TURNS_TO_ANSWER = 4
# A connection is read some three turns of the loop after its acceptance. Were all places given away within
# those, a crowd would push out callbacks that nobody has looked at yet.
_TURNS_TO_FILL = 8
# The crowd waits in the kernel instead, as long a queue as the system allows; asking again takes a client 1 s.
_QUEUE = 4096
_PLAIN_PATH = re.compile(r"/[!-\"$->@-~]{0,1000}", re.ASCII)


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
        responder: Decides the answer to accepted callbacks; without one it is 200 at once.
        on_exchange: Told of every request after its answer, strangers' included, our probe's not. It must
            neither block nor raise.
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
        self._webhook_key = webhook_key
        self._signature_age_s = signature_age_s
        self._responder = responder
        self._on_exchange = on_exchange
        self._limits = limits or ConnectionLimits()
        self._inboxes: dict[bytes, CallbackInbox] = {}
        self._route_key = secrets.token_bytes(32)

    async def __aenter__(self) -> Self:
        # Twice as many, because those accepted in a turn are there before any can be dropped.
        room = descriptor_room(2 * self._limits.max_connections) // 2
        limits = msgspec.structs.replace(self._limits, max_connections=min(self._limits.max_connections, room))
        self._ledger = ConnectionLedger(limits, self._clock)
        self._web = web.Server(self._serve, request_factory=make_request)
        # What clients do wrong is counted, not logged: the terminal belongs to the user.
        silent = logging.Logger("callbacks", logging.CRITICAL + 1)  # noqa: LOG001 -- nobody else's, no parent
        connect = partial(Connection, self._web, registry=self._ledger, on_garbage=self._note_garbage, log=silent)
        loop = asyncio.get_running_loop()
        try:
            # asyncio accepts "backlog" connections a turn, and asks the kernel for a queue of that length.
            at_once = max(limits.max_connections // _TURNS_TO_FILL, 1)
            self._server = await loop.create_server(connect, self._host, self._port, backlog=at_once)
            for bound in self._server.sockets:
                with bound.dup() as same:
                    same.listen(_QUEUE)
        except (OSError, OverflowError) as error:
            raise explain_bind_error(error, self._host, self._port) from error
        self.local_url = local_url(self._server.sockets[0].getsockname())
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
                async with asyncio.timeout(max(self._limits.closing_s - 2 * _CUTTING_S, 0)):
                    await self._ledger.wait_settled()
            self._ledger.drop_waiting()
            await self._web.shutdown(_CUTTING_S)
        finally:
            for inbox in list(self._inboxes.values()):
                inbox.close()
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])

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
        route = self._route(path)
        if route in self._inboxes:
            raise UsageError("The callback path is taken", code="bad_path", hint="Choose another --path")
        inbox = CallbackInbox(path, on_close=partial(self._close_route, route), is_read=is_read)
        self._inboxes[route] = inbox
        return inbox

    def _close_route(self, route: bytes) -> None:
        del self._inboxes[route]

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_S)
            self._ledger.drop_overdue()

    def _route(self, path: str) -> bytes:
        # A keyed digest: the time a look-up takes tells nothing about how near a guess was.
        text = path.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, key=self._route_key, digest_size=16).digest()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; aiohttp calls this once its head is complete."""
        connection = cast("Connection", request.protocol)
        began_s, ts = self._clock.monotonic(), self._clock.time()
        path = request.raw_path.partition("?")[0]
        if path == self.probe_path and request.method in {"GET", "HEAD"}:
            self._ledger.waits(connection, is_known=True)
            connection.end_request()
            return WireAnswer(Answer(200, self.probe_answer.encode()), content_type="text/plain")
        reason, body = "", b""
        callback: ReceivedCallback | None
        try:
            inbox = self._find_inbox(path, request.method)
            body = await read_body(request, connection, self._ledger)
            callback = self._admit(inbox, request, body, ts)
            answer = RECEIVED if self._responder is None else await self._responder(callback)
            inbox.deliver(callback)
        except RefusalError as refusal:
            answer, reason, callback = refusal.answer, refusal.reason, refusal.callback
        # From here on the client is waited for: an answer that nobody reads keeps no connection alive.
        self._ledger.waits(connection)
        response, is_lost = await send(request, answer)
        if not reason:
            self._ledger.waits(connection, is_known=True)
        if request.content.is_eof():
            connection.end_request()
        if self._on_exchange is not None:
            self._on_exchange(
                Exchange(
                    method=request.method,
                    path=request.raw_path,
                    headers=callback.headers if callback else plain_headers(request),
                    body=body,
                    remote=request.remote or "",
                    ts=ts,
                    status=answer.status,
                    reason=reason,
                    latency_ms=(self._clock.monotonic() - began_s) * 1000,
                    callback=callback,
                    is_answer_lost=is_lost,
                )
            )
        return response

    def _find_inbox(self, path: str, method: str) -> CallbackInbox:
        inbox = self._inboxes.get(self._route(path))
        if inbox is None:
            raise RefusalError(404, "unknown path")
        if method != "POST":
            raise RefusalError(405, "callbacks are sent with POST")
        return inbox

    def _admit(self, inbox: CallbackInbox, request: web.BaseRequest, body: bytes, ts: float) -> ReceivedCallback:
        try:
            content = parse_callback(body, plain_headers(request))
        except NotACallbackError as error:
            raise RefusalError(400, str(error)) from error
        headers = plain_headers(request)
        report = check_signature(
            self._webhook_key,
            content.task_id,
            headers=headers,
            body=body,
            now_s=ts,
            max_age_s=self._signature_age_s,
        )
        callback = inbox.admit(
            content,
            body=body,
            headers=headers,
            path=request.raw_path,
            remote=request.remote or "",
            signature=report.state,
            ts=ts,
        )
        if not report.state.is_acceptable:
            raise RefusalError(401, report.reason, callback=callback)
        return callback

    def _note_garbage(self, status: int, reason: str) -> None:
        if self._on_exchange is not None:
            self._on_exchange(Exchange(ts=self._clock.time(), status=status, reason=reason))
