"""What a command costs before it does anything."""

import sys
from collections.abc import Callable, Sequence

from tests.bench.baselines.bare_typer import write_bare_app
from tests.bench.lab import Lab
from tests.bench.rows import Figure, Rounds, Row, Unit, one_row, ratio_at_most
from tests.bench.samples import Samples, measure_pairs, settle

# What completions/suno-cover.bash sets, and the words up to the cursor that it passes on.
_TAB_ENVIRON = {"_SUNO_COVER_COMPLETE": "bash"}
_TAB_WORDS = ("generate", "--call")


def measure_version(lab: Lab) -> Rounds:
    """``--version`` against an interpreter that does nothing."""
    yield from _compare("`--version`", lambda: lab.run(lab.program("--version")), lab)


def measure_tab(lab: Lab) -> Rounds:
    """One press of TAB, as the shell's completion function asks for it."""
    yield from _compare("one TAB", lambda: lab.run(lab.program(*_TAB_WORDS), _TAB_ENVIRON), lab)


def _compare(what: str, ours: Callable[[], float], lab: Lab) -> Rounds:
    yield from one_row(
        measure_pairs(ours, lambda: lab.run([sys.executable, "-c", "pass"])),
        figure=what,
        unit=Unit.SECONDS,
        baseline="`python -c pass`",
        goal=ratio_at_most(7),
    )


def measure_help(lab: Lab) -> Rounds:
    """``--help`` against an application that has nothing but the same commands and options."""
    # A module, as an installed application is one: a script would be compiled in every run.
    write_bare_app(lab.folder / "bare_app.py")
    bare = [sys.executable, "-c", "import bare_app; bare_app.app()", "--help"]
    yield from one_row(
        measure_pairs(lambda: lab.run(lab.program("--help")), lambda: lab.run(bare)),
        figure="`--help`",
        unit=Unit.SECONDS,
        baseline="a bare Typer app, same commands and options",
        goal=ratio_at_most(1.15),
    )


def measure_start(lab: Lab) -> Rounds:
    """A command that only reads the settings: how much of its time is whose."""
    python, typer = [sys.executable, "-c", "pass"], [sys.executable, "-c", "import typer"]
    commands = (python, typer, lab.program("config", "show"))
    runs: list[list[float]] = []
    while True:
        settle()
        runs.append([lab.run(command) for command in commands])
        kept = runs[1:] or runs  # the first one reads files that the others find in memory
        bare, with_typer, whole = zip(*kept, strict=True)
        yield [
            _part("`config show`, whole process", whole),
            _part("\N{HORIZONTAL ELLIPSIS} of which the interpreter (`python -c pass`)", bare),
            _part("\N{HORIZONTAL ELLIPSIS} of which loading Typer", with_typer, bare),
            _part("\N{HORIZONTAL ELLIPSIS} of which this program", whole, with_typer),
        ]


def _part(what: str, values: Sequence[float], without: Sequence[float] = ()) -> Row:
    """Make the row of what a part takes: a whole, less what it takes without the part, run by run."""
    ours = [value - less for value, less in zip(values, without or [0.0] * len(values), strict=True)]
    return Row(figure=what, unit=Unit.SECONDS, samples=Samples(ours=tuple(ours)))


FIGURES = (
    Figure(name="version", measure=measure_version, rounds=(15, 41)),
    Figure(name="tab", measure=measure_tab, rounds=(15, 41)),
    Figure(name="help", measure=measure_help, rounds=(10, 41)),
    Figure(name="start", measure=measure_start, rounds=(5, 21)),
)
