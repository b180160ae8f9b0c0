"""The environment for programs that we start and that have no business with our secrets."""

from collections.abc import Mapping

SECRET_VARIABLES = ("SUNO_API_KEY", "KIE_API_KEY", "SUNO_WEBHOOK_KEY", "NGROK_AUTHTOKEN", "NGROK_API_KEY")


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a copy without the variables that hold keys and tokens."""
    return {name: value for name, value in environ.items() if name not in SECRET_VARIABLES}
