"""What answers mean: both layers, documented and recorded shapes, and what nobody promised."""

import json
from typing import Any

import pytest

from suno_cover_cli.base.errors import (
    CreditsError,
    JobFailedError,
    KeyRefusedError,
    RefusedError,
    SunoCoverError,
    UnavailableError,
    UnreadableAnswerError,
)
from suno_cover_cli.base.models import JobRecord, RecordState
from suno_cover_cli.base.providers import SUNOAPI
from suno_cover_cli.service.answers import decode_envelope, read_credits, read_record, read_submission, read_title
from suno_cover_cli.service.codes import describe_code, error_of


def envelope(code: int | str, msg: Any = "said", data: Any = None) -> bytes:
    """Make an answer's body."""
    return json.dumps({"code": code, "msg": msg, "data": data, "extra": 1}).encode()


def record(**data: Any) -> JobRecord:
    """Read a record-info answer with this ``data``."""
    return read_record(decode_envelope(200, envelope(200, data=data), SUNOAPI), "cover-1", SUNOAPI)


def test_a_text_cut_within_an_emoji_is_read() -> None:
    """Half an emoji in the service's words, or in the order that it repeats, costs none of the rest."""
    assert decode_envelope(200, envelope(200, "x\ud83d"), SUNOAPI).msg == "x\ufffd"
    music = decode_envelope(200, envelope(200, data={"param": json.dumps({"title": "x\ud83d"})}), SUNOAPI)
    assert read_title(music, SUNOAPI) == "x\ufffd"


@pytest.mark.parametrize(
    ("code", "error", "word", "exit_code"),
    [
        (400, RefusedError, "bad_request", 3),
        (401, KeyRefusedError, "key_refused", 4),
        (402, CreditsError, "out_of_credits", 4),
        (404, RefusedError, "wrong_base_url", 3),
        (405, UnavailableError, "throttled", 5),
        (408, JobFailedError, "job_failed", 6),
        (409, RefusedError, "already_made", 3),
        (413, RefusedError, "refused", 3),
        (422, RefusedError, "unknown_music_task", 3),
        (429, UnavailableError, "throttled", 5),
        (430, UnavailableError, "throttled", 5),
        (455, UnavailableError, "maintenance", 5),
        (500, UnavailableError, "server_fault", 5),
        (501, JobFailedError, "job_failed", 6),
        (505, JobFailedError, "job_failed", 6),
        (531, JobFailedError, "job_refunded", 6),
        (418, RefusedError, "refused", 3),
        (599, UnavailableError, "unavailable", 5),
    ],
)
def test_each_code_has_its_own_outcome(code: int, error: type[SunoCoverError], word: str, exit_code: int) -> None:
    """Every documented code, and undocumented ones by their hundreds, end in one kind of error with a hint."""
    found = error_of(decode_envelope(200, envelope(code), SUNOAPI), SUNOAPI)
    assert (type(found), found.code, found.exit_code) == (error, word, exit_code)
    assert found.hint
    assert describe_code(code)


def test_429_is_told_apart_by_its_words() -> None:
    """The recorded message about credits makes 429 an account error, anything else a limit."""
    said = "The current credits are insufficient. Please top up."
    assert isinstance(error_of(decode_envelope(200, envelope(429, said), SUNOAPI), SUNOAPI), CreditsError)


@pytest.mark.parametrize("status", [200, 400, 422, 500])
def test_the_body_decides_not_the_status(status: int) -> None:
    """The same envelope means the same under any HTTP status."""
    assert decode_envelope(status, envelope("422"), SUNOAPI).code == 422


@pytest.mark.parametrize(
    ("status", "body", "error", "word"),
    [
        (502, b"<html><h1>Bad Gateway</h1></html>", UnavailableError, "unavailable"),
        (503, b"", UnavailableError, "unavailable"),
        (429, b"slow down", UnavailableError, "throttled"),
        (430, b"", UnavailableError, "throttled"),
        (408, b"", UnavailableError, "unavailable"),
        (401, b"", KeyRefusedError, "key_refused"),
        (404, b"<!doctype html>", RefusedError, "wrong_base_url"),
        (307, b"", RefusedError, "wrong_base_url"),
        (403, b"no", RefusedError, "refused"),
        (200, b"<html>", UnreadableAnswerError, "unreadable_answer"),
        (200, b"", UnreadableAnswerError, "unreadable_answer"),
        (200, b'{"code": 200, "data": {', UnreadableAnswerError, "unreadable_answer"),
        (200, b"[" * 100_000, UnreadableAnswerError, "unreadable_answer"),
        (200, b'{"code": "soon"}', UnreadableAnswerError, "unreadable_answer"),
        (200, b'"\xff\xfe"', UnreadableAnswerError, "unreadable_answer"),
    ],
)
def test_an_answer_without_an_envelope_says_what_came(
    status: int, body: bytes, error: type[SunoCoverError], word: str
) -> None:
    """Without an envelope the HTTP status decides, and the message says in one line what was there."""
    with pytest.raises(error) as caught:
        decode_envelope(status, body, SUNOAPI)
    assert caught.value.code == word
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
    assert caught.value.hint


@pytest.mark.parametrize("data", [{"taskId": "abc"}, {"task_id": "abc"}, {"taskId": "abc", "more": [1]}])
def test_either_spelling_of_the_id_is_taken(data: dict[str, Any]) -> None:
    """``taskId`` and ``task_id`` name the cover task alike."""
    assert read_submission(decode_envelope(200, envelope(200, data=data), SUNOAPI), SUNOAPI).task_id == "abc"


def test_a_number_as_id_is_taken_as_text() -> None:
    """A service that sends the id as a number is still understood."""
    assert (
        read_submission(decode_envelope(200, envelope(200, data={"taskId": 42}), SUNOAPI), SUNOAPI).task_id == "42"
    )


@pytest.mark.parametrize("code", [400, 409])
def test_a_duplicate_with_an_id_goes_on_with_the_earlier_job(code: int) -> None:
    """400 and 409 that carry an id are the earlier job, not an error."""
    found = read_submission(decode_envelope(200, envelope(code, data={"taskId": "old"}), SUNOAPI), SUNOAPI)
    assert (found.task_id, found.is_existing) == ("old", True)


@pytest.mark.parametrize("task_id", ["../../etc", "a/b", "\x1b[2J", "x" * 129, "a b", "."])
def test_an_unsafe_id_is_refused_whatever_the_code(task_id: str) -> None:
    """An id that could leave the folder or draw on the screen ends the job with exit 3."""
    for code in (200, 400):
        with pytest.raises(RefusedError) as caught:
            read_submission(decode_envelope(200, envelope(code, data={"taskId": task_id}), SUNOAPI), SUNOAPI)
        assert (caught.value.code, caught.value.exit_code) == ("unsafe_id", 3)
        assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("data", [None, {}, {"taskId": None}, {"taskId": ""}, [], "text"])
def test_success_without_an_id_is_unreadable(data: Any) -> None:
    """An accepted job that nobody can name is asked for again, not believed."""
    with pytest.raises(UnreadableAnswerError):
        read_submission(decode_envelope(200, envelope(200, data=data), SUNOAPI), SUNOAPI)


@pytest.mark.parametrize(
    ("flag", "state"),
    [
        (0, RecordState.WAITING),
        (1, RecordState.SUCCEEDED),
        (2, RecordState.RUNNING),
        (3, RecordState.FAILED),
        ("1", RecordState.SUCCEEDED),
        (1.0, RecordState.SUCCEEDED),
        (99, RecordState.RUNNING),
        ("PENDING", RecordState.WAITING),
        ("SUCCESS", RecordState.SUCCEEDED),
        ("success", RecordState.SUCCEEDED),
        ("CREATE_TASK_FAILED", RecordState.FAILED),
        ("GENERATE_COVER_FAILED", RecordState.FAILED),
        ("BREWING", RecordState.RUNNING),
        (None, RecordState.RUNNING),
        (True, RecordState.RUNNING),
        ([], RecordState.RUNNING),
        (10**400, RecordState.RUNNING),
    ],
)
def test_flags_in_every_spelling(flag: Any, state: RecordState) -> None:
    """Numbers, numbers as text and words are understood; 2 is running; what is unknown means keep waiting."""
    assert record(successFlag=flag).state is state


def test_words_in_status_stand_in_for_a_missing_flag() -> None:
    """A reseller that has ``status`` instead of ``successFlag`` is understood."""
    assert record(status="SUCCESS").state is RecordState.SUCCEEDED


def test_null_data_is_absent() -> None:
    """``data: null`` is neither an error nor an end."""
    assert read_record(decode_envelope(200, envelope(200), SUNOAPI), "x", SUNOAPI).state is RecordState.ABSENT


@pytest.mark.parametrize("code", [408, 501, 505, 531])
def test_a_read_can_end_a_job_by_its_code(code: int) -> None:
    """The codes that mean the end of a job end it when a read answers with them."""
    found = read_record(decode_envelope(200, envelope(code, "why"), SUNOAPI), "x", SUNOAPI)
    assert (found.state, found.error_code, found.message) == (RecordState.FAILED, code, "why")


@pytest.mark.parametrize("data", ["text", [1], 3])
def test_data_of_another_kind_is_unreadable(data: Any) -> None:
    """A record that is no object is read again rather than believed."""
    with pytest.raises(UnreadableAnswerError):
        read_record(decode_envelope(200, envelope(200, data=data), SUNOAPI), "x", SUNOAPI)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1_700_000_047_000, 1_700_000_047.0),
        ("1700000047000", 1_700_000_047.0),
        (1_700_000_047, 1_700_000_047.0),
        ("2023-11-14T22:14:07Z", 1_700_000_047.0),
        ("2023-11-14T22:14:07", 1_700_000_047.0),
        ("2023-11-14T23:14:07+01:00", 1_700_000_047.0),
        (None, None),
        ("", None),
        ("soon", None),
        ({}, None),
    ],
)
def test_times_in_every_spelling(value: Any, moment: float | None) -> None:
    """ISO text (documented), epoch milliseconds (recorded) and null are all read."""
    assert record(successFlag=1, completeTime=value).completed_at == moment


@pytest.mark.parametrize(
    ("response", "urls"),
    [
        ({"images": ["https://a/1", "https://a/2"]}, ("https://a/1", "https://a/2")),
        ({"images": None}, ()),
        ({"images": []}, ()),
        ({"images": "https://a/1"}, ("https://a/1",)),
        ({"images": ["https://a/1", 3, None, "", "x" * 5000]}, ("https://a/1", "3", "null", "", "x" * 5000)),
        ({"images": [None]}, ("null",)),
        ({"images": [{"url": "https://a/1"}]}, ('{"url":"https://a/1"}',)),
        (None, ()),
        ("text", ()),
        ([], ()),
        ({"images": ["https://a/1"] * 500}, ("https://a/1",) * 500),
    ],
)
def test_image_lists_of_every_kind(response: Any, urls: tuple[str, ...]) -> None:
    """Every entry of the list is there, in its place, whatever it is: none is lost in silence."""
    assert record(successFlag=1, response=response).image_urls == urls


def test_the_services_words_arrive_without_escapes() -> None:
    """A hostile errorMessage is harmless by the time anybody sees it."""
    assert record(successFlag=3, errorCode="500", errorMessage="\x1b[2Jgone").message == "gone"


@pytest.mark.parametrize(("data", "credits"), [(1025.6, 1025.6), (7, 7.0), ("12.5", 12.5)])
def test_balances_are_decimals(data: Any, credits: float) -> None:  # noqa: A002 -- the field's own word
    """A balance is read as documented (integer), as recorded (decimal) and as text."""
    assert read_credits(decode_envelope(200, envelope(200, data=data), SUNOAPI), SUNOAPI) == credits


def test_a_balance_that_is_no_number_is_unreadable() -> None:
    """Without a number there is an error, not a zero."""
    with pytest.raises(UnreadableAnswerError):
        read_credits(decode_envelope(200, envelope(200, data={"credit": 1}), SUNOAPI), SUNOAPI)
    with pytest.raises(KeyRefusedError):
        read_credits(decode_envelope(200, envelope(401), SUNOAPI), SUNOAPI)
