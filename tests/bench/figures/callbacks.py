"""How fast callbacks are answered, in peace and under attack."""

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.lab import Lab, end_of_input, read_line, wait_for
from tests.bench.load import LoadReport, call_once, callback_requests, send_callbacks
from tests.bench.rows import Figure, Goal, Row, Unit, at_most, ratio_at_least
from tests.bench.samples import Samples

_BARE = "a bare aiohttp handler"
_ATTACKER = Path(__file__).parents[1] / "attacker.py"
_HOSTILE_PER_S = 5000
_IDLE = 2000
# The service calls now and then; often enough to have a hundredth to speak of.
_CALL_EVERY_S = 0.005
# After an attack the listener still has a queue to work through; whoever is measured alone must be alone.
_REST_S = 1.5


def measure_callbacks(lab: Lab) -> Iterator[Row]:
    """The listener as ``generate`` uses it."""
    with lab.process(lab.subject("listener")) as ours:
        goal = ratio_at_least(0.9)
        yield from _compare(
            lab, read_line(ours), "recording off", goal, count=lab.choose(1000, 4000), rounds=lab.choose(11, 41)
        )


def measure_recorded_callbacks(lab: Lab) -> Iterator[Row]:
    """All of ``listen``: each callback is numbered, written down, and printed as a line of JSON."""
    ready = lab.new_folder() / "ready"
    command = lab.program("listen", "--no-tunnel", "--json", "--ready-file", str(ready))
    with lab.process(command, reads_stdout=False) as ours:
        wait_for(ready.exists, ours)
        yield from _compare(
            lab,
            ready.read_text().strip(),
            "recording on (`listen --json`)",
            ratio_at_least(0.8),
            # Long against the half second by which the record may be behind, which the baseline must not pay for.
            count=lab.choose(6000, 30_000),
            rounds=lab.choose(5, 11),
            rest_s=0.7,
        )


def _compare(
    lab: Lab, url: str, what: str, goal: Goal, *, count: int, rounds: int, rest_s: float = 0.0
) -> Iterator[Row]:
    """Send so many callbacks to one and to the other, again and again.

    Args:
        lab: For the baseline's process.
        url: Of ours.
        what: For the name of the row.
        goal: Of the rate.
        count: Callbacks in a round.
        rounds: How often, after a first one to warm up.
        rest_s: Seconds that ours has after a round to finish what it did not do at once.
    """
    with lab.process(lab.baseline("handler")) as theirs:
        urls = url, read_line(theirs)
        taken: list[tuple[LoadReport, LoadReport]] = []
        for _ in range(rounds + 1):
            mine = send_callbacks(urls[0], count)
            time.sleep(rest_s)
            taken.append((mine, send_callbacks(urls[1], count)))
        del taken[0]
    yield Row(
        figure=f"callbacks answered per second, {what}",
        unit=Unit.PER_SECOND,
        samples=Samples(
            ours=tuple(mine.per_second for mine, _ in taken),
            baseline=tuple(other.per_second for _, other in taken),
        ),
        baseline=_BARE,
        goal=goal,
    )
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        yield Row(
            figure=f"\N{HORIZONTAL ELLIPSIS} latency of the answers, {name}",
            unit=Unit.SECONDS,
            samples=Samples(
                ours=tuple(mine.quantile(share) for mine, _ in taken),
                baseline=tuple(other.quantile(share) for _, other in taken),
            ),
            baseline=_BARE,
        )


def measure_attack(lab: Lab) -> Iterator[Row]:
    """One real callback at a time, on a connection of its own, alone and in the midst of an attack."""
    seconds = lab.choose(2.5, 12.0)
    under_attack, alone = [], []
    notes: list[str] = []
    with lab.process(lab.subject("listener")) as listener:
        url = read_line(listener)
        for _ in range(lab.choose(2, 5)):
            alone.append(_call_for(url, lab.choose(0.5, 3.0)).quantile(0.99))
            with _attack(lab, url, notes):
                under_attack.append(_call_for(url, seconds).quantile(0.99))
            time.sleep(_REST_S)
    yield Row(
        figure=f"real callback under {_HOSTILE_PER_S:,} hostile requests/s and {_IDLE:,} idle connections, p99",
        unit=Unit.SECONDS,
        # No baseline: by how many times a callback may be slower than with nothing to do, nobody asks.
        samples=Samples(ours=tuple(under_attack)),
        goal=at_most(1.0),
        note=f"each hostile request on a connection of its own; it really were {', '.join(notes)} a second;"
        f" alone it is {Unit.SECONDS.show(statistics.median(alone))}",
    )


@contextmanager
def _attack(lab: Lab, url: str, notes: list[str]) -> Iterator[None]:
    command = [sys.executable, str(_ATTACKER), url, str(_HOSTILE_PER_S), str(_IDLE)]
    with lab.process(command) as attacker:
        read_line(attacker)
        yield
        end_of_input(attacker)
        notes.append(f"{float(read_line(attacker)):,.0f}")


def _call_for(url: str, seconds: float) -> LoadReport:
    """Bring callbacks for a while, one after the other."""
    end = time.monotonic() + seconds
    requests = callback_requests(url)
    latencies_s = []
    while time.monotonic() < end:
        latencies_s.append(call_once(url, next(requests)))
        time.sleep(_CALL_EVERY_S)
    return LoadReport(per_second=len(latencies_s) / seconds, latencies_s=tuple(sorted(latencies_s)))


FIGURES = (
    Figure(name="callbacks", measure=measure_callbacks),
    Figure(name="callbacks-recorded", measure=measure_recorded_callbacks),
    Figure(name="attack", measure=measure_attack),
)
