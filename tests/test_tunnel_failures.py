"""The tunnel through ngrok when it cannot be had: bounded in time, explained, nothing left."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.base.exits import ExitCode
from suno_cover_cli.tunnels.ngrok.errors import explain_code, find_code
from tests.clocks import ScaledClock
from tests.tunnel_fixtures import TOKEN, NgrokStandin, TunnelMaker

Standins = Callable[..., NgrokStandin]

# ngrok's number -> our word, and whether another attempt of the same run is pointless.
CODES = {
    4018: ("ngrok_no_token", True),
    **dict.fromkeys((105, 106, 107, 300), ("ngrok_bad_token", True)),
    108: ("ngrok_session_limit", False),
    334: ("ngrok_domain_online", False),
    **dict.fromkeys((120, 121), ("ngrok_too_old", True)),
    123: ("ngrok_email", True),
    **dict.fromkeys((313, 314, 320), ("ngrok_domain", True)),
    **dict.fromkeys((702, 714, 720, 728, 734), ("ngrok_limit", False)),
    **dict.fromkeys((8001, 8002, 8003, 8004, 8005, 8006), ("ngrok_offline", False)),
    9009: ("ngrok_proxy", True),
    **dict.fromkeys((9040, 8014), ("ngrok_blocked", True)),
    8012: ("ngrok_listener", False),
}
SHARED_PHRASES = {
    4018: "NGROK_AUTHTOKEN=",
    107: "where-it-came-from",
    120: "ngrok update",
    123: "https://",
    313: "--domain",
    8001: "doctor",
    8012: "our own listener",
}


async def _failure(tunnels: TunnelMaker, standin: NgrokStandin | None, **more: Any) -> tuple[TunnelError, float]:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(TunnelError) as caught:
        await tunnels(standin, **more).__aenter__()
    elapsed_s = loop.time() - began_s
    assert tunnels.leftovers() == []
    if standin is not None:
        assert standin.living() == []
    assert caught.value.exit_code is ExitCode.NO_TUNNEL
    assert TOKEN not in caught.value.message + caught.value.hint
    return caught.value, elapsed_s


class HeldClock(ScaledClock):
    """A clock ten times as fast, on which no wait begins before an agent has come as far as the test needs.

    How long a busy machine takes to start a process is no part of a deadline that a test is about.
    """

    def __init__(self, standin: NgrokStandin, event: str) -> None:
        super().__init__(10)
        self._standin = standin
        self._event = event
        self.held_s = 0.0

    async def sleep(self, delay_s: float) -> None:
        """Wait for the agent's record first."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.to_thread(self._standin.wait_fact, self._event)
        self.held_s += loop.time() - began_s
        await super().sleep(delay_s)


@pytest.mark.parametrize("number", sorted(CODES))
def test_each_code_has_an_answer(number: int) -> None:
    """Every code of ngrok that matters has a word of its own, a next step, and its number for a search."""
    error = explain_code(number, source="where-it-came-from", detail="ngrok's own words")
    assert (error.code, error.is_permanent) == CODES[number]
    assert f"ERR_NGROK_{number}" in error.message
    assert "ngrok's own words" not in error.message
    assert len(error.hint) > 10
    assert SHARED_PHRASES.get(number, "") in error.message + error.hint


def test_unknown_code() -> None:
    """A code nobody foresaw is shown with ngrok's own words, made harmless, and the page about it."""
    error = explain_code(99999, detail="it is \x1b[31mcomplicated")
    assert error.message == "ngrok refused: it is complicated (ERR_NGROK_99999)"
    assert "err_ngrok_99999" in error.hint


@pytest.mark.parametrize(("text", "number"), [("x ERR_NGROK_334\r\n", 334), ("ERR_NGROK_", None), (None, None)])
def test_code_in_text(text: str | None, number: int | None) -> None:
    """The number is found wherever ngrok puts it, and nothing is found where there is none."""
    assert find_code(text) == number


@pytest.mark.parametrize(
    ("variant", "number"),
    [
        ("no-token", 4018),
        ("bad-token", 107),
        ("session-limit", 108),
        ("error-123", 123),
        ("error-8004", 8004),
        ("error-9040", 9040),
        ("domain-taken", 334),
        ("endpoint-error-313", 313),
        ("endpoint-error-702", 702),
    ],
)
async def test_refused_by_ngrok(ngrok_standin: Standins, tunnels: TunnelMaker, variant: str, number: int) -> None:
    """A refusal of the session or of the endpoint arrives as an error with ngrok's code, at once."""
    error, elapsed_s = await _failure(tunnels, ngrok_standin(variant))
    assert error.code == CODES[number][0]
    assert number == 4018 or f"(ERR_NGROK_{number})" in error.message
    assert elapsed_s < 8


async def test_source_of_a_bad_token(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A refused token is named by where it came from: the variable, or the user's file."""
    standin = ngrok_standin("bad-token")
    error, _ = await _failure(tunnels, standin)
    assert "NGROK_AUTHTOKEN" in error.message
    path = tunnels.folder / "home/.config/ngrok/ngrok.yml"
    path.parent.mkdir(parents=True)
    path.write_text("version: 3\nagent:\n  authtoken: token-of-the-file\n")
    error, _ = await _failure(tunnels, standin, token=None)
    assert str(path) in error.message
    assert "token-of-the-file" not in error.message + error.hint


async def test_no_token_anywhere(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """Without any token no agent is started in vain; that is a normal way to work, and said in few words."""
    standin = ngrok_standin()
    error, _ = await _failure(tunnels, standin, token=None)
    assert error.code == "ngrok_no_token"
    assert "https://dashboard.ngrok.com" in error.hint
    assert error.is_expected
    assert error.message == "NGROK_AUTHTOKEN is not set"
    assert not standin.facts("started")


async def test_offline_is_told_early(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """Three failed sessions in a row are enough to call it offline, with the agent's reason."""
    error, elapsed_s = await _failure(tunnels, ngrok_standin("offline"))
    assert error.code == "ngrok_offline"
    assert "no such host" in error.message
    assert elapsed_s < 8


async def test_offline_at_the_deadline(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """When time is up before that, the last failed session is still the reason given."""
    error, elapsed_s = await _failure(tunnels, ngrok_standin("offline", retry_s=60), deadline_s=1.5)
    assert error.code == "ngrok_offline"
    assert elapsed_s < 8


@pytest.mark.parametrize("variant", ["silent", "closed"])
async def test_silent_agent(ngrok_standin: Standins, tunnels: TunnelMaker, variant: str) -> None:
    """An agent that says nothing costs the deadline and not more, and is ended."""
    standin = ngrok_standin(variant)
    clock = HeldClock(standin, "started")
    error, elapsed_s = await _failure(tunnels, standin, clock=clock)
    assert error.code == "ngrok_timeout"
    assert "8 s" in error.message
    assert 0.8 <= elapsed_s - clock.held_s < 0.8 + 5


async def test_slow_agent(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """An agent as slow as a real one is waited for."""
    async with tunnels(ngrok_standin(start_delay_s=1.1)) as tunnel:
        assert tunnel.url


async def test_crash(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """An agent that ends without a code is quoted by its last words on standard error, which nobody else sees."""
    error, _ = await _failure(tunnels, ngrok_standin("crash"))
    assert error.code == "ngrok_exited"
    assert "the agent fell over" in error.message


async def test_refusal_without_code(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A refusal of the local API without a code is told in its own words."""
    error, _ = await _failure(tunnels, ngrok_standin("api-error"))
    assert error.code == "ngrok_api"
    assert error.message.endswith("HTTP 500, gone")


async def test_refusal_in_another_language(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A refusal that is no JSON is shown as it came."""
    error, _ = await _failure(tunnels, ngrok_standin("api-garbage"))
    assert error.message.endswith("HTTP 500, <h1>Bad Gateway</h1>")


async def test_not_text(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """Bytes that are not text and come before the agent's first line do not keep a tunnel from opening."""
    async with tunnels(ngrok_standin("noisy")) as tunnel:
        assert tunnel.url


@pytest.mark.parametrize(
    ("variant", "how"),
    [("ends-silently", "ended with exit status 3"), ("killed-at-start", "was ended by SIGSEGV")],
)
async def test_end_without_a_word(ngrok_standin: Standins, tunnels: TunnelMaker, variant: str, how: str) -> None:
    """An agent that ends without a word is told by its exit status or the signal that ended it."""
    error, _ = await _failure(tunnels, ngrok_standin(variant))
    assert error.code == "ngrok_exited"
    assert how in error.message


async def test_public_url_must_be_https(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A public URL without TLS is not taken from an agent, not even on this machine."""
    error, _ = await _failure(tunnels, ngrok_standin("plain-http"))
    assert error.code == "ngrok_url"


@pytest.mark.parametrize("variant", ["too-old", "too-old-120", "too-old-config"])
async def test_old_agent_is_updated(ngrok_standin: Standins, tunnels: TunnelMaker, variant: str) -> None:
    """An agent that is too old, by 404, by code or by its configuration, is updated once and tried again."""
    standin = ngrok_standin(variant)
    async with tunnels(standin) as tunnel:
        assert tunnel.url
    assert len(standin.facts("updated")) == 1
    assert len(standin.facts("started")) == 2
    assert len([line for line in tunnels.lines if "too old" in line]) == 1


async def test_update_in_vain(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """An agent that is still too old after its update is not updated again."""
    standin = ngrok_standin("too-old-for-good")
    error, _ = await _failure(tunnels, standin)
    assert error.code == "ngrok_too_old"
    assert len(standin.facts("updated")) == 1
    assert len(standin.facts("started")) == 2


async def test_update_that_never_ends(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """An update that hangs ends with the deadline, and its process with it."""
    standin = ngrok_standin("too-old-stuck")
    clock = HeldClock(standin, "updated")
    error, elapsed_s = await _failure(tunnels, standin, clock=clock)
    assert error.code == "ngrok_too_old"
    assert 0.8 <= elapsed_s - clock.held_s < 0.8 + 5


async def test_missing_binary(tunnels: TunnelMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A given path without an agent is an error that names the option, and nothing is downloaded instead."""
    missing = str(tunnels.folder / "no-ngrok")
    error, _ = await _failure(tunnels, None, ngrok_path=missing)
    assert error.code == "ngrok_missing"
    assert "--ngrok-path" in error.message
    monkeypatch.setenv("PYNGROK_NGROK_PATH", missing)
    error, _ = await _failure(tunnels, None)
    assert error.code == "ngrok_missing"
    assert "PYNGROK_NGROK_PATH" in error.message


async def test_no_program_at_all(tunnels: TunnelMaker) -> None:
    """A file that cannot be run is an error with the system's reason."""
    path = tunnels.folder / "ngrok"
    path.write_bytes(b"\x7fELF that is not one")
    path.chmod(0o755)
    error, _ = await _failure(tunnels, None, ngrok_path=str(path))
    assert "cannot be run" in error.message


async def test_unwritable_state_folder(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A state folder that cannot be made is an error like any other."""
    (tunnels.folder / "file").write_text("")
    error, _ = await _failure(tunnels, ngrok_standin(), state_dir=tunnels.folder / "file" / "state")
    assert error.code == "ngrok_failed"


async def test_blank_token(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """Blanks round a token are taken off; blanks alone are no token."""
    standin = ngrok_standin()
    async with tunnels(standin, token=f"  {TOKEN}\n"):
        first = standin.facts("started")[0]["token_sha256"]
    async with tunnels(standin):
        assert standin.facts("started")[1]["token_sha256"] == first
    error, _ = await _failure(tunnels, standin, token="  ")  # noqa: S106 -- none at all
    assert error.code == "ngrok_no_token"
