"""The scenarios, and how a music task id picks one, as the number of a test card picks an outcome.

``sandbox-<scenario>`` or ``sandbox-<scenario>-<anything>``; every other id is a success. A new scenario is
one entry in the table of its layer: answers of the API, the job and its callbacks, or the image host.
"""

from collections.abc import Mapping
from types import MappingProxyType

from suno_cover_cli.sandbox.scenarios_answers import ANSWER_SCENARIOS
from suno_cover_cli.sandbox.scenarios_images import IMAGE_SCENARIOS
from suno_cover_cli.sandbox.scenarios_jobs import JOB_SCENARIOS
from suno_cover_cli.sandbox.script import Scenario

PREFIX = "sandbox-"

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {scenario.name: scenario for scenario in (*JOB_SCENARIOS, *ANSWER_SCENARIOS, *IMAGE_SCENARIOS)}
)


def choose_scenario(music_task_id: str) -> Scenario:
    """Return the scenario an id asks for; of two names that fit, the longer one."""
    words = music_task_id.removeprefix(PREFIX).split("-") if music_task_id.startswith(PREFIX) else []
    for length in range(len(words), 0, -1):
        scenario = SCENARIOS.get("-".join(words[:length]))
        if scenario is not None:
            return scenario
    return SCENARIOS["success"]


def scenario_lines() -> tuple[str, ...]:
    """Return what ``sandbox --list`` prints: one line a scenario, the id to pass first."""
    width = max(map(len, SCENARIOS))
    return tuple(
        f"{PREFIX}{scenario.name:<{width}}  {scenario.summary} (exit {scenario.exit_code.value})"
        for scenario in SCENARIOS.values()
    )
