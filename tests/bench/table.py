"""The table, as text for a terminal, as Markdown for the page of figures, as JSON for a record."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from tests.bench.machine import Machine
from tests.bench.rows import Kind, Row

_HEADS = ("figure", "median", "baseline", "its median", "ratio", "spread", "n", "goal", "", "note")
_NUMERIC = {"median", "its median", "ratio", "spread", "n", "goal"}
_HEADS_ON_PAGE = ("what", "ours", "baseline", "ratio", "goal", "reached")
_NUMERIC_ON_PAGE = {"ours", "ratio", "goal"}
_PAGE_VERDICTS = {"reached": "yes", "NOT reached": "**no**"}
_BEGIN_ON_PAGE = "<!-- measured -->\n"
_END_ON_PAGE = "<!-- end of measured -->"
_VERDICTS = {True: "reached", False: "NOT reached", None: ""}


def cells_of(row: Row) -> tuple[str, ...]:
    """Return one text a column."""
    samples = row.samples
    if samples is None:
        return (
            row.figure,
            "",
            row.baseline,
            "",
            "",
            "",
            "0",
            _goal_of(row),
            "FAILED" if row.is_failed else "",
            row.note,
        )
    low, high = samples.spread
    base = samples.baseline_median
    ratio = samples.ratio
    spread = f"{low:.2f}\N{EN DASH}{high:.2f}"
    if ratio is None:
        spread = "" if len(samples.ours) == 1 else f"{row.unit.show(low)} \N{EN DASH} {row.unit.show(high)}"
    shown_ratio = "" if ratio is None else f"{ratio:.2f}x"
    if row.goal is not None and row.goal.kind is Kind.DIFFERENCE and samples.difference is not None:
        shown_ratio = f"{row.unit.show(samples.difference)} more"
    return (
        row.figure,
        row.unit.show(samples.median),
        row.baseline,
        "" if base is None else row.unit.show(base),
        shown_ratio,
        spread,
        str(len(samples.ours)),
        _goal_of(row),
        _VERDICTS[row.goal.judge(samples) if row.goal is not None else None],
        row.note,
    )


def as_text(rows: Sequence[Row], machine: Machine) -> str:
    """Return the table for a terminal; notes follow, numbered, so that lines stay readable."""
    notes: list[str] = []
    lines: list[tuple[str, ...]] = [_HEADS[:-1]]
    for row in rows:
        *cells, note = cells_of(row)
        if note:
            notes.append(note)
            cells[-1] = f"{cells[-1]} [{len(notes)}]".strip()
        lines.append(tuple(cells))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [_padded(line, widths).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    numbered = [f"[{n}] {note}" for n, note in enumerate(notes, 1)]
    return "\n".join([str(machine), "", *text, *([""] if numbered else []), *numbered, ""])


def as_markdown(rows: Sequence[Row], machine: Machine) -> str:
    """Return the table as the page holds it: what, ours, baseline, ratio, goal, reached."""
    marks = ["--:" if head in _NUMERIC_ON_PAGE else "---" for head in _HEADS_ON_PAGE]
    body = [[cell.replace("|", "\\|") for cell in _page_cells(row)] for row in rows]
    lines = [f"| {' | '.join(line)} |" for line in (_HEADS_ON_PAGE, marks, *body)]
    return "\n".join([f"Measured {machine}.", "", *lines, ""])


def with_table(text: str, table: str) -> str:
    """Return the page's text with ``table`` between its two marks.

    Raises:
        ValueError: The marks are not there, once each.
    """
    before, begin, rest = text.partition(_BEGIN_ON_PAGE)
    _, end, after = rest.partition(_END_ON_PAGE)
    if not begin or not end or _BEGIN_ON_PAGE in after:
        raise ValueError("the page has lost its place for the table of figures")
    return f"{before}{begin}{table}{end}{after}"


def _page_cells(row: Row) -> tuple[str, ...]:
    """Return one text a column of the short table; quartiles below the ratio, the note below the name."""
    figure, ours, baseline, theirs, ratio, spread, _, goal, verdict, note = cells_of(row)
    shown_spread = f"<br>{spread}" if spread else ""
    return (
        f"{figure}<br><sub>{note}</sub>" if note else figure,
        f"{ours}{'' if ratio else shown_spread}",
        f"{theirs} {baseline}".strip(),
        f"{ratio}{shown_spread}" if ratio else "",
        goal,
        _PAGE_VERDICTS.get(verdict, verdict),
    )


def as_json(rows: Iterable[Row], machine: Machine) -> str:
    """Return everything, the single values included."""
    return json.dumps(
        {
            "v": 1,
            "machine": asdict(machine),
            "rows": [
                asdict(row)
                | {
                    "ratio": row.samples.ratio if row.samples else None,
                    "median": row.samples.median if row.samples else None,
                    "spread": row.samples.spread if row.samples else None,
                    "reached": row.goal.judge(row.samples) if row.goal and row.samples else None,
                }
                for row in rows
            ],
        },
        indent=1,
    )


def _goal_of(row: Row) -> str:
    return "" if row.goal is None else row.goal.show(row.unit)


def _padded(line: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.rjust(width) if head in _NUMERIC else cell.ljust(width)
        for cell, width, head in zip(line, widths, _HEADS, strict=False)
    )
