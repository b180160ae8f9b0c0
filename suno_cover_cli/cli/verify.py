"""``verify``: check the signature of recorded callbacks, and say what exactly is wrong."""

import binascii
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.models import SignatureState
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.callbacks.content import MAX_BODY_BYTES, NotACallbackError, parse_callback
from suno_cover_cli.callbacks.signature import (
    MAX_AGE_S,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SignatureReport,
    check_signature,
)
from suno_cover_cli.ui.output import Output, json_line
from suno_cover_cli.wiring.context import Context, ServiceOptions
from suno_cover_cli.wiring.runner import run as run_command

_MAX_INPUT_BYTES = 64 * 1024 * 1024


class VerifyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the command; see its help."""

    timestamp: str | None = None
    signature: str | None = None
    max_age_s: float = MAX_AGE_S
    webhook_key_file: str | None = None
    profile: str | None = None


class SignedBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be checked: a body, its two headers, and the moment it arrived (epoch seconds)."""

    body: bytes
    timestamp: str | None
    signature: str | None
    arrived_at: float


class _EventLine(msgspec.Struct):
    """The parts of an event line of ``listen --json`` that matter here."""

    type: str
    ts: float
    body_b64: str
    headers: dict[str, str] = {}


class VerifyLine(msgspec.Struct, frozen=True, kw_only=True):
    """One checked callback as scripts read it; ``age_s`` is the stamp's age on arrival."""

    v: int = 1
    type: str = "signature"
    task_id: str | None
    signature: SignatureState
    reason: str
    age_s: float | None


def run(path: str, options: VerifyOptions, output: Output) -> NoReturn:
    """Run the command and leave the process."""
    run_command(lambda: verify(path, options, Context(output=output)), output)


def verify(path: str, options: VerifyOptions, context: Context) -> Coroutine[Any, Any, ExitCode]:
    """Read input and key, and return the rest: print a verdict for each callback in the input.

    Raises:
        UsageError: No key, an input that cannot be read or holds no callback, or headers without a body.
    """
    where = context.sources(options.profile)
    key = context.webhook_key(where, ServiceOptions(webhook_key_file=options.webhook_key_file))
    if key is None:
        raise UsageError(
            "there is no webhook key to check with",
            code="no_webhook_key",
            hint="Set SUNO_WEBHOOK_KEY or add --webhook-key-file FILE. Keys: https://kie.ai/settings",
        )
    raw = _read(path, context.output.streams.stdin)
    if options.timestamp is not None or options.signature is not None:
        signed = [
            SignedBody(
                body=raw,
                timestamp=options.timestamp,
                signature=options.signature,
                arrived_at=context.clock.time(),
            )
        ]
    else:
        signed = list(_events(raw, path))
    return _verify(signed, key, options.max_age_s, context.output)


async def _verify(signed: list[SignedBody], key: Secret, max_age_s: float, output: Output) -> ExitCode:
    is_all_right = True
    for one in signed:
        task_id, report = _check(one, key, max_age_s)
        is_all_right = is_all_right and report.state is SignatureState.OK
        if output.is_json:
            line = VerifyLine(
                task_id=task_id, signature=report.state, reason=report.reason, age_s=_rounded(report.age_s)
            )
            output.write_line(json_line(line))
            continue
        age = "" if report.age_s is None else f"  stamp {report.age_s:.0f} s old on arrival"
        reason = f"  {clean(report.reason)}" if report.reason else ""
        output.write_line(f"{report.state}  {task_id or '-'}{age}{reason}")
    return ExitCode.OK if is_all_right else ExitCode.BAD_SIGNATURE


def _check(one: SignedBody, key: Secret, max_age_s: float) -> tuple[str | None, SignatureReport]:
    try:
        task_id = parse_callback(one.body).task_id
    except NotACallbackError as error:
        return None, SignatureReport(state=SignatureState.BAD, reason=f"the body is no callback: {error}")
    return task_id, check_signature(
        key,
        task_id,
        timestamp=one.timestamp,
        signature=one.signature,
        now_s=one.arrived_at,
        max_age_s=max_age_s,
    )


def _rounded(age_s: float | None) -> float | None:
    return None if age_s is None else round(age_s, 3)


def _read(path: str, stdin: BinaryIO) -> bytes:
    where = "standard input" if path == "-" else path
    try:
        if path == "-":
            raw = stdin.read(_MAX_INPUT_BYTES + 1)
        else:
            with Path(path).expanduser().open("rb") as stream:
                raw = stream.read(_MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {where}: {error.strerror}", hint="Check the path.") from None
    if len(raw) > _MAX_INPUT_BYTES:
        raise UsageError(f"{where} is larger than 64 MiB", hint="Give it the lines in question alone.")
    return raw


def _events(raw: bytes, path: str) -> Iterator[SignedBody]:
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
                f"{path}, line {number} is no line of listen --json",
                code="not_an_event",
                hint="For a bare body add --timestamp and --signature with the values of its two headers.",
            ) from None
        found += 1
        headers: Mapping[str, str] = {name.lower(): value for name, value in event.headers.items()}
        yield SignedBody(
            body=body[:MAX_BODY_BYTES],
            timestamp=headers.get(TIMESTAMP_HEADER.lower()),
            signature=headers.get(SIGNATURE_HEADER.lower()),
            arrived_at=event.ts,
        )
    if not found:
        raise UsageError(
            f"{path} holds no event",
            code="not_an_event",
            hint="Save one with: suno-cover listen --once --json > events",
        )
