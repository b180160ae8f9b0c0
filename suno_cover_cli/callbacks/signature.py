"""Signatures of callbacks, as kie.ai documents them (opt-in; sunoapi.org signs nothing).

``X-Webhook-Signature = base64(HMAC-SHA256(key, taskId + "." + timestamp))``, ``X-Webhook-Timestamp`` in
unix seconds. The images are **not** covered: even a valid pair may carry foreign addresses, which is why a
callback only wakes the reader of the service's own record.
"""

import binascii
import hashlib
import hmac
import re

import msgspec

from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.text import Secret

TIMESTAMP_HEADER = "X-Webhook-Timestamp"
SIGNATURE_HEADER = "X-Webhook-Signature"

MAX_AGE_S = 300.0
"""The providers name no maximum age; five minutes either way leaves room for clocks that disagree."""

_UNIX_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_UNIX_MILLISECONDS = re.compile(r"[0-9]{12,14}", re.ASCII)
_DIGEST_BYTES = 32


class SignatureReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found.

    Attributes:
        state: The verdict.
        reason: The part that is wrong, in words of our own; empty when all is well or nothing was checked.
        age_s: Seconds since the stamp, negative when it lies ahead; ``None`` without a readable stamp.
    """

    state: SignatureState
    reason: str = ""
    age_s: float | None = None


_UNCHECKED = SignatureReport(state=SignatureState.UNCHECKED)


def sign(key: Secret, task_id: str, timestamp: str) -> str:
    """Return the value of ``X-Webhook-Signature`` for a task and a stamp, exactly as both are sent."""
    text = f"{task_id}.{timestamp}".encode("utf-8", "surrogateescape")
    digest = hmac.digest(key.reveal().encode(), text, hashlib.sha256)
    return binascii.b2a_base64(digest, newline=False).decode("ascii")


def check_signature(
    key: Secret | None,
    task_id: str,
    *,
    timestamp: str | None,
    signature: str | None,
    now_s: float,
    max_age_s: float = MAX_AGE_S,
) -> SignatureReport:
    """Judge the two headers of a callback, in time that does not depend on how wrong they are.

    A stamp is called stale only when its signature is right: nobody but the holder of the key can make one.

    Args:
        key: The webhook key, or ``None`` to leave the signature unchecked.
        task_id: As the body spells it.
        timestamp: Value of ``X-Webhook-Timestamp``, or ``None``.
        signature: Value of ``X-Webhook-Signature``, or ``None``.
        now_s: Epoch seconds at the moment the request came.
        max_age_s: Seconds a stamp may lie behind or ahead of ``now_s``.
    """
    if key is None:
        return _UNCHECKED
    absent = [name for name, value in ((TIMESTAMP_HEADER, timestamp), (SIGNATURE_HEADER, signature)) if not value]
    if not timestamp or not signature:
        return SignatureReport(state=SignatureState.MISSING, reason=f"no {' and no '.join(absent)} header")
    expected = sign(key, task_id, timestamp)
    is_right = hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape"))
    if _UNIX_SECONDS.fullmatch(timestamp) is None:
        return SignatureReport(state=SignatureState.BAD, reason=_explain_stamp(timestamp))
    age_s = now_s - int(timestamp)
    if not is_right:
        return SignatureReport(state=SignatureState.BAD, reason=_explain_mismatch(signature), age_s=age_s)
    if abs(age_s) > max_age_s:
        side = "old" if age_s > 0 else "ahead of this machine's clock"
        reason = (
            f"the signature is right but its stamp is {abs(age_s):.0f} s {side}, {max_age_s:.0f} s are allowed"
        )
        return SignatureReport(state=SignatureState.STALE, reason=reason, age_s=age_s)
    return SignatureReport(state=SignatureState.OK, age_s=age_s)


def _explain_stamp(timestamp: str) -> str:
    if _UNIX_MILLISECONDS.fullmatch(timestamp):
        return f"{TIMESTAMP_HEADER} looks like milliseconds; unix seconds are documented"
    return f"{TIMESTAMP_HEADER} is not a time in unix seconds"


def _explain_mismatch(signature: str) -> str:
    try:
        size = len(binascii.a2b_base64(signature, strict_mode=True))
    except ValueError:  # binascii.Error, and text that is not ASCII
        return f"{SIGNATURE_HEADER} is not base64"
    if size != _DIGEST_BYTES:
        return f"{SIGNATURE_HEADER} holds {size} bytes where an HMAC-SHA256 has {_DIGEST_BYTES}"
    return "another key, another task id or another timestamp was signed"
