"""Checks with a time limit each, what came of them, and what they start from."""

import re
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.errors import KeyRefusedError, SunoCoverError, UsageError
from suno_cover_cli.base.keys import WebhookKey, load_api_key, load_webhook_key
from suno_cover_cli.base.settings import Settings, Sources, load_settings
from suno_cover_cli.base.settings_file import ConfigFile
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.doctor.options import DoctorOptions
from suno_cover_cli.wiring.context import Context

# Errors send people to the doctor; here they are there already.
_REFERRAL = re.compile(r"(^|[;.] ?)suno-cover doctor [^.;]*\.?")


class Status(StrEnum):
    """The verdict of a check."""

    PASS = "pass"  # noqa: S105 -- a verdict
    WARN = "warn"
    """Works, but not as well as it could."""
    FAIL = "fail"


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        status: See :class:`Status`.
        message: What is so, one line, no secrets.
        hint: The fix, when something is wrong.
        is_skipped: Nothing was looked at; ``message`` says why.
    """

    status: Status
    message: str
    hint: str = ""
    is_skipped: bool = False


def passed(message: str) -> Finding:
    """All is well."""
    return Finding(Status.PASS, message)


def warned(message: str, hint: str = "") -> Finding:
    """It works, but not as well as it could."""
    return Finding(Status.WARN, message, hint)


def failed(message: str, hint: str) -> Finding:
    """It does not work; ``hint`` is the fix."""
    return Finding(Status.FAIL, message, hint)


def skipped(reason: str, status: Status = Status.PASS) -> Finding:
    """Nothing was looked at.

    Args:
        reason: Why not.
        status: A warning where something else has to be put right first.
    """
    return Finding(status, f"skipped: {reason}", is_skipped=True)


class CheckResult(NamedTuple):
    """One line of the report: what was found, where, and how long that took."""

    group: str
    name: str
    finding: Finding
    elapsed_ms: int


class Doctor:
    """Runs the checks of one group, each within its limit; what goes wrong in one is its finding.

    Args:
        group: Name of the group.
        clock: Measures and limits.

    Attributes:
        results: What has been found so far.
    """

    def __init__(self, group: str, clock: Clock) -> None:
        self.results: list[CheckResult] = []
        self._group = group
        self._clock = clock

    async def check(self, name: str, work: Callable[[], Awaitable[Finding]], *, limit_s: float = 5.0) -> bool:
        """Run one check and keep its result; tell whether nothing failed.

        Args:
            name: Of the check, a word or two; scripts may rely on it and on the name of the group.
            work: Returns the finding, or raises what a command would raise.
            limit_s: Longest duration.
        """
        began_s = self._clock.monotonic()
        try:
            finding = await within(self._clock, limit_s, work())
        except TimeoutError:
            finding = failed(
                f"no answer within {limit_s:g} s", "Try again. If it happens again, this step is what hangs."
            )
        except SunoCoverError as error:
            finding = failed(error.message, error.hint)
        except Exception as error:  # noqa: BLE001 -- one check that breaks must not cost the others
            reason = clean(error, 200) or type(error).__name__
            finding = failed(f"the check itself failed: {reason}", "Please report it, with this line.")
        self.add(name, finding, elapsed_s=self._clock.monotonic() - began_s)
        return finding.status is not Status.FAIL

    def add(self, name: str, finding: Finding, *, elapsed_s: float = 0.0) -> None:
        """Keep what is known without a check."""
        shown = finding._replace(message=clean(finding.message), hint=clean(_REFERRAL.sub("", finding.hint)))
        self.results.append(CheckResult(self._group, name, shown, round(elapsed_s * 1000)))


class Subject(NamedTuple):
    """What is examined, and what was wrong with it before anything was looked at.

    Attributes:
        context: Streams and time.
        options: Of the command.
        settings: Merged; the defaults when they cannot be.
        sources: What settings and keys were looked for in.
        settings_error: Why settings cannot be merged, or ``None``.
        key: API key, or why there is none.
        key_source: Where it came from.
        webhook_key: Key that signs callbacks, ``None`` for none, or why it cannot be one.
    """

    context: Context
    options: DoctorOptions
    settings: Settings
    sources: Sources
    settings_error: UsageError | None
    key: Secret | SunoCoverError
    key_source: str
    webhook_key: WebhookKey | UsageError | None

    @property
    def usable_webhook_key(self) -> WebhookKey | None:
        """The key that signs callbacks, where there is one that can."""
        return None if isinstance(self.webhook_key, UsageError) else self.webhook_key


def load_subject(options: DoctorOptions, context: Context) -> Subject:
    """Read settings and keys; what is wrong with them is for the checks to say. Blocks: it reads files."""
    settings_error: UsageError | None = None
    try:
        sources = context.sources(options.profile)
        settings = load_settings({name: getattr(options, name, None) for name in SETTINGS}, sources)
    except UsageError as error:
        settings_error = error
        nothing = ConfigFile(path=Path("config.toml"), is_there=False)
        sources = Sources({}, nothing, None, context.providers)
        settings = load_settings({}, sources)
    stdin = context.output.streams.stdin
    key: Secret | SunoCoverError
    key_source = ""
    try:
        key, key_source = load_api_key(
            settings.provider,
            sources,
            key_file=options.api_key_file,
            stdin=stdin,
            base_url=settings.base_url,
        )
        context.output.redactor.add(key)
    except (KeyRefusedError, UsageError) as error:
        key = error
    webhook_key: WebhookKey | UsageError | None
    try:
        webhook_key = load_webhook_key(settings.provider, sources, key_file=options.webhook_key_file, stdin=stdin)
        context.output.redactor.add(webhook_key.secret if webhook_key is not None else None)
    except UsageError as error:
        webhook_key = error
    return Subject(context, options, settings, sources, settings_error, key, key_source, webhook_key)
