"""The program that ``listen -- COMMAND...`` runs once callbacks get through."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from suno_cover_cli.base.environment import ChildEnviron
from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.text import clean

URL_VARIABLE = "SUNO_CALLBACK_URL"
_POLITE_S = 1.0


async def run_program(command: Sequence[str], url: str, *, environ: ChildEnviron, has_stdout: bool) -> int:
    """Run a program to its end and return its exit code as a shell would. It never outlives this call.

    Args:
        command: Its words.
        url: For ``SUNO_CALLBACK_URL``.
        environ: Everything else in its environment.
        has_stdout: It writes to our stdout; otherwise that is ours alone, and what it writes goes to stderr.

    Raises:
        UsageError: It cannot be started.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            env={**environ, URL_VARIABLE: url},
            stdout=None if has_stdout else sys.__stderr__ or subprocess.DEVNULL,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else clean(error, 100)
        raise UsageError(
            f'cannot run "{clean(command[0], 100)}": {reason}',
            code="bad_command",
            hint="What follows the options is a program to run. To send callbacks on, use --forward-to.",
        ) from None
    try:
        code = await child.wait()
    finally:
        if child.returncode is None:
            await _end(child)
    return code if code >= 0 else 128 - code


async def _end(child: asyncio.subprocess.Process) -> None:
    """Ask it to end, then make it end."""
    with suppress(ProcessLookupError):
        child.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLITE_S):
                await child.wait()
        if child.returncode is None:
            child.kill()
            await child.wait()
