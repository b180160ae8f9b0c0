"""Which call may start now: the calls of one account in a sliding window, shared by its users. Pure, no I/O.

The service counts a request when it *arrives*; we know only when it was sent and answered. A slot therefore stays
taken from before a request is sent until one full window after its answer: whatever the network did in between, no
window at the service holds more than the limit. It follows that a slot comes free at a moment that is known a
whole window ahead, so users of one window need not wake each other: each knows when to look again.

A user is a limiter, usually one a process. Each keeps its own rate over its own calls by itself; over the calls of
all, the highest rate counts that any of them goes by now: a user who knows that the account allows more says so,
and a command with the usual rate beside it is not held back. All moments are seconds of one monotonic clock.
"""

from bisect import bisect_right, insort

import msgspec

LEASE_S = 2.0
"""How long a user's word is believed: one that has not been heard of since then is taken to be dead."""

_LEAST_WAIT_S = 0.001

_READ_COST, _SUBMIT_COST = 3, 1
"""By how much a call moves its user back in the line. Users with submits take turns, and one that only reads gets
a third of what each of them gets: submits go first, and no read waits endlessly."""


class Rate(msgspec.Struct, frozen=True, array_like=True):
    """At most ``limit`` calls in any ``window_s`` seconds."""

    limit: int
    window_s: float


class Flight(msgspec.Struct, array_like=True):
    """Calls of one user that are under way: how many, at what rate it goes, and until when that is believed."""

    count: int
    rate: Rate
    believed_until: float


class Ticket(msgspec.Struct, array_like=True):
    """The place of a waiting user in the line.

    Attributes:
        rank: Grows with every call that it is granted; the lowest goes first.
        reads: It has no submit to make; of two with the same rank it goes second.
        wanted: How many calls it waits for.
        rate: At which it goes.
        believed_until: When it is given up.
    """

    rank: int
    reads: bool
    wanted: int
    rate: Rate
    believed_until: float

    @property
    def cost(self) -> int:
        """By how much a call moves it back."""
        return _READ_COST if self.reads else _SUBMIT_COST

    def turns_before(self, other: "Ticket") -> int:
        """Count the calls that it may start before another starts one."""
        turns = -((self.rank - other.rank) // self.cost)  # rounded up
        if self.reads < other.reads and self.rank + turns * self.cost == other.rank:
            turns += 1
        return min(max(turns, 0), self.wanted)


class Window(msgspec.Struct):
    """What is known of an account.

    Attributes:
        length_s: The longest window of those who use it now.
        paused_until: No call starts before.
        answered: Moments of the answers that still count, in order.
        flights: User -> its calls under way.
        line: User -> its place.
    """

    length_s: float = 0.0
    paused_until: float = 0.0
    answered: list[float] = []
    flights: dict[str, Flight] = {}
    line: dict[str, Ticket] = {}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a user tells, and asks for.

    Attributes:
        user: Who asks.
        rate: At which it goes.
        now: The moment.
        answered: Moments of answers since it asked last.
        in_flight: Its calls under way.
        wanted: How many more it would start.
        submits: One of those is a submit.
        paused_until: Until when it starts none itself, and asks the others to do the same.
    """

    user: str
    rate: Rate
    now: float
    answered: list[float] = []
    in_flight: int = 0
    wanted: int = 0
    submits: bool = True
    paused_until: float = 0.0


class Grant(msgspec.Struct, frozen=True):
    """How many calls may start, and how long the rest should wait before asking again, in seconds."""

    count: int
    wait_s: float = 0.0


def settle(window: Window, ask: Ask) -> Grant:
    """Take note of what a user tells, and decide what it may start. Changes ``window``.

    Calls that are granted count as under way from now on, for :data:`LEASE_S` seconds unless the user asks again.
    """
    _forget(window, ask)
    _note(window, ask)
    if not ask.wanted:
        return Grant(0)
    others = [ticket for user, ticket in window.line.items() if user != ask.user]
    ticket = _ticket_of(window, ask, others)
    free = {rate: rate.limit - _taken(window, ask.now, rate) for rate in _rates(window, ask)}
    most, count = max(free.values()), 0
    if window.paused_until <= ask.now:
        while count < ask.wanted and most - count > _turns_before(ticket, others):
            count += 1
            ticket.rank += ticket.cost
    if count:
        flight = window.flights.setdefault(ask.user, Flight(0, ask.rate, 0.0))
        flight.count += count
        flight.believed_until = ask.now + LEASE_S
    if count == ask.wanted:
        window.line.pop(ask.user, None)
        return Grant(count)
    ticket.wanted -= count
    window.line[ask.user] = ticket
    turns = _turns_before(ticket, others) + count
    waits_s = [_until_free_s(window, ask.now, rate, turns - slots) for rate, slots in free.items()]
    return Grant(count, max(window.paused_until - ask.now, min(waits_s)))


def _rates(window: Window, ask: Ask) -> set[Rate]:
    """Return every rate in use now."""
    flying = {flight.rate for flight in window.flights.values()}
    return {ask.rate} | flying | {ticket.rate for ticket in window.line.values()}


def _turns_before(ticket: Ticket, others: list[Ticket]) -> int:
    return sum(other.turns_before(ticket) for other in others)


def _ticket_of(window: Window, ask: Ask, others: list[Ticket]) -> Ticket:
    """Return a user's place, renewed; a new user starts beside the first."""
    known = window.line.get(ask.user)
    rank = min((other.rank for other in others), default=0) if known is None else known.rank
    return Ticket(rank, not ask.submits, ask.wanted, ask.rate, ask.now + LEASE_S)


def _forget(window: Window, ask: Ask) -> None:
    """Drop what no longer counts, and users that have gone silent.

    A moment that lies ahead comes from a clock that was set back, or from before a restart: what happened then is
    taken to have happened just now, and nothing is believed for longer than it can have been meant to be.
    """
    now = ask.now
    if not (window.answered or window.flights or window.line):
        window.length_s = 0.0
    window.length_s = max(window.length_s, ask.rate.window_s)
    window.paused_until = min(window.paused_until, now + window.length_s)
    for user, flight in list(window.flights.items()):
        flight.believed_until = min(flight.believed_until, now + LEASE_S)
        if flight.believed_until <= now and user != ask.user:
            # They may have reached the service until the moment of which its sender was last heard.
            window.answered += [flight.believed_until] * flight.count
            del window.flights[user]
    for user, ticket in list(window.line.items()):
        ticket.believed_until = min(ticket.believed_until, now + LEASE_S)
        if ticket.believed_until <= now:
            del window.line[user]
    oldest = now - window.length_s
    window.answered = sorted(min(moment, now) for moment in window.answered if moment > oldest)


def _note(window: Window, ask: Ask) -> None:
    for moment in ask.answered:
        insort(window.answered, moment)
    window.paused_until = max(window.paused_until, min(ask.paused_until, ask.now + ask.rate.window_s))
    if ask.in_flight:
        window.flights[ask.user] = Flight(ask.in_flight, ask.rate, ask.now + LEASE_S)
    else:
        window.flights.pop(ask.user, None)
    if not ask.wanted:
        window.line.pop(ask.user, None)


def _taken(window: Window, now: float, rate: Rate) -> int:
    recent = len(window.answered) - bisect_right(window.answered, now - rate.window_s)
    return recent + sum(flight.count for flight in window.flights.values())


def _until_free_s(window: Window, now: float, rate: Rate, lacking: int) -> float:
    """Seconds until one more slot is free than are ``lacking``, as a rate counts."""
    if lacking < 0:
        return 0.0
    nth = bisect_right(window.answered, now - rate.window_s) + lacking
    # A call under way frees its slot a whole window after its answer, so not before that.
    free_at = window.answered[nth] + rate.window_s if nth < len(window.answered) else now + rate.window_s
    # Sums of large and small numbers are rounded: never so that a user asks again at the same moment.
    return max(free_at - now, _LEAST_WAIT_S)
