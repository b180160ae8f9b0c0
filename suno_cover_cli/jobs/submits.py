"""The gate that submits pass: a few at a time, and none once the account cannot pay for more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from suno_cover_cli.base.errors import AccountError
from suno_cover_cli.base.events import Sink, WarningRaised

_MAX_AT_ONCE = 16
"""More than the service's rate needs, and no more than may be refused in vain when the credits run out."""


class SubmitGate:
    """Lets submits through until the account is refused.

    Args:
        sink: Hears once that submits are held back.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._places = asyncio.Semaphore(_MAX_AT_ONCE)
        self._refusal: AccountError | None = None
        self._is_reported = False

    def close(self, refusal: AccountError) -> None:
        """Hold all submits back from now on; the first reason stays."""
        self._refusal = self._refusal or refusal

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Hold one place; waits until there is one.

        Raises:
            AccountError: The gate is closed; says so in the words of the refusal that closed it.
        """
        self._check()
        async with self._places:
            self._check()
            try:
                yield
            except AccountError as refusal:
                # Before the place is free: the next in line is not to learn the same.
                self.close(refusal)
                raise

    def _check(self) -> None:
        refusal = self._refusal
        if refusal is None:
            return
        if not self._is_reported:
            self._is_reported = True
            self._sink.emit(
                WarningRaised(
                    code="submits_stopped",
                    message=f"no more jobs are submitted: {refusal.message}",
                    hint="Jobs that were submitted are finished.",
                )
            )
        raise type(refusal)(f"not submitted: {refusal.message}", code=refusal.code, hint=refusal.hint)
