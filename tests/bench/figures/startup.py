"""What a command costs before it does anything."""

import sys
from collections.abc import Iterator

from tests.bench.baselines.bare_typer import write_bare_app
from tests.bench.lab import Lab
from tests.bench.rows import Figure, Row, Unit, ratio_at_most
from tests.bench.samples import measure_pairs

# What completions/suno-cover.bash sets, and the words up to the cursor that it passes on.
_TAB_ENVIRON = {"_SUNO_COVER_COMPLETE": "bash"}
_TAB_WORDS = ("generate", "--call")


def measure_version(lab: Lab) -> Iterator[Row]:
    """``--version`` against an interpreter that does nothing."""
    yield Row(
        figure="`--version`",
        unit=Unit.SECONDS,
        samples=measure_pairs(
            lambda: lab.run(lab.program("--version")),
            lambda: lab.run([sys.executable, "-c", "pass"]),
            lab.choose(15, 41),
        ),
        baseline="`python -c pass`",
        goal=ratio_at_most(7),
    )


def measure_tab(lab: Lab) -> Iterator[Row]:
    """One press of TAB, as the shell's completion function asks for it."""
    yield Row(
        figure="one TAB",
        unit=Unit.SECONDS,
        samples=measure_pairs(
            lambda: lab.run(lab.program(*_TAB_WORDS), _TAB_ENVIRON),
            lambda: lab.run([sys.executable, "-c", "pass"]),
            lab.choose(15, 41),
        ),
        baseline="`python -c pass`",
        goal=ratio_at_most(7),
    )


def measure_help(lab: Lab) -> Iterator[Row]:
    """``--help`` against an application that has nothing but the same commands and options."""
    # A module, as an installed application is one: a script would be compiled in every run.
    write_bare_app(lab.folder / "bare_app.py")
    bare = [sys.executable, "-c", "import bare_app; bare_app.app()", "--help"]
    yield Row(
        figure="`--help`",
        unit=Unit.SECONDS,
        samples=measure_pairs(
            lambda: lab.run(lab.program("--help")),
            lambda: lab.run(bare),
            lab.choose(9, 41),
        ),
        baseline="a bare Typer app, same commands and options",
        goal=ratio_at_most(1.15),
    )


FIGURES = (
    Figure(name="version", measure=measure_version),
    Figure(name="tab", measure=measure_tab),
    Figure(name="help", measure=measure_help),
)
