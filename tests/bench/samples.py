"""Values measured side by side, and what can be said of them."""

import math
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# Two values do not tell by how much a third may differ.
_FEWEST_PAIRS = 3


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
        """Mean of the pairs' ratios without the highest and the lowest quarter of them.

        As deaf to what disturbs single pairs as their median, and nearer to itself from run to run.
        """
        ranked = sorted(self.ratios)
        aside = len(ranked) // 4
        return statistics.fmean(ranked[aside : len(ranked) - aside]) if ranked else None

    @property
    def uncertainty(self) -> float | None:
        """Standard error of the ratio, as a share of it; ``None`` while there are too few pairs to tell.

        That of a trimmed mean, after Yuen (Biometrika 61, 1974): what was put aside counts as the nearest kept.
        Few pairs may agree by chance; it is widened for them about as Student's t is.
        """
        if len(self.ratios) < _FEWEST_PAIRS:
            return None
        ranked = sorted(math.log(ratio) for ratio in self.ratios)
        aside = len(ranked) // 4
        kept = ranked[aside : len(ranked) - aside]
        pulled_in = [min(max(value, kept[0]), kept[-1]) for value in ranked]
        mean = statistics.fmean(pulled_in)
        freedom = len(kept) - 1
        error = math.sqrt(sum((value - mean) ** 2 for value in pulled_in) / (len(kept) * freedom))
        return error * (1 + 1.5 / freedom)

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
    ours: Callable[[], float], baseline: Callable[[], float], *, warm_up: bool = True
) -> Iterator[Samples]:
    """Measure in turn, for as long as somebody asks: ours, baseline, ours, baseline.

    Args:
        ours: Measures this program once.
        baseline: Measures what it is compared with once.
        warm_up: Run each once before, unmeasured: files are then in the cache, byte code is compiled, a picture
            that the imitated service hands out is made.

    Yields:
        All values so far, one pair more each time.
    """
    if warm_up:
        ours()
        baseline()
    samples = Samples(ours=())
    while True:
        settle()
        mine = ours()
        settle()
        samples = Samples(ours=(*samples.ours, mine), baseline=(*samples.baseline, baseline()))
        yield samples


def settle() -> None:
    """Have the disk take what is on its way to it: a durable step must not wait for the files of others."""
    if hasattr(os, "sync"):
        os.sync()
