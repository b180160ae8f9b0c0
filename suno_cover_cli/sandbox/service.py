"""The calls of the API: submit, record-info, balance; what is said of a job, in the spelling of its scenario."""

import json
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from suno_cover_cli.base.clock import Clock
from suno_cover_cli.sandbox.callback_sender import CallbackSender, announced_urls
from suno_cover_cli.sandbox.jobs import JobLine, JobRegistry, SandboxJob, StateFile, SubmitLine
from suno_cover_cli.sandbox.replies import reply_json, send_answer
from suno_cover_cli.sandbox.scenarios import choose_scenario
from suno_cover_cli.sandbox.script import Answer, RecordStyle, step_at

# Shares of the generation time. A job read a moment after its creation has null data (recorded).
_ABSENT_SHARE = 0.1
_WAITING_SHARE = 0.3


class Imitation(NamedTuple):
    """In what the services of different providers differ, as far as a client can notice.

    Attributes:
        has_errors_with_200: Application errors come with HTTP 200 (recorded), not with the code as status.
        wants_json_type_on_get: The content type is wanted on every call, not only where there is content.
    """

    has_errors_with_200: bool = False
    wants_json_type_on_get: bool = False


IMITATIONS = {
    "sunoapi": Imitation(),
    "kie": Imitation(has_errors_with_200=True, wants_json_type_on_get=True),
}
"""Provider -> its habits."""

# Documented as an integer, recorded with decimals by both providers.
BALANCE = 1025.6
_OK = 200
_LONGEST_ID = 1024


class Reply(NamedTuple):
    """An answer, and for the request log the job that it was about."""

    response: web.StreamResponse
    music_task_id: str | None = None
    task_id: str | None = None


class BadSubmitError(Exception):
    """The body of a submit is not what the API asks for; ``code`` is the service's word for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Service:
    """Answers the API.

    Args:
        registry: The jobs.
        state_file: Facts are in here before they are sent.
        callback_sender: Calls back.
        clock: Time.
        time_scale: Divides the time an answer hangs.
        imitation: Whose habits it has.
    """

    def __init__(
        self,
        *,
        registry: JobRegistry,
        state_file: StateFile,
        callback_sender: CallbackSender,
        clock: Clock,
        time_scale: float,
        imitation: Imitation,
    ) -> None:
        self._registry = registry
        self._state_file = state_file
        self._callback_sender = callback_sender
        self._clock = clock
        self._time_scale = time_scale
        self._imitation = imitation
        self.base_url = ""

    def refuse(self, code: int, message: str) -> Reply:
        """Return an application error."""
        return Reply(reply_json({"code": code, "msg": message, "data": None}, self._status(code)))

    async def submit(self, request: web.BaseRequest) -> Reply:
        """``POST /api/v1/suno/cover/generate``: make the job of a music task, or find it."""
        try:
            music_task_id, callback_url = _read_submit(await request.read())
        except BadSubmitError as refusal:
            return self.refuse(refusal.code, str(refusal))
        scenario = choose_scenario(music_task_id)
        answer = step_at(scenario.submits, self._registry.count_submit(music_task_id))
        job = self._registry.find_by_music(music_task_id)
        if job is None and answer.makes_job:
            job = await self._make(music_task_id, callback_url)
        else:
            await self._state_file.commit(SubmitLine(music_task_id=music_task_id))
        task_id = None if job is None else job.task_id
        data = {"taskId": task_id} if answer.names_job else None
        response = await self._send(request, answer, {"code": answer.code, "msg": answer.msg, "data": data})
        return Reply(response, music_task_id, task_id)

    async def fetch_record(self, request: web.BaseRequest) -> Reply:
        """``GET /api/v1/suno/cover/record-info``: what is known of a job; null for one that is not."""
        task_id = request.query.get("taskId", "")
        if not task_id:
            return self.refuse(422, "taskId must not be empty")
        job = self._registry.jobs.get(task_id)
        if job is None:
            return Reply(reply_json({"code": 200, "msg": "success", "data": None}, _OK), None, task_id)
        job.reads += 1
        self._registry.renew_images(job)
        answer = step_at(job.scenario.reads, job.reads)
        if answer.shows_record:
            envelope = record_envelope(job, self._clock.monotonic(), announced_urls(job, self.base_url))
        else:
            envelope = {"code": answer.code, "msg": answer.msg, "data": None}
        return Reply(await self._send(request, answer, envelope), job.music_task_id, task_id)

    async def fetch_music(self, request: web.BaseRequest) -> Reply:
        """``GET /api/v1/generate/record-info``: a piece of music with a title, or null for an unknown one."""
        music_task_id = request.query.get("taskId", "")
        envelope = music_envelope(music_task_id, choose_scenario(music_task_id).music_title)
        return Reply(reply_json(envelope, _OK), music_task_id)

    async def fetch_credit(self, _: web.BaseRequest) -> Reply:
        """``GET`` of either provider's balance path."""
        return Reply(reply_json({"code": 200, "msg": "success", "data": BALANCE}, _OK))

    async def _make(self, music_task_id: str, callback_url: str) -> SandboxJob:
        job = self._registry.make(music_task_id, callback_url)
        await self._state_file.commit(
            SubmitLine(music_task_id=music_task_id),
            JobLine(
                music_task_id=music_task_id,
                task_id=job.task_id,
                callback_url=callback_url,
                created_at=job.created_at,
            ),
        )
        await self._callback_sender.deliver_before_answer(job)
        self._callback_sender.schedule(job)
        return job

    async def _send(
        self, request: web.BaseRequest, answer: Answer, envelope: dict[str, Any]
    ) -> web.StreamResponse:
        status = self._status(int(envelope["code"])) if answer.status is None else answer.status
        return await send_answer(
            request, answer, envelope, status=status, clock=self._clock, time_scale=self._time_scale
        )

    def _status(self, code: int) -> int:
        return _OK if self._imitation.has_errors_with_200 else code


def _read_submit(body: bytes) -> tuple[str, str]:
    """Return music task id and callback address of a submit.

    Raises:
        BadSubmitError: The body is not a JSON object, or a required field is missing or unusable.
    """
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadSubmitError(400, "The request body is not JSON") from error
    if not isinstance(fields, dict):
        raise BadSubmitError(400, "The request body is not an object")
    music_task_id, callback_url = fields.get("taskId"), fields.get("callBackUrl")
    if not isinstance(music_task_id, str) or not 0 < len(music_task_id) <= _LONGEST_ID:
        raise BadSubmitError(422, "taskId must not be empty")
    if not isinstance(callback_url, str) or not _is_web_address(callback_url):
        raise BadSubmitError(422, "callBackUrl must be an http or https address")
    return music_task_id, callback_url


def _is_web_address(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.hostname)


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
