"""Options of ``listen``."""

from pathlib import Path

import msgspec

from suno_cover_cli.wiring.callback_options import CallbackOptions
from suno_cover_cli.wiring.context import ServiceOptions


class ListenOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the command; see its help.

    Attributes:
        service: Whom ``save`` reads jobs from, and the webhook key.
        callbacks: How callbacks reach us.
        tunnel: ``True`` insists on a tunnel, ``False`` does without, ``None`` takes one unless the service is on
            this machine.
        path: Path of one's own choice instead of a random one.
        forward_to: Where every callback is sent on to, as typed.
        answer: Status for every callback instead of 200.
        delay_s: Seconds before each answer.
        count: Events after which to end.
        until_task: Cover task id whose callback ends it.
        timeout_s: Seconds after which to give up.
        save: Read each announced job with the key and save its covers.
        output: Folder for ``save``, or ``None`` for the settings' own.
        json: NDJSON on stdout.
        print_url: The URL alone on stdout.
        ready_file: Gets the URL once callbacks get through.
        list_events: List recorded events and leave.
        verbosity: 1 adds headers and strangers, 2 bodies.
        command: Run it once callbacks get through.
    """

    service: ServiceOptions = ServiceOptions()
    callbacks: CallbackOptions = CallbackOptions()
    tunnel: bool | None = None
    path: str | None = None
    forward_to: str | None = None
    answer: int | None = None
    delay_s: float | None = None
    count: int | None = None
    until_task: str | None = None
    timeout_s: float | None = None
    save: bool = False
    output: Path | None = None
    json: bool = False
    print_url: bool = False
    ready_file: Path | None = None
    list_events: bool = False
    verbosity: int = 0
    command: tuple[str, ...] = ()

    @property
    def has_goal(self) -> bool:
        """Whether events end it."""
        return self.count is not None or self.until_task is not None
