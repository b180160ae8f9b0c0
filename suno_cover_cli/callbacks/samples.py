"""Sample callbacks for any receiver, offline: what the service sends, and what a receiver has to survive.

Bodies have the documented shape.
"""

import json
import secrets
from typing import NamedTuple

from suno_cover_cli import __version__
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.providers import SignatureScheme
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.sample_names import SampleName
from suno_cover_cli.callbacks.signature import signature_headers

LATE_S = 60.0
"""The service's second attempt comes a minute after the first (documented schedule)."""

_TWICE_S = 0.05
_STALE_S = 3600
_HUGE_BYTES = 2 * 1024 * 1024

_FAILURES = {
    SampleName.FAILED_501: (501, "Cover generation failed"),
    SampleName.REFUNDED_531: (531, "Generation failed, the credits were returned"),
    SampleName.ERROR_500: (500, "Internal error"),
    SampleName.VALIDATION_400: (400, "A field of the request was refused"),
    SampleName.TIMEOUT_408: (408, "Timeout"),
}


class Sample(NamedTuple):
    """One request to send.

    Attributes:
        name: Which sample it belongs to.
        task_id: Cover task id in the body; the signature covers it.
        body: Exactly what is sent.
        delay_s: Seconds to wait before sending it.
    """

    name: SampleName
    task_id: str
    body: bytes
    delay_s: float = 0.0

    def headers(self, key: WebhookKey | None, scheme: SignatureScheme, now_s: float) -> Headers:
        """Return the headers to send with it at the time ``now_s`` (epoch seconds).

        Args:
            key: Webhook key; without one only the sample that needs none to be wrong is signed.
            scheme: How that sample is signed.
            now_s: The stamp, except for the stale sample.

        Raises:
            UsageError: A stale signature has to be right, and there is no key.
        """
        plain = (("Content-Type", "application/json"), ("User-Agent", f"suno-cover/{__version__}"))
        signing_key = self._signing_key(key, scheme)
        if signing_key is None:
            return plain
        age_s = _STALE_S if self.name is SampleName.STALE_SIGNATURE else 0
        return (*plain, *signature_headers(signing_key, self.task_id, str(int(now_s) - age_s), self.body))

    def _signing_key(self, key: WebhookKey | None, scheme: SignatureScheme) -> WebhookKey | None:
        if self.name is SampleName.UNSIGNED:
            return None
        if self.name is SampleName.BAD_SIGNATURE:
            return WebhookKey(Secret(secrets.token_hex(16)), scheme)
        if self.name is SampleName.STALE_SIGNATURE and key is None:
            raise UsageError(
                "A stale signature is a right one that is old, and there is no key to make it with",
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
        task_id: Cover task id; by default 32 random hex digits, the shape that has been seen.
        image_urls: Images of a success; by default two addresses that lead nowhere.
    """
    if task_id is None or name is SampleName.WRONG_TASK:
        task_id = secrets.token_hex(16)
    if name is SampleName.EMPTY:
        return (Sample(name, task_id, b""),)
    code, message = _FAILURES.get(name, (200, "success"))
    images = image_urls or tuple(
        f"https://tempfile.aiquickdraw.com/s/{int(now_s) + n}_{secrets.token_hex(16)}.png" for n in range(2)
    )
    content = {"taskId": task_id, "images": None if name in _FAILURES else list(images)}
    if name is SampleName.HUGE:
        content["padding"] = "x" * _HUGE_BYTES
    body = json.dumps({"code": code, "msg": message, "data": content}, separators=(",", ":")).encode()
    if name is SampleName.MALFORMED:
        body = body[: len(body) // 2]
    if name is SampleName.DUPLICATE:
        return Sample(name, task_id, body), Sample(name, task_id, body, _TWICE_S)
    return (Sample(name, task_id, body, LATE_S if name is SampleName.LATE else 0.0),)
