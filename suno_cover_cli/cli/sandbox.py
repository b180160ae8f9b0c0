"""``sandbox``: serve the imitation of the service on loopback."""

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suno_cover_cli.options.declare import Command, duration
from suno_cover_cli.options.groups import PortOptions, WebhookKeyOptions

if TYPE_CHECKING:
    from suno_cover_cli.base.keys import WebhookKey
    from suno_cover_cli.base.providers import Provider
    from suno_cover_cli.wiring.context import Context

_BEHAVIOUR = "Behaviour"


@dataclass(frozen=True, kw_only=True)
class SandboxOptions(WebhookKeyOptions, PortOptions):
    """Options of the command."""

    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="Run this with the sandbox's environment, then end.",
            show_default=False,
        ),
    ] = None
    list_scenarios: Annotated[bool, typer.Option("--list", help="List the scenarios and exit.")] = False
    generation_s: Annotated[
        float,
        typer.Option(
            "--generation-time",
            metavar="TIME",
            parser=duration,
            help="How long a cover takes. (default: 2s)",
            show_default=False,
            rich_help_panel=_BEHAVIOUR,
        ),
    ] = 2.0
    time_scale: Annotated[
        float,
        typer.Option(
            "--time-scale",
            min=0.001,
            metavar="N",
            help="Divides every delay; 60 makes a minute a second.",
            rich_help_panel=_BEHAVIOUR,
        ),
    ] = 1.0
    state_file: Annotated[
        Path | None, typer.Option("--state-file", metavar="FILE", help="Keep jobs here across restarts.")
    ] = None
    image_bytes: Annotated[
        int | None,
        typer.Option(
            "--image-bytes", min=4096, metavar="N", help="Size of each picture.", rich_help_panel=_BEHAVIOUR
        ),
    ] = None
    throttles: Annotated[
        bool,
        typer.Option("--throttle", help="Refuse more than 20 requests in 10 s.", rich_help_panel=_BEHAVIOUR),
    ] = False
    allow_remote_callbacks: Annotated[
        bool,
        typer.Option("--allow-remote-callbacks", help="Call back other machines too.", rich_help_panel=_BEHAVIOUR),
    ] = False
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", metavar="FILE", help="Write the export lines here once serving.")
    ] = None


def sandbox(options: SandboxOptions) -> None:
    """Serve an imitation of the service on this machine, for scripts, CI and curiosity.

    Prints two export lines; commands with that environment use it until it ends.

    Example: suno-cover sandbox -- suno-cover generate sandbox-three-images
    """
    from suno_cover_cli.wiring.runner import run_command
    from suno_cover_cli.wiring.subprocess import stand_behind_init

    if options.command:
        stand_behind_init()
    run_command(lambda context: prepare_sandbox(options, context))


COMMAND = Command(sandbox, runs_program=True)


def prepare_sandbox(options: SandboxOptions, context: "Context") -> Coroutine[Any, Any, int]:
    """Check the options, and return the rest: list the scenarios, or serve until a signal or a command's end.

    Raises:
        UsageError: A port in use, an unknown provider, a state file that is something else.
    """
    if options.list_scenarios:
        return _list_scenarios(context)
    sources = context.sources(options.profile)
    provider = context.provider(sources, options)
    return _serve(options, provider, context.webhook_key(sources, options), context)


async def _list_scenarios(context: "Context") -> int:
    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.sandbox.scenarios import scenario_texts

    texts = scenario_texts()
    width = max(map(len, texts)) + 2
    for task_id, text in texts.items():
        context.output.write_pair(task_id, text, width=width)
    return ExitCode.OK


async def _serve(
    options: SandboxOptions, provider: "Provider", key: "WebhookKey | None", context: "Context"
) -> int:
    import asyncio
    import shlex

    from suno_cover_cli.base.exits import ExitCode
    from suno_cover_cli.base.providers import WEBHOOK_KEY_VARIABLE
    from suno_cover_cli.sandbox.app import Sandbox
    from suno_cover_cli.wiring.ready_file import ReadyFile
    from suno_cover_cli.wiring.subprocess import run_program

    async with (
        ReadyFile(options.ready_file) as ready_file,
        Sandbox(
            port=options.port,
            generation_s=options.generation_s,
            time_scale=options.time_scale,
            webhook_key=key.secret.reveal() if key is not None else None,
            provider=provider.name,
            allow_remote_callbacks=options.allow_remote_callbacks,
            state_file=options.state_file,
            image_bytes=options.image_bytes,
            enforce_limit=options.throttles,
            clock=context.clock,
        ) as sandbox,
    ):
        environ = _environ_of(sandbox.url, sandbox.api_key, provider, context)
        lines = [f"export {name}={shlex.quote(value)}" for name, value in environ.items()]
        if not options.command:
            for line in lines:
                context.output.write_line(line)
            context.output.write_words(
                "Serving on this machine until Ctrl-C. Paste the lines above into another shell and use "
                "suno-cover there. Scenarios: suno-cover sandbox --list"
            )
            await context.output.wait_written()
        await ready_file.publish("".join(f"{line}\n" for line in lines))
        if options.command:
            signing = {} if key is None else {WEBHOOK_KEY_VARIABLE: key.secret.reveal()}
            return await run_program(options.command, environ={**context.child_environ, **environ, **signing})
        await asyncio.get_running_loop().create_future()
    return ExitCode.OK


def _environ_of(url: str, key: str, provider: "Provider", context: "Context") -> dict[str, str]:
    """Return the variables with which a command of ours uses the sandbox."""
    from suno_cover_cli.base.settings_table import VARIABLES

    found = {VARIABLES["base_url"]: url, provider.key_variable: key}
    if provider.name != context.providers.default.name:
        found[VARIABLES["provider"]] = provider.name
    return found
