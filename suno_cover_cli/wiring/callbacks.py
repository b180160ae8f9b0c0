"""Builds listener, tunnel and channel: generate, listen and doctor share them.

Listener and probe, which load a web server, are imported late: an agent that has begun by then opens its tunnel
meanwhile.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from suno_cover_cli.base.errors import explain_bind_error
from suno_cover_cli.base.events import Sink
from suno_cover_cli.base.keys import WebhookKey
from suno_cover_cli.base.proxies import Proxies
from suno_cover_cli.base.settings import Settings
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.base.text import Secret
from suno_cover_cli.journal.rows import OptionValue
from suno_cover_cli.options.groups import JobCommandOptions, TunnelOptions
from suno_cover_cli.tunnels.tunnel import Tunnel, TunnelKind, TunnelRequest
from suno_cover_cli.wiring.context import Context
from suno_cover_cli.wiring.runner import loading

if TYPE_CHECKING:
    from suno_cover_cli.callbacks.listener import CallbackListener
    from suno_cover_cli.tunnels.channel import CallbackChannel


class ChosenTunnel(NamedTuple):
    """The tunnel of a run, and the kind it is of."""

    kind: TunnelKind
    request: TunnelRequest
    tunnel: Tunnel


def choose_tunnel(
    context: Context,
    options: TunnelOptions,
    settings: Settings,
    *,
    is_inside: bool = False,
    install_s: float = 0.0,
    may_update: bool = True,
) -> ChosenTunnel:
    """Choose the way to the listener, from what the user has set and where the service is.

    Args:
        context: Streams and time.
        options: Of the command.
        settings: Merged.
        is_inside: The service is in this process.
        install_s: How long a tunnel is waited for that has to be downloaded first.
        may_update: Let a program of the tunnel that is too old update itself.

    Raises:
        UsageError: An option of the tunnel is not valid.
    """
    environ = context.output.streams.environ
    for name in context.secret_variables:
        context.output.redactor.add(Secret(environ.get(name, "").strip()))
    request = TunnelRequest(
        options=tunnel_options(options, settings),
        environ=environ,
        child_environ=context.child_environ,
        state_dir=settings.state_dir,
        clock=context.clock,
        notify=context.output.write_words,
        hide=context.output.redactor.add,
        is_inside=is_inside,
        is_local=settings.is_loopback and settings.callback == "auto",
        install_s=install_s,
        may_update=may_update,
    )
    kind = context.tunnels.choose(request)
    return ChosenTunnel(kind, request, kind.make(request))


async def begin_tunnel(
    stack: AsyncExitStack, context: Context, options: TunnelOptions, settings: Settings, *, is_inside: bool
) -> ChosenTunnel:
    """Start the tunnel's agent, which takes a second, before all that can be made ready beside it.

    Args:
        stack: Closes it.
        context: Streams and time.
        options: Of the command.
        settings: Merged.
        is_inside: The service is in this process: no tunnel is needed.

    Returns:
        The tunnel, not entered and led nowhere yet.

    Raises:
        UsageError: The listener's address cannot be had, or an option is not valid; nothing is started then.
    """
    chosen = choose_tunnel(context, options, settings, is_inside=is_inside)
    # In a thread: the host may be a name, and looking one up can take as long as it likes.
    await asyncio.to_thread(_refuse_taken, options.listen_host, options.listen_port)
    stack.push_async_exit(chosen.tunnel)
    await chosen.tunnel.begin()
    return chosen


def _refuse_taken(host: str, port: int) -> None:
    """Look whether an address can be had, before anything is begun that would have to be undone. Blocks.

    Raises:
        UsageError: It cannot be.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        socket.create_server(address, family=family).close()
    except (OSError, OverflowError) as error:
        raise explain_bind_error(error, host, port, option="--listen-port") from error


async def open_callbacks(
    stack: AsyncExitStack,
    context: Context,
    options: TunnelOptions,
    *,
    chosen: ChosenTunnel,
    webhook_key: WebhookKey | None,
    sink: Sink,
) -> "tuple[CallbackListener, CallbackChannel]":
    """Bind the listener and begin to open the way to it; does not wait for the tunnel.

    Args:
        stack: Closes everything.
        context: Streams and time.
        options: Of the command.
        chosen: What :func:`begin_tunnel` has begun.
        webhook_key: Key that signs callbacks, or ``None``.
        sink: Hears of the tunnel.

    Raises:
        UsageError: The port is in use.
    """
    with loading():
        from suno_cover_cli.callbacks.listener import CallbackListener

    listener = await stack.enter_async_context(
        CallbackListener(
            host=options.listen_host,
            port=options.listen_port,
            webhook_key=webhook_key,
            clock=context.clock,
        )
    )
    return listener, await open_channel(stack, context, chosen, listener, sink=sink)


async def open_channel(
    stack: AsyncExitStack,
    context: Context,
    chosen: ChosenTunnel,
    listener: "CallbackListener",
    *,
    sink: Sink,
    heartbeat_s: float | None = None,
    reconnects: bool = True,
) -> "CallbackChannel":
    """Lead a tunnel to the listener and begin to open it.

    Args:
        stack: Closes it.
        context: Streams and time.
        chosen: See :func:`choose_tunnel`.
        listener: Bound.
        sink: Hears of the tunnel.
        heartbeat_s: Seconds between probes while it is open, or ``None`` to rely on what the tunnel tells.
        reconnects: Start a tunnel anew that has died.
    """
    with loading():
        from suno_cover_cli.tunnels.channel import CallbackChannel
        from suno_cover_cli.tunnels.probe import HttpProbe

    kind, request, tunnel = chosen
    tunnel.lead_to(listener.local_url)
    probe = await stack.enter_async_context(
        HttpProbe(
            headers={"User-Agent": context.user_agent, **kind.probe_headers},
            explain=kind.explain_answer,
            expects_https=not tunnel.url.startswith("http:"),
        )
    )
    return await stack.enter_async_context(
        CallbackChannel(
            listener,
            tunnel,
            sink=sink,
            clock=context.clock,
            probe=probe.fetch,
            heartbeat_s=heartbeat_s,
            reconnects=reconnects,
            extra_s=request.install_s,
        )
    )


def refuse_malformed_proxy(chosen: ChosenTunnel) -> None:
    """Look at the proxy that the check of the tunnel will go through; blocks for a moment.

    For a command that is nothing without its tunnel; elsewhere the check says the same later, and jobs are polled.

    Raises:
        UsageError: Its address is malformed.
    """
    if chosen.kind.needs_internet:
        Proxies().check("https")


def tunnel_options(options: TunnelOptions, settings: Settings) -> dict[str, OptionValue]:
    """Return the options of listener and tunnel by their names; what is also a setting is taken from there."""
    names = (field.name for field in fields(TunnelOptions))
    return {name: getattr(settings if name in SETTINGS else options, name) for name in names}


def kept_tunnel_options(options: TunnelOptions, settings: Settings) -> dict[str, OptionValue]:
    """Return what the journal keeps of them for a restart."""
    defaults = {field.name: field.default for field in fields(TunnelOptions)}
    return {name: value for name, value in tunnel_options(options, settings).items() if value != defaults[name]}


def restore_tunnel_options(
    options: JobCommandOptions, settings: Settings, kept: Mapping[str, OptionValue]
) -> tuple[JobCommandOptions, Settings]:
    """Put the options of a job's first run in place of a command's own.

    Args:
        options: Of the command.
        settings: Merged.
        kept: From the journal. What this version does not know is left out; a value that an option cannot have
            gives way to its default, as a damaged row costs no job.
    """
    found = {}
    for field in fields(TunnelOptions):
        value = kept.get(field.name, field.default)
        try:
            found[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            found[field.name] = field.default
    shared = {name: value for name, value in found.items() if name in SETTINGS}
    return replace(options, **found), msgspec.structs.replace(settings, **shared)
