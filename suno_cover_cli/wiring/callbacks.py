"""Builds listener, tunnel and channel: generate and listen share them.

Listener and probe, which load a web server, are imported late: an agent that has begun by then opens its tunnel
meanwhile.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from suno_cover_cli.base.environment import secret_variables
from suno_cover_cli.base.events import Sink
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.proxies import Proxies
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.text import Secret
from suno_cover_cli.callbacks.binding import refuse_taken
from suno_cover_cli.options.groups import TunnelOptions
from suno_cover_cli.tunnels.tunnel import PublicUrl, Tunnel
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.runner import loading

if TYPE_CHECKING:
    from suno_cover_cli.callbacks.listener import CallbackListener
    from suno_cover_cli.tunnels.channel import CallbackChannel
    from suno_cover_cli.tunnels.ngrok import NgrokTunnel


async def begin_tunnel(
    stack: AsyncExitStack, context: Context, options: TunnelOptions, settings: Settings, *, is_direct: bool
) -> "NgrokTunnel | None":
    """Start the tunnel's agent, which takes a second, before all that can be made ready beside it.

    Args:
        stack: Closes it.
        context: Streams and time.
        options: Of the command.
        settings: Merged.
        is_direct: The service is in this process: no tunnel is needed.

    Returns:
        The tunnel, not entered and led nowhere yet; ``None`` where no agent is needed.

    Raises:
        UsageError: The listener's address cannot be had; there is no agent then.
    """
    if options.public_url is not None or is_direct or is_reached_directly(context, settings):
        return None
    # In a thread: the host may be a name, and looking one up can take as long as it likes.
    await asyncio.to_thread(refuse_taken, options.listen_host, options.listen_port)
    tunnel = make_agent_tunnel(context, options, settings, local_url=None)
    stack.push_async_exit(tunnel)
    await tunnel.begin()
    return tunnel


async def open_callbacks(
    stack: AsyncExitStack,
    context: Context,
    options: TunnelOptions,
    settings: Settings,
    *,
    begun: "NgrokTunnel | None",
    is_direct: bool = False,
    webhook_key: WebhookKey | None,
    sink: Sink,
) -> "tuple[CallbackListener, CallbackChannel]":
    """Bind the listener and begin to open the way to it; does not wait for the tunnel.

    Args:
        stack: Closes everything.
        context: Streams and time.
        options: Of the command.
        settings: Merged.
        begun: What :func:`begin_tunnel` has begun.
        is_direct: The service is in this process: no tunnel is needed.
        webhook_key: Key that signs callbacks, or ``None``.
        sink: Hears of the tunnel.

    Raises:
        UsageError: The port is in use, or the public URL cannot be.
    """
    with loading():
        from suno_cover_cli.callbacks.listener import CallbackListener
        from suno_cover_cli.tunnels.channel import CallbackChannel
        from suno_cover_cli.tunnels.probe import HttpProbe

    listener = await stack.enter_async_context(
        CallbackListener(
            host=options.listen_host,
            port=options.listen_port,
            webhook_key=webhook_key,
            clock=context.clock,
        )
    )
    if begun is not None:
        begun.lead_to(listener.local_url)
    tunnel = begun or choose_tunnel(context, options, settings, local_url=listener.local_url, is_direct=is_direct)
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
    return listener, channel


def choose_tunnel(
    context: Context,
    options: TunnelOptions,
    settings: Settings,
    *,
    local_url: str,
    is_direct: bool = False,
    download_s: float = 0.0,
    may_update: bool = True,
) -> Tunnel:
    """Choose the way to the listener: the user's own address, none needed on this machine, or ngrok.

    Args:
        context: Streams and time.
        options: Of the command.
        settings: Merged.
        local_url: Of the listener.
        is_direct: The service is in this process: no tunnel is needed.
        download_s: How long an agent that has to be downloaded first is waited for.
        may_update: Let an agent that is too old update itself.

    Raises:
        UsageError: The public URL is not valid, or the proxy on the way to one is not.
    """
    if options.public_url is not None:
        return PublicUrl(options.public_url)
    if is_direct or is_reached_directly(context, settings):
        return PublicUrl(local_url)
    # The probe goes through it; found only then, it would look like a fault of the tunnel.
    Proxies().check("https")
    return make_agent_tunnel(
        context, options, settings, local_url=local_url, download_s=download_s, may_update=may_update
    )


def is_reached_directly(context: Context, settings: Settings) -> bool:
    """Tell whether a service on this machine reaches the listener without a detour through the internet."""
    return settings.is_loopback and settings.callback == "auto" and not _token_of(context)


def make_agent_tunnel(
    context: Context,
    options: TunnelOptions,
    settings: Settings,
    *,
    local_url: str | None,
    download_s: float = 0.0,
    may_update: bool = True,
) -> "NgrokTunnel":
    """Make a tunnel through ngrok; the arguments are those of :func:`choose_tunnel`."""
    from suno_cover_cli.tunnels.ngrok import NgrokTunnel

    return NgrokTunnel(
        local_url,
        authtoken=_token_of(context) or None,
        domain=settings.domain,
        ngrok_path=options.ngrok_path,
        state_dir=settings.state_dir,
        private_variables=secret_variables(context.providers),
        clock=context.clock,
        notify=context.output.write_words,
        download_s=download_s,
        may_update=may_update,
    )


def _token_of(context: Context) -> Secret:
    """Return the token of the environment, perhaps empty, and keep it out of everything that is shown."""
    token = Secret(context.output.streams.environ.get("NGROK_AUTHTOKEN", "").strip())
    context.output.redactor.add(token)
    return token
