"""The window of an account: what the service would count, who goes first, and who is not waited for."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suno_cover_cli.service.window import LEASE_S, Ask, Grant, Rate, Window, settle

LIMIT, WINDOW_S = 5, 10.0
START = 100_000.0


class User:
    """One limiter, as far as the window knows it: told of everything at once, and with answers of its own.

    Attributes:
        sent: Moments of all its calls.
    """

    def __init__(
        self,
        window: Window,
        name: str,
        *,
        limit: int = LIMIT,
        window_s: float = WINDOW_S,
        submits: bool = True,
    ) -> None:
        self._window = window
        self._name = name
        self._rate = Rate(limit, window_s)
        self._submits = submits
        self._in_flight = 0
        self.wanted = 0
        self.sent: list[float] = []

    def ask(self, now: float, *, answered: Sequence[float] = (), wanted: int | None = None) -> Grant:
        """Tell what was answered, ask for what is wanted, and send what is granted."""
        if wanted is not None:
            self.wanted = wanted
        self._in_flight -= len(answered)
        ask = Ask(
            user=self._name,
            rate=self._rate,
            now=now,
            answered=list(answered),
            in_flight=self._in_flight,
            wanted=self.wanted,
            submits=self._submits,
        )
        grant = settle(self._window, ask)
        self._in_flight += grant.count
        self.wanted -= grant.count
        self.sent += [now] * grant.count
        return grant

    def finish(self, now: float) -> None:
        """Have everything that is under way answered."""
        self.ask(now, answered=[now] * self._in_flight)

    @property
    def in_flight(self) -> int:
        """Its calls under way."""
        return self._in_flight


def run(users: Sequence[User], windows: int, *, answer_s: float = 0.1) -> None:
    """Let time pass: each call is answered after a while, and everybody looks again in time."""
    now = START
    order = list(users)
    while now < START + windows * WINDOW_S:
        now += answer_s
        order.append(order.pop(0))
        for user in order:
            user.finish(now)
        for user in order:
            user.ask(now)


def most_in_a_window(moments: Sequence[float]) -> int:
    """Count the most calls in any window, as the service would."""
    ordered = sorted(moments)
    return max((sum(1 for other in ordered if start <= other < start + WINDOW_S) for start in ordered), default=0)


def test_a_slot_is_free_one_window_after_its_answer() -> None:
    """Five start at once; the sixth is told to look again exactly when the first answer is a window old."""
    window = Window()
    user = User(window, "a")
    assert user.ask(START, wanted=6) == Grant(5, WINDOW_S)
    user.finish(START + 3)
    waiting = user.ask(START + 4)
    assert waiting == Grant(0, 9.0)
    assert user.ask(START + 12.9).count == 0
    assert user.ask(START + 13).count == 1


def test_two_users_have_one_limit() -> None:
    """What one has started the other lacks, and it is told when to look again."""
    window = Window()
    first, second = User(window, "a"), User(window, "b")
    assert first.ask(START, wanted=3).count == 3
    assert second.ask(START, wanted=4) == Grant(2, WINDOW_S)
    first.finish(START + 1)
    assert second.ask(START + 1).wait_s == pytest.approx(WINDOW_S)
    assert second.ask(START + 11).count == 2


def test_users_take_turns() -> None:
    """However many calls one wants, another that came later gets every second slot."""
    window = Window()
    greedy, modest = User(window, "a"), User(window, "b")
    greedy.ask(START, wanted=1000)
    modest.ask(START, wanted=1000)
    run((greedy, modest), 40)
    calls = greedy.sent + modest.sent
    assert len(modest.sent) >= 0.45 * (len(calls) - LIMIT)
    assert len(calls) >= 39 * LIMIT
    assert most_in_a_window(calls) == LIMIT


def test_a_submit_goes_before_anothers_read() -> None:
    """Of two that wait for one slot the one with a submit gets it, though the read came first."""
    window = Window()
    holder, reader, submitter = User(window, "h"), User(window, "r", submits=False), User(window, "s")
    holder.ask(START, wanted=LIMIT - 1)
    holder.finish(START + 1)
    holder.ask(START + 1, wanted=1)
    holder.finish(START + 1)
    reader.ask(START + 9, wanted=1)
    submitter.ask(START + 9.5, wanted=1)
    now = START + 1 + WINDOW_S - 0.5
    holder_frees_one = [START]
    window.answered = [*holder_frees_one, *window.answered[1:]]
    assert reader.ask(now).count == 0
    assert submitter.ask(now).count == 1


def test_a_read_does_not_wait_for_ever_behind_submits() -> None:
    """Beside one that submits without end, one that only reads gets a quarter of the slots."""
    window = Window()
    submitter, reader = User(window, "s"), User(window, "r", submits=False)
    submitter.ask(START, wanted=10_000)
    reader.ask(START, wanted=10_000)
    run((submitter, reader), 80)
    calls = reader.sent + submitter.sent
    assert 0.2 <= len(reader.sent) / len(calls) <= 0.3
    assert most_in_a_window(calls) <= LIMIT


def test_a_dead_user_holds_its_slots_for_a_window_after_it_was_last_heard() -> None:
    """A user that is killed with calls under way and a place in the line blocks nobody beyond that."""
    window = Window()
    dead, living = User(window, "a"), User(window, "b")
    dead.ask(START, wanted=LIMIT + 10)
    living.ask(START, wanted=1)
    moment, looks = START, 0
    while not living.ask(moment).count:
        moment += max(min(living.ask(moment).wait_s, LEASE_S / 4), 0.01)
        looks += 1
        assert looks < 1000
    assert START + LEASE_S + WINDOW_S <= moment <= START + LEASE_S + WINDOW_S + 1


def test_whoever_leaves_frees_the_line_and_tells_its_last_answers() -> None:
    """After a user has left, its place is another's; its answers still count."""
    window = Window()
    first, second = User(window, "a"), User(window, "b")
    first.ask(START, wanted=LIMIT + 1)
    second.ask(START, wanted=1)
    first.ask(START + 1, answered=[START + 1] * LIMIT, wanted=0)
    assert not window.flights
    assert second.ask(START + 10.9).count == 0
    assert second.ask(START + 11).count == 1


def test_a_pause_holds_all_users_but_not_for_long() -> None:
    """What the service asked of one holds the others, too, and no longer than a window."""
    window = Window()
    ask = Ask(user="a", rate=Rate(LIMIT, WINDOW_S), now=START, paused_until=START + 3600)
    settle(window, ask)
    other = User(window, "b")
    assert other.ask(START + 1, wanted=1) == Grant(0, WINDOW_S - 1)
    assert other.ask(START + WINDOW_S).count == 1


@pytest.mark.parametrize(("limit", "window_s"), [(20, WINDOW_S), (5, WINDOW_S / 10)])
def test_the_highest_rate_of_all_counts_and_the_others_get_their_turn(limit: int, window_s: float) -> None:
    """Beside one that says the account allows more, one with a lower rate is neither starved nor the measure."""
    window = Window()
    quick, slow = User(window, "q", limit=limit, window_s=window_s), User(window, "s", limit=3)
    quick.ask(START, wanted=10_000)
    slow.ask(START, wanted=60)
    run((quick, slow), 20)
    assert slow.wanted == 0
    calls = sorted(quick.sent + slow.sent)
    assert len(calls) >= 19 * limit
    assert all(later - first >= window_s for first, later in zip(calls, calls[limit:], strict=False))


@pytest.mark.parametrize("jump_s", [-5000.0, 5000.0])
def test_a_clock_that_jumps_costs_a_window_at_most(jump_s: float) -> None:
    """After a jump, back or ahead, calls go on within one window, and the limit holds from then on."""
    window = Window()
    user, other = User(window, "a"), User(window, "b")
    user.ask(START, wanted=LIMIT + 20)
    user.finish(START)
    other.ask(START, wanted=20)
    before = len(user.sent)
    now = START + jump_s
    while now < START + jump_s + WINDOW_S + LEASE_S:
        user.ask(now)
        other.ask(now)
        now += 0.5
    calls = user.sent[before:] + other.sent
    assert len(calls) >= LIMIT
    assert most_in_a_window(calls) <= LIMIT


steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["want", "answer", "look", "die"]),
        st.floats(0.0, 4.0, allow_nan=False),
    ),
    max_size=120,
)


@given(steps=steps)
def test_no_order_of_events_exceeds_the_limit(steps: list[tuple[int, str, float]]) -> None:
    """Whatever users want, when answers come and who dies: no window ever holds more calls than the limit."""
    window = Window()
    users = [User(window, str(n), submits=n % 2 == 0) for n in range(4)]
    living = set(range(4))
    now = START
    heard = dict.fromkeys(range(4), now)
    for n, step, delay_s in steps:
        now += min(delay_s, LEASE_S / 4) if step != "die" else 0.0
        # The living let themselves be heard in time, as limiters do.
        for other in living:
            if now - heard[other] >= LEASE_S / 4:
                users[other].ask(now)
                heard[other] = now
        if n not in living:
            continue
        if step == "want":
            users[n].ask(now, wanted=users[n].wanted + 3)
        elif step == "answer" and users[n].in_flight:
            users[n].ask(now, answered=[now])
        elif step == "look":
            users[n].ask(now)
        elif step == "die":
            living.discard(n)
        heard[n] = now
    assert most_in_a_window([moment for user in users for moment in user.sent]) <= LIMIT
