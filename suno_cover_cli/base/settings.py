"""Settings: flag, then environment, then ``config.toml``, then default. Each value knows where it came from.

Secrets have a room of their own: keys.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.folders import JOURNAL_NAME, state_folder
from suno_cover_cli.base.naming import DEFAULT_NAME, NameTemplate
from suno_cover_cli.base.providers import PROVIDERS, Provider, Providers
from suno_cover_cli.base.settings_file import ConfigFile, expand_user
from suno_cover_cli.base.settings_table import SETTINGS, parse_duration_s
from suno_cover_cli.base.text import clean, did_you_mean

CallbackMode = Literal["auto", "required", "off"]
PreviewMode = Literal["auto", "off"]
LabelMode = Literal["keep", "add"]
GitHubMode = Literal["auto", "off"]

_DOMAIN = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
# Above that many, SQLite's own numbers would end.
_NUMBER = re.compile(r"[0-9]{1,9}")


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the past the journal keeps. Saved covers, and jobs that are unfinished or picked, always stay.

    Attributes:
        jobs: The newest so many.
        events: The newest so many requests that ``listen`` received.
        days: What ended, or arrived, longer ago goes as well.
    """

    jobs: int = 100_000
    events: int = 1000
    days: int = 400

    def oldest(self, now: float) -> float:
        """Return the moment before which jobs and events are forgotten, in epoch seconds like ``now``."""
        return now - self.days * 24 * 3600.0


USUAL_RETENTION = Retention()
"""In force where the settings say nothing else."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one run, secrets aside.

    Attributes:
        provider: Whose API it is; see :mod:`base.providers`.
        base_url: Scheme, host and optional port and path prefix, without a trailing slash.
        output: Folder that receives one folder per cover task.
        callback: Whether a tunnel is tried, demanded or left out.
        domain: Domain of the user's own for the tunnel, or ``None``.
        rate: Calls to the service, such as ``20/10s`` or ``off``.
        name: Template of file names, checked; see :class:`base.naming.NameTemplate`.
        preview: Whether saved covers are shown on a terminal.
        label: Whether the AI label is added to saved covers.
        github: Whether a run in GitHub Actions is annotated and summed up on its page.
        history_jobs: See :attr:`retention`, like the two that follow.
        history_events: Newest events that are kept.
        history_days: Age at which ended jobs and events are forgotten.
        state_dir: Folder of the journal and of run locks.
        sources: Name of each setting -> ``flag``, an environment variable, a file or ``default``.
    """

    provider: Provider = PROVIDERS.default
    base_url: str = PROVIDERS.default.base_url
    output: Path = Path("covers")
    callback: CallbackMode = "auto"
    domain: str | None = None
    rate: str = "20/10s"
    name: str = DEFAULT_NAME
    preview: PreviewMode = "auto"
    label: LabelMode = "keep"
    github: GitHubMode = "auto"
    history_jobs: int = USUAL_RETENTION.jobs
    history_events: int = USUAL_RETENTION.events
    history_days: int = USUAL_RETENTION.days
    state_dir: Path = Path()
    sources: dict[str, str] = {}

    @property
    def is_loopback(self) -> bool:
        """Whether the service itself is on this machine, as the sandbox is."""
        return is_loopback_url(self.base_url)

    @property
    def journal_path(self) -> Path:
        """The journal's file, whether it exists or not."""
        return self.state_dir / JOURNAL_NAME

    @property
    def retention(self) -> Retention:
        """How much of the past the journal keeps."""
        return Retention(jobs=self.history_jobs, events=self.history_events, days=self.history_days)


def is_loopback_url(url: str) -> bool:
    """Tell whether a URL's host is this machine, by name or by address literal."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Sources(msgspec.Struct, frozen=True):
    """Everything settings and keys are looked for in, flags aside.

    Attributes:
        environ: The environment.
        config: The settings file.
        profile: Name of a profile in it, or ``None``.
        providers: That may be named there.
    """

    environ: Mapping[str, str]
    config: ConfigFile
    profile: str | None = None
    providers: Providers = PROVIDERS


def load_settings(flags: Mapping[str, str | Path | None], where: Sources) -> Settings:
    """Merge flags, environment, settings file and defaults.

    Args:
        flags: Setting -> value given on the command line, or ``None``.
        where: Everything else.

    Raises:
        UsageError: A value that cannot be; says which, where it came from, and the fix.
    """
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        found = _find(setting, flags.get(setting), where)
        sources[setting] = "default" if found is None else found[1]
        if found is not None:
            values[setting] = checked_value(setting, *found, where.providers)
    provider = where.providers.find(values.get("provider", "")) or where.providers.default
    return Settings(
        provider=provider,
        base_url=values.get("base_url", provider.base_url),
        output=expand_user(values.get("output", SETTINGS["output"].default), sources["output"]),
        callback=msgspec.convert(values.get("callback", SETTINGS["callback"].default), CallbackMode),
        domain=values.get("domain"),
        rate=values.get("rate", SETTINGS["rate"].default),
        name=values.get("name", SETTINGS["name"].default),
        preview=msgspec.convert(values.get("preview", SETTINGS["preview"].default), PreviewMode),
        label=msgspec.convert(values.get("label", SETTINGS["label"].default), LabelMode),
        github=msgspec.convert(values.get("github", SETTINGS["github"].default), GitHubMode),
        history_jobs=int(values.get("history_jobs", SETTINGS["history_jobs"].default)),
        history_events=int(values.get("history_events", SETTINGS["history_events"].default)),
        history_days=int(values.get("history_days", SETTINGS["history_days"].default)),
        state_dir=expand_user(values["state_dir"], sources["state_dir"])
        if "state_dir" in values
        else state_folder({}),
        sources=sources,
    )


def load_provider(flag: str | None, where: Sources) -> Provider:
    """Find the provider alone, for what needs no other setting.

    Args:
        flag: Value of ``--provider``, or ``None``.
        where: Everything else.

    Raises:
        UsageError: No such provider.
    """
    found = _find("provider", flag, where)
    return where.providers.default if found is None else named_provider(*found, where.providers)


def _find(setting: str, flag: str | Path | None, where: Sources) -> tuple[str, str] | None:
    """Return a setting's value as written and where it was written, or ``None`` when it is set nowhere."""
    declared = SETTINGS[setting]
    key = declared.key
    for value, source in (
        (flag, declared.option or f"--{key}"),
        (where.environ.get(declared.variable), declared.variable),
        (where.config.section(where.profile).get(key), where.config.source_of(key, where.profile)),
    ):
        if value is not None and str(value) != "":
            return str(value), source
    return None


def checked_value(setting: str, value: str, source: str, providers: Providers) -> str:
    """Return the value of a setting as it will be used.

    Args:
        setting: Name of a field of :class:`Settings`.
        value: As written.
        source: Where it was written, for the message.
        providers: That may be named.

    Raises:
        UsageError: It cannot be; says why and what would do.
    """
    match setting:
        case "provider":
            return named_provider(value, source, providers).name
        case "base_url":
            return _base_url(value, source)
        case "callback" | "preview" | "label" | "github":
            return _word(setting, value, source)
        case "domain":
            return _domain(value, source)
        case "rate":
            parse_rate(value, source)
        case "name":
            NameTemplate(value, source)
        case "history_jobs" | "history_events" | "history_days":
            return _number(value, source)
        case _:
            expand_user(value, source)
    return value


def _word(setting: str, value: str, source: str) -> str:
    words = SETTINGS[setting].values.split("|")
    if value.strip().lower() not in words:
        *most, last = words
        raise UsageError(
            f'unknown {setting} mode "{clean(value, 40)}" ({source})',
            hint=f"{did_you_mean(value, words)}Use {', '.join(most)} or {last}.",
        )
    return value.strip().lower()


def _number(value: str, source: str) -> str:
    digits = value.strip()
    if not _NUMBER.fullmatch(digits) or int(digits) == 0:
        raise UsageError(
            f'"{clean(value, 40)}" is not a whole number of at least 1 ({source})',
            hint="Write digits alone, such as 1000.",
        )
    return digits


def _domain(value: str, source: str) -> str:
    # People paste what a dashboard shows, scheme and all.
    name = value.strip().removeprefix("https://").strip("/").lower()
    if not _DOMAIN.fullmatch(name):
        raise UsageError(
            f'"{clean(value, 100)}" is not a domain name ({source})',
            hint="Give the name alone, such as my-name.ngrok-free.app.",
        )
    return name


def named_provider(name: str, source: str, providers: Providers) -> Provider:
    """Return the provider of a name.

    Args:
        name: As written.
        source: Where it was written, for the message.
        providers: That may be named.

    Raises:
        UsageError: No such provider; says which there are.
    """
    if (found := providers.find(name)) is not None:
        return found
    raise UsageError(
        f'unknown provider "{clean(name, 60)}" ({source})',
        hint=f"{did_you_mean(name, providers.names)}Use {' or '.join(providers.names)}. A reseller of the same "
        f"API counts as {providers.default.name}, with its address as --base-url.",
    )


def _base_url(url: str, source: str) -> str:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.query or parts.fragment or not url.strip().isprintable():
        raise UsageError(
            f'"{_without_user(url)}" is not a usable base URL ({source})',
            hint="Give scheme and host, such as https://api.sunoapi.org, without user, query or fragment.",
        )
    if parts.scheme == "http" and not is_loopback_url(url.strip()):
        raise UsageError(
            f'"{clean(url, 100)}" would send the key unencrypted ({source})',
            hint="Use https; plain http is for services on this machine only.",
        )
    return url.strip().rstrip("/")


def _without_user(url: str) -> str:
    """Take user and password out of what is shown of a URL: they may be secret."""
    return clean(re.sub(r"(?<=//)[^/]*@", "***@", url), 100)


def parse_rate(text: str, source: str = "--rate") -> tuple[int | None, float]:
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
        raise UsageError(
            f'"{clean(text, 40)}" is not a rate ({source})', hint="Write calls/time, such as 20/10s, or off."
        )
    return limit, window_s
