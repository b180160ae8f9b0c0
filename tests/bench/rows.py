"""One row of the table: a figure, its baseline, its goal."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.bench.lab import Lab
from tests.bench.samples import Samples

_KIB = 1024
_MIB = 1024 * 1024
_DIGITS = {0: 2, 1: 1}


class Unit(StrEnum):
    """What a value counts. Durations are seconds, sizes are bytes; they are shown in what reads well."""

    SECONDS = "s"
    PER_SECOND = "1/s"
    BYTES = "B"

    def show(self, value: float) -> str:
        """Write a value with three digits or so and its unit."""
        if self is Unit.PER_SECOND:
            return f"{_rounded(value)}/s"
        if self is Unit.SECONDS:
            return f"{_rounded(value * 1000)} ms" if abs(value) < 1 else f"{_rounded(value)} s"
        return f"{_rounded(value / _KIB)} KiB" if abs(value) < _MIB else f"{_rounded(value / _MIB)} MiB"


class Kind(StrEnum):
    """What a goal bounds."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    VALUE = "value"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Where a figure ought to be.

    Attributes:
        kind: What is bounded.
        bound: The bound, in the unit of the row for all but ratios.
        is_least: The bound is a lower one.
    """

    kind: Kind
    bound: float
    is_least: bool = False

    def judge(self, samples: Samples) -> bool | None:
        """Tell whether it is reached, or ``None`` where there is nothing to compare with."""
        value = {Kind.RATIO: samples.ratio, Kind.DIFFERENCE: samples.difference, Kind.VALUE: samples.median}[
            self.kind
        ]
        if value is None:
            return None
        return value >= self.bound if self.is_least else value <= self.bound

    def show(self, unit: Unit) -> str:
        """Write it as it stands in the table."""
        sign = "\N{GREATER-THAN OR EQUAL TO}" if self.is_least else "\N{LESS-THAN OR EQUAL TO}"
        if self.kind is Kind.RATIO:
            return f"{sign} {self.bound:g}x"
        return f"{sign} {'+' if self.kind is Kind.DIFFERENCE else ''}{unit.show(self.bound)}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        figure: What was measured.
        unit: Of the values.
        samples: The values; ``None`` when it could not be measured.
        baseline: What the second column of values is.
        goal: Where it ought to be; ``None`` for a row that only explains another.
        note: What has to be known to read it, or why it was not measured.
        is_failed: It could not be measured because something broke.
    """

    figure: str
    unit: Unit
    samples: Samples | None
    baseline: str = ""
    goal: Goal | None = None
    note: str = ""
    is_failed: bool = False


Rounds = Generator[Sequence[Row], None, None]
"""Measures one round more for each item asked of it: the rows as they then are."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One thing to measure.

    Attributes:
        name: For ``--only``.
        measure: Opens what it needs at the first round and closes it when it is closed.
        rounds: How many at least, in the short form and in the long one, as long as the figure's share of the time
            allows; with none the form goes without it.
    """

    name: str
    measure: Callable[[Lab], Rounds]
    rounds: tuple[int, int] = (1, 1)


def one_row(
    pairs: Iterator[Samples], *, figure: str, unit: Unit, baseline: str, goal: Goal | None, note: str = ""
) -> Rounds:
    """Rounds of a figure that is one row: a pair more in each. The arguments are the row's."""
    for samples in pairs:
        yield [Row(figure=figure, unit=unit, samples=samples, baseline=baseline, goal=goal, note=note)]


def ratio_at_most(bound: float) -> Goal:
    """At most ``bound`` times the baseline."""
    return Goal(kind=Kind.RATIO, bound=bound)


def ratio_at_least(bound: float) -> Goal:
    """At least ``bound`` times the baseline."""
    return Goal(kind=Kind.RATIO, bound=bound, is_least=True)


def at_most(bound: float) -> Goal:
    """At most ``bound``, whatever the baseline does."""
    return Goal(kind=Kind.VALUE, bound=bound)


def at_least(bound: float) -> Goal:
    """At least ``bound``, whatever the baseline does."""
    return Goal(kind=Kind.VALUE, bound=bound, is_least=True)


def at_most_above(bound: float) -> Goal:
    """At most ``bound`` more than the baseline."""
    return Goal(kind=Kind.DIFFERENCE, bound=bound)


def _rounded(value: float) -> str:
    """Write a number with three digits that count; large ones whole."""
    whole_digits = len(str(int(abs(value))))
    return f"{value:,.{_DIGITS.get(whole_digits - 1, 0)}f}"
