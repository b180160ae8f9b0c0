"""The scenarios, and how a music task id picks one, as the number of a test card picks an outcome.

``sandbox-<scenario>`` or ``sandbox-<scenario>-<anything>``; every other id is a success. A new scenario is
one entry in the table of its layer: answers of the API, the job and its callbacks, or the image host (below).
"""

from collections.abc import Mapping
from types import MappingProxyType

from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.sandbox.scenarios_answers import ANSWER_SCENARIOS
from suno_cover_cli.sandbox.scenarios_jobs import JOB_SCENARIOS
from suno_cover_cli.sandbox.script import Scenario, Serve

PREFIX = "sandbox-"

_GOOD = (Serve.PNG,)


def _one_bad(name: str, summary: str, *steps: Serve) -> Scenario:
    """Return a scenario whose second cover cannot be had."""
    return Scenario(
        name=name,
        summary=f"one of two covers {summary}",
        exit_code=ExitCode.IMAGES_MISSING,
        pictures=(_GOOD, steps),
    )


def _both(name: str, summary: str, *steps: Serve, exit_code: ExitCode = ExitCode.OK) -> Scenario:
    """Return a scenario whose two covers behave alike."""
    return Scenario(name=name, summary=summary, exit_code=exit_code, pictures=(steps, steps))


_RECOVERED = (
    _both("image-jpeg", "the covers are JPEG under names that end in .png", Serve.JPEG),
    _both("image-same", "the covers are byte for byte those of every other job", Serve.SAME),
    _both("image-slow", "each cover takes 50 ms to begin", Serve.SLOW),
    _both("image-picky", "403 to the user agents of HTTP libraries", Serve.PICKY),
    _both("image-redirect", "each cover is redirected once, on its own host", Serve.REDIRECT, Serve.PNG),
    _both("image-truncated", "the first try breaks half-way; Range resumes it", Serve.SHORT, Serve.PNG),
    _both("image-cut", "the connection is reset twice", Serve.CUT, Serve.CUT, Serve.PNG),
    _both("image-empty-once", "zero bytes at the first try", Serve.EMPTY, Serve.PNG),
    _both("image-403", "403 twice, then the cover", Serve.FORBIDDEN, Serve.FORBIDDEN, Serve.PNG),
    _both("image-500", "500 twice, then the cover", Serve.BROKEN, Serve.BROKEN, Serve.PNG),
    _both("image-expired", "410, until another read gives fresh addresses", Serve.EXPIRED),
)

_MISSING = (
    _one_bad("image-403-always", "is forbidden for good", Serve.FORBIDDEN),
    _one_bad("image-404", "is gone", Serve.MISSING),
    _one_bad("image-500-always", "is a server fault for good", Serve.BROKEN),
    _one_bad("image-truncated-always", "always breaks half-way", Serve.SHORT_PLAIN),
    _one_bad("image-corrupt", "has the right length and no readable pixels", Serve.CORRUPT),
    _one_bad("image-html", "is an HTML page with status 200", Serve.HTML),
    _one_bad("image-empty", "is zero bytes", Serve.EMPTY),
    _one_bad("image-huge", "never ends", Serve.HUGE),
    _one_bad("image-huge-declared", "says it has 2 GiB", Serve.HUGE_DECLARED),
    _one_bad("image-bomb", "is a small file of 900 million pixels", Serve.BOMB),
    _one_bad("image-redirect-loop", "redirects to itself", Serve.REDIRECT),
    _one_bad("image-redirect-private", "redirects into a private network", Serve.REDIRECT_PRIVATE),
    _both("images-404", "both covers are gone", Serve.MISSING, exit_code=ExitCode.IMAGES_MISSING),
    _both("images-html", "both covers are HTML pages", Serve.HTML, exit_code=ExitCode.IMAGES_MISSING),
    Scenario(
        name="hostile-urls",
        summary="the covers are said to be at a file: address, at an ftp: address and at none",
        exit_code=ExitCode.IMAGES_MISSING,
        image_urls=("file:///etc/passwd", "ftp://127.0.0.1/cover.png", "http://[not-an-address/cover.png"),
    ),
)

IMAGE_SCENARIOS = (*_RECOVERED, *_MISSING)

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


def is_misspelt(music_task_id: str) -> bool:
    """Tell whether an id asks for a scenario that there is not; it is a success then, as any other id."""
    name = music_task_id.removeprefix(PREFIX)
    chosen = choose_scenario(music_task_id).name
    return music_task_id.startswith(PREFIX) and name != chosen and not name.startswith(f"{chosen}-")


def scenario_texts() -> dict[str, str]:
    """Return what ``sandbox --list`` prints: the id to pass -> what the sandbox then plays, and the exit code."""
    return {
        f"{PREFIX}{scenario.name}": f"{scenario.summary} (exit {scenario.exit_code.value})"
        for scenario in SCENARIOS.values()
    }
