"""The environment for programs that we start and that have no business with our secrets."""

from collections.abc import Mapping
from typing import NewType

from suno_cover_cli.base.providers import PROVIDERS, Providers

WEBHOOK_KEY_VARIABLE = "SUNO_WEBHOOK_KEY"
TUNNEL_TOKEN_VARIABLES = ("NGROK_AUTHTOKEN", "NGROK_API_KEY")

ChildEnviron = NewType("ChildEnviron", dict[str, str])
"""An environment that has passed :func:`without_secrets`: what starts a program takes no other."""


def secret_variables(providers: Providers = PROVIDERS) -> tuple[str, ...]:
    """Return the names of all variables that hold keys and tokens."""
    return (*providers.key_variables, WEBHOOK_KEY_VARIABLE, *TUNNEL_TOKEN_VARIABLES)


def without_secrets(environ: Mapping[str, str], providers: Providers = PROVIDERS) -> ChildEnviron:
    """Return a copy without the variables that hold keys and tokens."""
    secret = {name.upper() for name in secret_variables(providers)}
    # Windows knows no difference between SUNO_API_KEY and suno_api_key, and a dict of its variables does.
    return ChildEnviron({name: value for name, value in environ.items() if name.upper() not in secret})
