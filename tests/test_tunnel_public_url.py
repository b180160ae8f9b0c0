"""An address of one's own in place of a tunnel."""

import pytest

from suno_cover_cli.base.errors import UsageError
from suno_cover_cli.tunnels.choice import PublicUrl


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://hooks.example.org", "https://hooks.example.org"),
        (" https://hooks.example.org/suno/ ", "https://hooks.example.org/suno"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
async def test_public_url(given: str, url: str) -> None:
    """An https address anywhere, and http on this machine, is used as it stands."""
    async with PublicUrl(given) as tunnel:
        await tunnel.reopen()
        assert (tunnel.url, tunnel.inspector) == (url, None)


@pytest.mark.parametrize(
    "given",
    [
        "http://hooks.example.org",
        "http://192.168.1.2:80",
        "http://localhost.example.org",
        "hooks.example.org",
        "ftp://hooks.example.org",
        "https://",
        "https://user:word@hooks.example.org",
        "https://hooks.example.org/?a=b",
        "https://hooks.example.org/#part",
        "https://hooks.example.org:99999",
        "https://hooks.example.org/\x1b[31m",
        "https://hooks.example.org/a b",
        "https://hooks.example.org/" + "x" * 3000,
        "https://[::1",
    ],
)
def test_public_url_refused(given: str) -> None:
    """Anything else is refused before any network, with the fix and without echoing what could draw or leak."""
    with pytest.raises(UsageError) as caught:
        PublicUrl(given)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert "\x1b" not in caught.value.message
    assert "word" not in caught.value.message
