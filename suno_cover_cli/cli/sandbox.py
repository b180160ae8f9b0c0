"""``sandbox``: serve the imitation of the service on loopback."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.ui.output import Output
from suno_cover_cli.wiring.context import Context, ServiceOptions
from suno_cover_cli.wiring.runner import run as run_command

_COMMAND_END_S = 1.5


class SandboxOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the command; see its help."""

    list_scenarios: bool = False
    port: int = 0
    generation_s: float = 2.0
    time_scale: float = 1.0
    provider: str = "sunoapi"
    webhook_key_file: str | None = None
    profile: str | None = None
    state_file: Path | None = None
    image_bytes: int | None = None
    limit: bool = False
    allow_remote_callbacks: bool = False
    ready_file: Path | None = None
    command: tuple[str, ...] = ()


def run(options: SandboxOptions, output: Output) -> NoReturn:
    """Run the command and leave the process."""
    run_command(lambda: serve_sandbox(options, Context(output=output)), output)


def serve_sandbox(options: SandboxOptions, context: Context) -> Coroutine[Any, Any, int]:
    """Check the options, and return the rest: list the scenarios, or serve until a signal or a command's end.

    Raises:
        UsageError: A port in use, an unknown provider, a state file that is something else.
    """
    if options.list_scenarios:
        return _list_scenarios(context)
    if options.provider not in {"sunoapi", "kie"}:
        raise UsageError(f'unknown provider "{clean(options.provider, 40)}"', hint="Use sunoapi or kie.")
    wanted = ServiceOptions(webhook_key_file=options.webhook_key_file)
    key = context.webhook_key(context.sources(options.profile), wanted)
    return _serve(options, key, context)


async def _list_scenarios(context: Context) -> int:
    from suno_cover_cli.sandbox.scenarios import scenario_lines

    for line in scenario_lines():
        context.output.write_line(line)
    return ExitCode.OK


async def _serve(options: SandboxOptions, key: Secret | None, context: Context) -> int:
    from suno_cover_cli.sandbox.app import Sandbox

    async with Sandbox(
        port=options.port,
        generation_s=options.generation_s,
        time_scale=options.time_scale,
        webhook_key=key.reveal() if key is not None else None,
        provider="kie" if options.provider == "kie" else "sunoapi",
        allow_remote_callbacks=options.allow_remote_callbacks,
        state_file=options.state_file,
        image_bytes=options.image_bytes,
        enforce_limit=options.limit,
        clock=context.clock,
    ) as sandbox:
        lines = sandbox.export_lines()
        if options.ready_file is not None:
            await asyncio.to_thread(_write_ready, options.ready_file, lines)
        if options.command:
            return await _run_command(options.command, sandbox.url, sandbox.api_key, options.provider)
        for line in lines:
            context.output.write_line(line)
        context.output.write_words(
            "Serving on this machine until Ctrl-C. Paste the lines above into another shell and use suno-cover "
            "there. Scenarios: suno-cover sandbox --list"
        )
        await asyncio.get_running_loop().create_future()
    return ExitCode.OK


def _write_ready(path: Path, lines: tuple[str, ...]) -> None:
    """Write the file in one step: whoever waits for it never reads half of it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", hint="Give --ready-file another path."
        ) from None


async def _run_command(command: tuple[str, ...], url: str, key: str, provider: str) -> int:
    variable = "KIE_API_KEY" if provider == "kie" else "SUNO_API_KEY"
    environ = {**os.environ, "SUNO_BASE_URL": url, "SUNO_PROVIDER": provider, variable: key}
    try:
        child = await asyncio.create_subprocess_exec(*command, env=environ)
    except OSError as error:
        raise UsageError(
            f"cannot run {clean(command[0], 100)}: {error.strerror}", hint="Check the command."
        ) from None
    try:
        code = await child.wait()
    except asyncio.CancelledError:
        child.send_signal(signal.SIGTERM)
        await asyncio.wait_for(child.wait(), _COMMAND_END_S)
        raise
    return code if code >= 0 else 128 - code
