"""How many calls a second get through the limit that all processes of a user keep together."""

from collections.abc import Sequence
from contextlib import ExitStack
from subprocess import Popen

from tests.bench.lab import Lab, read_line
from tests.bench.rows import Figure, Rounds, Unit, at_least, one_row
from tests.bench.samples import Samples

_PROCESSES = 4
_SHORT_S, _LONG_S = 0.3, 1.0


def measure_limiter(lab: Lab) -> Rounds:
    """Processes that each take one place after the other, where the limit itself never binds."""
    command = lab.subject("limiter_calls", str(lab.choose(_SHORT_S, _LONG_S)))
    with ExitStack() as stack:
        workers = [stack.enter_context(lab.process(command)) for _ in range(_PROCESSES)]
        rates: list[float] = []

        def measure() -> Samples:
            rates.append(_calls_per_second(lab, workers))
            return Samples(ours=tuple(rates))

        yield from one_row(
            iter(measure, None),
            figure=f"limiter: calls per second through one limit, {_PROCESSES} processes",
            unit=Unit.PER_SECOND,
            baseline="",
            goal=at_least(1000),
            note="at most 1 ms a call; an account allows 2 a second",
        )


def _calls_per_second(lab: Lab, workers: "Sequence[Popen[str]]") -> float:
    """Give all of them one new file and the word, and add up how fast each was."""
    path = lab.new_folder() / "limits" / "window"
    for line in (str(path), ""):
        for worker in workers:
            if worker.stdin is not None:
                worker.stdin.write(f"{line}\n")
                worker.stdin.flush()
        answers = [read_line(worker) for worker in workers]
    return sum(map(float, answers))


FIGURES = (Figure(name="limiter", measure=measure_limiter, rounds=(3, 9)),)
