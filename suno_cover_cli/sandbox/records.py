"""What record-info says of a job at a moment, in the spelling the scenario asks for."""

import json
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from suno_cover_cli.sandbox.jobs import SandboxJob
from suno_cover_cli.sandbox.script import RecordStyle

# Shares of the generation time. A job read a moment after its creation has null data (recorded).
_ABSENT_SHARE = 0.1
_WAITING_SHARE = 0.3


class Phase(Enum):
    """How far record-info has come with a job."""

    ABSENT = auto()
    WAITING = auto()
    RUNNING = auto()
    ENDED = auto()


# successFlag: 0 waiting, 2 still running, 1 done, 3 failed (documented and recorded).
_FLAGS: dict[Phase, int] = {Phase.WAITING: 0, Phase.RUNNING: 2}
_DONE, _FAILED = 1, 3


def phase_at(job: SandboxJob, now_s: float) -> Phase:
    """Tell how far record-info is at ``now_s`` on the monotonic clock."""
    if now_s >= job.record_ends_s:
        return Phase.ENDED
    age_s = now_s - job.created_s
    if age_s < _ABSENT_SHARE * job.generation_s:
        return Phase.ABSENT
    return Phase.WAITING if age_s < _WAITING_SHARE * job.generation_s else Phase.RUNNING


def record_envelope(job: SandboxJob, now_s: float, image_urls: tuple[str, ...]) -> dict[str, Any]:
    """Return the whole answer of record-info: ``code``, ``msg`` and ``data``."""
    phase, scenario = phase_at(job, now_s), job.scenario
    if phase is Phase.ABSENT:
        return {"code": 200, "msg": "success", "data": None}
    if phase is Phase.ENDED and scenario.fails_in_envelope:
        return {"code": scenario.code, "msg": scenario.message, "data": None}
    ended_well = phase is Phase.ENDED and scenario.succeeds
    ended_badly = phase is Phase.ENDED and not scenario.succeeds
    data: dict[str, Any] = {
        "taskId": job.task_id,
        "parentTaskId": job.music_task_id,
        "completeTime": _epoch_ms(job, job.ends_s) if phase is Phase.ENDED else None,
        "response": {"images": image_urls} if ended_well else None,
        "successFlag": _FLAGS.get(phase, _DONE if scenario.succeeds else _FAILED),
        "errorCode": scenario.code if ended_badly else None,
        "errorMessage": scenario.message if ended_badly else None,
        "createTime": _epoch_ms(job, job.created_s),
    }
    return _restyled({"code": 200, "msg": "success", "data": data}, job, phase)


def music_envelope(music_task_id: str, title: str | None) -> dict[str, Any]:
    """Return the answer of the music call's record-info, in the shape both providers' documentation shows."""
    if title is None:
        return {"code": 200, "msg": "success", "data": None}
    shown = title.replace("{id}", music_task_id[:40])
    data = {
        "taskId": music_task_id,
        "parentMusicId": "",
        "param": json.dumps({"prompt": "A calm piano track", "title": shown, "customMode": True}),
        "response": {"taskId": music_task_id, "sunoData": [{"id": "1", "title": shown, "duration": 198.44}]},
        "status": "SUCCESS",
        "type": "GENERATE",
        "errorCode": None,
        "errorMessage": None,
    }
    return {"code": 200, "msg": "success", "data": data}


def _epoch_ms(job: SandboxJob, moment_s: float) -> int:
    return int((job.created_at + moment_s - job.created_s) * 1000)


def _restyled(envelope: dict[str, Any], job: SandboxJob, phase: Phase) -> dict[str, Any]:
    """Respell an envelope in the style of the job's scenario."""
    data = envelope["data"]
    match job.scenario.record_style:
        case RecordStyle.DOCUMENTED:
            data["callbackUrl"] = job.callback_url
            for name in ("createTime", "completeTime"):
                data[name] = _iso(data[name])
            if phase is Phase.ENDED and job.scenario.succeeds:
                data |= {"errorCode": 200, "errorMessage": ""}
        case RecordStyle.WORDS:
            data["successFlag"] = {
                _DONE: "SUCCESS",
                _FAILED: "GENERATE_COVER_FAILED",
            }.get(data["successFlag"], "PENDING")
        case RecordStyle.LOOSE:
            data = {name: str(value) if isinstance(value, int) else value for name, value in data.items()}
            return {"code": "200", "data": data | {"progress": "0.5", "model": {"name": None}}, "trace": []}
        case RecordStyle.UNKNOWN_FLAG if phase is not Phase.ENDED:
            data["successFlag"] = 7
        case RecordStyle.EARLY_ERROR if phase is not Phase.ENDED:
            data["errorMessage"] = "Upstream is busy, the task has been queued again"
        case _:
            pass
    return envelope


def _iso(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat()
