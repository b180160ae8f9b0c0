"""Checks with a time limit each, and what came of them."""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

import msgspec

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.errors import SunoCoverError
from suno_cover_cli.base.text import clean

T = TypeVar("T")

# Errors send people to the doctor; here they are there already.
_REFERRAL = re.compile(r"(^|[;.] ?)suno-cover doctor [^.;]*\.?")


class Status(StrEnum):
    """The verdict of a check."""

    PASS = "pass"  # noqa: S105 -- a verdict
    WARN = "warn"
    """Works, but not as well as it could."""
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found.

    Attributes:
        status: See :class:`Status`.
        message: What is so, one line, no secrets.
        hint: The fix, when something is wrong.
    """

    status: Status
    message: str
    hint: str = ""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report; scripts may rely on ``group`` and ``name``."""

    group: str
    name: str
    status: Status
    message: str
    hint: str
    elapsed_ms: int


def passed(message: str) -> Finding:
    """All is well."""
    return Finding(status=Status.PASS, message=message)


def warned(message: str, hint: str = "") -> Finding:
    """It works, but not as well as it could."""
    return Finding(status=Status.WARN, message=message, hint=hint)


def failed(message: str, hint: str) -> Finding:
    """It does not work; ``hint`` is the fix."""
    return Finding(status=Status.FAIL, message=message, hint=hint)


class Doctor:
    """Runs the checks of one group, each within its limit; what goes wrong in one is its finding.

    Args:
        group: Name of the group.
        clock: Measures and limits.
        report: Told each result as it is known.
    """

    def __init__(self, group: str, clock: Clock, report: Callable[[CheckResult], None]) -> None:
        self._group = group
        self._clock = clock
        self._report = report

    async def check(self, name: str, work: Callable[[], Awaitable[Finding]], *, limit_s: float = 5.0) -> bool:
        """Run one check and report it; tell whether nothing failed.

        Args:
            name: Of the check, a word or two.
            work: Returns the finding, or raises what a command would raise.
            limit_s: Longest duration.
        """
        began_s = self._clock.monotonic()
        try:
            finding = await within(self._clock, limit_s, work())
        except TimeoutError:
            finding = failed(
                f"no answer within {limit_s:g} s", "Try again; if it stays, the step named here is stuck."
            )
        except SunoCoverError as error:
            finding = failed(error.message, error.hint)
        except Exception as error:  # noqa: BLE001 -- one check that breaks must not cost the others
            reason = clean(error, 200) or type(error).__name__
            finding = failed(f"the check itself failed: {reason}", "Please report it, with this line.")
        self.tell(name, finding, elapsed_s=self._clock.monotonic() - began_s)
        return finding.status is not Status.FAIL

    def tell(self, name: str, finding: Finding, *, elapsed_s: float = 0.0) -> None:
        """Report what is known without a check."""
        self._report(
            CheckResult(
                group=self._group,
                name=name,
                status=finding.status,
                message=clean(finding.message),
                hint=clean(_REFERRAL.sub("", finding.hint)),
                elapsed_ms=round(elapsed_s * 1000),
            )
        )


async def in_daemon_thread(call: Callable[[], T]) -> T:
    """Run what may block for longer than anybody wants to wait: an abandoned thread holds nobody up at exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T is None

    def run() -> None:
        try:
            result, error = call(), None
        except Exception as fault:  # noqa: BLE001 -- handed to whoever waits
            result, error = None, fault
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=run, name="doctor", daemon=True).start()
    return await future
