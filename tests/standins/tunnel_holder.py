"""A program that opens a tunnel through the agent of its environment, says so, and holds it until it is ended.

``python -m tests.standins.tunnel_holder LOCAL_URL STATE_DIR``: one JSON line on standard output, with ``url`` or
with ``code`` and ``message``. Everything else it prints is a fault of the tunnel's.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from suno_cover_cli.base.clock import SystemClock
from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.providers import without_secrets
from suno_cover_cli.tunnels.kinds import load_kinds
from suno_cover_cli.tunnels.ngrok.tunnel import NgrokTunnel
from suno_cover_cli.tunnels.tunnel import TunnelRequest


async def hold(local_url: str, state_dir: Path) -> None:
    """Open, tell, and wait for the end of standard input."""
    request = TunnelRequest(
        options={},
        environ=os.environ,
        child_environ=without_secrets(os.environ, load_kinds().secret_variables),
        state_dir=state_dir,
        clock=SystemClock(),
        notify=lambda _: None,
    )
    tunnel = NgrokTunnel(request)
    tunnel.lead_to(local_url)
    try:
        async with tunnel:
            sys.stdout.write(json.dumps({"url": tunnel.url}) + "\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.read)
    except TunnelError as error:
        sys.stdout.write(json.dumps({"code": error.code, "message": error.message}) + "\n")


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1], Path(sys.argv[2])))
