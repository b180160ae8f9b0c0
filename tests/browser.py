"""A real Chromium, spoken to over its DevTools protocol: no driver in between, no library besides aiohttp.

The protocol: https://chromedevtools.github.io/devtools-protocol/. A :class:`Browser` is one process for many
tests, a :class:`Tab` has cookies, size, colours and language of its own.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

# The first is Chromium without what draws its windows: the same pages for a third of the processor time.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
_PROBE = Path(__file__).parent / "pages" / "probe.js"
_WAIT_S = 15.0
_CLOSING_S = 5.0
_LOOK_EVERY_S = 0.02
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--hide-scrollbars",
    "--mute-audio",
    # Names of the tests lead to this machine, all others nowhere.
    "--host-resolver-rules=MAP *.attacker.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_KEYS = {
    " ": ("Space", 32),
    "Enter": ("Enter", 13),
    "Escape": ("Escape", 27),
    "Tab": ("Tab", 9),
    "ArrowLeft": ("ArrowLeft", 37),
    "ArrowUp": ("ArrowUp", 38),
    "ArrowRight": ("ArrowRight", 39),
    "ArrowDown": ("ArrowDown", 40),
    "End": ("End", 35),
    "Home": ("Home", 36),
}


class BrowserError(AssertionError):
    """The browser did not do what was asked."""


class Browser:
    """A Chromium process. A context manager; :meth:`open_tab` may be used by any number of loops.

    Args:
        folder: Empty; its profile.
    """

    def __init__(self, folder: Path) -> None:
        program = find_chromium()
        if program is None:
            raise BrowserError(f"none of {', '.join(PROGRAMS)} is installed; .ci/run installs one")
        self.process = subprocess.Popen(
            [program, *_ARGUMENTS, f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=sys.platform != "win32",
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "DevTools listening on " in line:
                self._address = line.rpartition(" ")[2].strip()
                break
        else:
            raise BrowserError("Chromium ended before it was ready")

    def close(self) -> None:
        """End it, with all of its processes: what was started may be a script that waits for the browser."""
        self._send("SIGTERM")
        end_s = time.monotonic() + _CLOSING_S
        # The script may be gone before the browser is, which still writes into its profile then.
        while (self.process.poll() is None or self._send("0")) and time.monotonic() < end_s:
            time.sleep(_LOOK_EVERY_S)
        self._send("SIGKILL")
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _send(self, name: str) -> bool:
        """Send a signal to all of its processes, ``0`` for none; tell whether there is one left."""
        if sys.platform == "win32":
            self.process.terminate()
            return False
        try:
            os.killpg(self.process.pid, 0 if name == "0" else getattr(signal, name))
        except ProcessLookupError:
            return False
        return True

    @contextlib.asynccontextmanager
    async def open_tab(
        self,
        *,
        width: int = 1280,
        height: int = 800,
        is_dark: bool = False,
        language: str = "en-US",
        is_touch: bool = False,
        reduced_motion: bool = True,
    ) -> AsyncIterator["Tab"]:
        """Open a tab that shares nothing with others."""
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self._address, max_msg_size=0, compress=0) as socket,
        ):
            wire = _Wire(socket)
            reading = asyncio.ensure_future(wire.read())
            try:
                context = (await wire.send("Target.createBrowserContext"))["browserContextId"]
                target = await wire.send("Target.createTarget", url="about:blank", browserContextId=context)
                attached = await wire.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
                tab = Tab(wire, attached["sessionId"])
                await tab.prepare(width, height, language=language, is_touch=is_touch)
                await tab.show_as(is_dark=is_dark, reduced_motion=reduced_motion)
                yield tab
                await wire.send("Target.disposeBrowserContext", browserContextId=context)
            finally:
                reading.cancel()
                await asyncio.wait({reading})


class Tab:
    """One tab.

    Attributes:
        requests: Address of every request, in order.
        complaints: What scripts threw and what the browser warned of or refused, policy violations included.
    """

    def __init__(self, wire: "_Wire", session_id: str) -> None:
        self._wire = wire
        self._session_id = session_id
        self.requests: list[str] = []
        self.complaints: list[str] = []
        wire.listeners[session_id] = self._hear

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result."""
        return await self._wire.send(method, self._session_id, **params)

    async def prepare(self, width: int, height: int, *, language: str, is_touch: bool) -> None:
        """Switch on what is needed, before anything is shown."""
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility", "DOM"):
            await self.send(f"{domain}.enable")
        await self.send("Page.addScriptToEvaluateOnNewDocument", source=_PROBE.read_text())
        await self.resize(width, height, is_touch=is_touch)
        agent = (await self.send("Browser.getVersion"))["userAgent"]
        await self.send("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)

    async def resize(self, width: int, height: int, *, is_touch: bool = False, scale: float = 1) -> None:
        """Make the window so large."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=is_touch,
        )
        await self.send("Emulation.setTouchEmulationEnabled", enabled=is_touch)

    async def show_as(self, *, is_dark: bool, reduced_motion: bool = True) -> None:
        """Be a system with these wishes."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if reduced_motion else "no-preference"},
        ]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def go(self, url: str) -> None:
        """Go to an address and wait until its document is loaded."""
        loaded = self._wire.expect(self._session_id, "Page.loadEventFired")
        said = await self.send("Page.navigate", url=url)
        if "errorText" in said:
            raise BrowserError(f"{url}: {said['errorText']}")
        async with asyncio.timeout(_WAIT_S):
            await loaded

    async def run(self, script: str) -> Any:
        """Return what a JavaScript expression is, awaited where it is a promise."""
        said = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in said:
            details = said["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return said["result"].get("value")

    async def wait_for(self, condition: str, *, within_s: float = _WAIT_S) -> Any:
        """Wait until an expression is true, looking at every frame that is drawn; return what it is."""
        script = f"""new Promise((resolve, reject) => {{
            const until = performance.now() + {within_s * 1000};
            const look = () => {{
                let found = null;
                try {{ found = ({condition}); }} catch (error) {{ found = null; }}
                if (found) resolve(found);
                else if (performance.now() > until) reject(new Error({json.dumps(condition)}));
                else requestAnimationFrame(look);
            }};
            look();
        }})"""
        try:
            return await self.run(script)
        except BrowserError as error:
            shown = await self.run("document.body.innerText")
            raise BrowserError(f"{error}\n{shown[:2000]}\n{self.complaints}") from None

    async def press(self, *keys: str) -> None:
        """Press and release keys, one after the other."""
        for key in keys:
            code, number = _KEYS.get(key, (f"Key{key.upper()}", ord(key[0].upper())))
            common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
            await self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **text)
            await self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    async def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        await self.send("Input.insertText", text=text)

    async def click(self, selector: str) -> None:
        """Click on the middle of the first element that fits, as a mouse does."""
        box = await self.wait_for(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            " it.scrollIntoView({block: 'center', behavior: 'instant'}); const box = it.getBoundingClientRect();"
            " return box.width > 0 && [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        await self.point(box[0], box[1], "mouseMoved")
        await self.point(box[0], box[1], "mousePressed", button="left", clickCount=1)
        await self.point(box[0], box[1], "mouseReleased", button="left", clickCount=1)

    async def point(self, x: float, y: float, kind: str, **more: Any) -> None:
        """Send one event of the mouse."""
        await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    async def screenshot(self, path: Path, *, quality: int | None = None) -> None:
        """Write what is seen into a file, PNG, or WebP of a quality."""
        kind: dict[str, Any] = {"format": "png"} if quality is None else {"format": "webp", "quality": quality}
        said = await self.send("Page.captureScreenshot", **kind)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(said["data"]))

    async def accessible(self) -> list[tuple[str, str]]:
        """Return role and name of everything that a screen reader meets, in order; without what is ignored."""
        nodes = (await self.send("Accessibility.getFullAXTree"))["nodes"]
        return [
            (str(node["role"]["value"]), str(node.get("name", {}).get("value", "")))
            for node in nodes
            if not node["ignored"]
        ]

    async def metrics(self) -> dict[str, float]:
        """Return what the browser counts of this tab, such as ``JSHeapUsedSize`` in bytes and ``Nodes``."""
        await self.send("Performance.enable")
        return {one["name"]: one["value"] for one in (await self.send("Performance.getMetrics"))["metrics"]}

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


class _Wire:
    """Commands, answers and events of one connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._expected: dict[tuple[str, str], list[asyncio.Future[None]]] = {}
        self.listeners: dict[str, Any] = {}

    async def send(self, method: str, session_id: str | None = None, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        wanted: dict[str, Any] = {"id": number, "method": method, "params": params}
        await self._socket.send_json(wanted if session_id is None else wanted | {"sessionId": session_id})
        async with asyncio.timeout(3 * _WAIT_S):
            said = await answer
        if "error" in said:
            raise BrowserError(f"{method}: {said['error']}")
        result: dict[str, Any] = said["result"]
        return result

    def expect(self, session_id: str, method: str) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected.setdefault((session_id, method), []).append(future)
        return future

    async def read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
                continue
            session_id = said.get("sessionId", "")
            for future in self._expected.pop((session_id, said["method"]), []):
                if not future.done():
                    future.set_result(None)
            if session_id in self.listeners:
                self.listeners[session_id](said["method"], said["params"])


def find_chromium() -> str | None:
    """Return the path of an installed Chromium; the variable ``CHROMIUM`` names another one."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run one Chromium for all tests of this process."""
    if find_chromium() is None:
        pytest.skip("no Chromium is installed; .ci/run installs it")
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Run a Chromium."""
    running = Browser(folder)
    try:
        yield running
    finally:
        running.close()
