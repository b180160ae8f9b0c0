"""Commands to set up, to check and to try out."""

from pathlib import Path
from typing import Annotated

import typer

from suno_cover_cli import cli_options as opt


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command(context_settings={"allow_interspersed_args": False})(sandbox)
    app.command()(completion)


def sandbox(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="Run this with the sandbox's environment, then end.",
            show_default=False,
        ),
    ] = None,
    list_scenarios: Annotated[bool, typer.Option("--list", help="List the scenarios and exit.")] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="PORT", help="On 127.0.0.1, 0 for any.")
    ] = 0,
    generation_time: Annotated[
        float,
        typer.Option(
            "--generation-time",
            metavar="TIME",
            parser=opt.duration,
            help="How long a cover takes.",
            show_default="2s",
        ),
    ] = 2.0,
    time_scale: Annotated[
        float,
        typer.Option(
            "--time-scale", min=0.001, metavar="N", help="Divides every delay; 60 makes a minute a second."
        ),
    ] = 1.0,
    provider: Annotated[
        str, typer.Option("--provider", metavar="sunoapi|kie", help="Whose habits to imitate.")
    ] = "sunoapi",
    webhook_key_file: opt.WebhookKeyFileOption = None,
    profile: opt.ProfileOption = None,
    state_file: Annotated[
        Path | None, typer.Option("--state-file", metavar="FILE", help="Keep jobs here across restarts.")
    ] = None,
    image_bytes: Annotated[
        int | None, typer.Option("--image-bytes", min=4096, metavar="N", help="Size of each picture.")
    ] = None,
    limit: Annotated[bool, typer.Option("--limit", help="Refuse more than 20 requests in 10 s.")] = False,
    allow_remote_callbacks: Annotated[
        bool, typer.Option("--allow-remote-callbacks", help="Call back other machines too.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", metavar="FILE", help="Write the export lines here once serving.")
    ] = None,
) -> None:
    """Serve an imitation of the service on this machine, for scripts, CI and curiosity.

    Prints two export lines; until it is ended, commands with that environment use it.

    Example: suno-cover sandbox -- suno-cover generate sandbox-three-images
    """
    from suno_cover_cli.clock import SystemClock
    from suno_cover_cli.commands import sandbox as module
    from suno_cover_cli.output import Output, standard_streams

    options = module.SandboxOptions(
        list_scenarios=list_scenarios,
        port=port,
        generation_s=generation_time,
        time_scale=time_scale,
        provider=provider,
        webhook_key_file=webhook_key_file,
        profile=profile,
        state_file=state_file,
        image_bytes=image_bytes,
        limit=limit,
        allow_remote_callbacks=allow_remote_callbacks,
        ready_file=ready_file,
        command=tuple(command or ()),
    )
    module.run(options, Output(standard_streams(), clock=SystemClock()))


def completion(
    shell: Annotated[
        str, typer.Argument(metavar="bash|zsh|fish|powershell", help="Your shell.", show_default=False)
    ],
) -> None:
    """Print the script that makes TAB work in a shell.

    bash: suno-cover completion bash > ~/.local/share/bash-completion/completions/suno-cover

    zsh: suno-cover completion zsh > a folder of $fpath, as _suno-cover

    fish: suno-cover completion fish > ~/.config/fish/completions/suno-cover.fish

    PowerShell: suno-cover completion powershell >> $PROFILE
    """
    from suno_cover_cli.completion_scripts import SCRIPTS, script_of

    if shell not in SCRIPTS:
        raise typer.BadParameter(f"there is no script for {shell}; use {', '.join(SCRIPTS)}")
    typer.echo(script_of(shell), nl=False)
