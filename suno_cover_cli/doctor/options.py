"""Options of ``doctor``."""

from pathlib import Path

import msgspec

from suno_cover_cli.wiring.callback_options import CallbackOptions
from suno_cover_cli.wiring.context import ServiceOptions


class DoctorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is checked.

    Attributes:
        service: Whom to speak to.
        output: Folder of the covers, or ``None`` for the settings' own.
        callback: Callback mode, or ``None`` for the settings' own.
        callbacks: How callbacks reach us.
        opens_tunnel: A real tunnel is opened and closed again.
    """

    service: ServiceOptions = ServiceOptions()
    output: Path | None = None
    callback: str | None = None
    callbacks: CallbackOptions = CallbackOptions()
    opens_tunnel: bool = True
