"""What a command costs before it does anything."""

import sys
from collections.abc import Callable

from tests.bench.baselines.bare_typer import write_bare_app
from tests.bench.lab import Lab
from tests.bench.rows import Figure, Rounds, Unit, one_row, ratio_at_most
from tests.bench.samples import measure_pairs

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


FIGURES = (
    Figure(name="version", measure=measure_version, rounds=(15, 41)),
    Figure(name="tab", measure=measure_tab, rounds=(15, 41)),
    Figure(name="help", measure=measure_help, rounds=(10, 41)),
)
