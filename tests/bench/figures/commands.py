"""Whole commands, start and end of the process included, against the shortest script that does the same."""

import json
import urllib.request

from tests.bench.lab import Lab, Service
from tests.bench.rows import Figure, Rounds, Unit, one_row, ratio_at_most
from tests.bench.samples import measure_pairs


def measure_status(lab: Lab) -> Rounds:
    """Read one job that is done."""
    with lab.serve() as service:
        task_id = submit(service, lab.new_id())
        yield from one_row(
            measure_pairs(
                lambda: lab.run(lab.program("status", "--json", task_id), service.environ),
                lambda: lab.run(lab.baseline("status", task_id), service.environ),
            ),
            figure="`status --json`, whole process",
            unit=Unit.SECONDS,
            baseline="a 15-line aiohttp script",
            goal=ratio_at_most(1.15),
        )


def measure_generate(lab: Lab) -> Rounds:
    """Make two covers with a service that takes no time."""
    with lab.serve() as service:
        covers = lab.new_folder()

        def ours() -> float:
            return lab.run(lab.program("generate", "-o", str(covers), lab.new_id()), service.environ)

        def baseline() -> float:
            return lab.run(lab.baseline("generate", lab.new_id(), str(covers / lab.new_id())), service.environ)

        yield from one_row(
            measure_pairs(ours, baseline),
            figure="`generate`, no generation time, whole process",
            unit=Unit.SECONDS,
            baseline="a straight aiohttp script, no checks, nothing durable",
            goal=ratio_at_most(1.3),
        )


def measure_generate_sandbox(lab: Lab) -> Rounds:
    """The same with the imitation of the service inside the process."""
    covers = lab.new_folder()

    def ours() -> float:
        return lab.run(lab.program("generate", "--sandbox", "-o", str(covers), lab.new_id("instant")))

    def baseline() -> float:
        return lab.run(lab.baseline("generate", lab.new_id(), str(covers / lab.new_id()), "--sandbox"))

    yield from one_row(
        measure_pairs(ours, baseline),
        figure="`generate --sandbox`, no generation time, whole process",
        unit=Unit.SECONDS,
        baseline="the same script with the same sandbox inside",
        goal=ratio_at_most(1.3),
    )


def submit(service: Service, music_task_id: str) -> str:
    """Order a cover without a callback and return its cover task id."""
    order = {"taskId": music_task_id, "callBackUrl": "https://example.com/noop"}
    request = urllib.request.Request(  # noqa: S310 -- http to this machine
        f"{service.url}/api/v1/suno/cover/generate",
        data=json.dumps(order).encode(),
        headers={"Authorization": f"Bearer {service.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 -- the same
        return str(json.load(answer)["data"]["taskId"])


FIGURES = (
    Figure(name="status", measure=measure_status, rounds=(5, 41)),
    Figure(name="generate", measure=measure_generate, rounds=(0, 31)),
    Figure(name="generate-sandbox", measure=measure_generate_sandbox, rounds=(8, 31)),
)
