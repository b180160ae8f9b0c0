"""What a request on an open path is, and what it is answered unless an option decides otherwise."""

from typing import NamedTuple

import msgspec

from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.content import CallbackContent, NotACallbackError, parse_callback
from suno_cover_cli.callbacks.exchanges import RECEIVED, Answer
from suno_cover_cli.callbacks.signature import UNCHECKED, SignatureReport, check_signature

_PROBES = {"GET", "HEAD", "OPTIONS"}
_ALLOW = (b"Allow", b"POST, GET, HEAD, OPTIONS")


class BodyFault(NamedTuple):
    """Why a body is not here as a whole: the status to answer, and words of our own."""

    status: int
    reason: str


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a request is.

    Attributes:
        content: What the callback says, or ``None`` when it is not a callback.
        reason: Why it is not a callback; empty for one.
        signature: What its signature is worth.
        answer: 200 to a callback and to a probe; 401 to a signature that is wrong, missing or stale; 405 to other
            methods than POST; 413 to a body that is too large, packed or unpacked; 400 to anything else.
    """

    content: CallbackContent | None
    reason: str
    signature: SignatureReport
    answer: Answer

    @property
    def is_accepted(self) -> bool:
        """Whether it is a callback that counts."""
        return self.content is not None and self.signature.state.is_acceptable


def judge(
    method: str,
    headers: Headers,
    body: bytes,
    *,
    fault: BodyFault | None,
    key: WebhookKey | None,
    now_s: float,
    max_age_s: float,
) -> Verdict:
    """Judge one request on an open path.

    Args:
        method: As sent.
        headers: As sent.
        body: As sent, or what is here of it.
        fault: Why that is not all.
        key: Signs callbacks, or ``None``.
        now_s: Epoch seconds at arrival.
        max_age_s: Seconds a signature's stamp may lie behind or ahead.
    """
    if fault is not None:
        return _no_callback(fault.reason, refusal(fault.status, fault.reason))
    if method != "POST":
        return _no_callback(f"{clean(method, 20)}, not POST", _answer_to(method))
    try:
        content = parse_callback(body, headers)
    except NotACallbackError as error:
        return _no_callback(str(error), refusal(413 if error.is_too_large else 400, str(error)))
    report = UNCHECKED
    if key is not None:
        report = check_signature(
            key,
            content.task_id,
            headers=headers,
            body=body,
            now_s=now_s,
            max_age_s=max_age_s,
        )
    answer = RECEIVED if report.state.is_acceptable else refusal(401, report.reason)
    return Verdict(content, "", report, answer)


def refusal(status: int, reason: str) -> Answer:
    """Return an answer that says why a request is refused."""
    return Answer(status, msgspec.json.encode({"status": "refused", "reason": reason}))


def _no_callback(reason: str, answer: Answer) -> Verdict:
    return Verdict(None, reason, UNCHECKED, answer)


def _answer_to(method: str) -> Answer:
    answer = refusal(405, "callbacks are sent with POST")
    if method in _PROBES:
        answer = Answer(body=b'{"status":"listening"}')
    return msgspec.structs.replace(answer, headers=(*answer.headers, _ALLOW))
