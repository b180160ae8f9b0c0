"""Makes of a request on an open path what the rest of the program sees: judged, numbered, with its sender."""

from collections.abc import Sequence
from ipaddress import ip_address

import msgspec

from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.callbacks.content import ReceivedRequest, quoted
from suno_cover_cli.callbacks.exchanges import RECEIVED, Answer, CallbackInbox, decoded
from suno_cover_cli.callbacks.framing import UnreadRequest
from suno_cover_cli.callbacks.verdict import BodyFault, judge
from suno_cover_cli.callbacks.wire import Request

_FORWARDED_FOR = "X-Forwarded-For"


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A request that was taken in.

    Attributes:
        received: What came.
        wakes: It is delivered to the inbox.
        answer: What it deserves.
    """

    received: ReceivedRequest
    wakes: bool
    answer: Answer

    def hand_on(self, inbox: CallbackInbox) -> None:
        """Deliver it, or tell of a signature that refused it."""
        if self.wakes:
            inbox.deliver(self.received)
        elif self.received.is_refused:
            inbox.on_refused(self.received)


class Intake:
    """Takes requests in.

    Args:
        webhook_key: Key that signs callbacks; ``None`` leaves signatures unchecked.
        signature_age_s: Seconds a signature's stamp may lie behind or ahead.
        trusts_forwarded_for: See :class:`~suno_cover_cli.callbacks.listener.CallbackListener`.
    """

    def __init__(
        self, *, webhook_key: WebhookKey | None, signature_age_s: float, trusts_forwarded_for: bool
    ) -> None:
        self._webhook_key = webhook_key
        self._signature_age_s = signature_age_s
        self._trusts_forwarded_for = trusts_forwarded_for

    def take(
        self, inbox: CallbackInbox, request: Request, body: bytes, fault: BodyFault | None, ts: float
    ) -> Taken:
        """Take in a request.

        Args:
            inbox: Of its path.
            request: Its head.
            body: As sent, or what is here of it.
            fault: Why that is not all.
            ts: Epoch seconds at arrival.
        """
        headers, method = decoded(request.raw_headers), request.method
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
        place = inbox.number(verdict.content, body, is_accepted=wakes)
        received = ReceivedRequest(
            n=place.n,
            id=place.id,
            ts=ts,
            method=method,
            path=quoted(request.target),
            headers=headers,
            body=body,
            remote=self.remote_of(request),
            content=verdict.content,
            reason=verdict.reason,
            signature=verdict.signature.state,
            signature_reason=verdict.signature.reason,
            duplicate_of=place.duplicate_of,
            is_whole=fault is None,
        )
        if verdict.content is None and self._wakes_unread(inbox, method):
            wakes, answer = True, RECEIVED if fault is None else answer
        return Taken(received, wakes, answer)

    def take_unread(
        self, inbox: CallbackInbox, unread: UnreadRequest, *, peer: str, reason: str, answer: Answer, ts: float
    ) -> Taken:
        """Take in what the parser refused: it was sent to an open path, so it is seen, and wakes its job.

        Args:
            inbox: Of its path.
            unread: What is known of it.
            peer: Address of the other end of its connection.
            reason: Why it was refused.
            answer: What it was answered.
            ts: Epoch seconds at arrival.
        """
        place = inbox.number(None, unread.body, is_accepted=False)
        given = [value for name, value in unread.headers if name.lower() == _FORWARDED_FOR.lower()]
        received = ReceivedRequest(
            n=place.n,
            id=place.id,
            ts=ts,
            method=unread.method,
            path=quoted(unread.target),
            headers=unread.headers,
            body=unread.body,
            remote=self._remote_behind(peer, given),
            content=None,
            reason=reason,
            is_whole=False,
        )
        return Taken(received, self._wakes_unread(inbox, unread.method), answer)

    def remote_of(self, request: Request) -> str:
        """Return the sender's address: what the agent says where the agent connects, else the peer's."""
        peer = request.connection.peer
        if not self._trusts_forwarded_for:
            return peer
        return self._remote_behind(peer, request.headers.getall(_FORWARDED_FOR, ()))

    def _wakes_unread(self, inbox: CallbackInbox, method: str) -> bool:
        # Whatever it says, it was sent to a secret path: the job is read. That it cannot be read itself is no
        # reason to have it sent again.
        return inbox.is_read and method == "POST" and self._webhook_key is None

    def _remote_behind(self, peer: str, given: Sequence[str]) -> str:
        if given and self._trusts_forwarded_for and _is_loopback(peer):
            # What the sender wrote there itself stands before what the agent has added.
            last = given[-1].rpartition(",")[2].strip()
            if _is_address(last):
                return last
        return peer


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(text: str) -> bool:
    return _is_address(text) and ip_address(text).is_loopback
