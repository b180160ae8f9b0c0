"""The settings as data: how each is spelled, where it may stand, what it means. Light: every ``--help`` reads it.

From here come the keys of ``config.toml``, the environment variables, the options that override a setting, and the
starter file that ``config init`` writes.
"""

import re
from typing import NamedTuple

from suno_cover_cli.base.providers import PROVIDERS
from suno_cover_cli.base.text import clean

JOB_TIMEOUT_S = 15 * 60.0
"""How long a whole job may take unless told otherwise: what the providers advise to wait at most."""

NUMBER = "N"
"""The kind of a setting that is a whole number from 1 on; the settings file takes it without quotes, too."""


class Setting(NamedTuple):
    """One setting, secrets aside.

    Attributes:
        key: As the settings file and the command line spell it, without dashes before it; empty for a setting that
            the file cannot hold.
        values: What may stand there: words joined by bars, or the kind of the value.
        default: The value in force when it is set nowhere, as text; empty where that depends on other settings.
        help: One sentence for ``--help``, without a full stop.
        variable: Environment variable that holds it; empty for none.
        example: What the starter file shows, when that is not the default.
        note: What the starter file says of it.
        option: What overrides it on the command line; empty for an option that bears the name of the key.
    """

    key: str
    values: str
    default: str
    help: str
    variable: str = ""
    example: str = ""
    note: str = ""
    option: str = ""


SETTINGS: dict[str, Setting] = {
    "provider": Setting(
        "provider",
        "|".join(PROVIDERS.names),
        PROVIDERS.default.name,
        f"Which service; resellers count as {PROVIDERS.default.name}",
        variable="SUNO_PROVIDER",
        note=f"or {', '.join(PROVIDERS.names[1:])}; resellers of the same API count as {PROVIDERS.default.name}",
    ),
    "base_url": Setting(
        "base-url",
        "URL",
        "",
        "Address of the service",
        variable="SUNO_BASE_URL",
        example=PROVIDERS.default.base_url,
        note="address of the service",
    ),
    "output": Setting(
        "output",
        "DIR",
        "covers",
        "Folder that receives one folder per cover task",
        variable="SUNO_COVER_OUTPUT",
        note="folder that receives one folder per cover task",
    ),
    "name": Setting(
        "name",
        "TEMPLATE",
        "cover_{n}",
        "File names: {n}, {task_id}, {music_task_id}, {title}",
        note="also {task_id}, {music_task_id}, {title}",
    ),
    "callback": Setting(
        "callback",
        "auto|required|off",
        "auto",
        "Open a tunnel for the service's callback: try, require, or only poll",
        note="try a tunnel; required: fail without one; off: only poll",
        option="--[no-]tunnel",
    ),
    "domain": Setting(
        "domain",
        "NAME",
        "",
        "Domain of your own for the tunnel",
        example="my-name.ngrok-free.app",
        note="domain of your own for the tunnel",
    ),
    "rate": Setting(
        "rate",
        "N/TIME|off",
        "20/10s",
        "Limit of calls to the service, shared by all jobs and processes",
        note="limit of calls to the service, or off",
    ),
    "preview": Setting(
        "preview",
        "auto|off",
        "auto",
        "Show the saved covers on the terminal, as far as it can",
        note="show saved covers on the terminal, or off",
    ),
    "label": Setting(
        "label",
        "keep|add",
        "keep",
        "Add the AI label (IPTC) to saved covers, or keep them unchanged",
        note="add: write the AI label (IPTC) into saved covers; keep: leave them unchanged",
    ),
    "github": Setting(
        "github",
        "auto|off",
        "auto",
        "Annotations and a job summary in GitHub Actions",
        note="annotations and a job summary in GitHub Actions, or off",
    ),
    "history_jobs": Setting(
        "history-jobs",
        NUMBER,
        "100000",
        "How many of the newest jobs history keeps; unfinished and picked ones always stay",
        note="jobs that history keeps, the newest; unfinished and picked ones, and all covers, always stay",
    ),
    "history_events": Setting(
        "history-events",
        NUMBER,
        "1000",
        "How many of the newest events listen keeps, up to 64 MiB of them",
        note="events that listen keeps, the newest",
    ),
    "history_days": Setting(
        "history-days",
        NUMBER,
        "400",
        "For how many days history keeps ended jobs and events; picked jobs always stay",
        note="days after which ended jobs and events are forgotten",
    ),
    "state_dir": Setting("", "DIR", "", "Folder of the journal", variable="SUNO_COVER_STATE_DIR"),
}
"""Name of the setting in the code -> what it is, in the order in which ``config show`` lists them."""

FILE_KEYS = {setting.key: name for name, setting in SETTINGS.items() if setting.key}
"""Key in ``config.toml`` -> name of the setting. Keys of :data:`SECRET_FILE_KEYS` may stand there too."""

SECRET_FILE_KEYS = ("api-key", "webhook-key")
KNOWN_KEYS = (*FILE_KEYS, *SECRET_FILE_KEYS)

VARIABLES = {name: setting.variable for name, setting in SETTINGS.items() if setting.variable}
"""Name of the setting -> environment variable."""


def parse_duration_s(text: str) -> float:
    """Read ``30``, ``0.5``, ``30s``, ``5min``, ``15m`` or ``1h`` as seconds.

    Raises:
        ValueError: None of these, or not positive and finite.
    """
    units = {"min": 60.0, "s": 1.0, "m": 60.0, "h": 3600.0}
    shown = text.strip().lower()
    unit = next((unit for unit in units if shown.endswith(unit)), "")
    number = shown.removesuffix(unit).rstrip()
    if not re.fullmatch(r"[0-9]*\.?[0-9]+|[0-9]+\.", number):
        raise ValueError(f'"{clean(text, 40)}" is not a duration: use 30, 0.5, 30s, 5min, 15m or 1h')
    seconds = float(number) * units.get(unit, 1.0)
    if not 0 < seconds <= 30 * 24 * 3600:
        raise ValueError(f'"{clean(text, 40)}" must be more than 0 and at most 30 days')
    return seconds
