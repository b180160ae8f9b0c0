"""``python -m tests.bench``: measure and print the table."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import FIGURES
from tests.bench.lab import Lab
from tests.bench.machine import Machine
from tests.bench.rounds import measure_all
from tests.bench.table import as_json, as_markdown, as_text, with_table

PAGE = Path(__file__).parents[2] / ".github" / "docs" / "measured.md"
_PATIENCE_S = (115.0, 720.0)
"""For all figures, in the short form and in the long one; the last round and the clean-up come on top."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for; return the exit code, which says nothing about goals."""
    options = _parse(arguments)
    figures = [figure for figure in FIGURES if not options.only or figure.name in options.only]
    with tempfile.TemporaryDirectory(prefix="suno-cover-bench-", dir=options.folder) as name:
        folder = Path(name).resolve()
        machine = Machine.look(folder)
        lab = Lab(folder, is_short=options.short)
        patience_s = lab.choose(*_PATIENCE_S) * len(figures) / len(FIGURES)
        rows = measure_all(figures, lab, patience_s if options.seconds is None else options.seconds)
    sys.stdout.write(as_markdown(rows, machine) if options.markdown else as_text(rows, machine))
    if options.write is not None:
        text = options.write.read_text(encoding="utf-8")
        options.write.write_text(with_table(text, as_markdown(rows, machine)), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(as_json(rows, machine), encoding="utf-8")
    return 1 if any(row.is_failed for row in rows) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [figure.name for figure in FIGURES]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--short",
        action="store_true",
        help="under three minutes: fewer rounds, smaller batches, no rows that only explain others",
    )
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help="how long ratios may become more certain; every figure's part of"
        f" {_PATIENCE_S[0]:.0f} s in the short form and {_PATIENCE_S[1]:.0f} s in the long one unless told",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, single values included")
    parser.add_argument("--markdown", action="store_true", help="print the table as the page holds it")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", nargs="?", const=PAGE, help="put the table into the page of figures"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where files are written: a real disk")
    options = parser.parse_args(arguments)
    left_out = [one.name for one in FIGURES if one.rounds[0] == 0 and one.name in (options.only or ())]
    if options.short and left_out:
        parser.error(f"only the long form measures {', '.join(left_out)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
