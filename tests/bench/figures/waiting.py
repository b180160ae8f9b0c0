"""What it takes until a job is submitted through a tunnel, and what waiting for its callback costs."""

import json
import time

from tests.bench.lab import Lab, read_line
from tests.bench.processes import usage_of
from tests.bench.rows import Figure, Rounds, Row, Unit, at_most, at_most_above, one_row
from tests.bench.samples import Samples, measure_pairs
from tests.bench.standin import START_S, StandIn

_MIB = 1024 * 1024
_MINUTE_S = 60.0


def measure_tunnel(lab: Lab) -> Rounds:
    """From before the start of the process to the word that the job is submitted, tunnel proven by a probe."""
    with lab.serve("--generation-time", "1h") as service:
        standin = StandIn.install(lab.new_folder())

        def ours() -> float:
            begun = time.perf_counter()
            command = lab.program("generate", "--tunnel", "--events", lab.new_id())
            with lab.process(command, service.environ | standin.environ) as generate:
                while json.loads(read_line(generate))["type"] != "job_submitted":
                    pass
                return time.perf_counter() - begun

        agent = f"the agent alone, spawn \N{RIGHTWARDS ARROW} endpoint (stand-in, {START_S} s as a real one)"
        yield from one_row(
            measure_pairs(ours, standin.open_alone, warm_up=False),
            figure="tunnel: start of process \N{RIGHTWARDS ARROW} job submitted",
            unit=Unit.SECONDS,
            baseline=agent,
            goal=at_most_above(0.3),
        )


def measure_waiting(lab: Lab) -> Rounds:
    """One job that waits for its callback through a tunnel; by default it is also read every 30 s."""
    window_s = lab.choose(2.5, _MINUTE_S)
    with lab.serve("--generation-time", "1h") as service:
        standin = StandIn.install(lab.new_folder())
        command = lab.program("generate", "--tunnel", "--events", lab.new_id())
        with lab.process(command, service.environ | standin.environ) as generate:
            while json.loads(read_line(generate))["type"] != "job_submitted":
                pass
            time.sleep(1.0)  # what is made ready for the callback is made ready now
            before = usage_of(generate.pid)
            time.sleep(window_s)
            after = usage_of(generate.pid)
    yield [
        Row(
            figure="waiting through a tunnel: processor time per minute",
            unit=Unit.SECONDS,
            samples=Samples(ours=((after.cpu_s - before.cpu_s) * _MINUTE_S / window_s,)),
            goal=at_most(0.1),
            note=f"measured over {window_s:g} s",
        ),
        Row(
            figure="waiting through a tunnel: resident memory",
            unit=Unit.BYTES,
            samples=Samples(ours=(float(after.memory_bytes),)),
            goal=at_most(80 * _MIB),
        ),
    ]


FIGURES = (
    Figure(name="tunnel", measure=measure_tunnel, rounds=(2, 15)),
    Figure(name="waiting", measure=measure_waiting),
)
