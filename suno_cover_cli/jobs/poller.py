"""Waiting for one job: callback and polling race, and only what the service says when read with the key counts.

A callback is a wake-up. A callback that claims success and a record that lags behind are read again at short,
growing intervals; a callback that claims failure and is not confirmed in time ends the job by its own code.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from suno_cover_cli.base.clock import Clock, SuspendAwareClock, within
from suno_cover_cli.base.errors import RefusedError, SunoCoverError, UnavailableError
from suno_cover_cli.base.models import JobRecord, RecordState, Via
from suno_cover_cli.base.settings_table import JOB_TIMEOUT_S
from suno_cover_cli.callbacks.content import CallbackContent, ReceivedRequest
from suno_cover_cli.callbacks.kinds import CallbackKind
from suno_cover_cli.jobs.ports import Inbox

_CODE_OK = 200
_LAG_FIRST_S = 1.0
# Any sender that knows the path can send such requests all day, and each read counts against the account's limit.
_ODD_PAUSE_S = 5.0
_LAST_READ_S = 10.0
"""What a read that the deadline finds under way may still take, retries included."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long things may take, in seconds.

    Attributes:
        poll_interval_s: Between reads of one job; providers advise 30 (documented).
        timeout_s: The whole job, time asleep not counted.
        unknown_grace_s: How long ``data: null`` may also mean "created a moment ago" (recorded).
        confirm_s: How long a failure callback waits for the record to agree.
        no_images_s: How long a finished record without images is read again.
    """

    poll_interval_s: float = 30.0
    timeout_s: float = JOB_TIMEOUT_S
    unknown_grace_s: float = 90.0
    confirm_s: float = 60.0
    no_images_s: float = 60.0


class WakeUp:
    """Wakes one waiting job: the tunnel is gone, the machine woke up, a callback came."""

    def __init__(self) -> None:
        self._delay_s: float | None = None
        self._waiter: asyncio.Future[None] | None = None

    def request_read(self, delay_s: float = 0.0) -> None:
        """Ask for a read ``delay_s`` seconds from now; of several such wishes the soonest counts."""
        self._delay_s = delay_s if self._delay_s is None else min(delay_s, self._delay_s)
        self._wake()

    async def wait(self, clock: Clock, at_most_s: float) -> float | None:
        """Wait for a request, no longer than ``at_most_s`` seconds.

        Returns:
            The seconds to let pass before the read, or ``None`` when none was requested.
        """
        if self._delay_s is None:
            # One future and one sleeper: thousands of jobs wait here at the same time.
            self._waiter = asyncio.get_running_loop().create_future()
            sleeping = asyncio.ensure_future(clock.sleep(at_most_s))
            sleeping.add_done_callback(self._wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                sleeping.cancel()
                await asyncio.wait({sleeping})
        delay_s, self._delay_s = self._delay_s, None
        return delay_s

    def _wake(self, _sleeping: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Poller:
    """Waits for one job.

    Args:
        task_id: Cover task id.
        fetch: Reads the job once with the key.
        inbox: Where its callbacks arrive, or ``None`` without callbacks.
        wake_up: Asks for a read outside the interval.
        timing: Durations.
        clock: Time.
        awake: Awake time, for everything that is measured.
        deadline: When to stop, in awake time.
        on_read: Hears of each read and of the seconds until the next.
        on_callback: Hears of each request that wakes the job, and whether it is a callback about this job.
        known_for_s: How long ago the service gave the id, as far as is known: the grace for an unknown one began
            then, whichever run that was.
    """

    def __init__(
        self,
        task_id: str,
        *,
        fetch: Callable[[str], Awaitable[JobRecord]],
        inbox: Inbox | None,
        wake_up: WakeUp,
        timing: Timing,
        clock: Clock,
        awake: SuspendAwareClock,
        deadline: float,
        on_read: Callable[[JobRecord, float | None], None],
        on_callback: Callable[[ReceivedRequest, bool], None],
        known_for_s: float = 0.0,
    ) -> None:
        self._task_id = task_id
        self._fetch = fetch
        self._inbox = inbox
        self._wake_up = wake_up
        self._timing = timing
        self._clock = clock
        self._awake = awake
        self._deadline = deadline
        self._on_read = on_read
        self._on_callback = on_callback
        self._unknown_until = awake.now() + max(timing.unknown_grace_s - known_for_s, 0.0)
        self._lag_s = 0.0
        self._done_without_images_at: float | None = None
        self._woken_by_callback = False
        self._failure: CallbackContent | None = None
        self._confirm_until = 0.0
        self._odd_read_at = awake.now() - _ODD_PAUSE_S

    async def wait_until_terminal(self, first_read_s: float) -> tuple[JobRecord, Via]:
        """Wait until the job has ended, and say how that was learnt.

        Args:
            first_read_s: Seconds until the first read; 0 for a job that may be over already.

        Raises:
            TimeoutError: Not ended at the deadline, as far as is known; its text says why nothing is known.
            RefusedError: The service does not know the id, after the grace.
            SunoCoverError: The key was refused.
        """
        listening = asyncio.create_task(self._listen(), name=f"inbox-{self._task_id}") if self._inbox else None
        try:
            return await self._loop(first_read_s)
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.wait({listening})

    async def _listen(self) -> None:
        if self._inbox is None:
            return
        while True:
            request = await self._inbox.receive()
            content = request.content
            is_ours = content is not None and content.task_id == self._task_id
            self._on_callback(request, is_ours)
            if content is None or not is_ours:
                self._request_odd_read()
                continue
            self._woken_by_callback = True
            self._lag_s = _LAG_FIRST_S
            is_about_cover = content.kind in {CallbackKind.COVER, CallbackKind.UNKNOWN}
            if content.code != _CODE_OK and is_about_cover and self._failure is None:
                self._failure = content
                self._confirm_until = self._awake.now() + self._timing.confirm_s
            self._wake_up.request_read()

    def _request_odd_read(self) -> None:
        """Ask for one read because of a request that cannot be read or is not about this job; rarely enough."""
        now = self._awake.now()
        if now < self._odd_read_at:
            return  # a read that was asked for is still to come
        self._odd_read_at = max(now, self._odd_read_at + _ODD_PAUSE_S)
        self._wake_up.request_read(self._odd_read_at - now)

    async def _loop(self, first_read_s: float) -> tuple[JobRecord, Via]:
        next_read = self._awake.now() + first_read_s
        while True:
            await self._wait_for(next_read)
            unread: SunoCoverError | None = None
            try:
                left_s = max(self._deadline - self._awake.now(), 0.0)
                record = await within(self._clock, left_s + _LAST_READ_S, self._fetch(self._task_id))
            except TimeoutError:
                raise TimeoutError("the last read was not answered") from None
            except UnavailableError as error:
                # Reads that fail lose nothing: the job runs on at the service, so we go on asking.
                unread = error
            else:
                if (end := self._end_of(record)) is not None:
                    self._on_read(record, None)
                    return end
            now = self._awake.now()
            if now >= self._deadline:
                raise TimeoutError(f"the last read failed: {unread.message}" if unread is not None else "")
            pause_s = self._pause_s()
            next_read = now + pause_s
            if unread is None:
                self._on_read(record, pause_s)

    async def _wait_for(self, moment: float) -> None:
        """Wait until ``moment``, the deadline or a requested read, whichever comes first."""
        until = min(moment, self._deadline)
        while (left_s := until - self._awake.now()) > 0:
            delay_s = await self._wake_up.wait(self._clock, left_s)
            if delay_s is not None:
                until = min(until, self._awake.now() + delay_s)

    def _pause_s(self) -> float:
        """Seconds until the next read: short while the record lags behind a callback, else the interval."""
        pause_s = self._timing.poll_interval_s
        if self._lag_s:
            pause_s = min(self._lag_s, pause_s)
            self._lag_s = self._lag_s * 2 if self._lag_s < self._timing.poll_interval_s else 0.0
        if self._failure is not None:
            pause_s = min(pause_s, max(self._confirm_until - self._awake.now(), 0.1))
        return pause_s

    def _end_of(self, record: JobRecord) -> tuple[JobRecord, Via] | None:
        via = Via.CALLBACK if self._woken_by_callback else Via.POLL
        now = self._awake.now()
        if record.state is RecordState.SUCCEEDED and not record.image_urls:
            # The list may lag behind the flag for a moment; an empty one that stays is the answer.
            if self._done_without_images_at is None:
                self._done_without_images_at = now
                self._lag_s = _LAG_FIRST_S
            if now < min(self._done_without_images_at + self._timing.no_images_s, self._deadline):
                return None
            return record, via
        if record.state.is_terminal:
            return record, via
        if self._failure is not None and now >= self._confirm_until:
            failed = JobRecord(
                task_id=self._task_id,
                state=RecordState.FAILED,
                error_code=self._failure.code,
                message=self._failure.message,
            )
            return failed, Via.CALLBACK
        if record.state is RecordState.ABSENT and now >= self._unknown_until:
            raise RefusedError(
                f"the service does not know the cover task {self._task_id}",
                code="unknown_cover_task",
                hint="Check the id, the provider and the account; a music task id is not a cover task id.",
            )
        return None


def spread_s(place: int, waiting: int, interval_s: float) -> float:
    """Return the delay of one of many reads that are wanted at the same moment, evenly spread.

    A handful follow each other within a few seconds; from 20 on they take the whole interval.

    Args:
        place: Of this read among the others, counted from 0.
        waiting: How many there are.
        interval_s: The poll interval.
    """
    return interval_s * min(1.0, waiting / 20) * place / waiting
