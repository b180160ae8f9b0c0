"""What is measured when: every figure a few times, and from then on the one whose ratio is least certain."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from tests.bench.lab import BenchError, Lab, NotHereError
from tests.bench.rows import Figure, Row, Unit

# A ratio's standard error from which on more pairs would only take time.
_CERTAIN = 0.025
# Seconds of one figure, in the short form and in the long one, after which it does without the rounds it still
# needs: on a slow machine all of them together would take twice as long as they may.
_SHARE_S = (12.0, 20.0)


class _Measurement:
    """One figure on its way; its processes run from the first round to the end."""

    def __init__(self, figure: Figure, lab: Lab) -> None:
        self.figure = figure
        self.rows: Sequence[Row] = ()
        self._rounds = figure.measure(lab)
        self._is_over = False

    def take_round(self) -> None:
        """Measure once more; what cannot be measured becomes a row that says so and stops nothing."""
        try:
            self.rows = next(self._rounds)
        except StopIteration:
            self._is_over = True
        except NotHereError as reason:
            self._tell(f"not measured: {reason}", is_failed=False)
        except BenchError as reason:
            self._tell(str(reason), is_failed=True)
        except Exception as error:  # noqa: BLE001 -- what the other figures have taken minutes for must not be lost
            self._tell(f"{type(error).__name__}: {error}", is_failed=True)

    @property
    def uncertainty(self) -> float:
        """Of the ratio that is least certain; 0 where no more rounds would help."""
        if self._is_over:
            return 0.0
        return max((row.samples.uncertainty or 0.0 for row in self.rows if row.samples), default=0.0)

    def close(self) -> None:
        """End what was opened for it."""
        self._rounds.close()

    def _tell(self, note: str, *, is_failed: bool) -> None:
        self._is_over = True
        row = Row(figure=self.figure.name, unit=Unit.SECONDS, samples=None, note=note, is_failed=is_failed)
        self.rows = (row,)


def measure_all(
    figures: Sequence[Figure], lab: Lab, patience_s: float, clock: Callable[[], float] = time.monotonic
) -> list[Row]:
    """Measure figures until every ratio is certain or the time is used up.

    Rounds that are spread over the whole time meet the machine at its best and at its worst, which neighbours in
    time would not; and noisy figures get more of them than quiet ones.

    Args:
        figures: In the order of their rows.
        lab: Where.
        patience_s: Seconds after which no round begins but those that every figure needs, which are bounded, too:
            one at least, and none after the figure's share of the time.
        clock: Seconds.
    """
    begun = clock()
    with ExitStack() as stack:
        measurements = []
        for n, figure in enumerate(figures, 1):
            sys.stderr.write(f"[{n}/{len(figures)}] {figure.name} ")
            sys.stderr.flush()
            begun_one = clock()
            measurement = _Measurement(figure, lab)
            stack.callback(measurement.close)
            measurements.append(measurement)
            for _ in range(lab.choose(*figure.rounds)):
                measurement.take_round()
                if clock() >= begun_one + lab.choose(*_SHARE_S):
                    break
            sys.stderr.write(f"{clock() - begun_one:.0f} s\n")
        more = Counter(_take_least_certain(measurements, begun + patience_s, clock))
        sys.stderr.write(
            f"more rounds: {', '.join(f'{name} {count}' for name, count in more.items()) or 'none'}\n"
        )
    return [row for measurement in measurements for row in measurement.rows]


def _take_least_certain(
    measurements: Sequence[_Measurement], end: float, clock: Callable[[], float]
) -> Iterator[str]:
    """Take one round after the other where it tells most; yield the names of the figures."""
    while clock() < end:
        measurement = max(measurements, key=lambda one: one.uncertainty)
        if measurement.uncertainty <= _CERTAIN:
            return
        measurement.take_round()
        yield measurement.figure.name
