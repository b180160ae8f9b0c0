"""What an answer of the service means: HTTP status and body in, verdict or error out. No I/O.

The verdict is ``code`` in the body: kie.ai was recorded answering HTTP 200 for every application error. The HTTP
status decides only where there is no envelope: wrong paths, gateways, outages.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from suno_cover_cli.base.errors import RefusedError, UnavailableError, UnreadableAnswerError
from suno_cover_cli.base.models import (
    Envelope,
    JobRecord,
    RecordState,
    Submission,
    WireImages,
    WireMusic,
    WireRecord,
    WireSubmission,
    is_safe_task_id,
)
from suno_cover_cli.base.providers import Habits, Provider
from suno_cover_cli.base.text import clean, with_whole_characters
from suno_cover_cli.service.codes import (
    CODE_ALREADY_MADE,
    CODE_JOB_FAILED,
    CODE_OK,
    error_of,
    key_refused,
    message_of,
    throttled,
)

_SHOWN_BODY_CHARS = 80

_FLAG_STATES = {
    0: RecordState.WAITING,
    1: RecordState.SUCCEEDED,
    # Sister calls of the vendor use 2 for "failed"; here it is documented and recorded as still running.
    2: RecordState.RUNNING,
    3: RecordState.FAILED,
}
_WORD_STATES = {
    "PENDING": RecordState.WAITING,
    "WAITING": RecordState.WAITING,
    "SUCCESS": RecordState.SUCCEEDED,
    "FAILED": RecordState.FAILED,
}


def decode_envelope(status: int, body: bytes, provider: Provider) -> Envelope:
    """Find the envelope in an answer, and bring it into the shape and the codes of the shared contract.

    Args:
        status: HTTP status.
        body: Body as received, already capped in length.
        provider: Whose answer it is.

    Raises:
        UnavailableError: A gateway's 5xx, 408, 425, 429 or 430 without an envelope.
        UnreadableAnswerError: HTTP success whose body is not an envelope.
        KeyRefusedError: HTTP 401 without an envelope.
        RefusedError: Any other status without an envelope, such as the 404 of a wrong base URL.
    """
    try:
        return _envelope_of(body, provider.habits)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        what = _describe_body(body)
    if status == 401:  # noqa: PLR2004 -- the status is its own name
        raise key_refused("", provider)
    if status in {429, 430}:
        raise throttled("")
    if status >= 500 or status in {408, 425}:  # noqa: PLR2004 -- the same
        raise UnavailableError(
            f"the service answered HTTP {status} with {what}",
            hint="It is a fault on their side: try again in a few minutes.",
        )
    if status == 404:  # noqa: PLR2004 -- the same
        raise RefusedError(
            f"there is no such path at this base URL (HTTP 404 with {what})",
            code="wrong_base_url",
            hint=f"Check --base-url: the address without a path, such as {provider.base_url}.",
        )
    if 300 <= status < 400:  # noqa: PLR2004 -- the same
        raise RefusedError(
            f"the service answered with a redirect (HTTP {status}), which is not followed, to keep the key safe",
            code="wrong_base_url",
            hint="Set --base-url to its real address.",
        )
    if status >= 400:  # noqa: PLR2004 -- the same
        raise RefusedError(
            f"the service answered HTTP {status} with {what}",
            hint="Check --base-url and --provider.",
        )
    raise UnreadableAnswerError(
        f"the service answered HTTP {status} with {what} instead of JSON",
        hint="Check --base-url; if it is right, try again in a few minutes.",
    )


def _envelope_of(body: bytes, habits: Habits) -> Envelope:
    body = with_whole_characters(body)
    if habits.envelope_fields or habits.data_fields:
        found = _respelled(msgspec.json.decode(body), habits.envelope_fields)
        if isinstance(found, dict):
            found["data"] = _respelled(found.get("data"), habits.data_fields)
        body = msgspec.json.encode(found)
    envelope = msgspec.json.decode(body, type=Envelope, strict=False)
    envelope.code = habits.codes.get(envelope.code, envelope.code)
    return envelope


def _respelled(found: Any, spellings: Mapping[str, str]) -> Any:
    """Give the fields of an object the contract's names; a field that bears one already goes before the others."""
    if not isinstance(found, dict):
        return found
    renamed = {spellings[name]: value for name, value in found.items() if name in spellings}
    return renamed | {name: value for name, value in found.items() if name not in spellings}


def _describe_body(body: bytes) -> str:
    if not body.strip():
        return "an empty body"
    start = body[:512].decode("utf-8", "replace")
    shown = clean(start, _SHOWN_BODY_CHARS)
    lowered = start.lstrip().lower()
    if lowered.startswith("<"):
        return f"a web page ({shown})"
    if lowered.startswith(("{", "[")):
        return f"broken or unexpected JSON ({shown})"
    return f"something else ({shown})"


def read_submission(envelope: Envelope, provider: Provider) -> Submission:
    """Read a submit's answer.

    A duplicate (400 or 409 with an id, documented but never recorded) is a success with ``is_existing``.

    Raises:
        RefusedError: Refused, or an id that is not safe to use.
        SunoCoverError: Whatever :func:`codes.error_of` makes of the code.
    """
    task_id = _submitted_id(envelope)
    if envelope.code == CODE_OK:
        if task_id is None:
            raise UnreadableAnswerError(
                "the service accepted the job but named no id",
                hint="Run the same command again: a repeat returns the same job.",
            )
        return Submission(task_id=task_id)
    if envelope.code in CODE_ALREADY_MADE and task_id is not None:
        return Submission(task_id=task_id, is_existing=True)
    raise error_of(envelope, provider)


def _submitted_id(envelope: Envelope) -> str | None:
    try:
        data = msgspec.json.decode(envelope.data, type=WireSubmission | None, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    found = (data.taskId or data.task_id) if data is not None else None
    if not found:
        return None
    task_id = str(found)
    if not is_safe_task_id(task_id):
        raise RefusedError(
            f'the service returned an id that is not safe to use: "{clean(task_id, 60)}"',
            code="unsafe_id",
            hint="Nothing was written. Check --base-url: this is not how the service's ids look.",
        )
    return task_id


def read_record(envelope: Envelope, task_id: str, provider: Provider) -> JobRecord:
    """Make sense of a record-info answer.

    Raises:
        SunoCoverError: Whatever :func:`codes.error_of` makes of a refusing code that does not end the job.
        UnreadableAnswerError: ``data`` is neither an object nor null.
    """
    if envelope.code in CODE_JOB_FAILED:
        return JobRecord(
            task_id=task_id, state=RecordState.FAILED, error_code=envelope.code, message=message_of(envelope)
        )
    if envelope.code != CODE_OK:
        raise error_of(envelope, provider)
    try:
        wire = msgspec.json.decode(envelope.data, type=WireRecord | None, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UnreadableAnswerError(
            "the service described the job in a way this version cannot read "
            f"({_describe_body(bytes(envelope.data))})",
            hint="Try again; if it happens again, report it together with the output of -v.",
        ) from None
    if wire is None:
        return JobRecord(task_id=task_id, state=RecordState.ABSENT)
    parent = wire.parentTaskId
    return JobRecord(
        task_id=task_id,
        state=_state_of(wire),
        music_task_id=parent if isinstance(parent, str) and parent else None,
        image_urls=_image_urls(wire.response),
        error_code=_number(wire.errorCode),
        message=clean(wire.errorMessage) if isinstance(wire.errorMessage, str) else "",
        created_at=_epoch_s(wire.createTime),
        completed_at=_epoch_s(wire.completeTime),
    )


def _state_of(wire: WireRecord) -> RecordState:
    """Flags are numbers, numbers as text, or (at resellers) words. An unknown value means: keep waiting."""
    flag = wire.successFlag if wire.successFlag is not None else wire.status
    number = _number(flag)
    if number is not None:
        return _FLAG_STATES.get(number, RecordState.RUNNING)
    word = flag.strip().upper() if isinstance(flag, str) else ""
    if word.endswith("_FAILED"):
        return RecordState.FAILED
    return _WORD_STATES.get(word, RecordState.RUNNING)


def _image_urls(response: Any) -> tuple[str, ...]:
    try:
        images = msgspec.convert(response, WireImages | None, strict=False)
    except msgspec.ValidationError:
        return ()
    found = images.images if images is not None else None
    if found is None:
        return ()
    entries = found if isinstance(found, list) else [found]
    # What is no address stays in the list, as its JSON: whoever saves covers says so of each.
    return tuple(entry if isinstance(entry, str) else msgspec.json.encode(entry).decode() for entry in entries)


def _number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _epoch_s(value: Any) -> float | None:
    """Times are ISO text (documented), epoch milliseconds (recorded) or null."""
    number = _number(value)
    if number is not None:
        return number / 1000 if number > 10**11 else float(number)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_title(envelope: Envelope, provider: Provider) -> str | None:
    """Read the title of a piece of music from the record of its own task, if there is one.

    The track's title goes before the one that was ordered. Text from outside: clean it before use.

    Raises:
        SunoCoverError: Whatever :func:`codes.error_of` makes of a refusing code.
    """
    if envelope.code != CODE_OK:
        raise error_of(envelope, provider)
    try:
        wire = msgspec.json.decode(envelope.data, type=WireMusic | None, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if wire is None:
        return None
    tracks = wire.response.get("sunoData") if isinstance(wire.response, dict) else None
    for found in [*(tracks if isinstance(tracks, list) else []), _order_of(wire.param)]:
        title = found.get("title") if isinstance(found, dict) else None
        if isinstance(title, str) and title.strip():
            return title
    return None


def _order_of(param: Any) -> Any:
    if not isinstance(param, str):
        return param
    try:
        return msgspec.json.decode(with_whole_characters(param.encode()))
    except (msgspec.MsgspecError, RecursionError):
        return None


def read_credits(envelope: Envelope, provider: Provider) -> float:
    """Read a balance: documented as an integer, recorded as a decimal.

    Raises:
        SunoCoverError: Whatever :func:`codes.error_of` makes of a refusing code.
        UnreadableAnswerError: ``data`` is not a number.
    """
    if envelope.code != CODE_OK:
        raise error_of(envelope, provider)
    try:
        return msgspec.json.decode(envelope.data, type=float, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UnreadableAnswerError(
            "the service's balance is not a number",
            hint="Check --provider: the providers' balance paths differ.",
        ) from None
