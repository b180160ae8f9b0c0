"""The environment for programs that we start and that have no business with our secrets."""

from collections.abc import Iterable, Mapping
from typing import NewType

WEBHOOK_KEY_VARIABLE = "SUNO_WEBHOOK_KEY"

ChildEnviron = NewType("ChildEnviron", dict[str, str])
"""An environment that has passed :func:`without_secrets`: what starts a program takes no other."""


def without_secrets(environ: Mapping[str, str], secret: Iterable[str]) -> ChildEnviron:
    """Return a copy without the variables that hold keys and tokens.

    Args:
        environ: The environment.
        secret: Their names. There is no list of them: they follow from what a run knows of providers and tunnels.
    """
    # Windows knows no difference between SUNO_API_KEY and suno_api_key, and a dict of its variables does.
    names = {name.upper() for name in secret}
    return ChildEnviron({name: value for name, value in environ.items() if name.upper() not in names})
