"""Proof that a public URL leads to our own listener, and to nobody else's page."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.text import clean

# A new name may take a moment to be known everywhere.
_DELAYS_S = (0.1, 0.2, 0.4, 0.8, 1.0)


class ListenerAddress(Protocol):
    """What has to be known of the listener.

    Attributes:
        local_url: ``http://127.0.0.1:PORT``.
        probe_path: Path of a GET that proves a connection, with its leading slash.
        probe_answer: Body of the answer to it.
    """

    @property
    def local_url(self) -> str:
        """See above."""
        ...

    @property
    def probe_path(self) -> str:
        """See above."""
        ...

    @property
    def probe_answer(self) -> str:
        """See above."""
        ...


class ListenerProof:
    """Asks for the listener's own answer through a public URL.

    Args:
        listener: Whose answer counts.
        probe: Fetches a URL as a stranger would; raises ``TunnelError``.
        clock: Time.
        probe_s: For one probe.
    """

    def __init__(
        self,
        listener: ListenerAddress,
        probe: Callable[[str], Awaitable[str]],
        clock: Clock,
        *,
        probe_s: float,
    ) -> None:
        self._listener = listener
        self._probe = probe
        self._clock = clock
        self._probe_s = probe_s

    async def prove(self, url: str, budget_s: float) -> None:
        """Probe until our own answer comes back through ``url``.

        Raises:
            TunnelError: It did not within ``budget_s`` seconds; carries the last reason.
        """
        end_s = self._clock.monotonic() + budget_s
        delays_s = iter(_DELAYS_S)
        while True:
            try:
                await self.check(url, end_s - self._clock.monotonic())
            except TunnelError as error:
                delay_s = next(delays_s, _DELAYS_S[-1])
                if error.is_permanent or self._clock.monotonic() + delay_s >= end_s:
                    raise
            else:
                return
            await self._clock.sleep(delay_s)

    async def check(self, url: str, limit_s: float | None = None) -> None:
        """Probe once.

        Raises:
            TunnelError: Another answer or none; with ngrok's code where ngrok itself has answered.
        """
        bound_s = self._probe_s if limit_s is None else min(self._probe_s, limit_s)
        try:
            answer = await within(self._clock, bound_s, self._probe(url + self._listener.probe_path))
        except TimeoutError:
            raise self._unproven(url, "no answer in time") from None
        except TunnelError as error:
            # Reasons of their own: ngrok's code, or a proxy before the probe had left this machine.
            if error.ngrok_code is not None or error.code in {"bad_proxy", "proxy_failed"}:
                raise
            raise self._unproven(url, error.message) from None
        if answer.strip() != self._listener.probe_answer.strip():
            raise self._unproven(url, "another page answers there")

    def _unproven(self, url: str, reason: str) -> TunnelError:
        return TunnelError(
            f"{url} does not lead to our listener: {clean(reason, 200)}",
            code="probe_failed",
            hint=f"Check that it forwards to {self._listener.local_url}; suno-cover doctor shows more.",
        )
