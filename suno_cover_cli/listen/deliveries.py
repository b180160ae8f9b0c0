"""What ``trigger`` and ``replay`` print of each delivery."""

import msgspec

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.text import clean
from suno_cover_cli.callbacks.delivery import Delivery, Outcome
from suno_cover_cli.ui.output import Output, json_line

_SHOWN_BODY_CHARS = 500


class SentLine(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery as scripts read it. ``body`` is the start of the receiver's answer, cleaned."""

    v: int = 1
    type: str = "delivery"
    name: str
    task_id: str
    url: str
    outcome: Outcome
    status: int | None
    latency_ms: float
    body: str
    error: str


def write_delivery(output: Output, name: str, task_id: str, delivery: Delivery) -> None:
    """Print one delivery: an object under ``--json``, else status, latency and the answer's first words."""
    body = clean(delivery.body.decode("utf-8", "replace"), _SHOWN_BODY_CHARS)
    if output.is_json:
        line = SentLine(
            name=name,
            task_id=task_id,
            url=clean(delivery.url, 500),
            outcome=delivery.outcome,
            status=delivery.status,
            latency_ms=round(delivery.latency_ms, 3),
            body=body,
            error=delivery.error,
        )
        output.write_line(json_line(line))
        return
    said = body if delivery.outcome is Outcome.ANSWERED else delivery.error
    status = str(delivery.status) if delivery.status is not None else delivery.outcome.replace("_", " ")
    output.write_line(f"{name}  {task_id}  {status}  {delivery.latency_ms:.0f} ms  {said}".rstrip())


def exit_code_of(deliveries: list[Delivery]) -> ExitCode:
    """Say in one code whether a service would be content: 200 to everything, in time."""
    if all(delivery.is_accepted for delivery in deliveries):
        return ExitCode.OK
    if all(delivery.outcome is not Outcome.ANSWERED for delivery in deliveries):
        return ExitCode.UNAVAILABLE
    return ExitCode.FAILURE
