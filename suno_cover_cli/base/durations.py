"""Durations as people write them."""

import re

from suno_cover_cli.base.text import clean

JOB_TIMEOUT_S = 15 * 60.0
"""How long a whole job may take unless told otherwise: what the providers advise to wait at most."""


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
