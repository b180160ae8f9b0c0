"""What kind of callback a body is, and which stage it reports."""

import json
from typing import Any

import pytest

from suno_cover_cli.callbacks.content import parse_callback
from suno_cover_cli.callbacks.kinds import CallbackKind
from tests.callback_cases import CASES, TASK


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
