"""How many durable steps the journal takes a second."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from tests.bench.lab import Lab, read_line
from tests.bench.rows import Figure, Row, Unit, ratio_at_least
from tests.bench.samples import measure_pairs

_STEPS_A_JOB = 3
_BARE = "bare sqlite3, same table and pragmas, one transaction a step"


def measure_journal(lab: Lab) -> Iterator[Row]:
    """One process, four processes, and one process with a hundred jobs at once."""
    jobs = lab.choose(150, 600)
    for processes in (1, 4):
        words = "1 process" if processes == 1 else f"{processes} processes"
        yield Row(
            figure=f"journal: durable steps per second, {words}",
            unit=Unit.PER_SECOND,
            samples=measure_pairs(
                partial(_steps_per_second, lab, processes, jobs, at_once=1),
                partial(_bare_steps_per_second, lab, processes, jobs),
                lab.choose(7, 15),
                warm_up=False,
            ),
            baseline=_BARE,
            goal=ratio_at_least(0.8),
        )
    yield Row(
        figure="\N{HORIZONTAL ELLIPSIS} 1 process, 100 jobs at once",
        unit=Unit.PER_SECOND,
        samples=measure_pairs(
            partial(_steps_per_second, lab, 1, 10 * jobs, at_once=100),
            partial(_bare_steps_per_second, lab, 1, jobs),
            lab.choose(5, 9),
            warm_up=False,
        ),
        baseline=_BARE,
        note="steps that come at the same moment share one commit",
    )


def _steps_per_second(lab: Lab, processes: int, jobs: int, *, at_once: int) -> float:
    command = lab.subject("journal_steps", str(lab.new_folder()), str(jobs), str(at_once))
    return _rate(lab, command, processes, jobs)


def _bare_steps_per_second(lab: Lab, processes: int, jobs: int) -> float:
    return _rate(lab, lab.baseline("journal", str(lab.new_folder()), str(jobs)), processes, jobs)


def _rate(lab: Lab, command: list[str], processes: int, jobs: int) -> float:
    """Start so many of a command, give all of them the word, and wait until the last is done."""
    with ExitStack() as stack:
        workers = []
        for _ in range(processes):  # one after the other: the first makes the file
            worker = stack.enter_context(lab.process(command))
            read_line(worker)
            workers.append(worker)
        begun = time.perf_counter()
        for worker in workers:
            if worker.stdin is not None:
                worker.stdin.write("\n")
                worker.stdin.flush()
        for worker in workers:
            read_line(worker)
        return processes * jobs * _STEPS_A_JOB / (time.perf_counter() - begun)


FIGURES = (Figure(name="journal", measure=measure_journal),)
