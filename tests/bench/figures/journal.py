"""How many durable steps the journal takes a second."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from subprocess import Popen

from tests.bench.lab import Lab, read_line
from tests.bench.rows import Figure, Goal, Rounds, Row, Unit, ratio_at_least
from tests.bench.samples import measure_pairs

_STEPS_A_JOB = 3
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
    # Those that share commits take more jobs through in the same time.
    bare_jobs = lab.choose(150, 600)
    jobs = bare_jobs * (1 if at_once == 1 else 10)
    commands = lab.subject("journal_steps", str(jobs), str(at_once)), lab.baseline("journal", str(bare_jobs))
    with ExitStack() as stack:
        ours, theirs = (
            [stack.enter_context(lab.process(command)) for _ in range(processes)] for command in commands
        )
        for samples in measure_pairs(
            partial(_steps_per_second, lab, ours, jobs), partial(_steps_per_second, lab, theirs, bare_jobs)
        ):
            yield [
                Row(
                    figure=figure,
                    unit=Unit.PER_SECOND,
                    samples=samples,
                    baseline="bare sqlite3, same table and pragmas, one transaction a step",
                    goal=goal,
                    note=note,
                )
            ]


def _steps_per_second(lab: Lab, workers: "Sequence[Popen[str]]", jobs: int) -> float:
    """Have all of them open one new journal, give them the word, and wait until the last is through."""
    folder = lab.new_folder()
    for worker in workers:  # one after the other: the first makes the file
        _write_line(worker, str(folder))
        read_line(worker)
    begun = time.perf_counter()
    for worker in workers:
        _write_line(worker, "")
    for worker in workers:
        read_line(worker)
    return len(workers) * jobs * _STEPS_A_JOB / (time.perf_counter() - begun)


def _write_line(worker: "Popen[str]", line: str) -> None:
    if worker.stdin is not None:
        worker.stdin.write(f"{line}\n")
        worker.stdin.flush()


FIGURES = (
    Figure(name="journal", measure=partial(measure_journal, processes=1), rounds=(12, 15)),
    Figure(name="journal-4", measure=partial(measure_journal, processes=4), rounds=(5, 15)),
    Figure(name="journal-crowd", measure=measure_crowd, rounds=(0, 9)),
)
