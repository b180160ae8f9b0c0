"""Commands that make, wait for and look at cover jobs."""

from typing import Annotated

import typer

from suno_cover_cli.cli import options as opt


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command()(generate)
    app.command()(wait)
    app.command()(resume)
    app.command()(status)
    app.command()(history)
    app.command("credits")(show_credits)


def generate(
    music_task_id: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MUSIC_TASK_ID...", help="Task ids of generated music (data.taskId).", show_default=False
        ),
    ] = None,
    input_file: opt.InputOption = None,
    output: opt.OutputOption = None,
    callback: opt.CallbackOption = None,
    public_url: opt.PublicUrlOption = None,
    listen_host: opt.ListenHostOption = "127.0.0.1",
    listen_port: opt.ListenPortOption = 0,
    domain: opt.DomainOption = None,
    ngrok_path: opt.NgrokPathOption = None,
    poll_interval: opt.PollIntervalOption = 30.0,
    timeout: opt.TimeoutOption = 900.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit, print the cover task ids, leave.")] = False,
    concurrency: opt.ConcurrencyOption = 100,
    rate: opt.RateOption = None,
    failed_to: opt.FailedToOption = None,
    name: opt.NameOption = None,
    write_metadata: opt.WriteMetadataOption = False,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
    events: opt.EventsOption = False,
    quiet: opt.QuietOption = False,
    verbose: opt.VerboseOption = 0,
    preview: opt.PreviewOption = None,
    open_folder: opt.OpenOption = False,
    notify: opt.NotifyOption = False,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Try it on this machine: no key, no account, no network.")
    ] = False,
    provider: opt.ProviderOption = None,
    base_url: opt.BaseUrlOption = None,
    api_key_file: opt.ApiKeyFileOption = None,
    webhook_key_file: opt.WebhookKeyFileOption = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Make covers: submit a job for each piece of music, wait for it, save the images.

    Saved paths go to stdout, one a line; everything for people goes to stderr.

    Example: suno-cover generate 5c79be8e10f14bb28a4a5e5fd5b1f3a0
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import generate as command
    from suno_cover_cli.ui.output import Output, standard_streams
    from suno_cover_cli.wiring.callback_options import CallbackOptions
    from suno_cover_cli.wiring.context import ServiceOptions
    from suno_cover_cli.wiring.job_options import JobCommandOptions

    options = JobCommandOptions(
        service=ServiceOptions(
            provider=provider,
            base_url=base_url,
            api_key_file=api_key_file,
            webhook_key_file=webhook_key_file,
            rate=rate,
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
        poll_interval_s=poll_interval,
        timeout_s=timeout,
        wait=not no_wait,
        concurrency=concurrency,
        failed_to=failed_to,
        overwrite=overwrite,
        name=name,
        write_metadata=write_metadata,
        preview=preview,
        opens_folder=open_folder,
        notifies=notify,
        verbosity=verbose,
        json=as_json,
        events=events,
        sandbox=sandbox,
    )
    shown = Output(standard_streams(), clock=SystemClock(), is_json=as_json or events, is_quiet=quiet)
    command.run(music_task_id or [], input_file, options, shown)


def wait(
    cover_task_id: Annotated[
        list[str] | None,
        typer.Argument(metavar="COVER_TASK_ID...", help="Ids that a submit returned.", show_default=False),
    ] = None,
    input_file: opt.InputOption = None,
    output: opt.OutputOption = None,
    poll_interval: opt.PollIntervalOption = 30.0,
    timeout: opt.TimeoutOption = 900.0,
    concurrency: opt.ConcurrencyOption = 100,
    rate: opt.RateOption = None,
    failed_to: opt.FailedToOption = None,
    name: opt.NameOption = None,
    write_metadata: opt.WriteMetadataOption = False,
    overwrite: opt.OverwriteOption = False,
    as_json: opt.JsonOption = False,
    events: opt.EventsOption = False,
    quiet: opt.QuietOption = False,
    verbose: opt.VerboseOption = 0,
    preview: opt.PreviewOption = None,
    open_folder: opt.OpenOption = False,
    notify: opt.NotifyOption = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="The jobs are those of generate --sandbox.")] = False,
    provider: opt.ProviderOption = None,
    base_url: opt.BaseUrlOption = None,
    api_key_file: opt.ApiKeyFileOption = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Wait for jobs that were submitted before, by anyone, and save their images.

    Example: id=$(suno-cover generate --no-wait MUSIC_TASK_ID); suno-cover wait "$id"
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import wait as command
    from suno_cover_cli.ui.output import Output, standard_streams
    from suno_cover_cli.wiring.context import ServiceOptions
    from suno_cover_cli.wiring.job_options import JobCommandOptions

    options = JobCommandOptions(
        service=ServiceOptions(
            provider=provider, base_url=base_url, api_key_file=api_key_file, rate=rate, profile=profile
        ),
        output=output,
        poll_interval_s=poll_interval,
        timeout_s=timeout,
        concurrency=concurrency,
        failed_to=failed_to,
        overwrite=overwrite,
        name=name,
        write_metadata=write_metadata,
        preview=preview,
        opens_folder=open_folder,
        notifies=notify,
        verbosity=verbose,
        json=as_json,
        events=events,
        sandbox=sandbox,
        submits=False,
    )
    shown = Output(standard_streams(), clock=SystemClock(), is_json=as_json or events, is_quiet=quiet)
    command.run(cover_task_id or [], input_file, options, shown)


def resume(
    poll_interval: opt.PollIntervalOption = 30.0,
    timeout: opt.TimeoutOption = 900.0,
    concurrency: opt.ConcurrencyOption = 100,
    rate: opt.RateOption = None,
    as_json: opt.JsonOption = False,
    events: opt.EventsOption = False,
    quiet: opt.QuietOption = False,
    verbose: opt.VerboseOption = 0,
    preview: opt.PreviewOption = None,
    open_folder: opt.OpenOption = False,
    notify: opt.NotifyOption = False,
    provider: opt.ProviderOption = None,
    base_url: opt.BaseUrlOption = None,
    api_key_file: opt.ApiKeyFileOption = None,
    webhook_key_file: opt.WebhookKeyFileOption = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Finish every job that an earlier run left unfinished, however that run ended.

    Service, folder, file names and callbacks are those of the run that began the job.

    --provider and --base-url say whom the key at hand is for.
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import resume as command
    from suno_cover_cli.ui.output import Output, standard_streams
    from suno_cover_cli.wiring.context import ServiceOptions
    from suno_cover_cli.wiring.job_options import JobCommandOptions

    options = JobCommandOptions(
        service=ServiceOptions(
            provider=provider,
            base_url=base_url,
            api_key_file=api_key_file,
            webhook_key_file=webhook_key_file,
            rate=rate,
            profile=profile,
        ),
        poll_interval_s=poll_interval,
        timeout_s=timeout,
        concurrency=concurrency,
        preview=preview,
        opens_folder=open_folder,
        notifies=notify,
        verbosity=verbose,
        json=as_json,
        events=events,
    )
    shown = Output(standard_streams(), clock=SystemClock(), is_json=as_json or events, is_quiet=quiet)
    command.run(options, shown)


def status(
    cover_task_id: Annotated[str, typer.Argument(metavar="COVER_TASK_ID", show_default=False)],
    as_json: opt.JsonOption = False,
    provider: opt.ProviderOption = None,
    base_url: opt.BaseUrlOption = None,
    api_key_file: opt.ApiKeyFileOption = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Read one job from the service once: its state, then the addresses of its images.

    Exit code: 0 done, 8 still running, 6 failed, 3 unknown.
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import status as command
    from suno_cover_cli.ui.output import Output, standard_streams
    from suno_cover_cli.wiring.context import ServiceOptions

    options = ServiceOptions(provider=provider, base_url=base_url, api_key_file=api_key_file, profile=profile)
    command.run(cover_task_id, options, Output(standard_streams(), clock=SystemClock(), is_json=as_json))


def history(
    task_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[TASK_ID]", help="Show this job whole, by music or cover task id.", show_default=False
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="Only pending, partial, succeeded, failed or rejected jobs, or all unfinished ones; "
            "queued, submitting and submitted tell pending ones apart.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=0, metavar="N", help="List so many, 0 for all. (default: 30; with --json all)"
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Forget jobs that have ended, or those of --state or TASK_ID.")
    ] = False,
    keep_days: Annotated[
        float | None,
        typer.Option(
            "--keep-days",
            min=0,
            metavar="DAYS",
            help="With --prune: keep what changed in the last days. (default: 14)",
            show_default=False,
        ),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="List recorded callbacks instead; TASK_ID is a cover task's.")
    ] = False,
    as_json: opt.JsonOption = False,
) -> None:
    """Show what became of every job, the newest first; --json exports it, one object a line.

    Links to images live for 14 days at most; those about to expire are marked.
    """
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import history as command
    from suno_cover_cli.ui.output import Output, standard_streams

    options = command.HistoryOptions(
        task_id=task_id, state=state, limit=limit, prunes=prune, keep_days=keep_days, events=events
    )
    command.run(options, Output(standard_streams(), clock=SystemClock(), is_json=as_json))


def show_credits(
    as_json: opt.JsonOption = False,
    provider: opt.ProviderOption = None,
    base_url: opt.BaseUrlOption = None,
    api_key_file: opt.ApiKeyFileOption = None,
    profile: opt.ProfileOption = None,
) -> None:
    """Print the balance of the account."""
    from suno_cover_cli.base.clock import SystemClock
    from suno_cover_cli.cli import credits as command
    from suno_cover_cli.ui.output import Output, standard_streams
    from suno_cover_cli.wiring.context import ServiceOptions

    options = ServiceOptions(provider=provider, base_url=base_url, api_key_file=api_key_file, profile=profile)
    command.run(options, Output(standard_streams(), clock=SystemClock(), is_json=as_json))
