"""Builds listener, tunnel and channel: generate and listen share them."""

from contextlib import AsyncExitStack

from suno_cover_cli.channel import CallbackChannel
from suno_cover_cli.commands.callback_options import CallbackOptions
from suno_cover_cli.commands.context import Context
from suno_cover_cli.errors import TunnelError
from suno_cover_cli.events import Sink
from suno_cover_cli.listener import CallbackListener
from suno_cover_cli.probe import HttpProbe
from suno_cover_cli.settings import Settings
from suno_cover_cli.text import Secret
from suno_cover_cli.tunnel import PublicUrl, Tunnel


async def open_callbacks(
    stack: AsyncExitStack,
    context: Context,
    options: CallbackOptions,
    settings: Settings,
    *,
    webhook_key: Secret | None,
    sink: Sink,
) -> tuple[CallbackListener, CallbackChannel]:
    """Bind the listener and begin to open the way to it; does not wait for the tunnel.

    Raises:
        UsageError: The port is in use, or the public URL cannot be.
        TunnelError: A tunnel is required and there is none.
    """
    listener = await stack.enter_async_context(
        CallbackListener(
            host=options.listen_host,
            port=options.listen_port,
            webhook_key=webhook_key,
            clock=context.clock,
        )
    )
    tunnel = choose_tunnel(context, options, settings, local_url=listener.local_url)
    is_plain = tunnel.url.startswith("http:")
    probe = await stack.enter_async_context(HttpProbe(user_agent=context.user_agent, expects_https=not is_plain))
    channel = await stack.enter_async_context(
        CallbackChannel(
            listener,
            tunnel,
            sink=sink,
            clock=context.clock,
            probe=probe.fetch,
        )
    )
    if settings.callback == "required" and await channel.wait_open() is None:
        raise channel.failure or TunnelError("no tunnel could be opened", hint="suno-cover doctor shows why.")
    return listener, channel


def choose_tunnel(
    context: Context,
    options: CallbackOptions,
    settings: Settings,
    *,
    local_url: str,
    download_s: float = 0.0,
    may_update: bool = True,
) -> Tunnel:
    """Choose the way to the listener: the user's own address, none needed on this machine, or ngrok.

    Args:
        context: Streams and time.
        options: Of the command.
        settings: Merged.
        local_url: Of the listener.
        download_s: How long an agent that has to be downloaded first is waited for.
        may_update: Let an agent that is too old update itself.

    Raises:
        UsageError: The public URL cannot be.
    """
    if options.public_url is not None:
        return PublicUrl(options.public_url)
    environ = context.output.streams.environ
    token = Secret(environ.get("NGROK_AUTHTOKEN", "").strip())
    context.output.redactor.add(token)
    if options.is_direct or (settings.is_loopback and settings.callback == "auto" and not token):
        # A service on this machine reaches the listener without a detour through the internet.
        return PublicUrl(local_url)
    from suno_cover_cli.ngrok import NgrokTunnel

    return NgrokTunnel(
        local_url,
        authtoken=token or None,
        domain=settings.domain,
        ngrok_path=options.ngrok_path,
        state_dir=settings.state_dir,
        clock=context.clock,
        notify=context.output.write_words,
        download_s=download_s,
        may_update=may_update,
    )
