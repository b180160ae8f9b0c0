"""Which of the things that can be wrong with TLS it was: each in its own words, at once, and with what helps."""

import asyncio
import datetime as dt
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from tests.downloader_fixtures import CountingClock, make_downloader, refused
from tests.image_fixtures import names_in

ROOT = trustme.CA()
DAY = dt.timedelta(days=1)
NOW = dt.datetime.now(dt.UTC)


def with_certificate(leaf: trustme.LeafCert) -> ssl.SSLContext:
    """Return what a server needs to show a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def expired() -> ssl.SSLContext:
    """A certificate of yesterday."""
    return with_certificate(ROOT.issue_cert("127.0.0.1", not_before=NOW - 9 * DAY, not_after=NOW - DAY))


def early() -> ssl.SSLContext:
    """A certificate of tomorrow."""
    return with_certificate(ROOT.issue_cert("127.0.0.1", not_before=NOW + DAY, not_after=NOW + 9 * DAY))


def of_another() -> ssl.SSLContext:
    """The certificate of another address."""
    return with_certificate(ROOT.issue_cert("127.0.0.2", "other.example"))


def of_its_own() -> ssl.SSLContext:
    """A certificate of an authority of its own."""
    return with_certificate(trustme.CA().issue_cert("127.0.0.1"))


def of_its_own_shown() -> ssl.SSLContext:
    """The same, with that authority's certificate beside it."""
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with (
        leaf.private_key_and_cert_chain_pem.tempfile() as key_and_leaf,
        authority.cert_pem.tempfile() as root,
    ):
        both = Path(key_and_leaf).read_bytes() + Path(root).read_bytes()
        Path(key_and_leaf).write_bytes(both)
        context.load_cert_chain(key_and_leaf)
    return context


def without_its_chain() -> ssl.SSLContext:
    """A certificate of a known authority's child, which is not shown."""
    leaf = ROOT.create_child_ca().issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with leaf.private_key_pem.tempfile() as key, leaf.cert_chain_pems[0].tempfile() as first:
        context.load_cert_chain(first, key)
    return context


def too_old() -> ssl.SSLContext:
    """A server that refuses what is spoken here."""
    context = with_certificate(ROOT.issue_cert("127.0.0.1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@asynccontextmanager
async def server(context: ssl.SSLContext | None) -> AsyncIterator[str]:
    """Run a server that hangs up on whoever gets through."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if context is None:
            writer.write(b"HTTP/1.1 400 Speak HTTP\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as running:
        yield f"https://127.0.0.1:{running.sockets[0].getsockname()[1]}/cover.png"


def trust(minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """Return what a client needs to know the one authority that is known here."""
    context = ssl.create_default_context()
    context.minimum_version = minimum
    ROOT.configure_trust(context)
    return context


UNKNOWN = "is signed by an authority that is not known here, or lacks the rest of its chain"


@pytest.mark.parametrize(
    ("make", "words", "hint"),
    [
        (expired, "the certificate of 127.0.0.1 has expired", "date"),
        (early, "the certificate of 127.0.0.1 is not valid yet", "date"),
        (of_another, "the certificate of 127.0.0.1 is that of another host", "trust"),
        (of_its_own, f"the certificate of 127.0.0.1 {UNKNOWN}", "SSL_CERT_FILE"),
        (of_its_own_shown, "the certificate of 127.0.0.1 is signed by an authority of its own", "SSL_CERT_FILE"),
        (without_its_chain, f"the certificate of 127.0.0.1 {UNKNOWN}", "SSL_CERT_FILE"),
    ],
)
async def test_certificates(tmp_path: Path, make: Callable[[], ssl.SSLContext], words: str, hint: str) -> None:
    """What is wrong with a certificate is said, once, with what may help."""
    clock = CountingClock()
    async with server(make()) as url, make_downloader(clock, ssl_context=trust()) as downloader:
        with refused("image_unavailable") as info:
            await downloader.save(url, tmp_path, "cover_1")
    assert info.value.message == words
    assert hint in info.value.hint
    assert (clock.waits, names_in(tmp_path)) == ([], [])


def shake_hands(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Answer one connection as servers do that say what is wrong before they hang up."""
    connection, _ = listening.accept()
    with connection, suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True):
        pass


@pytest.mark.parametrize("says_why", [True, False])
async def test_versions_that_do_not_meet(tmp_path: Path, says_why: bool) -> None:
    """A host that speaks only versions of TLS that are refused here is named for that, or hangs up and may be."""
    strict = trust(ssl.TLSVersion.TLSv1_3)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=shake_hands, args=(listening, too_old()), daemon=True).start()
        async with server(too_old()) as silent, make_downloader(ssl_context=strict) as downloader:
            url = f"https://127.0.0.1:{listening.getsockname()[1]}/cover.png" if says_why else silent
            with refused("image_unavailable") as info:
                await downloader.save(url, tmp_path, "cover_1")
    silence = "127.0.0.1 broke off the TLS handshake; it may speak only versions that are too old"
    words = "127.0.0.1 refuses the versions of TLS that this machine uses"
    assert info.value.message == (words if says_why else silence)


async def test_no_tls_at_all(tmp_path: Path) -> None:
    """A host that answers an https address in plain HTTP is named for that."""
    async with server(None) as url, make_downloader(ssl_context=trust()) as downloader:
        with refused("image_unavailable") as info:
            await downloader.save(url, tmp_path, "cover_1")
    assert info.value.message == "127.0.0.1 does not speak TLS on this port"
