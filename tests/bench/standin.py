"""The stand-in for the ngrok agent, as slow as a real one, and what it costs by itself."""

import http.client
import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.lab import BenchError, end
from tests.standins.install_ngrok import install

START_S = 1.1
"""From spawn to public URL, as recorded with a real agent."""

_TOKEN = "2token_Of4Bench_9x8y7z"  # noqa: S105 -- opens nothing
_ADDRESS = re.compile(r'addr="(127\.0\.0\.1):(\d+)"')


@dataclass(frozen=True)
class StandIn:
    """An installed stand-in agent."""

    folder: Path

    @classmethod
    def install(cls, folder: Path) -> "StandIn":
        """Make its executable, its certificate and its authority."""
        install(folder, start_delay_s=START_S)
        return cls(folder)

    @property
    def environ(self) -> dict[str, str]:
        """What makes a program use it."""
        return {
            "PYNGROK_NGROK_PATH": str(self.folder / "ngrok"),
            "SSL_CERT_FILE": str(self.folder / "ca.pem"),
            "NGROK_AUTHTOKEN": _TOKEN,
        }

    def open_alone(self) -> float:
        """Start the agent, have it open an endpoint, and end it; return the seconds from start to endpoint."""
        config = self.folder / "config.json"
        config.write_text(json.dumps({"version": "3", "agent": {"authtoken": _TOKEN}}))
        command = [str(self.folder / "ngrok"), "start", "--none", "--log", "stdout", "--config", str(config)]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
            try:
                _order_endpoint(*_wait_for_session(agent))
                return time.perf_counter() - begun
            finally:
                end(agent)


def _wait_for_session(agent: "subprocess.Popen[str]") -> tuple[str, int]:
    """Read the agent's log until it is joined to ngrok; return the address of its local API."""
    address = None
    for line in agent.stdout or ():
        address = _ADDRESS.search(line) or address
        if "tunnel session started" in line and address is not None:
            return address[1], int(address[2])
    raise BenchError("the stand-in agent ended early")


def _order_endpoint(host: str, port: int) -> None:
    wanted = {"name": "bench", "upstream": {"url": "http://127.0.0.1:9"}}
    connection = http.client.HTTPConnection(host, port)
    connection.request("POST", "/api/endpoints", json.dumps(wanted), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != http.client.CREATED:
        raise BenchError(f"the stand-in agent answered {answer.status}")
    answer.read()
    connection.close()
