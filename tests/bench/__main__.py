"""``python -m tests.bench``: measure and print the table."""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.figures import FIGURES
from tests.bench.lab import BenchError, Lab, NotHereError
from tests.bench.machine import Machine
from tests.bench.rows import Figure, Row, Unit
from tests.bench.table import as_json, as_markdown, as_text, with_table

README = Path(__file__).parents[2] / "README.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for; return the exit code, which says nothing about goals."""
    options = _parse(arguments)
    figures = [figure for figure in FIGURES if not options.only or figure.name in options.only]
    with tempfile.TemporaryDirectory(prefix="suno-cover-bench-", dir=options.folder) as name:
        folder = Path(name).resolve()
        machine = Machine.look(folder)
        rows = list(measure_all(figures, Lab(folder, is_short=options.short)))
    sys.stdout.write(as_markdown(rows, machine) if options.markdown else as_text(rows, machine))
    if options.write_readme is not None:
        text = options.write_readme.read_text(encoding="utf-8")
        options.write_readme.write_text(with_table(text, as_markdown(rows, machine)), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(as_json(rows, machine), encoding="utf-8")
    return 1 if any(row.is_failed for row in rows) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [figure.name for figure in FIGURES]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer repetitions: under two minutes")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, single values included")
    parser.add_argument("--markdown", action="store_true", help="print the table as README holds it")
    parser.add_argument(
        "--write-readme", type=Path, metavar="FILE", nargs="?", const=README, help="put the table into README.md"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where files are written: a real disk")
    return parser.parse_args(arguments)


def measure_all(figures: Sequence[Figure], lab: Lab) -> Iterator[Row]:
    """Measure one figure after the other; what cannot be measured is told in the table and stops nothing."""
    for n, figure in enumerate(figures, 1):
        sys.stderr.write(f"[{n}/{len(figures)}] {figure.name} ")
        sys.stderr.flush()
        begun = time.monotonic()
        try:
            yield from figure.measure(lab)
        except NotHereError as reason:
            yield Row(figure=figure.name, unit=Unit.SECONDS, samples=None, note=f"not measured: {reason}")
        except BenchError as reason:
            yield Row(figure=figure.name, unit=Unit.SECONDS, samples=None, note=str(reason), is_failed=True)
        sys.stderr.write(f"{time.monotonic() - begun:.0f} s\n")


if __name__ == "__main__":
    sys.exit(main())
