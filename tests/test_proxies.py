"""Proxy variables: what is used, what is refused and named, and whose password is never shown."""

import os
from itertools import cycle
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.base.proxies import Proxies, find_proxy
from tests.cli_fixtures import Cli

PASSWORD = "hunter22pass"  # noqa: S105 -- opens nothing
SERVICE = "https://service.invalid"

# What may stand in a variable -> a word of what is said about it.
MALFORMED = {
    "http//x": "scheme",
    "://": "begin with http://",
    "//proxy:3128": "scheme",
    "http://": "no host",
    "http://:3128": "no host",
    "http:/proxy:3128": "scheme",
    "http://proxy:notaport": "port",
    "http://proxy:99999": "port",
    "http://proxy:0": "port",
    "http://proxy:-1": "port",
    "proxy:80:80": "address",
    "http://[::1": "address",
    "http://[::1]x:80": "address",
    "http://[proxy]:80": "address",
    "http://::1:80": "address",
    "http://a..b:80": "name",
    "http://" + "x" * 300: "name",
    "http://pro%20xy:80": "name",
    "http://pro\uff0fxy:80": "name",
    "socks5://127.0.0.1:1080": "SOCKS",
    "socks5h://127.0.0.1:1080": "SOCKS",
    "ftp://proxy:21": "begin with http://",
    "   ": "blank",
    "http://pro xy:80": "blank",
    "http://proxy\x1b[31m:80": "control",
    f"http://user:{PASSWORD}@": "no host",
    f"http://user:{PASSWORD}@proxy:port": "port",
    f"http://user:{PASSWORD}/x@proxy:80": "%2F",
    f"http://user:{PASSWORD}#x@proxy:80": "%2F",
    f"http://user:{PASSWORD}": "port",
}
USED = {
    "http://proxy:3128": "http://proxy:3128",
    " http://proxy:3128/\n": "http://proxy:3128",
    "proxy:3128": "http://proxy:3128",
    "proxy": "http://proxy:80",
    "http://proxy:": "http://proxy:80",
    "https://proxy": "https://proxy:443",
    "http://127.0.0.1:3128": "http://127.0.0.1:3128",
    "http://[::1]:3128": "http://[::1]:3128",
    f"http://user:{PASSWORD}@proxy:3128": "http://proxy:3128",
    f"user:{PASSWORD}@proxy:3128": "http://proxy:3128",
    f"http://user:p@{PASSWORD}@proxy:3128": "http://proxy:3128",
    "http://b\u00fccher.example:3128/path?query": "http://b\u00fccher.example:3128",
}


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("value", MALFORMED)
def test_a_malformed_address_names_its_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Each malformed address is one sentence with the variable, the reason and the way out, and no part of it."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(UsageError) as caught:
        find_proxy(SERVICE)
    error = caught.value
    assert error.exit_code == 2
    assert "HTTPS_PROXY" in error.message
    assert MALFORMED[value] in error.message + error.hint
    assert "http://" in error.hint or "%2F" in error.message
    assert PASSWORD not in error.message + error.hint
    assert "user" not in error.message.replace("its user or password", "")
    assert error.message.isprintable()


@pytest.mark.parametrize("value", USED)
def test_an_address_that_can_be_used(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Every common spelling is understood; what is shown has no user and no password."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    proxy = find_proxy(SERVICE)
    assert proxy is not None
    assert proxy.shown == USED[value]
    assert proxy.describe_failure(None) == f"the proxy in HTTPS_PROXY ({USED[value]}) cannot be reached"
    assert PASSWORD not in repr(proxy)
    assert proxy.address.reveal().endswith(USED[value].partition("://")[2])
    assert (PASSWORD in proxy.address.reveal()) is (PASSWORD in value)


def test_which_variable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheme's own variable beats ALL_PROXY, the lower spelling the upper, and each is named as it is set."""
    monkeypatch.setenv("ALL_PROXY", "http://one:1")
    assert _source(SERVICE) == ("one", "ALL_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", "http://two:2")
    assert _source(SERVICE) == ("two", "HTTPS_PROXY")
    monkeypatch.setenv("https_proxy", "http://three:3")
    assert _source(SERVICE) == ("three", "https_proxy")
    assert _source("http://service.invalid") == ("one", "ALL_PROXY")


def _source(url: str) -> tuple[str, str]:
    proxy = find_proxy(url)
    assert proxy is not None
    return proxy.host, proxy.source


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "https://localhost", SERVICE, "https://www.service.invalid"]
)
def test_what_is_exempt(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """This machine and what NO_PROXY names are reached directly, even where the proxy's address is malformed."""
    monkeypatch.setenv("HTTPS_PROXY", "://")
    monkeypatch.setenv("HTTP_PROXY", "://")
    monkeypatch.setenv("NO_PROXY", "service.invalid")
    assert find_proxy(url) is None


def test_every_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """All variables are looked at, also those on the way to nothing; an exemption that exempts nothing is one."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    monkeypatch.setenv("HTTP_PROXY", "://")
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1")
    monkeypatch.setenv("NO_PROXY", "example.org, http://example.org")
    faults = [error.message for error in Proxies().faults()]
    assert [next(word for word in fault.split() if "_PROXY" in word) for fault in faults] == [
        "HTTP_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ]
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name)
    assert list(Proxies().faults()) == []


COMMANDS = {
    "generate": (("generate", "x"), 2),
    "listen": (("listen",), 2),
    "credits": (("credits",), 2),
    "doctor": (("doctor", "--no-tunnel"), 1),
}
SHAPES = [value for value in MALFORMED if "\n" not in value][::2]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_a_malformed_variable(cli: Cli, command: str) -> None:
    """In every shape the command ends by what it means, naming the variable and showing no password."""
    words, code = COMMANDS[command]
    for value, name in zip(SHAPES, cycle(("HTTPS_PROXY", "https_proxy", "ALL_PROXY"))):
        run = cli.run(*words, SUNO_API_KEY="key-of-nobody", SUNO_BASE_URL=SERVICE, **{name: value})
        shown = run.stdout + run.stderr
        assert run.code == code, (value, shown)
        assert name in shown, (value, shown)
        assert PASSWORD not in shown
        assert "fault of suno-cover" not in shown
        assert "unexpected" not in shown
        assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("words", "code"), [(("credits",), 5), (("generate", "x", "--no-tunnel", "--timeout", "1s"), 8)]
)
def test_a_dead_proxy_is_named(cli: Cli, words: tuple[str, ...], code: int) -> None:
    """A proxy that does not answer is named by its variable, without its password, and is not tried for ever."""
    address = f"http://user:{PASSWORD}@127.0.0.1:1"
    run = cli.run(*words, SUNO_API_KEY="key-of-nobody", SUNO_BASE_URL=SERVICE, HTTPS_PROXY=address)
    assert run.code == code, run.stderr
    assert "HTTPS_PROXY (http://127.0.0.1:1)" in run.stderr
    assert PASSWORD not in run.stdout + run.stderr


def test_the_sandbox_needs_no_proxy(cli: Cli) -> None:
    """A malformed variable costs nothing that does not use it: the sandbox's covers are saved."""
    run = cli.run("generate", "--sandbox", "x", HTTPS_PROXY="://", HTTP_PROXY="socks5://x", NO_PROXY="http://")
    assert run.code == 0, run.stderr
    assert all(Path(line).is_absolute() or (cli.cwd / line).exists() for line in run.lines)


def test_a_proxy_without_an_address_is_named_in_place_of_the_service(cli: Cli) -> None:
    """A proxy's name that does not resolve is told as that, with the variable to correct and no password."""
    proxy = f"http://me:{PASSWORD}@nosuch.invalid:3128"
    run = cli.run(
        "credits", SUNO_API_KEY="sk-test-key-1234", HTTPS_PROXY=proxy, NO_PROXY="", SUNO_BASE_URL=SERVICE
    )
    assert run.code == 5
    assert "the proxy in HTTPS_PROXY (http://nosuch.invalid:3128) cannot be found" in run.stderr
    assert "Correct HTTPS_PROXY" in run.stderr
    assert PASSWORD not in run.stderr
