"""One body of each kind of callback, as the provider's pages document them (values made up)."""

from typing import Any

TASK = "21aee3c3c2a01fa5e030b3799fa4dd56"
_HOST = "https://media.example"


def _callback(message: str, data: dict[str, Any] | None, code: int = 200) -> dict[str, Any]:
    return {"code": code, "msg": message, "data": data}


def _track(n: int) -> dict[str, Any]:
    return {
        "id": f"e2310000-0000-0000-0000-{n:012d}",
        "audio_url": f"{_HOST}/{n}.mp3",
        "image_url": f"{_HOST}/{n}.jpeg",
        "prompt": "[Verse] words of a song",
        "title": "Night Drive",
        "duration": 198.44,
    }


def _music(stage: str, tracks: int | None, code: int = 200, message: str = "") -> dict[str, Any]:
    data = None if tracks is None else [_track(n) for n in range(1, tracks + 1)]
    return _callback(message or stage, {"callbackType": stage, "task_id": TASK, "data": data}, code)


_LYRICS = {"text": "[Verse]\nwords", "title": "Night Drive", "status": "complete", "errorMessage": ""}
_VOCALS = {"instrumental_url": f"{_HOST}/1.mp3", "origin_url": "", "vocal_url": f"{_HOST}/2.mp3"}
_MARKET = {"taskId": TASK, "model": "some/model", "param": "{}", "costTime": 8}

# name -> (body, kind, stage, items)
CASES: dict[str, tuple[dict[str, Any], str, str | None, int]] = {
    "cover": (
        _callback("success", {"taskId": TASK, "images": [f"{_HOST}/1.png", f"{_HOST}/2.png"]}),
        *("cover", "complete", 2),
    ),
    "cover-flat": (
        {"code": 200, "msg": "success", "taskId": TASK, "images": [f"{_HOST}/1.png"]},
        *("cover", "complete", 1),
    ),
    "cover-failed": (_callback("failed", {"taskId": TASK, "images": None}, 501), "cover", "error", 0),
    "cover-failed-bare": (_callback("failed", {"taskId": TASK}, 501), "cover", "error", 0),
    "cover-like-a-record": (
        _callback("ok", {"taskId": TASK, "status": "SUCCESS", "response": {"images": [f"{_HOST}/1.png"]}}),
        *("cover", "complete", 1),
    ),
    "music-text": (_music("text", None), "music", "text", 0),
    "music-first": (_music("first", 2), "music", "first", 2),
    "music-complete": (_music("complete", 2, message="all"), "music", "complete", 2),
    "music-error": (_music("error", None, 400, "the lyrics were refused"), "music", "error", 0),
    "music-failed-at-the-end": (_music("complete", None, 531), "music", "error", 0),
    "music-like-a-record": (
        _callback(
            "success",
            {
                "taskId": TASK,
                "status": "FIRST_SUCCESS",
                "response": {"sunoData": [{"audioUrl": f"{_HOST}/x.mp3"}]},
            },
        ),
        *("music", "first", 1),
    ),
    "music-like-a-record-complete": (
        _callback("success", {"taskId": TASK, "status": "SUCCESS", "response": {"sunoData": [{}, {}]}}),
        *("music", "complete", 2),
    ),
    "music-like-a-record-refused": (
        _callback("refused", {"taskId": TASK, "status": "SENSITIVE_WORD_ERROR"}),
        *("music", "error", 0),
    ),
    "lyrics": (
        _callback("all", {"callbackType": "complete", "taskId": TASK, "data": [_LYRICS, _LYRICS]}),
        *("lyrics", "complete", 2),
    ),
    "lyrics-refused": (
        _callback("refused", {"callbackType": "complete", "taskId": TASK, "data": None}, 400),
        *("lyrics", "error", 0),
    ),
    "wav": (_callback("success", {"audioWavUrl": f"{_HOST}/s.wav", "task_id": TASK}), "wav", "complete", 0),
    "wav-failed": (_callback("no", {"audioWavUrl": None, "task_id": TASK}, 500), "wav", "error", 0),
    "video": (_callback("video", {"task_id": TASK, "video_url": f"{_HOST}/v.mp4"}), "video", "complete", 0),
    "vocal": (_callback("vocal", {"task_id": TASK, "vocal_removal_info": _VOCALS}), "vocal", "complete", 0),
    "market": (
        _callback("task done", {**_MARKET, "state": "success", "resultJson": '{"resultUrls":["u"]}'}),
        *("market", "complete", 0),
    ),
    "market-failed": (
        _callback("task failed", {**_MARKET, "state": "fail", "resultJson": None}, 501),
        *("market", "error", 0),
    ),
    "market-under-way": (
        _callback("generating", {**_MARKET, "state": "generating", "resultJson": ""}),
        *("market", None, 0),
    ),
    "of-a-kind-unknown-here": (
        _callback("success", {"taskId": TASK, "info": {"result_urls": [f"{_HOST}/1.png"]}}),
        *("unknown", None, 0),
    ),
    "bare-as-others-spell-it": (_callback("success", {"task_id": TASK}), "unknown", None, 0),
}
