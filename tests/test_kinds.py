"""What kind of callback a body is, and which stage it reports."""

import json
from pathlib import Path
from typing import Any

import pytest

from suno_cover_cli.callbacks.content import parse_callback
from suno_cover_cli.callbacks.kinds import CallbackKind
from tests.callback_cases import CASES, TASK
from tests.listen_fixtures import listening


@pytest.mark.parametrize("name", CASES)
def test_every_documented_shape_has_its_kind_and_stage(name: str) -> None:
    """Each documented body is read with its task, kind, stage and how much it brings."""
    body, kind, stage, items = CASES[name]
    content = parse_callback(json.dumps(body).encode())
    assert (content.task_id, content.code) == (TASK, body["code"])
    assert (content.kind, content.stage, content.items) == (kind, stage, items)


def test_every_kind_has_a_case() -> None:
    """No kind is left out of the table above."""
    assert {kind for _, kind, _, _ in CASES.values()} == set(CallbackKind)


@pytest.mark.parametrize("name", CASES)
def test_a_job_is_over_with_its_last_stage(name: str) -> None:
    """``complete`` and ``error`` are final; earlier stages are not; a kind nobody knows has one stage."""
    body, kind, stage, _ = CASES[name]
    is_final = stage in {"complete", "error"} or kind == "unknown"
    assert parse_callback(json.dumps(body).encode()).is_final is is_final


@pytest.mark.parametrize("value", [[], {}, {"a": 1}, 7, True, "no word of theirs"])
@pytest.mark.parametrize("field", ["callbackType", "status", "state", "data", "response", "resultJson", "images"])
def test_a_field_of_another_type_costs_its_meaning_alone(field: str, value: Any) -> None:
    """Where a field that tells the kind holds something else, the callback is read all the same."""
    content = parse_callback(json.dumps({"code": 200, "data": {"task_id": TASK, field: value}}).encode())
    assert (content.task_id, content.image_urls) == (TASK, ())


def test_data_may_be_text_that_is_json() -> None:
    """Some senders put ``data`` into the envelope as JSON text."""
    data = json.dumps({"taskId": TASK, "images": ["https://media.example/1.png"]})
    content = parse_callback(json.dumps({"code": 200, "msg": "ok", "data": data}).encode())
    assert (content.task_id, content.image_urls) == (TASK, ("https://media.example/1.png",))


# name -> (fields of data, kind, stage, what the screen says of it, the failure)
FAILURES: dict[str, tuple[dict[str, Any], str, str | None, str, tuple[str, str] | None]] = {
    "market": (
        {"model": "m", "state": "fail", "resultJson": "", "failCode": "422", "failMsg": "no"},
        *("market", "error", 'market error, code 422, {size}, "no"', ("422", "no")),
    ),
    "market-without-a-result": (
        {"state": "fail", "failCode": 500, "failMsg": "gone"},
        *("market", "error", 'market error, code 500, {size}, "gone"', ("500", "gone")),
    ),
    "market-with-a-word": (
        {"state": "fail", "failCode": "SENSITIVE", "failMsg": None},
        *("market", "error", "market error, code SENSITIVE, {size}", ("SENSITIVE", "")),
    ),
    "market-done": (
        {"state": "success", "resultJson": "{}", "failCode": None, "failMsg": None},
        *("market", "complete", "market, {size}", None),
    ),
    "market-done-with-codes": (
        {"state": "success", "resultJson": "{}", "failCode": "0", "failMsg": ""},
        *("market", "complete", "market, {size}", None),
    ),
    "music": (
        {"status": "GENERATE_AUDIO_FAILED", "errorCode": 413, "errorMessage": "text too long"},
        *("music", "error", 'music error, code 413, {size}, "text too long"', ("413", "text too long")),
    ),
    "music-in-words": (
        {"status": "SENSITIVE_WORD_ERROR", "errorMessage": "\x1b[31ma word"},
        *("music", "error", 'music error, {size}, "a word"', ("", "\x1b[31ma word")),
    ),
    "unknown-failed": (
        {"successFlag": "GENERATE_WAV_FAILED", "errorCode": 501, "errorMessage": "no wav"},
        *("unknown", None, 'of a kind unknown here, code 501, {size}, "no wav"', ("501", "no wav")),
    ),
    "unknown-under-way": (
        {"state": "generating"},
        *("unknown", None, 'of a kind unknown here, "generating", {size}', None),
    ),
    "unknown-done": (
        {"status": "SUCCESS", "errorCode": 200},
        *("unknown", None, 'of a kind unknown here, "SUCCESS", {size}', None),
    ),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_beside_a_good_envelope_is_shown_and_passed_on(tmp_path: Path, name: str) -> None:
    """Code and words of a failed job are on the screen, in the list and in the event, wherever they stand."""
    data, kind, stage, shown, failure = FAILURES[name]
    body = json.dumps({"code": 200, "msg": "success", "data": {"taskId": TASK, **data}}).encode()
    async with listening(tmp_path, json=False, count=1) as run:
        await run.post(body)
        screen = (await run.wait_ended()).stdout
    async with listening(tmp_path, is_ready=False, list_events=True) as run:
        (event,) = (await run.wait_ended()).objects
    async with listening(tmp_path, is_ready=False, json=False, list_events=True) as run:
        listed = (await run.wait_ended()).stdout
    said = shown.format(size=f"{len(body)} B")
    assert f"{TASK} {said}\n" in screen
    assert f"{TASK}  {said.partition(f', {len(body)} B')[0]}, " in listed
    assert (event["kind"], event["stage"], event["code"], event["message"]) == (kind, stage, 200, "success")
    cleaned = None if failure is None else {"code": failure[0], "message": failure[1].removeprefix("\x1b[31m")}
    assert event.get("failure") == cleaned
    content = parse_callback(body)
    assert content.is_good is (failure is None)
    assert content.is_final is (name != "unknown-under-way")


async def test_a_task_under_way_does_not_end_listening(tmp_path: Path) -> None:
    """``--until-task`` goes on after a callback of an unknown kind that says that the job still runs."""
    async with listening(tmp_path, until_task=TASK) as run:
        for state in ("waiting", "GENERATING", "success"):
            await run.post(json.dumps({"code": 200, "data": {"taskId": TASK, "state": state}}).encode())
        await run.wait_ended()
        events = run.events
    assert [event["body"]["data"]["state"] for event in events] == ["waiting", "GENERATING", "success"]
