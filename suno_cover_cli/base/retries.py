"""Retries: what costs nothing when nothing fails, and how long a server asks to wait."""

import re
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")

_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


async def repeat(
    attempt: Callable[[], Awaitable[T]],
    go_on: Callable[[Callable[[], Awaitable[T]]], Awaitable[T]],
    *,
    worth_repeating: type[Exception],
) -> T:
    """Try once, and only after a failure that may pass set up what repeats it.

    In a batch of thousands, a sixth of the event loop's time went into preparing for failures that did not come.

    Args:
        attempt: One try.
        go_on: Repeats it with back-off. To it, the try that failed is attempt number 1: the first call of what it
            is given raises that failure again.
        worth_repeating: What else is raised is final.

    Raises:
        Exception: Whatever the last attempt raised.
    """
    try:
        return await attempt()
    except worth_repeating as error:
        failure: Exception | None = error

    async def attempt_again() -> T:
        nonlocal failure
        if failure is not None:
            first, failure = failure, None
            raise first
        return await attempt()

    return await go_on(attempt_again)


def read_retry_after(header: str | None, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, in either of its forms; uncapped.

    Args:
        header: Digits or an HTTP date; anything else counts as none.
        now: Epoch seconds.
    """
    text = header.strip() if header is not None else ""
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return None
