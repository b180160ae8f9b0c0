"""Sends a recorded request again, as it was or with changes."""

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.callbacks.bodies import Headers
from suno_cover_cli.callbacks.delivery import CallbackSender
from suno_cover_cli.callbacks.exchanges import Delivery
from suno_cover_cli.journal.recordings import Recording

# What a body of one's own no longer is.
_OF_THE_OLD_BODY = {"content-encoding", "content-md5", "digest", "content-digest"}


async def replay_recording(
    recording: Recording,
    sender: CallbackSender,
    *,
    method: str | None = None,
    query: str | None = None,
    headers: Headers | None = None,
    body: bytes | None = None,
) -> Delivery:
    """Send a recorded request to a receiver, old signature included: that is what a replay is for.

    Args:
        recording: What to send.
        sender: Entered.
        method: Instead of the recorded one, like all that follows.
        query: Without its question mark.
        headers: All of them.
        body: As it is to be sent.

    Raises:
        UsageError: Only a part of the body is recorded, and there is no other.
    """
    if body is None and not recording.is_whole:
        raise UsageError(
            f"event {recording.n} is not whole: {recording.reason}",
            code="event_not_whole",
            hint="Give it a body with --body FILE.",
        )
    if headers is None:
        headers = recording.headers
        if body is not None:
            headers = tuple(pair for pair in headers if pair[0].lower() not in _OF_THE_OLD_BODY)
    return await sender.deliver(
        recording.body if body is None else body,
        headers,
        method=recording.method if method is None else method,
        query=recording.query if query is None else query,
    )
