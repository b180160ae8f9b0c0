"""The authtoken as people paste it, and agents that may read little: what is taken and what is said."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import TunnelError
from suno_cover_cli.tunnels.ngrok import NGROK
from suno_cover_cli.tunnels.ngrok.setup import find_agent, read_token
from tests.tunnel_fixtures import TOKEN, NgrokStandin, TunnelMaker

Standins = Callable[..., NgrokStandin]

PASTED = [
    TOKEN,
    f"  {TOKEN}\n",
    f"\u00a0{TOKEN}\u00a0",
    f'"{TOKEN}"',
    f"'{TOKEN}'",
    f"`{TOKEN}`",
    f"\u201c{TOKEN}\u201d",
    f"\u200b{TOKEN}\ufeff",
    TOKEN[:8] + "\u200d" + TOKEN[8:],
    f"NGROK_AUTHTOKEN={TOKEN}",
    f"NGROK_AUTHTOKEN = '{TOKEN}'",
    f'export NGROK_AUTHTOKEN="{TOKEN}"',
    f"set NGROK_AUTHTOKEN={TOKEN}",
    f'$env:NGROK_AUTHTOKEN = "{TOKEN}"',
    f"ngrok config add-authtoken {TOKEN}",
    f"$ ngrok config add-authtoken {TOKEN}\n",
    f"./ngrok authtoken {TOKEN}",
    f"ngrok http 80 --authtoken={TOKEN}",
    f"authtoken: {TOKEN}",
    f"  authtoken: '{TOKEN}'\r\n",
    f"NGROK_AUTHTOKEN: {TOKEN}",
    f"setx NGROK_AUTHTOKEN {TOKEN}",
    f'setx NGROK_AUTHTOKEN "{TOKEN}"',
    f"set -gx NGROK_AUTHTOKEN {TOKEN}",
    f"export NGROK_AUTHTOKEN={TOKEN};",
    f"NGROK_AUTHTOKEN={TOKEN} # of the free plan",
    f"docker run -e NGROK_AUTHTOKEN={TOKEN} ngrok/ngrok",
    f'{{"authtoken": "{TOKEN}"}}',
    f"{TOKEN},",
]
REFUSED = {
    "two words": "blanks",
    f"{TOKEN} {TOKEN}": "blanks",
    "https://dashboard.ngrok.com/get-started/your-authtoken": "address",
    "$YOUR_AUTHTOKEN": "placeholder",
    "<YOUR_AUTHTOKEN>": "placeholder",
    "ngrok config add-authtoken $YOUR_AUTHTOKEN": "placeholder",
    "your-authtoken": "placeholder",
    "xxxxxxxx": "placeholder",
    "...": "placeholder",
    "********": "placeholder",
    "\u043f\u0430\u0440\u043e\u043b\u044c-\u0442\u043e\u043a\u0435\u043d": "characters",
}


@pytest.mark.parametrize("pasted", PASTED)
def test_the_token_is_taken_out_of_what_was_pasted(pasted: str) -> None:
    """Quotes, invisible characters, the name before it and a whole command line come along with a paste."""
    assert read_token(pasted, "NGROK_AUTHTOKEN") == TOKEN


@pytest.mark.parametrize("pasted", ["", "  ", '""', "\u200b", "NGROK_AUTHTOKEN="])
def test_nothing_is_not_a_token(pasted: str) -> None:
    """A variable that is set to nothing is as good as one that is not set."""
    assert read_token(pasted, "NGROK_AUTHTOKEN") == ""


@pytest.mark.parametrize("pasted", REFUSED)
def test_what_cannot_be_a_token_is_named(pasted: str) -> None:
    """What is wrong is said with the source and the way to a right one, never with the value."""
    with pytest.raises(TunnelError) as caught:
        read_token(pasted, "NGROK_AUTHTOKEN")
    error = caught.value
    assert error.code == "ngrok_bad_token"
    assert error.is_permanent
    assert "NGROK_AUTHTOKEN does not hold an authtoken" in error.message
    assert REFUSED[pasted] in error.message
    assert "https://dashboard.ngrok.com" in error.hint
    assert pasted not in error.message
    assert TOKEN not in error.message + error.hint


async def test_a_pasted_line_opens_a_tunnel(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """The agent gets the bare token, and the bare token is what is hidden from then on."""
    standin = ngrok_standin()
    async with tunnels(standin, token=f'export NGROK_AUTHTOKEN="{TOKEN}"'):
        (started,) = standin.facts("started")
    assert started["token_sha256"] == hashlib.sha256(TOKEN.encode()).hexdigest()
    assert [secret.reveal() for secret in tunnels.secrets] == [TOKEN]


async def test_a_bad_token_starts_no_agent(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """A placeholder is told before an agent is started in vain."""
    standin = ngrok_standin()
    with pytest.raises(TunnelError, match="placeholder"):
        await tunnels(standin, token="$YOUR_AUTHTOKEN").__aenter__()  # noqa: S106 -- that it is none is the point
    assert standin.facts("started") == []
    assert tunnels.leftovers() == []


# --- a snap -----------------------------------------------------------------------------------------------------


@pytest.fixture
def snap(ngrok_standin: Standins, tunnels: TunnelMaker, monkeypatch: pytest.MonkeyPatch) -> NgrokStandin:
    """An agent as snapd installs it: a link on PATH to snapd's one program, which sees no hidden folders."""
    standin = ngrok_standin("snap")
    program = standin.path.rename(standin.path.with_name("snap"))
    links = tunnels.folder / "snap-bin"
    links.mkdir()
    (links / "ngrok").symlink_to(program)
    monkeypatch.setenv("PATH", f"{links}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return standin


async def test_a_snap_gets_its_configuration_where_it_can_read(snap: NgrokStandin, tunnels: TunnelMaker) -> None:
    """The private folder of a snap lies in the snap's own, not in the state folder, and nothing of it is left."""
    hidden = tunnels.folder / ".local" / "state"
    homes = tunnels.folder / "home/snap/ngrok/common/suno-cover"
    async with tunnels(None, state_dir=hidden) as tunnel:
        assert tunnel.url
        (started,) = snap.facts("started")
        assert Path(started["config"]).parent.parent == homes
        assert started["config_mode"] == "0o600"
    assert await asyncio.to_thread(lambda: list(homes.iterdir())) == []


async def test_a_snap_that_cannot_read_is_named_as_that(
    snap: NgrokStandin, tunnels: TunnelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where even its own folder is out of a snap's sight, the way out is another agent and --ngrok-path."""
    home = tunnels.folder / ".hidden-home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(TunnelError, match="permission denied") as caught:
        await tunnels(None).__aenter__()
    assert "snap" in caught.value.hint
    assert "--ngrok-path" in caught.value.hint
    assert snap.living() == []


def test_a_snap_is_recognized(snap: NgrokStandin) -> None:
    """What lies behind the name on PATH decides, and it is brought up to date by snapd."""
    found = find_agent(None, os.environ)
    assert found is not None
    assert found.is_snap
    assert "snap refresh" in found.update_hint
    other = find_agent(str(snap.home / "snap"), os.environ)
    assert other is not None
    assert other.is_snap, "also when it is given by its path"


# --- what doctor asks -------------------------------------------------------------------------------------------


def checks_of(tunnels: TunnelMaker, standin: NgrokStandin | None, **more: str | None) -> dict[str, str]:
    """Return what the kind's own checks say, or their fix."""
    request = tunnels(standin, **more)._request  # type: ignore[arg-type]  # noqa: SLF001 -- as a command makes it
    found = {}
    for check in NGROK.checks(request):
        try:
            found[check.name] = check.run()
        except TunnelError as error:
            found[check.name] = f"{error.message} -> {error.hint}"
    return found


def test_the_version_is_looked_at(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """Agents that ngrok refuses on free plans are a finding, with how to bring them up to date."""
    assert "3.99.0" in checks_of(tunnels, ngrok_standin())["ngrok agent"]
    old = checks_of(tunnels, ngrok_standin("before-free-plans"))["ngrok agent"]
    assert "3.18.4" in old
    assert "refuses agents up to 3.18 on free plans -> Run: ngrok update" in old


def test_a_pasted_token_is_looked_at(ngrok_standin: Standins, tunnels: TunnelMaker) -> None:
    """The token's source is told, what is wrong with it too, and its value never."""
    standin = ngrok_standin()
    assert checks_of(tunnels, standin, token=f"'{TOKEN}'")["ngrok token"] == "from NGROK_AUTHTOKEN"
    assert "placeholder" in checks_of(tunnels, standin, token="<token>")["ngrok token"]  # noqa: S106 -- none
    assert "no authtoken" in checks_of(tunnels, standin, token=None)["ngrok token"]
