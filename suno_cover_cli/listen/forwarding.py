"""``listen --forward-to``: every callback goes on to the receiver behind us, and its answer goes back."""

import msgspec

from suno_cover_cli.callbacks.content import ReceivedCallback
from suno_cover_cli.callbacks.delivery import FORWARD_S, CallbackSender, Delivery, Outcome
from suno_cover_cli.callbacks.exchanges import Answer
from suno_cover_cli.listen.events import Forwarded

_UNREACHABLE = Answer(502, b'{"status":"unreachable"}')
_TOO_SLOW = Answer(504, b'{"status":"too slow"}')
_PLAIN_BODY = b'{"status":"forwarded"}'
_SAID_BYTES = 500


class Forwarding:
    """Sends callbacks on.

    Args:
        sender: Entered; its time-out is :data:`~suno_cover_cli.callbacks.delivery.FORWARD_S`.
    """

    def __init__(self, sender: CallbackSender) -> None:
        self._sender = sender

    async def forward(self, callback: ReceivedCallback) -> tuple[Answer, Forwarded]:
        """See :data:`~suno_cover_cli.listen.answers.Forward`."""
        delivery = await self._sender.deliver(callback.body, callback.headers)
        forwarded = Forwarded(
            url=delivery.url,
            status=delivery.status,
            latency_ms=delivery.latency_ms,
            trouble=_trouble(delivery),
            said=b"" if delivery.is_accepted else delivery.body[:_SAID_BYTES],
        )
        return _answer(delivery), forwarded


def _answer(delivery: Delivery) -> Answer:
    if delivery.status is None:
        return _TOO_SLOW if delivery.outcome is Outcome.TIMED_OUT else _UNREACHABLE
    if not 200 <= delivery.status <= 599:  # noqa: PLR2004 -- what an answer can be at all
        return _UNREACHABLE
    return Answer(delivery.status, delivery.body if _is_json(delivery.body) else _PLAIN_BODY)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return False
    return True


def _trouble(delivery: Delivery) -> str:
    if delivery.outcome is Outcome.TIMED_OUT:
        return (
            f"no answer within {FORWARD_S:g} s; the service itself waits 15 s, "
            "so answer first and do the work afterwards"
        )
    if delivery.outcome is Outcome.UNREACHABLE:
        return f"unreachable ({delivery.error}); is it running?"
    if delivery.is_accepted:
        return ""
    if delivery.status is not None and delivery.status < 300:  # noqa: PLR2004 -- HTTP's own
        return f"answered {delivery.status}; the service is documented to want 200"
    return f"answered {delivery.status}; the service would try again after 1, 5 and 15 minutes"
