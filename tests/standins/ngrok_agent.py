"""A stand-in for the ngrok agent that really forwards bytes, over TLS, from a public address on loopback.

It behaves as pyngrok 9.1 expects of ``ngrok start --none --log stdout --config FILE``: logs in ngrok's format,
serves the local API (``/api/endpoints``), reads the authtoken from a version 3 configuration, and forwards what
arrives at ``https://127.0.0.1:PORT`` to the upstream byte for byte.

From a plain shell, in the repository::

    python -m tests.standins.install_ngrok /tmp/standin     # prints the export lines:
    export PYNGROK_NGROK_PATH=/tmp/standin/ngrok SSL_CERT_FILE=/tmp/standin/ca.pem NGROK_AUTHTOKEN=...
    suno-cover generate ... --tunnel

What it plays is chosen by ``NGROK_STANDIN_VARIANT`` or by ``variant`` in the folder's ``behaviour.json``:

=====================  ==================================================================================
ok                     a tunnel; without a token it refuses with 4018, as the real one does
error-N                the session is refused with ERR_NGROK_N (``no-token`` 4018, ``bad-token`` 107 which
                       quotes the token, ``session-limit`` 108)
endpoint-error-N       the session stands, the endpoint is refused with N (``domain-taken`` 334)
api-error              the endpoint is refused with HTTP 500 and no code
api-garbage            the same with a page instead of JSON
offline                sessions fail for ever
silent                 prints nothing and waits
closed                 closes its standard output and waits
crash                  ends at once with a message on standard error
ends-silently          ends at once with exit status 3 and not a word
killed-at-start        is killed at once by SIGSEGV
snap                   may read nothing below a folder whose name begins with a dot, as snaps may not
noisy                  prints bytes that are not text, then works
too-old                404 on /api/endpoints until ``ngrok update`` has run
too-old-120            ERR_NGROK_120 until ``ngrok update`` has run
too-old-config         ends over the version 3 configuration and calls itself 3.5.0, until updated
too-old-stuck          404, and ``update`` never ends
too-old-for-good       404, and ``update`` changes nothing
before-free-plans      works, and calls itself 3.18.4
ignores-sigterm        works, and does not end when asked to
warning-page           the public address answers with a page of its own
plain-http             names a public URL that is not https
needs-http-proxy       refuses with 9009 when a proxy is in its environment
=====================  ==================================================================================

More in ``behaviour.json`` or as ``NGROK_STANDIN_<NAME>``: ``start_delay_s`` (a real agent takes about 1.1),
``die_after_s``, ``retry_s`` (between failed sessions). ``POST <local API>/standin/WORD`` rules it while it runs:
``cut`` (as a broken network: log lines and dead address), ``cut-quietly`` (no log lines), ``restore``,
``restore-elsewhere`` (under a new address), ``die``, ``noise`` (bytes that are no text), ``log`` (prints the body
as a line). What happened is appended to ``record.jsonl``. Whatever is forgotten ends itself after two minutes.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_MAX_LIFE_S = 120.0
_ALIASES = {"no-token": "error-4018", "bad-token": "error-107", "session-limit": "error-108"}
_ALIASES |= {"domain-taken": "endpoint-error-334", "too-old-120": "error-120"}


@dataclass
class Behaviour:
    """What to play; environment before file."""

    variant: str = "ok"
    start_delay_s: float = 0.0
    die_after_s: float = 0.0
    retry_s: float = 0.15

    @classmethod
    def of(cls, folder: Path) -> "Behaviour":
        """Read it."""
        told: dict[str, Any] = json.loads((folder / "behaviour.json").read_text())
        for name, convert in (
            ("variant", str),
            ("start_delay_s", float),
            ("die_after_s", float),
            ("retry_s", float),
        ):
            if text := os.environ.get(f"NGROK_STANDIN_{name.upper()}"):
                told[name] = convert(text)
        return cls(**told)


def refusal(code: int, token: str) -> str:
    """Return ngrok's words for a code, roughly; 105 and 107 quote the token as the real ones do."""
    quoted = f"The authtoken you specified is properly formed, but it is invalid.\nYour authtoken: {token}"
    text = quoted if code in {105, 107} else f"Something that ngrok says about error {code}."
    return f"authentication failed: {text}\r\n\r\nERR_NGROK_{code}\r\n"


@dataclass
class Agent:
    """One running stand-in."""

    folder: Path
    behaviour: Behaviour
    token: str = ""
    is_cut: bool = False
    connections: set[asyncio.Task[None]] = field(default_factory=set)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    servers: list[asyncio.Server] = field(default_factory=list)

    @property
    def variant(self) -> str:
        """The variant, short names spelt out."""
        return _ALIASES.get(self.behaviour.variant, self.behaviour.variant)

    @property
    def is_updated(self) -> bool:
        """Whether ``update`` has run with success."""
        return (self.folder / "updated").exists()

    def record(self, **facts: object) -> None:
        """Append one line to the record."""
        with (self.folder / "record.jsonl").open("a") as stream:
            stream.write(json.dumps(facts) + "\n")

    def log(self, message: str, *, lvl: str = "info", **pairs: str) -> None:
        """Print one line as ngrok does."""
        facts = {"msg": message, **pairs}
        shown = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in facts.items())
        os.write(1, f"t=2025-06-01T12:00:00+0000 lvl={lvl} {shown}\n".encode())

    def fail(self, code: int) -> None:
        """End as an agent does whose session is refused for good."""
        words = refusal(code, self.token)
        self.log("failed to reconnect session", lvl="eror", obj="tunnels.session", err=words)
        self.log("session closing", lvl="eror", obj="tunnels.session", err=words)
        self.log("command failed", lvl="crit", err=words)
        sys.stderr.write("".join(f"ERROR:  {line}\n" for line in words.splitlines()))
        raise SystemExit(1)

    async def run(self, arguments: list[str]) -> None:
        """Play the agent until killed."""
        asyncio.get_running_loop().call_later(_MAX_LIFE_S, os._exit, 3)
        config_path = Path(arguments[arguments.index("--config") + 1]) if "--config" in arguments else None
        self.read_config(config_path)
        self.record_start(arguments, config_path)
        await self.misbehave_early()
        api = await asyncio.start_server(self.answer_api, "127.0.0.1", 0)
        port = api.sockets[0].getsockname()[1]
        self.record(event="api", url=f"http://127.0.0.1:{port}")
        await asyncio.sleep(self.behaviour.start_delay_s)
        self.log("open config file", path=str(config_path), err="nil")
        self.log("starting web service", obj="web", addr=f"127.0.0.1:{port}", allow_hosts="[]")
        while self.variant == "offline":
            reason = "dial tcp: lookup connect.ngrok-agent.com: no such host"
            self.log("failed to reconnect session", lvl="eror", obj="tunnels.session", err=reason)
            await asyncio.sleep(self.behaviour.retry_s)
        self.refuse_session()
        self.log("client session established", obj="tunnels.session")
        self.log("tunnel session started", obj="tunnels.session")
        if self.behaviour.die_after_s:
            await asyncio.sleep(self.behaviour.die_after_s)
            os._exit(1)
        await asyncio.Event().wait()

    def read_config(self, path: Path | None) -> None:
        """Take the token from the configuration (JSON is all that is understood here), else the environment."""
        if self.variant == "snap" and path is not None and any(part.startswith(".") for part in path.parts):
            sys.stderr.write(f"ERROR:  open {path}: permission denied\n")
            raise SystemExit(1)
        config = json.loads(path.read_text()) if path is not None else {}
        self.token = config.get("agent", {}).get("authtoken") or os.environ.get("NGROK_AUTHTOKEN", "")

    def record_start(self, arguments: list[str], config_path: Path | None) -> None:
        """Write down how this process was started; names of variables only, and a digest of the token."""
        self.record(
            event="started",
            pid=os.getpid(),
            sid=os.getsid(0),
            argv=[*sys.orig_argv, *arguments],
            variables=sorted(os.environ),
            stdin=_stream_target(0),
            stderr=_stream_target(2),
            config=str(config_path),
            config_mode=oct(config_path.stat().st_mode & 0o777) if config_path is not None else "",
            token_sha256=hashlib.sha256(self.token.encode()).hexdigest(),
        )

    async def misbehave_early(self) -> None:
        """Play what happens before the first log line."""
        match self.variant:
            case "ignores-sigterm":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case "silent":
                await asyncio.Event().wait()
            case "closed":
                os.close(1)
                await asyncio.Event().wait()
            case "crash":
                sys.stderr.write("ERROR:  the agent fell over\nERROR:  \n")
                raise SystemExit(1)
            case "ends-silently":
                raise SystemExit(3)
            case "killed-at-start":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "too-old-config" if not self.is_updated:
                sys.stderr.write("ERROR:  Error reading configuration file: unknown `version`.\n")
                raise SystemExit(1)
            case "noisy":
                os.write(1, b"\x80\xff\xfe noise\n")

    def refuse_session(self) -> None:
        """Play the refusals of ngrok itself."""
        if self.variant.startswith("error-") and not (self.behaviour.variant == "too-old-120" and self.is_updated):
            self.fail(int(self.variant.removeprefix("error-")))
        if not self.token:
            self.fail(4018)
        if self.variant == "needs-http-proxy" and any("_proxy" in name.lower() for name in _proxies()):
            self.fail(9009)

    # --- the local API ---------------------------------------------------------------------------------------

    async def answer_api(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n", 1)[0].split(" ", 2)
        length = next(
            (int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0
        )
        body = await reader.readexactly(length)
        status, answer = await self.route(method, path, body)
        content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + content
        )
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    async def route(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any] | str]:
        """Return status and JSON of one call."""
        if path.startswith("/standin/"):
            return await self.obey(path.removeprefix("/standin/"), body.decode())
        is_old = self.variant in {"too-old-for-good", "too-old-stuck"} or (
            self.variant == "too-old" and not self.is_updated
        )
        if is_old or not path.startswith("/api/endpoints"):
            return 404, {"error_code": 100, "status_code": 404, "msg": "not found", "details": {"path": path}}
        if method == "POST":
            return await self.create_endpoint(json.loads(body))
        if method == "DELETE":
            self.endpoints.pop(path.rpartition("/")[2], None)
            return 204, {}
        return 200, {"endpoints": list(self.endpoints.values()), "uri": "/api/endpoints"}

    async def create_endpoint(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        """Open a public address, or refuse."""
        self.record(event="endpoint", wanted=wanted)
        if self.variant == "api-error":
            return 500, {
                "error_code": 107,
                "status_code": 500,
                "msg": "internal error",
                "details": {"err": "gone"},
            }
        if self.variant == "api-garbage":
            return 500, "<h1>Bad Gateway</h1>"
        if self.variant.startswith("endpoint-error-"):
            words = refusal(int(self.variant.removeprefix("endpoint-error-")), self.token)
            details = {"err": words}
            return 502, {
                "error_code": 103,
                "status_code": 502,
                "msg": "failed to start tunnel",
                "details": details,
            }
        url = await self.open_public_address(str(wanted["upstream"]["url"]))
        if self.variant == "plain-http":
            url = url.replace("https://", "http://")
        self.record(event="opened", url=url)
        endpoint = {"name": wanted["name"], "url": url, "upstream": wanted["upstream"], "pooling_enabled": False}
        self.endpoints[wanted["name"]] = endpoint
        self.log("started tunnel", obj="tunnels", name=wanted["name"], addr=wanted["upstream"]["url"], url=url)
        return 201, endpoint

    async def obey(self, word: str, text: str) -> tuple[int, dict[str, Any] | str]:
        """Carry out one control request."""
        if word in {"cut", "cut-quietly"}:
            self.is_cut = True
            for connection in self.connections:
                connection.cancel()
            if word == "cut":
                self.log("heartbeat timeout, terminating session", lvl="eror", obj="tunnels.session")
                pairs = {"obj": "tunnels.session", "err": "session closed"}
                self.log("session closed, starting reconnect loop", lvl="eror", **pairs)
                reason = "dial tcp: i/o timeout"
                self.log("failed to reconnect session", lvl="eror", obj="tunnels.session", err=reason)
        elif word in {"restore", "restore-elsewhere"}:
            self.is_cut = False
            if word == "restore-elsewhere":
                for endpoint in self.endpoints.values():
                    endpoint["url"] = await self.open_public_address(endpoint["upstream"]["url"])
                    self.record(event="opened", url=endpoint["url"])
            self.log("client session established", obj="tunnels.session")
        elif word == "log":
            self.log(text, lvl="eror", obj="tunnels.session", err="told to say so")
        elif word == "noise":
            os.write(1, b"\x80\xff\xfe noise\n")
        elif word == "die":
            os._exit(1)
        return 200, {}

    # --- the public side -------------------------------------------------------------------------------------

    async def open_public_address(self, upstream: str) -> str:
        """Listen with TLS and forward to ``upstream``; return the address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem")
        parts = urlsplit(upstream)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self.forward(reader, writer, str(parts.hostname), parts.port or 80))
            self.connections.add(task)
            task.add_done_callback(self.connections.discard)
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
        self.servers.append(server)
        return f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
    ) -> None:
        """Carry bytes both ways until one side ends, or answer as ngrok's edge does when it cannot."""
        if self.is_cut or self.variant == "warning-page":
            await reader.read(65536)
            code = "Ngrok-Error-Code: ERR_NGROK_3200\r\n" if self.is_cut else ""
            status = "404 Not Found" if self.is_cut else "200 OK"
            writer.write(
                f"HTTP/1.1 {status}\r\n{code}Content-Length: 9\r\nConnection: close\r\n\r\n<html/>\r\n".encode()
            )
            await writer.drain()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(host, port)
        except OSError:
            await reader.read(65536)
            writer.write(
                b"HTTP/1.1 502 Bad Gateway\r\nNgrok-Error-Code: ERR_NGROK_8012\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n"
            )
            await writer.drain()
            return
        directions = {
            asyncio.ensure_future(_pipe(reader, up_writer)),
            asyncio.ensure_future(_pipe(up_reader, writer)),
        }
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            up_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()


def _stream_target(number: int) -> str:
    link = Path(f"/proc/self/fd/{number}")
    return str(link.readlink()) if link.is_symlink() else ""


def _proxies() -> list[str]:
    return [name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}]


def main(arguments: list[str]) -> None:
    """Be the agent: its folder, then what a real one is told."""
    folder, *rest = arguments
    agent = Agent(Path(folder), Behaviour.of(Path(folder)))
    if rest[:1] == ["update"]:
        agent.record(event="updated", pid=os.getpid())
        if agent.variant == "too-old-stuck":
            time.sleep(_MAX_LIFE_S)
        if agent.variant != "too-old-for-good":
            (agent.folder / "updated").touch()
    elif rest[:1] == ["--version"]:
        old = {"too-old-config": "3.5.0", "before-free-plans": "3.18.4"}
        version = "3.99.0" if agent.is_updated else old.get(agent.variant, "3.99.0")
        sys.stdout.write(f"ngrok version {version}\n")
    else:
        asyncio.run(agent.run(rest))


if __name__ == "__main__":
    main(sys.argv[1:])
