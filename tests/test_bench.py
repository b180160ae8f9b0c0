"""The measuring itself: that its table says what was measured. How fast anything is, no test says."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.__main__ import PAGE, main
from tests.bench.figures import FIGURES
from tests.bench.figures.release import check_same_work
from tests.bench.lab import BenchError, Lab, NotHereError
from tests.bench.machine import Machine
from tests.bench.rounds import measure_all
from tests.bench.rows import (
    Figure,
    Goal,
    Rounds,
    Row,
    Unit,
    at_least,
    at_most,
    at_most_above,
    ratio_at_least,
    ratio_at_most,
)
from tests.bench.samples import Samples, measure_pairs
from tests.bench.table import as_json, as_markdown, as_text, cells_of, with_table
from tests.release_fixtures import quarters, save

MACHINE = Machine(
    date="2026-01-02",
    cpu="A | processor",
    cores=2,
    python="CPython 3",
    system="Linux",
    disk="ext4",
    load=None,
)
ROW = Row(
    figure="`status` | whole",
    unit=Unit.SECONDS,
    samples=Samples(ours=(0.3, 0.2, 0.4), baseline=(0.1, 0.2, 0.2)),
    baseline="a script",
    goal=ratio_at_most(1.15),
    note="a note",
)


def test_one_figure_is_measured_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A figure gives one row with its baseline, ratio, goal and the machine, as text and as JSON."""
    record = tmp_path / "record.json"
    words = ["--only", "version", "--short", "--seconds", "0", "--folder", str(tmp_path), "--json", str(record)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    told = json.loads(record.read_text())
    [row] = told["rows"]
    assert len(row["samples"]["ours"]) == len(row["samples"]["baseline"]) > 10
    assert row["figure"] == "`--version`"
    for word in (told["machine"]["python"], "`--version`", "`python -c pass`", f"{row['ratio']:.2f}x", "7x"):
        assert word in shown
    assert list(tmp_path.iterdir()) == [record]


def test_a_figure_of_the_long_form_is_not_measured_in_the_short_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for one that the short form goes without is told so instead of getting an empty table."""
    with pytest.raises(SystemExit):
        main(["--short", "--only", "generate"])
    assert "only the long form measures generate" in capsys.readouterr().err


def test_names_of_figures_are_told_apart() -> None:
    """Every figure can be asked for by a name of its own."""
    names = [figure.name for figure in FIGURES]
    assert sorted(set(names)) == sorted(names)


def test_pairs_are_taken_in_turn() -> None:
    """Ours and the baseline are measured alternately, after one unmeasured run of each, a pair a round."""
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    rounds = measure_pairs(lambda: measure("ours"), lambda: measure("theirs"))
    assert next(rounds) == Samples(ours=(3.0,), baseline=(4.0,))
    assert next(rounds) == Samples(ours=(3.0, 5.0), baseline=(4.0, 6.0))
    assert order == ["ours", "theirs"] * 3


def test_the_ratio_is_that_of_neighbours() -> None:
    """A machine that becomes twice as slow half-way changes neither ratio nor spread."""
    calm = Samples(ours=(2.0, 2.0, 2.0, 2.0), baseline=(1.0, 1.0, 1.0, 1.0))
    disturbed = Samples(ours=(2.0, 2.0, 4.0, 4.0), baseline=(1.0, 1.0, 2.0, 2.0))
    assert disturbed.ratio == calm.ratio == 2.0
    assert disturbed.spread == calm.spread == (2.0, 2.0)
    assert disturbed.difference == 1.5


def test_what_disturbs_single_pairs_does_not_count() -> None:
    """The highest and the lowest quarter of the pairs move neither the ratio nor its uncertainty."""
    calm = Samples(ours=(1.0, 1.9, 2.0, 2.1, 1.9, 2.0, 2.1, 3.0), baseline=(1.0,) * 8)
    disturbed = Samples(ours=(0.1, 1.9, 2.0, 2.1, 1.9, 2.0, 2.1, 90.0), baseline=(1.0,) * 8)
    assert disturbed.ratio == calm.ratio == pytest.approx(2.0)
    assert disturbed.uncertainty == calm.uncertainty


def test_more_pairs_and_quieter_ones_are_more_certain() -> None:
    """The uncertainty halves with the noise, is widened where pairs are few, unknown for two."""

    def uncertainty(noise: float, pairs: int) -> float:
        ratios = tuple(math.exp(noise * (-1) ** n) for n in range(pairs))
        return Samples(ours=ratios, baseline=(1.0,) * pairs).uncertainty or 0.0

    assert uncertainty(0.1, 8) == pytest.approx(uncertainty(0.2, 8) / 2)
    assert uncertainty(0.1, 32) < uncertainty(0.1, 8) / 2.5
    assert Samples(ours=(1.0, 2.0), baseline=(1.0, 1.0)).uncertainty is None
    assert Samples(ours=(-1.0,), baseline=(1.0,)).uncertainty is None, "a difference of times may be anything"


@pytest.mark.parametrize(
    ("goal", "good", "bad"),
    [
        (ratio_at_most(1.5), Samples(ours=(3.0,), baseline=(2.0,)), Samples(ours=(3.1,), baseline=(2.0,))),
        (ratio_at_least(0.8), Samples(ours=(8.0,), baseline=(10.0,)), Samples(ours=(7.9,), baseline=(10.0,))),
        (at_most(5), Samples(ours=(5.0,)), Samples(ours=(5.1,))),
        (at_least(100), Samples(ours=(100.0,)), Samples(ours=(99.0,))),
        (at_most_above(0.25), Samples(ours=(1.25,), baseline=(1.0,)), Samples(ours=(1.3,), baseline=(1.0,))),
    ],
)
def test_a_goal_is_reached_up_to_its_bound(goal: Goal, good: Samples, bad: Samples) -> None:
    """Each kind of goal is reached on its bound and missed beyond it, and says nothing without its baseline."""
    assert goal.judge(good)
    assert not goal.judge(bad)


def test_a_goal_without_its_baseline_is_not_judged() -> None:
    """Where there is nothing to compare with, a ratio is neither reached nor missed."""
    assert ratio_at_most(1).judge(Samples(ours=(1.0,))) is None


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.SECONDS, 0.00123, "1.23 ms"),
        (Unit.SECONDS, 0.1234, "123 ms"),
        (Unit.SECONDS, 12.34, "12.3 s"),
        (Unit.PER_SECOND, 12345.6, "12,346/s"),
        (Unit.BYTES, 20 * 1024.0, "20.0 KiB"),
        (Unit.BYTES, 250 * 1024.0 * 1024.0, "250 MiB"),
    ],
)
def test_values_are_shown_in_what_reads_well(unit: Unit, value: float, text: str) -> None:
    """Seconds and bytes are shown with three digits in the unit that fits."""
    assert unit.show(value) == text


def test_a_row_shows_all_there_is_to_know() -> None:
    """Median, baseline, ratio, quartiles, repetitions, goal, verdict and note each have a cell."""
    expected = [
        "300 ms",
        "a script",
        "200 ms",
        "2.00x",
        "1.50\u20132.50",
        "3",
        "\u2264 1.15x",
        "NOT reached",
        "a note",
    ]
    assert list(cells_of(ROW)[1:]) == expected


def test_what_was_not_measured_is_told() -> None:
    """A figure that needs a program which is not there says so instead of a number."""
    row = replace(ROW, samples=None, note="not measured: no curl")
    assert "not measured: no curl" in as_text([row], MACHINE)
    assert json.loads(as_json([row], MACHINE))["rows"][0]["reached"] is None


def test_markdown_keeps_its_columns() -> None:
    """A bar inside a cell does not become a column of the table."""
    heads, marks, body = as_markdown([ROW], MACHINE).splitlines()[2:5]
    assert heads.count("|") == marks.count("|") == body.replace("\\|", "").count("|")


def test_readme_shows_what_was_reached() -> None:
    """Its table says yes or no for each goal, keeps quartiles and notes, and names date, Python and cores."""
    shown = as_markdown([ROW, replace(ROW, goal=ratio_at_most(2))], MACHINE)
    missed, reached = shown.splitlines()[4:6]
    assert missed.endswith("| **no** |")
    assert reached.endswith("| yes |")
    for word in ("300 ms", "200 ms a script", "2.00x<br>1.50\u20132.50", "\u2264 1.15x", "<sub>a note</sub>"):
        assert word in missed
    assert "2026-01-02; A | processor, 2 cores; CPython 3" in shown.splitlines()[0]


def test_the_table_replaces_the_one_before() -> None:
    """The page has one place for the table; nothing around it changes, and a page without one is refused."""
    text = PAGE.read_text(encoding="utf-8")
    first = with_table(text, "| old |\n")
    second = with_table(first, "| new |\n")
    assert "| old |" in first
    assert "| old |" not in second
    assert second.replace("| new |", "| old |") == first
    with pytest.raises(ValueError, match="lost its place"):
        with_table("# Title\n", "| new |\n")


def test_a_command_that_fails_is_no_figure(tmp_path: Path) -> None:
    """The time of something that did not do its work is an error that quotes what it said."""
    lab = Lab(tmp_path, is_short=True)
    with pytest.raises(BenchError, match="has no option --nonsense"):
        lab.run(lab.program("--nonsense"))


@pytest.mark.parametrize("name", ["export", "embed"])
def test_release_commands_stand_beside_what_you_would_take_instead(tmp_path: Path, name: str) -> None:
    """A round of each runs both programs, finds the whole work done by both, and gives a row with a baseline."""
    [figure] = [figure for figure in FIGURES if figure.name == name]
    rounds = figure.measure(Lab(tmp_path, is_short=False))
    try:
        [row] = next(rounds)
    except NotHereError as error:
        pytest.skip(str(error))
    assert row.figure.startswith(f"`{name}`: ")
    assert row.samples is not None
    assert (len(row.samples.ours), len(row.samples.baseline)) == (1, 1)
    assert row.goal is not None
    assert row.goal.judge(row.samples) is not None


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90, "subsampling": 0},
        {"quality": 95, "subsampling": 2},
        {"quality": 95, "subsampling": 0, "progressive": True},
        {"quality": 95, "subsampling": 0, "icc_profile": b"profile"},
    ],
)
def test_a_file_that_took_other_work_is_no_baseline(tmp_path: Path, options: dict[str, object]) -> None:
    """Another quality, coarser colours, a progressive file or one with a profile is not compared with ours."""
    picture = quarters(3000)
    ours = save(picture, tmp_path / "ours.jpg", quality=95, subsampling=0)
    check_same_work(ours, save(picture, tmp_path / "same.jpg", quality=95, subsampling=0))
    with pytest.raises(BenchError, match="different files"):
        check_same_work(ours, save(picture, tmp_path / "other.jpg", **options))


def test_what_breaks_is_told_and_stops_nothing(tmp_path: Path) -> None:
    """A figure that breaks and one that cannot be measured here each leave a row, and the next is measured."""

    def break_down(_: Lab) -> Rounds:
        yield [ROW]
        raise BenchError("it fell over")

    def look_for_tool(lab: Lab) -> Rounds:
        yield [replace(ROW, note=lab.tool("no-such-program"))]

    def stumble(_: Lab) -> Rounds:
        yield [ROW]
        raise LookupError("nothing there")

    def measure(_: Lab) -> Rounds:
        yield [ROW]

    figures = [
        Figure(name=name, measure=how, rounds=(2, 2))
        for name, how in zip("abcd", (break_down, stumble, look_for_tool, measure), strict=True)
    ]
    broken, stumbled, missing, good = measure_all(figures, Lab(tmp_path, is_short=True), 0.0)
    assert (broken.is_failed, broken.note) == (True, "it fell over")
    assert (stumbled.is_failed, stumbled.note) == (True, "LookupError: nothing there")
    assert (missing.is_failed, missing.note) == (False, "not measured: no no-such-program")
    assert good == ROW


class Noise:
    """A figure whose pairs differ by so much, and what became of it."""

    def __init__(self, name: str, noise: float, least: int = 4) -> None:
        self.rounds = 0
        self.is_closed = False
        self._noise = noise
        self._running = self._measure()  # kept: what nobody holds is closed by itself
        self.figure = Figure(name=name, measure=lambda _: self._running, rounds=(least, 0))

    def _measure(self) -> Rounds:
        ratios: list[float] = []
        try:
            while True:
                self.rounds += 1
                ratios.append(math.exp(self._noise * (-1) ** self.rounds))
                samples = Samples(ours=tuple(ratios), baseline=(1.0,) * self.rounds)
                yield [replace(ROW, figure=self.figure.name, samples=samples)]
        finally:
            self.is_closed = True


def test_time_goes_to_what_is_least_certain(tmp_path: Path) -> None:
    """A noisy figure gets rounds until it is known as well as a quiet one; at the end all are closed."""
    quiet, noisy, left_out = Noise("quiet", 0.005), Noise("noisy", 0.05), Noise("left out", 1.0, least=0)
    figures = [one.figure for one in (quiet, noisy, left_out)]
    rows = measure_all(figures, Lab(tmp_path, is_short=True), 60.0)
    assert (quiet.rounds, left_out.rounds) == (4, 0)
    assert noisy.rounds > 4
    assert all(row.samples is not None and (row.samples.uncertainty or 1) <= 0.025 for row in rows)
    assert [row.figure for row in rows] == ["quiet", "noisy"]
    assert (quiet.is_closed, noisy.is_closed) == (True, True)


def test_a_figure_whose_rounds_are_slow_gets_fewer(tmp_path: Path) -> None:
    """Once its share of the time is over, a figure does without the rounds it still needs, and the next begins."""
    seconds = itertools.count(0.0, 3.0)
    slow, other = Noise("slow", 0.0, least=100), Noise("other", 0.0, least=2)
    measure_all([slow.figure, other.figure], Lab(tmp_path, is_short=True), 0.0, lambda: next(seconds))
    assert 1 < slow.rounds < 6
    assert other.rounds == 2


def test_nobody_is_measured_for_ever(tmp_path: Path) -> None:
    """When the time is used up, each figure has the rounds it needs, however uncertain."""
    noisy = Noise("noisy", 1.0)
    measure_all([noisy.figure], Lab(tmp_path, is_short=True), 0.0)
    assert noisy.rounds == 4
