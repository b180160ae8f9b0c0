"""How fast callbacks are answered, in peace and under attack."""

import itertools
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from tests.bench.lab import Lab, end_of_input, read_line, wait_for
from tests.bench.load import LoadReport, call_once, callback_requests, send_callbacks
from tests.bench.processes import usage_of
from tests.bench.rows import Figure, Goal, Rounds, Row, Unit, at_most, ratio_at_least, ratio_at_most
from tests.bench.samples import Samples

_BARE = "a bare aiohttp handler"
_ATTACKER = Path(__file__).parents[1] / "attacker.py"
_HOSTILE_PER_S = 5000
_IDLE = 2000
# The service calls now and then; often enough to have a hundredth to speak of.
_CALL_EVERY_S = 0.005
# After an attack the listener still has a queue to work through; whoever is measured alone must be alone.
_REST_S = 1.5
# What is recorded is on the disk half a second later, or never, where more came than the disk took.
_PATIENCE_S = 0.7
_LOOK_EVERY_S = 0.02
_MIB = 1024 * 1024


def measure_callbacks(lab: Lab) -> Rounds:
    """The listener as ``generate`` uses it."""
    with lab.process(lab.subject("listener")) as ours:
        goal = ratio_at_least(0.9)
        yield from _compare(
            lab, lab.baseline("handler"), read_line(ours), "recording off", goal, count=lab.choose(1000, 4000)
        )


def measure_recorded_callbacks(lab: Lab) -> Rounds:
    """All of ``listen``: each callback is numbered, written down, and printed as a line of JSON."""
    with _listening(lab) as (ours, url, journal):
        for rows in _compare(
            lab,
            lab.baseline("handler"),
            url,
            "recording on (`listen --json`)",
            ratio_at_least(0.8),
            slowest=ratio_at_most(3.0),
            # Long against the tenth of a second that the record may be behind: the baseline must not pay for it.
            count=lab.choose(6000, 12_000),
            is_done=partial(_is_recorded, journal),
        ):
            peak = Row(
                figure="\N{HORIZONTAL ELLIPSIS} most memory `listen --json` took",
                unit=Unit.BYTES,
                samples=Samples(ours=(float(usage_of(ours.pid).peak_bytes),)),
                goal=at_most(80 * _MIB),
            )
            yield [*rows, peak]


def measure_forwarded_callbacks(lab: Lab) -> Rounds:
    """``listen --forward-to``: each callback is recorded, printed, and answered as the receiver behind it does."""
    with lab.process(lab.baseline("handler")) as receiver:
        address = read_line(receiver)
        with _listening(lab, "--forward-to", address) as (_, url, journal):
            yield from _compare(
                lab,
                lab.baseline("forwarder", address),
                url,
                "recording and forwarding (`listen --forward-to`)",
                ratio_at_least(0.8),
                count=lab.choose(1500, 3000),
                bare="a bare aiohttp handler that forwards with an aiohttp session",
                is_done=partial(_is_recorded, journal),
            )


@contextmanager
def _listening(lab: Lab, *options: str) -> Iterator[tuple["subprocess.Popen[str]", str, Path]]:
    """Run ``listen``; yield its process, its address and its record, which is empty."""
    folder = lab.new_folder()
    ready = folder / "ready"
    command = lab.program("listen", "--no-tunnel", "--json", "--ready-file", str(ready), *options)
    with lab.process(command, {"SUNO_COVER_STATE_DIR": str(folder)}, reads_stdout=False) as ours:
        wait_for(ready.exists, ours)
        yield ours, ready.read_text().strip(), folder / "journal.sqlite3"


def _is_recorded(database: Path, count: int) -> bool:
    """Whether so many callbacks are written down."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("SELECT max(n) >= ? FROM recordings", (count,)).fetchone()[0])


def _compare(
    lab: Lab,
    baseline: Sequence[str],
    url: str,
    what: str,
    goal: Goal,
    *,
    count: int,
    slowest: Goal | None = None,
    bare: str = _BARE,
    is_done: Callable[[int], bool] = lambda _: True,
) -> Rounds:
    """Send so many callbacks to one and to the other, again and again.

    Args:
        lab: For the baseline's process.
        baseline: Its command line; it prints its address.
        url: Of ours.
        what: For the name of the row.
        goal: Of the rate.
        count: Callbacks in a round, of which the first only warms up.
        slowest: Goal of the slowest hundredth.
        bare: What the baseline is.
        is_done: Whether ours has finished with so many; until then, or :data:`_PATIENCE_S`, it is let alone.
    """
    with lab.process(baseline) as theirs:
        urls = url, read_line(theirs)
        taken: list[tuple[LoadReport, LoadReport]] = []
        for n in itertools.count(1):
            mine = send_callbacks(urls[0], count)
            end = time.monotonic() + _PATIENCE_S
            while not is_done(n * count) and time.monotonic() < end:
                time.sleep(_LOOK_EVERY_S)
            taken.append((mine, send_callbacks(urls[1], count)))
            if len(taken) > 1:
                shares = (
                    {0.99: slowest} if lab.is_short and slowest else lab.choose({}, {0.5: None, 0.99: slowest})
                )
                yield list(_rows_of(taken[1:], what, goal, shares, bare))


def _rows_of(
    taken: Sequence[tuple[LoadReport, LoadReport]],
    what: str,
    goal: Goal,
    shares: Mapping[float, Goal | None],
    bare: str,
) -> Iterator[Row]:
    """Rate and latencies of what was sent to ours and to the other."""
    yield Row(
        figure=f"callbacks answered per second, {what}",
        unit=Unit.PER_SECOND,
        samples=Samples(
            ours=tuple(mine.per_second for mine, _ in taken),
            baseline=tuple(other.per_second for _, other in taken),
        ),
        baseline=bare,
        goal=goal,
    )
    for share, bound in shares.items():
        yield Row(
            figure=f"\N{HORIZONTAL ELLIPSIS} latency of the answers, p{share * 100:.0f}",
            unit=Unit.SECONDS,
            samples=Samples(
                ours=tuple(mine.quantile(share) for mine, _ in taken),
                baseline=tuple(other.quantile(share) for _, other in taken),
            ),
            baseline=bare,
            goal=bound,
        )


def measure_attack(lab: Lab) -> Rounds:
    """One real callback at a time, on a connection of its own, alone and in the midst of an attack."""
    under_attack, alone = [], []
    notes: list[str] = []
    figure = f"real callback under {_HOSTILE_PER_S:,} hostile requests/s and {_IDLE:,} idle connections, p99"
    with lab.process(lab.subject("listener")) as listener:
        url = read_line(listener)
        while True:
            alone.append(_call_for(url, lab.choose(0.5, 3.0)).quantile(0.99))
            with _attack(lab, url, notes):
                under_attack.append(_call_for(url, lab.choose(2.5, 8.0)).quantile(0.99))
            time.sleep(_REST_S)
            note = (
                f"each hostile request on a connection of its own; sent were {', '.join(notes)} a second;"
                f" alone it is {Unit.SECONDS.show(statistics.median(alone))}"
            )
            # No baseline: by how many times a callback may be slower than with nothing to do, nobody asks.
            samples = Samples(ours=tuple(under_attack))
            yield [Row(figure=figure, unit=Unit.SECONDS, samples=samples, goal=at_most(1.0), note=note)]


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
    Figure(name="callbacks", measure=measure_callbacks, rounds=(18, 41)),
    Figure(name="callbacks-recorded", measure=measure_recorded_callbacks, rounds=(4, 11)),
    Figure(name="callbacks-forwarded", measure=measure_forwarded_callbacks, rounds=(0, 7)),
    Figure(name="attack", measure=measure_attack, rounds=(1, 2)),
)
