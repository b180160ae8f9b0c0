"""Sample callbacks for any receiver, offline: what the service sends, and what a receiver has to survive.

Bodies have the documented shapes.
"""

import gzip
import json
import secrets
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from suno_cover_cli import __version__
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.providers import SignatureScheme
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.callbacks.signature import signature_headers

LATE_S = 60.0
"""The service's second attempt comes a minute after the first (documented schedule)."""

_TWICE_S = 0.05
_STALE_S = 3600
_HUGE_BYTES = 2 * 1024 * 1024
_HOST = "https://tempfile.aiquickdraw.com/s"

_FAILURES = {
    SampleName.FAILED_501: (501, "Cover generation failed"),
    SampleName.REFUNDED_531: (531, "Generation failed, the credits were returned"),
    SampleName.ERROR_500: (500, "Internal error"),
    SampleName.VALIDATION_400: (400, "A field of the request was refused"),
    SampleName.TIMEOUT_408: (408, "Timeout"),
}

Expectation = tuple[str, ...]
"""Statuses that a receiver may answer, such as ``401``, or classes of them, such as ``4xx``."""

WANTED: Expectation = ("200",)
"""What the service wants of a receiver."""

_EXPECTED: dict[str, Expectation] = {
    **dict.fromkeys((SampleName.MALFORMED, SampleName.EMPTY), ("4xx",)),
    **dict.fromkeys((SampleName.BAD_SIGNATURE, SampleName.STALE_SIGNATURE), ("401", "403")),
    # A receiver need not take these; it must not break over them.
    **dict.fromkeys((SampleName.HUGE, SampleName.WRONG_TASK), ("200", "4xx")),
    **dict.fromkeys((SampleName.FLAT, SampleName.FORM, SampleName.GZIP), ("200", "4xx")),
    **dict.fromkeys((SampleName.DEFLATE, SampleName.GBK, SampleName.UTF_16), ("200", "4xx")),
}


class Sample(NamedTuple):
    """One request to send.

    Attributes:
        name: Which sample it belongs to.
        task_id: Task id in the body; the signature may cover it.
        body: Exactly what is sent.
        delay_s: Seconds to wait before sending it.
        packing: Headers that say how the body is packed.
    """

    name: str
    task_id: str
    body: bytes
    delay_s: float = 0.0
    packing: Headers = (("Content-Type", "application/json"),)

    def expectation(self, key: WebhookKey | None) -> Expectation:
        """Return what a receiver that does everything right answers.

        Args:
            key: Known to the receiver, so that it can tell that there is no signature.
        """
        if self.name == SampleName.UNSIGNED:
            return ("200", "401", "403") if key is None else ("401", "403")
        return _EXPECTED.get(self.name, WANTED)

    def headers(self, key: WebhookKey | None, scheme: SignatureScheme, now_s: float) -> Headers:
        """Return the headers to send with it at the time ``now_s`` (epoch seconds).

        Args:
            key: Webhook key; without one only the sample that needs none to be wrong is signed.
            scheme: How that sample is signed.
            now_s: The stamp, except for the stale sample.

        Raises:
            UsageError: A stale signature has to be right, and there is no key.
        """
        plain = (*self.packing, ("User-Agent", f"suno-cover/{__version__}"))
        signing_key = self._signing_key(key, scheme)
        if signing_key is None:
            return plain
        age_s = _STALE_S if self.name == SampleName.STALE_SIGNATURE else 0
        return (*plain, *signature_headers(signing_key, self.task_id, str(int(now_s) - age_s), self.body))

    def _signing_key(self, key: WebhookKey | None, scheme: SignatureScheme) -> WebhookKey | None:
        if self.name == SampleName.UNSIGNED:
            return None
        if self.name == SampleName.BAD_SIGNATURE:
            return WebhookKey(Secret(secrets.token_hex(16)), scheme)
        if self.name == SampleName.STALE_SIGNATURE and key is None:
            raise UsageError(
                "stale-signature needs the webhook key: its signature is right, but an hour old",
                code="no_webhook_key",
                hint="Add --webhook-key-file FILE with the key that the receiver checks",
            )
        return key


def build_sample(
    name: SampleName, *, now_s: float, task_id: str | None = None, image_urls: tuple[str, ...] = ()
) -> tuple[Sample, ...]:
    """Make the requests of a sample, in the order they are to be sent.

    Args:
        name: Which one.
        now_s: Epoch seconds; part of the made-up images' addresses, as in the service's own examples.
        task_id: Task id; by default 32 random hex digits, the shape that has been seen.
        image_urls: Images of a success; by default two addresses that lead nowhere.
    """
    if task_id is None or name is SampleName.WRONG_TASK:
        task_id = secrets.token_hex(16)
    if name is SampleName.EMPTY:
        return (Sample(name, task_id, b""),)
    if name in _SISTERS:
        return (Sample(name, task_id, _encoded(_SISTERS[name](task_id))),)
    code, message = _FAILURES.get(name, (200, "success"))
    images = image_urls or tuple(f"{_HOST}/{int(now_s) + n}_{secrets.token_hex(16)}.png" for n in range(2))
    content = {"taskId": task_id, "images": None if name in _FAILURES else list(images)}
    if name is SampleName.HUGE:
        content["padding"] = "x" * _HUGE_BYTES
    callback: dict[str, Any] = {"code": code, "msg": message, "data": content}
    if name in _PACKINGS:
        body, packing = _PACKINGS[name](callback)
        return (Sample(name, task_id, body, packing=packing),)
    body = _encoded(callback)
    if name is SampleName.MALFORMED:
        body = body[: len(body) // 2]
    if name is SampleName.DUPLICATE:
        return Sample(name, task_id, body), Sample(name, task_id, body, _TWICE_S)
    return (Sample(name, task_id, body, LATE_S if name is SampleName.LATE else 0.0),)


def parse_expectation(text: str) -> Expectation:
    """Read ``--expect``: ``200``, ``4xx`` or several of them with commas.

    Raises:
        UsageError: It is none.
    """
    wanted = tuple(part.strip().lower() for part in text.split(","))
    if not all(part in _CLASSES or (part.isascii() and part.isdecimal() and len(part) == 3) for part in wanted):  # noqa: PLR2004
        raise UsageError(
            f'"{clean(text, 40)}" is not a status to expect',
            code="bad_status",
            hint="Give --expect a status, a class or several: 200, 4xx, 401,403",
        )
    return wanted


def is_expected(status: int | None, expectation: Expectation) -> bool:
    """Tell whether an answer is among the expected ones; no answer never is."""
    return status is not None and (str(status) in expectation or f"{status // 100}xx" in expectation)


_CLASSES = {f"{first}xx" for first in range(1, 6)}


# --- callbacks of other kinds ---------------------------------------------------------------------------


def _encoded(callback: dict[str, Any]) -> bytes:
    return json.dumps(callback, separators=(",", ":")).encode()


def _music(stage: str, track_count: int | None, task_id: str) -> dict[str, Any]:
    tracks = None
    if track_count is not None:
        tracks = [
            {
                "id": f"e2310000-0000-0000-0000-{n:012d}",
                "audio_url": f"{_HOST}/{n}.mp3",
                "image_url": f"{_HOST}/{n}.jpeg",
                "prompt": "[Verse] words of a song",
                "model_name": "chirp-v3-5",
                "title": "Night Drive",
                "tags": "electronic",
                "duration": 198.44,
            }
            for n in range(1, track_count + 1)
        ]
    message = {"complete": "All generated successfully.", "error": "The lyrics were refused"}.get(stage, stage)
    data = {"callbackType": stage, "task_id": task_id, "data": tracks}
    return {"code": 400 if stage == "error" else 200, "msg": message, "data": data}


def _lyrics(task_id: str) -> dict[str, Any]:
    text = {"text": "[Verse]\nwords of a song", "title": "Night Drive", "status": "complete", "errorMessage": ""}
    data = {"callbackType": "complete", "taskId": task_id, "data": [text]}
    return {"code": 200, "msg": "All generated successfully.", "data": data}


def _market(task_id: str) -> dict[str, Any]:
    result = json.dumps({"resultUrls": [f"{_HOST}/1.jpg"]}, separators=(",", ":"))
    data = {"taskId": task_id, "model": "some/model", "state": "success", "param": "{}", "resultJson": result}
    return {"code": 200, "msg": "Playground task completed successfully.", "data": data}


def _of(task_id: str, **fields: object) -> dict[str, Any]:
    return {"code": 200, "msg": "success", "data": {"task_id": task_id, **fields}}


_SISTERS: dict[SampleName, Callable[[str], dict[str, Any]]] = {
    SampleName.MUSIC_TEXT: lambda task_id: _music("text", None, task_id),
    SampleName.MUSIC_FIRST: lambda task_id: _music("first", 1, task_id),
    SampleName.MUSIC_COMPLETE: lambda task_id: _music("complete", 2, task_id),
    SampleName.MUSIC_ERROR: lambda task_id: _music("error", None, task_id),
    SampleName.LYRICS: _lyrics,
    SampleName.WAV: lambda task_id: _of(task_id, audioWavUrl=f"{_HOST}/1.wav"),
    SampleName.VIDEO: lambda task_id: _of(task_id, video_url=f"{_HOST}/1.mp4"),
    SampleName.VOCAL: lambda task_id: _of(
        task_id, vocal_removal_info={"instrumental_url": f"{_HOST}/1.mp3", "vocal_url": f"{_HOST}/2.mp3"}
    ),
    SampleName.MARKET: _market,
}

# --- the same callback in other packings ----------------------------------------------------------------

_JSON = ("Content-Type", "application/json")


def _flat(callback: dict[str, Any]) -> tuple[bytes, Headers]:
    return _encoded({"code": callback["code"], "msg": callback["msg"], **callback["data"]}), (_JSON,)


def _form(callback: dict[str, Any]) -> tuple[bytes, Headers]:
    data = callback["data"]
    fields = [("code", callback["code"]), ("msg", callback["msg"]), ("taskId", data["taskId"])]
    fields += [("images[]", url) for url in data["images"]]
    return urlencode(fields).encode(), (("Content-Type", "application/x-www-form-urlencoded"),)


def _gzip(callback: dict[str, Any]) -> tuple[bytes, Headers]:
    return gzip.compress(_encoded(callback)), (_JSON, ("Content-Encoding", "gzip"))


def _deflate(callback: dict[str, Any]) -> tuple[bytes, Headers]:
    return zlib.compress(_encoded(callback)), (_JSON, ("Content-Encoding", "deflate"))


def _gbk(callback: dict[str, Any]) -> tuple[bytes, Headers]:
    body = json.dumps({**callback, "msg": "封面已生成"}, ensure_ascii=False).encode("gbk")
    return body, (("Content-Type", "application/json; charset=gbk"),)


def _utf_16(callback: dict[str, Any]) -> tuple[bytes, Headers]:
    return _encoded(callback).decode().encode("utf-16"), (("Content-Type", "application/json; charset=utf-16"),)


_PACKINGS: dict[SampleName, Callable[[dict[str, Any]], tuple[bytes, Headers]]] = {
    SampleName.FLAT: _flat,
    SampleName.FORM: _form,
    SampleName.GZIP: _gzip,
    SampleName.DEFLATE: _deflate,
    SampleName.GBK: _gbk,
    SampleName.UTF_16: _utf_16,
}
