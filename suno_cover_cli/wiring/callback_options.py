"""How callbacks shall reach us, as asked for on the command line."""

import msgspec


class CallbackOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the listener and the tunnel.

    Attributes:
        public_url: An address of one's own that already leads to the listener, instead of a tunnel.
        listen_host: Address the listener binds.
        listen_port: Port the listener binds, 0 for any.
        domain: ngrok domain of one's own.
        ngrok_path: Agent to use instead of the one that is found.
        is_direct: The service is in this process or on this machine: no tunnel is needed.
    """

    public_url: str | None = None
    listen_host: str = "127.0.0.1"
    listen_port: int = 0
    domain: str | None = None
    ngrok_path: str | None = None
    is_direct: bool = False
