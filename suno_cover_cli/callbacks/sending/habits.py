"""What a receiver does with its connections, as far as was seen: whether one can be used again.

A new connection for each request costs more than all else about it. But a kept one may be lost, or hold what
belongs to an earlier answer.
"""

from collections import OrderedDict
from enum import Enum

_MAX_OVERTAKING = 32
_MAX_HOLD_UPS = 3


class _State(Enum):
    UNKNOWN = "no answer came yet that says where it ends"
    CANDIDATE = "answers say where they end"
    ON_TRIAL = "one connection is kept, and nothing sent on it"
    STEADY = "a connection stayed open and silent, and held up nothing"
    ODD = "something else was seen"


class Habits:
    """What a receiver does with its connections, as far as was seen. It decides whether one may be kept.

    A receiver is tried first: one connection stays open, unused, for as long as any is kept. If that receiver
    closes it, or sends more on it, it would have done so under a request; if it answers nothing meanwhile that
    was waiting, it serves one connection at a time. Whatever is odd, once, ends the keeping for good: the
    receiver then has a connection for each request, as from unrelated senders.

    Attributes:
        stays_open: A connection that was meant to be kept stays open after its answer.
    """

    def __init__(self) -> None:
        self._become(_State.UNKNOWN)
        self._sent = 0
        self._answers = 0
        self._hold_ups = 0
        # By number; a plain dict finds its first key the slower the more were taken from its front.
        self._waiting: OrderedDict[int, None] = OrderedDict()

    def begin(self) -> int:
        """Note a request that is about to be sent; return its number."""
        self._sent += 1
        self._waiting[self._sent] = None
        return self._sent

    def end(self, number: int) -> None:
        """Note that a request has the head of its answer, or gets none."""
        self._waiting.pop(number, None)

    def may_keep(self) -> bool:
        """Decide whether the next request may use a kept connection, and leave its own to be kept."""
        if self._state is _State.CANDIDATE:
            self._become(_State.ON_TRIAL)
            return True
        # A receiver that stays with the connections that have news would leave the others waiting.
        is_unfair = self._oldest() < self._sent - len(self._waiting) - _MAX_OVERTAKING
        return self._state is _State.STEADY and not is_unfair

    def note_answer(self) -> None:
        """Note that an answer began."""
        self._answers += 1

    @property
    def has_answered(self) -> bool:
        """Whether any answer began."""
        return self._answers > 0

    def note_framed(self) -> None:
        """Note an answer that said where it ends, and ended there."""
        if self._state is _State.UNKNOWN:
            self._become(_State.CANDIDATE)

    def note_odd(self) -> None:
        """Note what forbids keeping."""
        self._become(_State.ODD)

    def note_no_trial(self) -> None:
        """Note that the connection on trial was none that could be kept."""
        if self._state is _State.ON_TRIAL:
            self._become(_State.CANDIDATE)

    def mark(self) -> tuple[int, int]:
        """Return where things are when a connection becomes idle, for :meth:`note_idle`."""
        return self._sent, self._answers

    def note_idle(self, mark: tuple[int, int]) -> None:
        """Note that a connection was idle since ``mark``, for its whole time, and nothing happened to it."""
        sent, answers = mark
        if self._oldest() <= sent and answers == self._answers:
            # All that time others waited, and not one got an answer: the receiver waits for this connection, or it
            # stood still for once.
            self._hold_ups += 1
            self._become(_State.ODD if self._hold_ups >= _MAX_HOLD_UPS else self._state)
            self.note_no_trial()
        elif self._state is _State.ON_TRIAL:
            self._become(_State.STEADY)

    def _become(self, state: _State) -> None:
        self._state = state
        self.stays_open = state in {_State.ON_TRIAL, _State.STEADY}

    def _oldest(self) -> int:
        """Return the number of the request that waits longest, or the next one."""
        return next(iter(self._waiting), self._sent + 1)
