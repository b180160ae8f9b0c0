"""Durations as people write them."""

from suno_cover_cli.base.text import clean


def parse_duration_s(text: str) -> float:
    """Read ``30``, ``0.5``, ``30s``, ``15m`` or ``1h`` as seconds.

    Raises:
        ValueError: None of these, or not positive and finite.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    shown = text.strip().lower()
    factor = units.get(shown[-1:], 1.0)
    number = shown.removesuffix(shown[-1:]) if shown[-1:] in units else shown
    if not number or not all(character in "0123456789." for character in number):
        raise ValueError(f'"{clean(text, 40)}" is no duration: use 30, 0.5, 30s, 15m or 1h')
    seconds = float(number) * factor
    if not 0 < seconds <= 30 * 24 * 3600:
        raise ValueError(f'"{clean(text, 40)}" must be more than 0 and at most 30 days')
    return seconds
