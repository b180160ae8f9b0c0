"""Signatures of callbacks: made and checked by the provider's scheme, which is data (opt-in where there is one).

The images are often **not** covered, as with kie.ai's scheme (documented): even a valid pair of headers may carry
foreign addresses, which is why a callback only wakes the reader of the service's own record.
"""

import binascii
import hmac
import math
import re
from string import Formatter

import msgspec

from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.providers import SignatureScheme
from suno_cover_cli.callbacks.bodies import Headers

MAX_AGE_S = 300.0
"""The providers name no maximum age; five minutes either way leaves room for clocks that disagree."""

_UNIX_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_UNIX_MILLISECONDS = re.compile(r"[0-9]{12,14}", re.ASCII)


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


UNCHECKED = SignatureReport(state=SignatureState.UNCHECKED)


def sign(key: WebhookKey, task_id: str, timestamp: str, body: bytes = b"") -> str:
    """Return the value of the signature header.

    Args:
        key: Secret and scheme.
        task_id: Exactly as the body spells it.
        timestamp: Exactly as its header is sent; empty for a scheme without one.
        body: Exactly as it is sent.
    """
    scheme = key.scheme
    given = {
        "task_id": _as_sent(task_id),
        "timestamp": _as_sent(timestamp),
        "body": body,
    }
    # Put together from parts, not replaced in a text: what came may spell "{body}" itself.
    signed = b"".join(
        text.encode() + (given[name] if name is not None else b"")
        for text, name, _, _ in Formatter().parse(scheme.signed)
    )
    digest = hmac.digest(key.secret.reveal().encode(), signed, scheme.algorithm)
    return scheme.prefix + _encoded(digest, scheme)


def _encoded(digest: bytes, scheme: SignatureScheme) -> str:
    if scheme.encoding == "hex":
        return digest.hex()
    return binascii.b2a_base64(digest, newline=False).decode("ascii")


def _as_sent(text: str) -> bytes:
    """Return a text as bytes: what was not UTF-8 as it came, half a character of JSON as its three bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def check_signature(
    key: WebhookKey | None,
    task_id: str,
    *,
    headers: Headers,
    body: bytes,
    now_s: float,
    max_age_s: float = MAX_AGE_S,
) -> SignatureReport:
    """Judge the signature of a callback, in time that does not depend on how wrong it is.

    A stamp is called stale only when its signature is right: only the holder of the key can make one.

    Args:
        key: The webhook key, or ``None`` to leave the signature unchecked.
        task_id: As the body spells it.
        headers: As they came; of a name that came twice the first counts.
        body: As it came.
        now_s: Epoch seconds at the moment the request came.
        max_age_s: Seconds a stamp may lie behind or ahead of ``now_s``.
    """
    if key is None:
        return UNCHECKED
    scheme = key.scheme
    stamp = _value_of(headers, scheme.timestamp_header)
    signature = _value_of(headers, scheme.signature_header)
    wanted = ((scheme.timestamp_header, stamp), (scheme.signature_header, signature))
    if absent := [name for name, value in wanted if name and not value]:
        return SignatureReport(state=SignatureState.MISSING, reason=f"no {' and no '.join(absent)} header")
    expected = sign(key, task_id, stamp, body)
    is_right = hmac.compare_digest(expected.encode(), _as_sent(signature))
    age_s = now_s - int(stamp) if _UNIX_SECONDS.fullmatch(stamp) is not None else None
    if scheme.timestamp_header and age_s is None:
        return SignatureReport(state=SignatureState.BAD, reason=_explain_stamp(stamp, scheme))
    if not is_right:
        return SignatureReport(state=SignatureState.BAD, reason=_explain_mismatch(signature, scheme), age_s=age_s)
    if age_s is not None and abs(age_s) > max_age_s:
        side = "old" if age_s > 0 else "ahead of this machine's clock"
        # Rounded up: a stamp that is a little too old is not shown as just old enough.
        shown_s = math.ceil(abs(age_s))
        reason = f"the signature is right but its stamp is {shown_s} s {side}, {max_age_s:.10g} s are allowed"
        return SignatureReport(state=SignatureState.STALE, reason=reason, age_s=age_s)
    return SignatureReport(state=SignatureState.OK, age_s=age_s)


def _value_of(headers: Headers, name: str) -> str:
    wanted = name.lower()
    return next((value for one, value in headers if one.lower() == wanted), "")


def signature_headers(key: WebhookKey, task_id: str, timestamp: str, body: bytes) -> Headers:
    """Return the headers that sign a callback; the arguments are those of :func:`sign`."""
    scheme = key.scheme
    stamp = timestamp if scheme.timestamp_header else ""
    pairs = ((scheme.timestamp_header, stamp), (scheme.signature_header, sign(key, task_id, stamp, body)))
    return tuple((name, value) for name, value in pairs if name)


def _explain_stamp(timestamp: str, scheme: SignatureScheme) -> str:
    if _UNIX_MILLISECONDS.fullmatch(timestamp):
        return f"{scheme.timestamp_header} looks like milliseconds; unix seconds are documented"
    return f"{scheme.timestamp_header} is not a time in unix seconds"


def _explain_mismatch(signature: str, scheme: SignatureScheme) -> str:
    name = scheme.signature_header
    if not signature.startswith(scheme.prefix):
        return f'{name} does not begin with "{scheme.prefix}"'
    try:
        size = len(_decoded(signature.removeprefix(scheme.prefix), scheme))
    except ValueError:  # binascii.Error, and text that is not ASCII
        return f"{name} is not {scheme.encoding}"
    expected = hmac.new(b"", digestmod=scheme.algorithm).digest_size
    if size != expected:
        return f"{name} holds {size} bytes where an HMAC-{scheme.algorithm.upper()} has {expected}"
    # Only what the scheme signs can differ; a body that is not signed may be any.
    signed = [name.replace("_", " ") for _, name, _, _ in Formatter().parse(scheme.signed) if name is not None]
    *parts, last = [f"another {name}" for name in ("key", *signed)]
    return f"{', '.join(parts)} or {last} was signed"


def _decoded(text: str, scheme: SignatureScheme) -> bytes:
    if scheme.encoding == "hex":
        return bytes.fromhex(text)
    return binascii.a2b_base64(text, strict_mode=True)
