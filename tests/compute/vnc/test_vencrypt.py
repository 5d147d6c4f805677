"""The way from our processes to a screen by TLS: who is let in, and whom we believe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compute.vnc import rfb, screens
from compute.vnc.screen import Endpoint, ScreenOpener, ScreenUnavailable
from scloud.pki import Holder, Kind, Pki
from tests.compute.box import Box
from tests.compute.vnc.screens import SERVER_INIT, running_screen

PASSWORD = "secret99"
ADDRESS = "127.0.0.1"


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    found = Pki(tmp_path / "pki")
    found.issue(Holder(Kind.HOST, "h1", (ADDRESS,)))
    found.issue(Holder(Kind.GATEWAY, "gateway"))
    return found


def context_of(pki: Pki, kind: Kind = Kind.GATEWAY, name: str = "gateway") -> ssl.SSLContext:
    found = screens.encryption(pki.directory(kind, name))
    assert found is not None
    return found


class Server(threading.Thread):
    """Speaks VeNCrypt as QEMU does with ``vnc_tls_x509_verify``, step by step, to one client."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(directory / "server-cert.pem", directory / "server-key.pem")
        self._tls.load_verify_locations(directory / "ca-cert.pem")
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._listening = socket.create_server((ADDRESS, 0))
        self._listening.settimeout(10)
        self.port = int(self._listening.getsockname()[1])
        self.version = b"\x00\x02"
        self.taken = b"\x00"
        self.subtypes = [258, rfb.X509_VNC]
        self.begins = b"\x01"
        # What the client proved, and what it sent on the wire before TLS.
        self.answer = b""
        self.in_the_open = b""
        self.cipher: Any = None
        self.error = ""

    def run(self) -> None:
        """Serve one client."""
        try:
            with self._listening, self._listening.accept()[0] as link:
                link.settimeout(10)
                self._talk(link)
        except (OSError, EOFError) as error:
            self.error = repr(error)

    def _read(self, link: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = link.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _open(self, link: socket.socket, count: int) -> None:
        self.in_the_open += self._read(link, count)

    def _talk(self, link: socket.socket) -> None:
        link.sendall(rfb.VERSION)
        self._open(link, 12)
        link.sendall(bytes([1, rfb.SECURITY_VENCRYPT]))
        self._open(link, 1)
        link.sendall(self.version)
        self._open(link, 2)
        kinds = b"".join(one.to_bytes(4, "big") for one in self.subtypes)
        link.sendall(self.taken + bytes([len(self.subtypes)]) + kinds)
        self._open(link, 4)
        link.sendall(self.begins)
        with self._tls.wrap_socket(link, server_side=True) as inside:
            self.cipher = inside.cipher()
            challenge = os.urandom(16)
            inside.sendall(challenge)
            self.answer = self._read(inside, 16)
            if self.answer != rfb.answer_challenge(PASSWORD, challenge):
                inside.sendall((1).to_bytes(4, "big") + (2).to_bytes(4, "big") + b"no")
                return
            inside.sendall(bytes(4))
            self._read(inside, 1)
            inside.sendall(SERVER_INIT)
            while data := inside.recv(65536):
                inside.sendall(data)


@contextlib.contextmanager
def serving(directory: Path, **changes: Any) -> Iterator[Server]:
    server = Server(directory)
    for name, value in changes.items():
        setattr(server, name, value)
    server.start()
    yield server
    server.join(15)
    assert not server.is_alive()


def opened(
    port: int,
    tls: ssl.SSLContext | None,
    *,
    password: str = PASSWORD,
    plain_allowed: bool = False,
    then: Callable[[Any], Any] | None = None,
) -> None:
    """Open the screen as the proxy and the gateway do, and close it again."""

    async def prepare(vm_id: str) -> Endpoint:
        return Endpoint(
            address=ADDRESS, port=port, password=password, tls=tls, plain_allowed=plain_allowed
        )

    async def story() -> None:
        end = await ScreenOpener(prepare).open("vm-1")
        try:
            if then is not None:
                await then(end)
        finally:
            end.close()

    asyncio.run(story())


def screen_of(pki: Pki, name: str = "h1") -> Path:
    return pki.directory(Kind.HOST, name) / "vnc"


def test_a_screen_is_opened_by_tls_and_proves_its_password_inside(pki: Pki) -> None:
    async def talk(end: Any) -> None:
        await end.write(b"\1")
        assert await end.readexactly(len(SERVER_INIT)) == SERVER_INIT
        # More than TLS puts into one record, and than a connection holds back.
        blob = os.urandom(300_000)
        writing = asyncio.create_task(end.write(blob))
        assert await end.readexactly(len(blob)) == blob
        await writing

    with serving(screen_of(pki)) as server:
        opened(server.port, context_of(pki), then=talk)
    assert server.cipher is not None
    assert server.in_the_open == rfb.VERSION + bytes([19, 0, 2]) + (261).to_bytes(4, "big")
    assert server.answer not in server.in_the_open


def test_uvloop_does_the_same(pki: Pki) -> None:
    import uvloop

    async def story(port: int) -> None:
        async def prepare(vm_id: str) -> Endpoint:
            return Endpoint(
                address=ADDRESS,
                port=port,
                password=PASSWORD,
                tls=context_of(pki),
                plain_allowed=False,
            )

        end = await ScreenOpener(prepare).open("vm-1")
        await end.write(b"\1")
        assert await end.readexactly(len(SERVER_INIT)) == SERVER_INIT
        blob = os.urandom(300_000)
        writing = asyncio.create_task(end.write(blob))
        assert await end.readexactly(len(blob)) == blob
        await writing
        end.close()

    with serving(screen_of(pki)) as server:
        uvloop.run(story(server.port))
    assert server.cipher is not None


def test_a_wrong_password_is_one_inside_tls_too(pki: Pki) -> None:
    with serving(screen_of(pki)) as server, pytest.raises(rfb.WrongPassword, match="no"):
        asyncio.run(
            ScreenOpener.connect(
                Endpoint(address=ADDRESS, port=server.port, password="wrong", tls=context_of(pki))
            )
        )


def test_without_a_certificate_the_server_lets_nobody_in(pki: Pki) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(pki.directory(Kind.GATEWAY, "gateway") / "ca.pem")
    with serving(screen_of(pki)) as server, pytest.raises(ScreenUnavailable):
        opened(server.port, nobody)
    assert server.answer == b""
    assert "CERTIFICATE" in server.error.upper()


def test_a_certificate_of_another_authority_is_not_believed_by_either_side(
    pki: Pki, tmp_path: Path
) -> None:
    strange = Pki(tmp_path / "strange")
    strange.issue(Holder(Kind.HOST, "h1", (ADDRESS,)))
    strange.issue(Holder(Kind.GATEWAY, "gateway"))
    # Theirs shows itself to our server, which it is made to believe.
    theirs = context_of(strange)
    theirs.load_verify_locations(pki.directory(Kind.GATEWAY, "gateway") / "ca.pem")
    with serving(screen_of(pki)) as server, pytest.raises(ScreenUnavailable):
        opened(server.port, theirs)
    assert server.answer == b""
    # And a server of theirs to us.
    with serving(screen_of(strange)) as server, pytest.raises(ScreenUnavailable):
        opened(server.port, context_of(pki))
    assert server.answer == b""


def test_what_is_not_this_hosts_screen_gets_no_password(pki: Pki) -> None:
    pki.issue(Holder(Kind.HOST, "h2", ("192.0.2.12",)))
    for directory in (
        # Another host, that is of the same authority.
        screen_of(pki, "h2"),
        # A gateway: it has a certificate of the same authority too, that is no server's.
        _as_server(pki),
    ):
        with serving(directory) as server, pytest.raises(ScreenUnavailable):
            opened(server.port, context_of(pki))
        assert server.answer == b""
        assert server.in_the_open != b""


def _as_server(pki: Pki) -> Path:
    source, made = pki.directory(Kind.GATEWAY, "gateway"), pki.root / "posing"
    made.mkdir()
    (made / "ca-cert.pem").write_bytes((screen_of(pki) / "ca-cert.pem").read_bytes())
    for name in ("cert.pem", "key.pem"):
        (made / f"server-{name}").write_bytes((source / name).read_bytes())
    return made


def test_a_host_that_was_revoked_gets_no_password(pki: Pki) -> None:
    kept = pki.root / "kept"
    kept.mkdir()
    for file in screen_of(pki).iterdir():
        (kept / file.name).write_bytes(file.read_bytes())
    with serving(kept) as server:
        opened(server.port, context_of(pki))
    pki.revoke(Kind.HOST, "h1")
    with serving(kept) as server, pytest.raises(ScreenUnavailable):
        opened(server.port, context_of(pki))
    assert server.answer == b""


@pytest.mark.parametrize(
    "changes",
    [
        {"version": b"\x00\x01"},
        {"taken": b"\xff"},
        {"subtypes": []},
        # TLS without certificates, and certificates without a password.
        {"subtypes": [258, 260]},
        {"begins": b"\x00"},
        # What a stranger on the way puts before TLS must not be taken for the screen's word.
        {"begins": b"\x01" + bytes(16)},
    ],
)
def test_a_server_that_offers_less_is_not_used(pki: Pki, changes: dict[str, Any]) -> None:
    with serving(screen_of(pki), **changes) as server, pytest.raises(ScreenUnavailable):
        opened(server.port, context_of(pki), plain_allowed=True)
    assert server.answer == b""


def test_a_plain_screen_is_opened_only_where_that_is_allowed(pki: Pki) -> None:
    async def story(*, plain_allowed: bool) -> int:
        async with running_screen() as screen:

            async def prepare(vm_id: str) -> Endpoint:
                plain = await screen.prepare(vm_id)
                return Endpoint(
                    address=plain.address,
                    port=plain.port,
                    password=plain.password,
                    tls=context_of(pki),
                    plain_allowed=plain_allowed,
                )

            end = await ScreenOpener(prepare).open("vm-1")
            await end.write(b"\1")
            await end.readexactly(len(SERVER_INIT))
            end.close()
            return screen.sessions

    assert asyncio.run(story(plain_allowed=True)) == 1
    with pytest.raises(ScreenUnavailable):
        asyncio.run(story(plain_allowed=False))


def test_who_has_no_certificate_does_not_open_an_encrypted_screen(pki: Pki) -> None:
    with serving(screen_of(pki)) as server, pytest.raises(ScreenUnavailable):
        opened(server.port, None, plain_allowed=True)
    assert server.in_the_open == rfb.VERSION


# -- with the settings ---------------------------------------------------------------------------


def test_renewed_certificates_count_at_the_next_screen(pki: Pki) -> None:
    link = pki.directory(Kind.GATEWAY, "gateway")
    assert screens.encryption(link) is not None
    pki.renew(Kind.GATEWAY, "gateway")
    context = screens.encryption(link)
    assert context is not None
    with serving(screen_of(pki)) as server:
        opened(server.port, context)
    (link / "key.pem").write_text("junk")
    assert screens.encryption(link) is None
    pki.revoke(Kind.GATEWAY, "gateway")
    assert screens.encryption(link) is None


def test_a_screen_that_has_to_be_encrypted_is_not_even_asked_for_without_certificates(
    box: Box, settings: Any, pki: Pki
) -> None:
    vm = box.vm()
    settings.SCLOUD_GATEWAY_CERTIFICATES = pki.root / "missing"
    settings.SCLOUD_VNC_TLS = "required"
    with pytest.raises(ScreenUnavailable):
        screens.prepare(vm.pk)
    settings.SCLOUD_VNC_TLS = "preferred"
    plain = screens.prepare(vm.pk)
    assert (plain.tls, plain.plain_allowed) == (None, True)
    settings.SCLOUD_GATEWAY_CERTIFICATES = pki.directory(Kind.GATEWAY, "gateway")
    settings.SCLOUD_VNC_TLS = "required"
    found = screens.prepare(vm.pk)
    assert found.tls is not None
    assert found.plain_allowed is False
    assert found.password not in repr(found)
