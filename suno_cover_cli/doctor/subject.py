"""What ``doctor`` knows before it looks: settings, keys, and what was wrong with them."""

from collections.abc import Mapping

from suno_cover_cli.base.errors import SunoCoverError, UsageError
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.settings import Settings, Sources
from suno_cover_cli.base.text import Secret
from suno_cover_cli.doctor.options import DoctorOptions
from suno_cover_cli.wiring.context import Context


class Subject:
    """What is examined.

    Attributes:
        context: Streams and time.
        options: Of the command.
        versions: Of the packages.
        settings: Merged; the defaults when they cannot be.
        settings_error: Why they cannot be, or ``None``.
        where: For sources.
        key: API key, or ``None``.
        key_source: Where it came from.
        key_error: Why there is none, or ``None``.
        webhook_key: Key that signs callbacks, or ``None``.
        webhook_key_error: Why it cannot be one, or ``None``.
        environ: The environment.
    """

    where: Sources
    settings: Settings
    environ: Mapping[str, str]

    def __init__(self, context: Context, options: DoctorOptions, versions: dict[str, str]) -> None:
        self.context = context
        self.options = options
        self.versions = versions
        self.settings_error: UsageError | None = None
        self.key: Secret | None = None
        self.key_source = ""
        self.key_error: SunoCoverError | None = None
        self.webhook_key: WebhookKey | None = None
        self.webhook_key_error: UsageError | None = None
