"""Where jobs that are named were made, as the journal knows it: a sandbox is gone with its process."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from suno_cover_cli.base.errors import UnavailableError, UsageError
from suno_cover_cli.base.settings import Settings, is_loopback_url
from suno_cover_cli.base.text import clean
from suno_cover_cli.journal.known_ids import find_origins
from suno_cover_cli.journal.rows import SANDBOX_SERVICE

_CONNECT_S = 0.5


def are_of_sandbox(task_ids: Sequence[str], settings: Settings) -> bool:
    """Tell whether the built-in sandbox made the jobs that are named. Blocks, for a moment.

    Raises:
        UsageError: Some of them, or all of them elsewhere on this machine than the settings say.
        UnavailableError: What made them on this machine is gone.
    """
    origins = find_origins(settings.journal_path, task_ids)
    for task_id, (service, is_saved) in origins.items():
        is_current = service == settings.base_url
        if service == SANDBOX_SERVICE or not is_loopback_url(service) or (is_current and is_saved):
            continue  # covers that are there are found without the service
        if is_gone(service):
            raise sandbox_gone(service, task_id, is_saved=is_saved)
        if not is_current:
            raise UsageError(
                f"{task_id} was made by another service, on this machine: {clean(service, 100)}",
                code="other_service",
                hint=f"Give its address and its key: SUNO_BASE_URL={clean(service, 100)} and "
                f"{settings.provider.key_variable}, as suno-cover sandbox prints them.",
            )
    inside = [task_id for task_id, origin in origins.items() if origin.service == SANDBOX_SERVICE]
    if inside and len(inside) < len(task_ids):
        raise UsageError(
            f"{inside[0]} is a job of the sandbox, and others are not",
            code="other_service",
            hint="Name the jobs of the sandbox by themselves.",
        )
    return bool(inside)


def is_gone(service: str) -> bool:
    """Tell whether a service on this machine is not there any more: nothing takes connections. Blocks."""
    if not is_loopback_url(service):
        return False
    with suppress(ValueError, TimeoutError):
        parts = urlsplit(service)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_S).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def sandbox_gone(service: str, task_id: str, *, is_saved: bool = False) -> UnavailableError:
    """Return the error for a job whose sandbox has ended: no key and no waiting brings it back."""
    return UnavailableError(
        f"the sandbox that made {task_id} is gone: nothing answers at {clean(service, 100)}",
        code="sandbox_gone",
        hint=f"Its covers: suno-cover history {task_id} --paths"
        if is_saved
        else f"Forget the job with: suno-cover history --prune {task_id}",
    )
