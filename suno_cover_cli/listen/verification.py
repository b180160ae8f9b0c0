"""Signatures of recorded callbacks: which are in a file, and what exactly is wrong with each."""

import binascii
import shlex
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.files import read_given
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.bodies import MAX_BODY_BYTES, Headers
from suno_cover_cli.callbacks.content import NotACallbackError, parse_callback
from suno_cover_cli.callbacks.signature import SignatureReport, check_signature

_MAX_INPUT_BYTES = 64 * 1024 * 1024


class SignedBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be checked: a body, its headers, and the moment it arrived (epoch seconds)."""

    body: bytes
    headers: Headers
    arrived_at: float


class _EventLine(msgspec.Struct):
    """The parts of an event line of ``listen --json`` that matter here."""

    type: str
    ts: float
    body_b64: str
    headers: dict[str, str] = {}


class SignatureLine(msgspec.Struct, frozen=True, kw_only=True):
    """One checked callback as scripts read it; ``age_s`` is the stamp's age on arrival."""

    v: int = 1
    type: str = "signature"
    task_id: str | None
    signature: SignatureState
    reason: str
    age_s: float | None


def check_signed_body(one: SignedBody, key: WebhookKey, max_age_s: float) -> tuple[str | None, SignatureReport]:
    """Return the cover task id that a body names, and what its signature is worth."""
    try:
        task_id = parse_callback(one.body, one.headers).task_id
    except NotACallbackError as error:
        return None, SignatureReport(state=SignatureState.BAD, reason=f"the body is not a callback: {error}")
    return task_id, check_signature(
        key,
        task_id,
        headers=one.headers,
        body=one.body,
        now_s=one.arrived_at,
        max_age_s=max_age_s,
    )


def read_signed_input(path: str, stdin: BinaryIO) -> bytes:
    """Read a file, or standard input when the path is ``-``.

    Raises:
        UsageError: It cannot be read, or is larger than 64 MiB.
    """
    where = "standard input" if path == "-" else path
    try:
        raw = read_given(path, stdin, _MAX_INPUT_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read {where}: {error.strerror}", hint="Check the path.") from None
    if len(raw) > _MAX_INPUT_BYTES:
        raise UsageError(f"{where} is larger than 64 MiB", hint="Give it only the lines to check.")
    return raw


def find_signed_bodies(raw: bytes, path: str) -> Iterator[SignedBody]:
    """Find the event lines of ``listen --json`` in a file; its other lines are passed over.

    Raises:
        UsageError: There is none, or the file is something else.
    """
    found = 0
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.strip():
            continue
        try:
            kind = msgspec.json.decode(line, type=dict[str, Any]).get("type")
            if kind != "event":
                continue
            event = msgspec.json.decode(line, type=_EventLine)
            body = binascii.a2b_base64(event.body_b64, strict_mode=True)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise UsageError(
                f"{clean(path, 200)}, line {number} is not a line of listen --json",
                code="not_an_event",
                hint="For a bare body add --timestamp and --signature with the values of its two headers.",
            ) from None
        found += 1
        yield SignedBody(body=body[:MAX_BODY_BYTES], headers=tuple(event.headers.items()), arrived_at=event.ts)
    if not found:
        raise UsageError(
            f"{clean(path, 200)} holds no event",
            code="not_an_event",
            hint=f"Save one with: suno-cover listen --once --json > {_file_for(path)}",
        )


def _file_for(path: str) -> str:
    """Return what to write behind ``>``: the file that was given, or one to give."""
    return "events.json" if path == "-" else shlex.quote(clean(path, 400))
