"""Values measured side by side, and what can be said of them."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Values in the order in which they were taken: ``ours[i]`` and ``baseline[i]`` were neighbours in time.

    Attributes:
        ours: Of this program.
        baseline: Of what it is compared with; empty where there is nothing to compare with.
    """

    ours: tuple[float, ...]
    baseline: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Of ours."""
        return statistics.median(self.ours)

    @property
    def baseline_median(self) -> float | None:
        """Of the baseline, if there is one."""
        return statistics.median(self.baseline) if self.baseline else None

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours by baseline, pair by pair: what slows the machine down for a while slows both of a pair."""
        return tuple(mine / theirs for mine, theirs in zip(self.ours, self.baseline, strict=False) if theirs)

    @property
    def ratio(self) -> float | None:
        """Median of the pairs' ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def difference(self) -> float | None:
        """Median of ours minus baseline, pair by pair."""
        pairs = zip(self.ours, self.baseline, strict=False)
        return statistics.median(mine - theirs for mine, theirs in pairs) if self.baseline else None

    @property
    def spread(self) -> tuple[float, float]:
        """First and third quartile of the ratios; of the values themselves where there is no baseline."""
        values = self.ratios or self.ours
        if len(values) == 1:
            return values[0], values[0]
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return low, high


def measure_pairs(
    ours: Callable[[], float], baseline: Callable[[], float], pairs: int, *, warm_up: bool = True
) -> Samples:
    """Measure in turn: ours, baseline, ours, baseline.

    Args:
        ours: Measures this program once.
        baseline: Measures what it is compared with once.
        pairs: How often.
        warm_up: Run each once before, unmeasured: files are then in the cache, byte code is compiled.
    """
    if warm_up:
        ours()
        baseline()
    taken = [(ours(), baseline()) for _ in range(pairs)]
    return Samples(ours=tuple(mine for mine, _ in taken), baseline=tuple(theirs for _, theirs in taken))
