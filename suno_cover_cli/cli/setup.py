"""Commands to set up, to check and to try out."""

from pathlib import Path
from typing import Annotated

import typer

from suno_cover_cli.cli import options as opt

_BEHAVIOUR = "Behaviour"


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command(context_settings={"allow_interspersed_args": False})(sandbox)
    app.command()(doctor)
    app.command()(completion)


def doctor(
    as_json: opt.JsonOption = False,
    output: opt.OutputOption = None,
    callback: opt.CallbackOption = None,
    tunnel: Annotated[
        bool,
        typer.Option(
            "--tunnel/--no-tunnel", help="Open a real tunnel and call back through it.", rich_help_panel=opt.TUNNEL
        ),
    ] = True,
    public_url: opt.PublicUrlOption = None,
    listen_host: opt.ListenHostOption = "127.0.0.1",
    listen_port: opt.ListenPortOption = 0,
    domain: opt.DomainOption = None,
    ngrok_path: opt.NgrokPathOption = None,
    provider: opt.ProviderOption = None,
    base_url: opt.BaseUrlOption = None,
    api_key_file: opt.ApiKeyFileOption = None,
    webhook_key_file: opt.WebhookKeyFileOption = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Check key, service, tunnel, images and folders, and name the fix for what is wrong.

    Changes nothing and asks nothing. Exit code: 1 when a check failed, else 0.
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.doctor import report as command
    from suno_cover_cli.doctor.options import DoctorOptions
    from suno_cover_cli.ui.output import Output, standard_streams
    from suno_cover_cli.wiring.callback_options import CallbackOptions
    from suno_cover_cli.wiring.context import ServiceOptions

    options = DoctorOptions(
        service=ServiceOptions(
            provider=provider,
            base_url=base_url,
            api_key_file=api_key_file,
            webhook_key_file=webhook_key_file,
            profile=profile,
        ),
        output=output,
        callback=callback,
        callbacks=CallbackOptions(
            public_url=public_url,
            listen_host=listen_host,
            listen_port=listen_port,
            domain=domain,
            ngrok_path=ngrok_path,
        ),
        opens_tunnel=tunnel,
    )
    command.run(options, Output(standard_streams(), clock=SystemClock(), is_json=as_json))


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
            help="How long a cover takes. (default: 2s)",
            show_default=False,
            rich_help_panel=_BEHAVIOUR,
        ),
    ] = 2.0,
    time_scale: Annotated[
        float,
        typer.Option(
            "--time-scale",
            min=0.001,
            metavar="N",
            help="Divides every delay; 60 makes a minute a second.",
            rich_help_panel=_BEHAVIOUR,
        ),
    ] = 1.0,
    provider: Annotated[
        str,
        typer.Option(
            "--provider", metavar="sunoapi|kie", help="Whose habits to imitate.", rich_help_panel=_BEHAVIOUR
        ),
    ] = "sunoapi",
    webhook_key_file: opt.WebhookKeyFileOption = None,
    profile: opt.ProfileOption = None,
    state_file: Annotated[
        Path | None, typer.Option("--state-file", metavar="FILE", help="Keep jobs here across restarts.")
    ] = None,
    image_bytes: Annotated[
        int | None,
        typer.Option(
            "--image-bytes", min=4096, metavar="N", help="Size of each picture.", rich_help_panel=_BEHAVIOUR
        ),
    ] = None,
    limit: Annotated[
        bool,
        typer.Option("--limit", help="Refuse more than 20 requests in 10 s.", rich_help_panel=_BEHAVIOUR),
    ] = False,
    allow_remote_callbacks: Annotated[
        bool,
        typer.Option("--allow-remote-callbacks", help="Call back other machines too.", rich_help_panel=_BEHAVIOUR),
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", metavar="FILE", help="Write the export lines here once serving.")
    ] = None,
) -> None:
    """Serve an imitation of the service on this machine, for scripts, CI and curiosity.

    Prints two export lines; commands with that environment use it until it ends.

    Example: suno-cover sandbox -- suno-cover generate sandbox-three-images
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import sandbox as module
    from suno_cover_cli.ui.output import Output, standard_streams

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
    from suno_cover_cli.completion.scripts import SCRIPTS, script_of

    if shell not in SCRIPTS:
        raise typer.BadParameter(f"there is no script for {shell}; use {', '.join(SCRIPTS)}")
    typer.echo(script_of(shell), nl=False)
