"""Binding an address of this machine: its URL, and what to say when it cannot be had."""

import errno
import socket
from typing import Any

from suno_cover_cli.base.errors import UsageError


def local_url(address: tuple[Any, ...]) -> str:
    """Return the URL by which this machine reaches a socket bound to ``address``."""
    host, port = str(address[0]), address[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- read, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def refuse_taken(host: str, port: int) -> None:
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
        raise explain_bind_error(error, host, port) from error


def explain_bind_error(error: OSError | OverflowError, host: str, port: int) -> UsageError:
    """Turn the failure of a bind into what the user can do about it."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        hint = "Pass --listen-port 0 for any free port, or stop the program that uses this one"
        return UsageError(f"Port {port} on {host} is in use", code="port_in_use", hint=hint)
    if number in {errno.EACCES, errno.EPERM}:
        hint = "Pass --listen-port 0 for any free port, or one above 1023"
        return UsageError(f"Port {port} on {host} may not be used", code="port_refused", hint=hint)
    if isinstance(error, OverflowError):
        return UsageError(f"{port} is not a port", code="bad_port", hint="Pass --listen-port 0 to 65535")
    hint = "Pass --listen-host 127.0.0.1, or another address of this machine"
    return UsageError(f"{host} is not an address to listen on", code="bad_host", hint=hint)
