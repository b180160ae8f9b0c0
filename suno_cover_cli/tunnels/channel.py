"""The way a callback takes to us, as one thing: listener, tunnel, and the probe that shows they are joined.

Nothing here is ever a reason for a job to fail. A channel that does not open, or is lost, says so once, and
jobs that wait for a callback are read instead.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

import msgspec

from suno_cover_cli.base.clock import Clock, within
from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.events import Sink, TunnelFailed, TunnelLost, TunnelOpened, TunnelRestored
from suno_cover_cli.base.text import clean
from suno_cover_cli.tunnels.probe import ListenerAddress, ListenerProof
from suno_cover_cli.tunnels.tunnel import Tunnel, TunnelChange

HEARTBEAT_S = 5.0
"""A pace that tells of a loss within 15 s: one beat, one failed probe, a second one."""

_OPENING_GRACE_S = 1.5  # a tunnel that fails at its own deadline still has an agent to end
_LEAST_PROBE_S = 2.0
_SECOND_LOOK_S = 1.0
_LEAVING_S = 2.0


class Reconnecting(msgspec.Struct, frozen=True, kw_only=True):
    """How a lost channel is brought back.

    Attributes:
        patience_s: How long a living agent may try by itself before it is started anew.
        delays_s: Between attempts to start anew; the last is repeated.
        give_up_s: After which the channel stays lost.
    """

    patience_s: float = 60.0
    delays_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
    give_up_s: float = 300.0


class _Fact(msgspec.Struct, frozen=True, kw_only=True):
    """A change, as the tunnel or a heartbeat tells it.

    Attributes:
        change: What happened.
        epoch: State of the channel that a heartbeat compared with; ``None`` for the tunnel's own word.
    """

    change: TunnelChange
    epoch: int | None = None


class CallbackChannel:
    """Opens the tunnel, proves it with a probe, watches it, brings it back.

    An async context manager: entering starts opening in the background and returns at once, leaving takes at
    most about 2 s.

    Args:
        listener: Where callbacks arrive on this machine.
        tunnel: Not entered yet, or ``None`` for no callbacks from outside.
        sink: Gets ``TunnelOpened`` or ``TunnelFailed``, and each ``TunnelLost`` and ``TunnelRestored``.
        clock: Time.
        probe: Fetches a URL from outside, as any client would; raises ``TunnelError``.
        heartbeat_s: Seconds between probes while open, or ``None`` to rely on what the tunnel tells.
        deadline_s: For opening, probe included.
        reconnects: Start a dead tunnel anew.
        reconnecting: How patiently.
        probe_s: For one probe.
        extra_s: Granted to the tunnel alone, on top of the deadline: its agent may have to be downloaded.

    Attributes:
        failure: Why there is no tunnel, once that is known; also after giving up on a lost one.
        given_up: Set together with it: no way in will be tried any more.
    """

    def __init__(
        self,
        listener: ListenerAddress,
        tunnel: Tunnel | None,
        *,
        sink: Sink,
        clock: Clock,
        probe: Callable[[str], Awaitable[str]],
        heartbeat_s: float | None = None,
        deadline_s: float = 8.0,
        reconnects: bool = True,
        reconnecting: Reconnecting | None = None,
        probe_s: float = 4.0,
        extra_s: float = 0.0,
    ) -> None:
        self._tunnel = tunnel
        self._sink = sink
        self._clock = clock
        self._proof = ListenerProof(listener, probe, clock, probe_s=probe_s)
        self._heartbeat_s = heartbeat_s
        self._deadline_s = deadline_s
        self._reconnects = reconnects
        self._reconnecting = reconnecting or Reconnecting()
        self._extra_s = extra_s
        self._facts: asyncio.Queue[_Fact] = asyncio.Queue()
        self._epoch = 0
        self._settled = asyncio.Event()
        self._decided = asyncio.Event()
        self._down = asyncio.Event()
        self._reason = ""
        self._runner: asyncio.Task[None] | None = None
        self.failure: TunnelError | None = None
        self.given_up = asyncio.Event()
        self.url: str | None = None

    async def __aenter__(self) -> Self:
        if self._tunnel is None:
            self._settle()
        else:
            self._runner = asyncio.create_task(self._run(self._tunnel), name="callback-channel")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runner is not None:
            # After the last word the runner is ending the agent already, and had better not be disturbed.
            if not self.given_up.is_set():
                self._runner.cancel()
            # The machine's own seconds: what is left to do is ending a process.
            await asyncio.wait({self._runner}, timeout=_LEAVING_S)
            self._runner.cancel()
        self.url = None

    @property
    def is_open(self) -> bool:
        """Whether callbacks get through, as far as is known."""
        return self.url is not None

    async def wait_open(self) -> str | None:
        """Wait for the public base URL, without a trailing slash.

        Returns:
            ``None`` when there is no way in: no tunnel wanted, :attr:`failure`, or lost just now.
        """
        await self._settled.wait()
        return self.url

    async def wait_lost(self) -> str:
        """Wait until callbacks do not get through and say why; at once when that is so already.

        Never returns when no tunnel was wanted: there is nothing to lose.
        """
        await self._down.wait()
        return self._reason

    async def wait_restored(self) -> str | None:
        """Wait out a loss: return the URL once callbacks get through again, ``None`` once that is given up."""
        await self._decided.wait()
        return self.url

    async def _run(self, tunnel: Tunnel) -> None:
        try:
            async with AsyncExitStack() as stack:
                try:
                    await self._open(tunnel, stack)
                except TunnelError as error:
                    self._mark_failed(error)  # before the agent is ended: jobs wait for this word
                    return
                await self._keep(tunnel)
        except Exception as error:  # noqa: BLE001 -- a fault in the accelerator must not cost a job
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            reason = clean(error, 200) or type(error).__name__
            self._mark_failed(TunnelError(f"the tunnel failed unexpectedly ({reason})", hint="Please report it."))

    # --- opening ---------------------------------------------------------------------------------------------

    async def _open(self, tunnel: Tunnel, stack: AsyncExitStack) -> None:
        started_s = self._clock.monotonic()
        bound_s = self._deadline_s + self._extra_s + _OPENING_GRACE_S
        try:
            await within(self._clock, bound_s, stack.enter_async_context(tunnel))
        except TimeoutError:
            raise TunnelError(
                f"the tunnel did not open within {self._deadline_s:g} s",
                code="tunnel_timeout",
                hint="suno-cover doctor shows the step that fails.",
            ) from None
        left_s = self._deadline_s - (self._clock.monotonic() - started_s)
        await self._proof.prove(tunnel.url, max(left_s, _LEAST_PROBE_S))
        self._mark_open(tunnel.url)
        self._sink.emit(TunnelOpened(url=tunnel.url, inspector=tunnel.inspector))

    # --- while open ------------------------------------------------------------------------------------------

    async def _keep(self, tunnel: Tunnel) -> None:
        """Watch it and bring it back, until there is nothing more to be done."""
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(self._pump_changes(tunnel))]
            if self._heartbeat_s is not None:
                watchers.append(group.create_task(self._beat(tunnel, self._heartbeat_s)))
            while True:
                fact = await self._next_fact()
                if fact.lost:
                    self._mark_lost(fact.reason)
                    if (failure := await self._reconnect(tunnel, fact)) is not None:
                        break
            for watcher in watchers:
                watcher.cancel()
        self._mark_failed(failure)

    async def _next_fact(self) -> TunnelChange:
        """Wait for a change that speaks of the present: a probe begun before the last change of state does not."""
        while True:
            fact = await self._facts.get()
            if fact.epoch in {None, self._epoch}:
                return fact.change

    async def _pump_changes(self, tunnel: Tunnel) -> None:
        while True:
            self._facts.put_nowait(_Fact(change=await tunnel.next_change()))

    async def _beat(self, tunnel: Tunnel, heartbeat_s: float) -> None:
        """Probe at a steady pace; report what differs from the state of the channel. One failure is none."""
        while True:
            await self._clock.sleep(heartbeat_s)
            epoch, url = self._epoch, tunnel.url
            reason = await self._failed_beat(url)
            if reason is not None and self.is_open:
                await self._clock.sleep(min(_SECOND_LOOK_S, heartbeat_s))
                reason = await self._failed_beat(url)
            if (reason is None) is self.is_open:
                continue
            change = TunnelChange(lost=reason is not None, reason=reason or "a probe came through", url=url)
            self._facts.put_nowait(_Fact(change=change, epoch=epoch))

    async def _failed_beat(self, url: str) -> str | None:
        """Return why a probe did not come back, or ``None`` when it did."""
        try:
            await self._proof.check(url)
        except TunnelError as error:
            return error.message
        return None

    # --- reconnecting ----------------------------------------------------------------------------------------

    async def _reconnect(self, tunnel: Tunnel, loss: TunnelChange) -> TunnelError | None:
        """Bring a lost channel back.

        Returns:
            ``None`` once it is open again, or why that was given up.
        """
        end_s = self._clock.monotonic() + self._reconnecting.give_up_s
        delays_s = iter(self._reconnecting.delays_s)
        delay_s, is_dead = 0.0, loss.is_dead
        last = TunnelError(loss.reason)
        while (left_s := end_s - self._clock.monotonic()) > 0:
            if not is_dead:
                patience_s = min(self._reconnecting.patience_s, left_s) if self._reconnects else left_s
                is_dead = not await self._wait_return(tunnel, patience_s)
                if not is_dead:
                    return None
            if not self._reconnects:
                break
            delay_s = next(delays_s, delay_s)
            await self._clock.sleep(min(delay_s, left_s))
            try:
                await self._reopen(tunnel)
            except TunnelError as error:
                last = error
                if error.is_permanent:
                    break
            else:
                return None
        return _given_up(last)

    async def _reopen(self, tunnel: Tunnel) -> None:
        """Start the tunnel anew and prove it; what was said of the old one is forgotten.

        Raises:
            TunnelError: Not this time.
        """
        self._epoch += 1
        while not self._facts.empty():
            self._facts.get_nowait()
        bound_s = self._deadline_s + _OPENING_GRACE_S
        try:
            await within(self._clock, bound_s, tunnel.reopen())
        except TimeoutError:
            raise TunnelError("the tunnel did not open in time", code="tunnel_timeout") from None
        await self._proof.prove(tunnel.url, self._deadline_s)
        self._mark_restored(tunnel.url)

    async def _wait_return(self, tunnel: Tunnel, patience_s: float) -> bool:
        """Wait for a living tunnel to come back by itself; ``False`` when it has died or takes too long."""
        end_s = self._clock.monotonic() + patience_s
        with suppress(TimeoutError):
            while (left_s := end_s - self._clock.monotonic()) > 0:
                change = await within(self._clock, left_s, self._next_fact())
                if change.is_dead:
                    return False
                if not change.lost and await self._is_proven(change.url or tunnel.url):
                    self._mark_restored(change.url or tunnel.url)
                    return True
        return False

    async def _is_proven(self, url: str) -> bool:
        try:
            await self._proof.prove(url, self._deadline_s)
        except TunnelError:
            return False
        return True

    # --- state -----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        self._settled.set()
        self._decided.set()

    def _mark_open(self, url: str) -> None:
        self._epoch += 1
        self.url = url
        self._down.clear()
        self._settle()

    def _mark_restored(self, url: str) -> None:
        self._mark_open(url)
        self._sink.emit(TunnelRestored(url=url))

    def _mark_lost(self, reason: str) -> None:
        self._epoch += 1
        self.url = None
        self._reason = reason
        self._decided.clear()
        self._down.set()
        self._sink.emit(TunnelLost(reason=reason))

    def _mark_failed(self, error: TunnelError) -> None:
        self.url = None
        self.failure = error
        self._reason = error.message
        self._down.set()
        self._settle()
        self.given_up.set()
        self._sink.emit(
            TunnelFailed(
                code=error.code,
                message=error.message,
                hint=error.hint,
                is_expected=error.is_expected,
            )
        )


def _given_up(last: TunnelError) -> TunnelError:
    return TunnelError(
        f"the tunnel was lost and did not come back ({last.message})",
        code="tunnel_given_up",
        hint=last.hint or "Run the same command again once the network is back.",
    )
