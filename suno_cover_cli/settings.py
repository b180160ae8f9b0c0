"""Settings: flag, then environment, then ``config.toml``, then default. Each value knows where it came from.

Secrets have a room of their own: keys.
"""

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from suno_cover_cli.config_file import FILE_KEYS, ConfigFile
from suno_cover_cli.durations import parse_duration_s
from suno_cover_cli.errors import UsageError
from suno_cover_cli.text import clean


class Provider(StrEnum):
    """The providers whose balance path and key variable differ; resellers count as sunoapi."""

    SUNOAPI = "sunoapi"
    KIE = "kie"

    @property
    def base_url(self) -> str:
        """Documented address of the service."""
        return "https://api.kie.ai" if self is Provider.KIE else "https://api.sunoapi.org"

    @property
    def credits_path(self) -> str:
        """Documented path of the balance call."""
        return "/api/v1/chat/credit" if self is Provider.KIE else "/api/v1/generate/credit"

    @property
    def key_variable(self) -> str:
        """Environment variable that holds the key."""
        return "KIE_API_KEY" if self is Provider.KIE else "SUNO_API_KEY"

    @property
    def key_page(self) -> str:
        """Where a person gets a key."""
        return "https://kie.ai/api-key" if self is Provider.KIE else "https://sunoapi.org/api-key"


CallbackMode = Literal["auto", "required", "off"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one run, secrets aside.

    Attributes:
        provider: See :class:`Provider`.
        base_url: Scheme, host and optional port and path prefix, without a trailing slash.
        output: Folder that receives one folder per cover task.
        callback: Whether a tunnel is tried, demanded or left out.
        domain: ngrok domain of one's own, or ``None``.
        rate: Calls to the service, such as ``20/10s`` or ``off``.
        state_dir: Folder of the journal and of run locks.
        sources: Name of each setting -> ``flag``, an environment variable, a file or ``default``.
    """

    provider: Provider = Provider.SUNOAPI
    base_url: str = Provider.SUNOAPI.base_url
    output: Path = Path("covers")
    callback: CallbackMode = "auto"
    domain: str | None = None
    rate: str = "20/10s"
    state_dir: Path = Path()
    sources: dict[str, str] = {}

    @property
    def is_loopback(self) -> bool:
        """Whether the service itself is on this machine, as the sandbox is."""
        return is_loopback_url(self.base_url)


VARIABLES = {
    "provider": "SUNO_PROVIDER",
    "base_url": "SUNO_BASE_URL",
    "output": "SUNO_COVER_OUTPUT",
    "state_dir": "SUNO_COVER_STATE_DIR",
}
"""Setting -> environment variable."""


def is_loopback_url(url: str) -> bool:
    """Tell whether a URL's host is this machine, by name or by address literal."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def default_state_dir() -> Path:
    """Return the folder of the journal on this system."""
    from platformdirs import user_state_path

    return user_state_path("suno-cover", appauthor=False)


class Sources(msgspec.Struct, frozen=True):
    """Everything settings and keys are looked for in, flags aside.

    Attributes:
        environ: The environment.
        config: The settings file.
        profile: Name of a profile in it, or ``None``.
    """

    environ: Mapping[str, str]
    config: ConfigFile
    profile: str | None = None


def load_settings(flags: Mapping[str, str | Path | None], where: Sources) -> Settings:
    """Merge flags, environment, settings file and defaults.

    Args:
        flags: Setting -> value given on the command line, or ``None``.
        where: Everything else.

    Raises:
        UsageError: A value that cannot be; says which, where it came from, and the fix.
    """
    section = where.config.section(where.profile)
    values: dict[str, str | Path] = {}
    sources: dict[str, str] = {}
    file_names = {setting: key for key, setting in FILE_KEYS.items()}
    for setting in (*file_names, "state_dir"):
        for value, source in (
            (flags.get(setting), "flag"),
            (where.environ.get(VARIABLES.get(setting, "")), VARIABLES.get(setting, "")),
            (section.get(file_names.get(setting, "")), str(where.config.path)),
        ):
            if value is not None and str(value) != "":
                values[setting], sources[setting] = value, source
                break
        else:
            sources[setting] = "default"
    provider = _provider(str(values.get("provider", Provider.SUNOAPI)), sources["provider"])
    callback = str(values.get("callback", "auto"))
    if callback not in {"auto", "required", "off"}:
        raise UsageError(
            f'unknown callback mode "{clean(callback, 40)}" ({sources["callback"]})',
            hint="Use auto, required or off.",
        )
    rate = str(values.get("rate", "20/10s"))
    parse_rate(rate)
    return Settings(
        provider=provider,
        base_url=_base_url(str(values.get("base_url", provider.base_url)), sources["base_url"]),
        output=Path(values.get("output", "covers")).expanduser(),
        callback=msgspec.convert(callback, CallbackMode),
        domain=str(values["domain"]) if "domain" in values else None,
        rate=rate,
        state_dir=Path(values["state_dir"]).expanduser() if "state_dir" in values else default_state_dir(),
        sources=sources,
    )


def _provider(name: str, source: str) -> Provider:
    try:
        return Provider(name.strip().lower())
    except ValueError:
        raise UsageError(
            f'unknown provider "{clean(name, 60)}" ({source})',
            hint="Use sunoapi (also for resellers of the same API, with --base-url) or kie.",
        ) from None


def _base_url(url: str, source: str) -> str:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.query or parts.fragment:
        raise UsageError(
            f'"{clean(url, 100)}" is no usable base URL ({source})',
            hint="Give scheme and host, such as https://api.sunoapi.org, without user, query or fragment.",
        )
    if parts.scheme == "http" and not is_loopback_url(url.strip()):
        raise UsageError(
            f'"{clean(url, 100)}" would send the key unencrypted ({source})',
            hint="Use https; plain http is for services on this machine only.",
        )
    return url.strip().rstrip("/")


def parse_rate(text: str) -> tuple[int | None, float]:
    """Read ``20/10s`` as (20, 10.0) and ``off`` as (None, 10.0).

    Raises:
        UsageError: Anything else.
    """
    if text.strip().lower() == "off":
        return None, 10.0
    calls, _, window = text.partition("/")
    try:
        limit, window_s = int(calls), parse_duration_s(window)
    except ValueError:
        limit, window_s = 0, 0.0
    if limit < 1:
        raise UsageError(f'"{clean(text, 40)}" is no rate', hint="Write calls/time, such as 20/10s, or off.")
    return limit, window_s
