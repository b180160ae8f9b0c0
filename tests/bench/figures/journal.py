"""How many durable steps the journal takes a second."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from subprocess import Popen

from tests.bench.lab import Lab, read_line
from tests.bench.rows import Figure, Goal, Rounds, Unit, one_row, ratio_at_least
from tests.bench.samples import measure_pairs

_SHORT_S, _LONG_S = 0.1, 0.5
_AT_ONCE = 100
_SLOWEST = ratio_at_least(0.8)


def measure_journal(lab: Lab, processes: int) -> Rounds:
    """Processes that each take one job after the other through its steps, in one journal."""
    words = "1 process" if processes == 1 else f"{processes} processes"
    return _compare(lab, f"journal: durable steps per second, {words}", processes=processes, goal=_SLOWEST)


def measure_crowd(lab: Lab) -> Rounds:
    """One process with many jobs at once."""
    return _compare(
        lab,
        f"\N{HORIZONTAL ELLIPSIS} 1 process, {_AT_ONCE} jobs at once",
        at_once=_AT_ONCE,
        note="steps that come at the same moment share one commit",
    )


def _compare(
    lab: Lab, figure: str, *, processes: int = 1, at_once: int = 1, goal: Goal | None = None, note: str = ""
) -> Rounds:
    # Each for a while and not for a number of jobs: who waits for another's lock sleeps up to a tenth of a second,
    # and would be alone at the end.
    seconds = str(lab.choose(_SHORT_S * processes, _LONG_S))
    commands = lab.subject("journal_steps", seconds, str(at_once)), lab.baseline("journal", seconds)
    with ExitStack() as stack:
        ours, theirs = (
            [stack.enter_context(lab.process(command)) for _ in range(processes)] for command in commands
        )
        yield from one_row(
            measure_pairs(partial(_steps_per_second, lab, ours), partial(_steps_per_second, lab, theirs)),
            figure=figure,
            unit=Unit.PER_SECOND,
            baseline="bare sqlite3, same table and pragmas, one transaction a step",
            goal=goal,
            note=note,
        )


def _steps_per_second(lab: Lab, workers: "Sequence[Popen[str]]") -> float:
    """Have all of them open one new journal, give them the word, and add up how fast each was."""
    folder = lab.new_folder()
    for worker in workers:  # one after the other: the first makes the file
        _write_line(worker, str(folder))
        read_line(worker)
    for worker in workers:
        _write_line(worker, "")
    return sum(float(read_line(worker)) for worker in workers)


def _write_line(worker: "Popen[str]", line: str) -> None:
    if worker.stdin is not None:
        worker.stdin.write(f"{line}\n")
        worker.stdin.flush()


FIGURES = (
    Figure(name="journal", measure=partial(measure_journal, processes=1), rounds=(16, 31)),
    Figure(name="journal-4", measure=partial(measure_journal, processes=4), rounds=(7, 15)),
    Figure(name="journal-crowd", measure=measure_crowd, rounds=(0, 9)),
)
