"""The local HTTP server that callbacks arrive at. Any program may have sent what it reads.

One request, one of these answers (the statuses are a contract): 200 ``{"status":"received"}`` before any work,
404 for a path that is not open, and on an open one those of :func:`~suno_cover_cli.callbacks.verdict.judge`.
Where a job waits, any POST on its secret path wakes it and is answered with 200, except under a webhook key:
then only a right signature does. Unknown senders learn nothing else, cost bounded memory and time, and write
nothing on the terminal.
"""

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, cast

import msgspec
from aiohttp import web

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.base.errors import UsageError, explain_bind_error
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.callbacks.bodies import MAX_BODY_BYTES
from suno_cover_cli.callbacks.connections import ConnectionLimits, ConnectionRegistry, descriptor_room
from suno_cover_cli.callbacks.content import ReceivedRequest, quoted
from suno_cover_cli.callbacks.exchanges import (
    RECEIVED,
    Answer,
    CallbackInbox,
    Exchange,
    Responder,
)
from suno_cover_cli.callbacks.listener_http import (
    Connection,
    UnreadRequest,
    WireAnswer,
    make_request,
    plain_headers,
    plain_path,
    read_body,
    send,
)
from suno_cover_cli.callbacks.signature import MAX_AGE_S
from suno_cover_cli.callbacks.verdict import judge, refusal

_SWEEP_S = 1.0
# The part of the closing time that cutting the last connections may take, at most twice over.
_CUTTING_S = 0.1
# Turns of the event loop from bytes that lie in the kernel to a request that is owed an answer.
_TURNS_TO_ANSWER = 4
# A connection is read some three turns of the loop after its acceptance. Were all places given away within
# those, a crowd would push out callbacks that were not read yet.
_TURNS_TO_FILL = 8
# The crowd waits in the kernel instead, as long a queue as the system allows; asking again takes a client 1 s.
_QUEUE = 4096
_PLAIN_TEXT = ((b"Content-Type", b"text/plain"),)
_FORWARDED_FOR = "X-Forwarded-For"
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
        self._webhook_key = webhook_key
        self._signature_age_s = signature_age_s
        self._max_body_bytes = max_body_bytes
        self._trusts_forwarded_for = trusts_forwarded_for
        self._responder = responder
        self._on_exchange = on_exchange
        self._limits = limits or ConnectionLimits()
        self._inboxes: dict[bytes, CallbackInbox] = {}
        self._unread: set[asyncio.Task[None]] = set()
        self._route_key = secrets.token_bytes(32)

    async def __aenter__(self) -> Self:
        # Twice as many, because those accepted in a turn are there before any can be dropped.
        room = descriptor_room(2 * self._limits.max_connections) // 2
        limits = msgspec.structs.replace(self._limits, max_connections=min(self._limits.max_connections, room))
        self._connections = ConnectionRegistry(limits, self._clock)
        self._web = web.Server(self._serve, request_factory=make_request)
        # What clients do wrong is counted, not logged: the terminal belongs to the user.
        silent = logging.Logger("callbacks", logging.CRITICAL + 1)  # noqa: LOG001 -- ours alone, no parent
        connect = partial(
            Connection, self._web, registry=self._connections, on_garbage=self._note_garbage, log=silent
        )
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
                async with asyncio.timeout(max(self._limits.closing_s - 2 * _CUTTING_S, 0)):
                    await self._connections.wait_settled()
            self._connections.drop_waiting()
            await self._web.shutdown(_CUTTING_S)
        finally:
            for inbox in list(self._inboxes.values()):
                inbox.close()
            self._sweeper.cancel()
            for task in self._unread:
                task.cancel()
            await asyncio.wait([self._sweeper, *self._unread])

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
        inbox = CallbackInbox(path, on_close=partial(self._inboxes.pop, route), is_read=is_read)
        self._inboxes[route] = inbox
        return inbox

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_S)
            self._connections.drop_overdue()

    def _route(self, path: str) -> bytes:
        # A keyed digest: the time a look-up takes tells nothing about how near a guess was.
        text = path.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, key=self._route_key, digest_size=16).digest()

    def _find_inbox(self, path: str) -> CallbackInbox | None:
        # Some senders put a slash behind the address they were given.
        return self._inboxes.get(self._route(path)) or self._inboxes.get(self._route(path.rstrip("/")))

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; aiohttp calls this once its head is complete."""
        connection = cast("Connection", request.protocol)
        began_s, ts = self._clock.monotonic(), self._clock.time()
        target, payload = request.raw_path, request.content
        path = plain_path(target)
        if path == self.probe_path and request.method in {"GET", "HEAD"}:
            self._connections.waits(connection, is_known=True)
            connection.end_request()
            return WireAnswer(Answer(body=self.probe_answer.encode(), headers=_PLAIN_TEXT))
        inbox = self._find_inbox(path)
        received, reason = None, "unknown path"
        if inbox is None:
            answer = refusal(404, reason)
        else:
            received, answer = await self._receive(inbox, request, ts)
            reason = received.reason or received.signature_reason
        # A body that is not read leaves no place to find the next request at.
        is_read = payload.is_eof()
        # From here on the client is waited for: an answer that is not read does not keep a connection alive.
        self._connections.waits(connection)
        response, is_lost = await send(
            request, answer, must_close=not is_read, on_progress=partial(self._connections.waits, connection)
        )
        if not reason:
            self._connections.waits(connection, is_known=True)
        if is_read or payload.is_eof():
            connection.end_request()
        if self._on_exchange is not None:
            self._on_exchange(
                Exchange(
                    method=request.method,
                    path=target,
                    headers=received.headers if received else plain_headers(request),
                    remote=received.remote if received else self._remote_of(request),
                    ts=ts,
                    status=answer.status,
                    reason=reason,
                    latency_ms=(self._clock.monotonic() - began_s) * 1000,
                    request=received,
                    is_answer_lost=is_lost,
                )
            )
        return response

    async def _receive(
        self, inbox: CallbackInbox, request: web.BaseRequest, ts: float
    ) -> tuple[ReceivedRequest, Answer]:
        """Read a request on an open path, hand it on, and return it with its answer."""
        body, fault = await read_body(request, self._connections, max_bytes=self._max_body_bytes)
        headers, method = plain_headers(request), request.method
        verdict = judge(
            method,
            headers,
            body,
            fault=fault,
            key=self._webhook_key,
            now_s=ts,
            max_age_s=self._signature_age_s,
        )
        wakes, answer = verdict.is_accepted, verdict.answer
        n, name, duplicate_of = inbox.number(verdict.content, body, is_accepted=wakes)
        received = ReceivedRequest(
            n=n,
            id=name,
            ts=ts,
            method=method,
            path=quoted(request.raw_path),
            headers=headers,
            body=body,
            remote=self._remote_of(request),
            content=verdict.content,
            reason=verdict.reason,
            signature=verdict.signature.state,
            signature_reason=verdict.signature.reason,
            duplicate_of=duplicate_of,
            is_whole=fault is None,
        )
        if inbox.is_read and method == "POST" and verdict.content is None and self._webhook_key is None:
            # Whatever it says, it was sent to a secret path: the job is read. That it cannot be read itself is no
            # reason to have it sent again.
            wakes, answer = True, RECEIVED if fault is None else answer
        if self._responder is not None:
            answer = await self._responder(received, answer)
        if wakes:
            inbox.deliver(received)
        elif received.is_refused:
            inbox.on_refused(received)
        return received, answer

    def _remote_of(self, request: web.BaseRequest) -> str:
        """Return the sender's address: what the agent says where the agent connects, else the peer's."""
        peer = cast("Connection", request.protocol).peer
        if not self._trusts_forwarded_for:
            return peer
        return self._remote_behind(peer, request.headers.getall(_FORWARDED_FOR, ()))

    def _remote_behind(self, peer: str, given: Sequence[str]) -> str:
        if given and self._trusts_forwarded_for and _is_loopback(peer):
            # What the sender wrote there itself stands before what the agent has added.
            last = given[-1].rpartition(",")[2].strip()
            if _is_address(last):
                return last
        return peer

    def _note_garbage(self, status: int, reason: str, unread: UnreadRequest | None) -> None:
        inbox = None if unread is None else self._find_inbox(plain_path(unread.target))
        if unread is not None and inbox is not None:
            task = asyncio.create_task(self._receive_unread(inbox, unread, reason))
            self._unread.add(task)
            task.add_done_callback(self._unread.discard)
        elif self._on_exchange is not None:
            self._on_exchange(Exchange(ts=self._clock.time(), status=status, reason=reason))

    async def _receive_unread(self, inbox: CallbackInbox, unread: UnreadRequest, reason: str) -> None:
        """Hand on what the parser refused on an open path: it was sent there, so it is seen, and wakes its job."""
        ts = self._clock.time()
        n, name, _ = inbox.number(None, unread.body, is_accepted=False)
        given = [value for name, value in unread.headers if name.lower() == _FORWARDED_FOR.lower()]
        remote = self._remote_behind(unread.peer, given)
        received = ReceivedRequest(
            n=n,
            id=name,
            ts=ts,
            method=unread.method,
            path=quoted(unread.target),
            headers=unread.headers,
            body=unread.body,
            remote=remote,
            content=None,
            reason=reason,
            is_whole=False,
        )
        answer = refusal(400, reason)
        if self._responder is not None:
            await self._responder(received, answer)
        if inbox.is_read and unread.method == "POST" and self._webhook_key is None:
            inbox.deliver(received)
        if self._on_exchange is not None:
            self._on_exchange(
                Exchange(
                    method=unread.method,
                    path=unread.target,
                    headers=unread.headers,
                    remote=remote,
                    ts=ts,
                    status=answer.status,
                    reason=reason,
                    request=received,
                )
            )


def _url_of(address: tuple[Any, ...]) -> str:
    """Return the URL by which this machine reaches a socket bound to ``address``."""
    host, port = str(address[0]), address[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- read, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(text: str) -> bool:
    return _is_address(text) and ip_address(text).is_loopback
