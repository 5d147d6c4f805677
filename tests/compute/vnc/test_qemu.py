"""The handshake with QEMU itself."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute.vnc import screens
from compute.vnc.screen import Endpoint, ScreenOpener, ScreenUnavailable
from scloud.pki import Holder, Kind, Pki
from tests.compute.vnc.qemu import Qemu

pytestmark = pytest.mark.lab


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    """A QEMU with a screen."""
    qemu = Qemu(tmp_path)
    yield qemu
    qemu.stop()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    """Certificates for a host at 127.0.0.1, and for a gateway."""
    found = Pki(tmp_path / "pki")
    found.issue(Holder(Kind.HOST, "h1", ("127.0.0.1",)))
    found.issue(Holder(Kind.GATEWAY, "gateway"))
    return found


@pytest.fixture
def encrypted(pki: Pki, tmp_path: Path) -> Iterator[Qemu]:
    """A QEMU whose screen is encrypted as libvirt's ``vnc_tls`` does it."""
    qemu = Qemu(tmp_path, certificates=pki.directory(Kind.HOST, "h1") / "vnc")
    yield qemu
    qemu.stop()


def test_the_screen_of_qemu_opens_with_a_password_set_for_this_connection(qemu: Qemu) -> None:
    async def story() -> None:
        end = await ScreenOpener(qemu.prepare).open("vm-1")
        await end.write(b"\1")
        head = await end.readexactly(24)
        name = await end.readexactly(int.from_bytes(head[20:24], "big"))
        assert name.startswith(b"QEMU")
        end.close()

    asyncio.run(story())


def test_qemu_refuses_the_password_of_another_connection(qemu: Qemu) -> None:
    async def story() -> None:
        old = await qemu.prepare("vm-1")
        await qemu.prepare("vm-1")

        async def prepare(vm_id: str) -> Endpoint:
            return old

        with pytest.raises(ScreenUnavailable, match="password"):
            await ScreenOpener(prepare).open("vm-1")

    asyncio.run(story())


def test_a_key_event_reaches_the_guest(qemu: Qemu) -> None:
    async def story() -> None:
        end = await ScreenOpener(qemu.prepare).open("vm-1")
        await end.write(b"\1")
        await asyncio.sleep(3)  # the BIOS has to find the disk before anybody reads keys
        for down in (1, 0):
            await end.write(bytes([4, down, 0, 0]) + ord("k").to_bytes(4, "big"))
        async with asyncio.timeout(10):
            while qemu.typed() != "k":
                await asyncio.sleep(0.05)
        end.close()

    asyncio.run(story())


def test_the_end_of_qemu_is_the_end_of_the_connection(qemu: Qemu) -> None:
    async def story() -> None:
        end = await ScreenOpener(qemu.prepare).open("vm-1")
        await end.write(b"\1")
        qemu.stop()
        async with asyncio.timeout(5):
            while await end.read():
                pass

    asyncio.run(story())


def certificates(pki: Pki) -> ssl.SSLContext:
    found = screens.encryption(pki.directory(Kind.GATEWAY, "gateway"))
    assert found is not None
    return found


async def name_of(qemu: Qemu) -> bytes:
    """What the screen says of itself, through the way that our processes open it."""
    end = await ScreenOpener(qemu.prepare).open("vm-1")
    await end.write(b"\1")
    head = await end.readexactly(24)
    name = await end.readexactly(int.from_bytes(head[20:24], "big"))
    end.close()
    return name


def test_an_encrypted_screen_opens_with_certificates_of_both_sides(
    encrypted: Qemu, pki: Pki
) -> None:
    encrypted.trust(certificates(pki))
    assert asyncio.run(name_of(encrypted)).startswith(b"QEMU")


def test_qemu_lets_in_nobody_with_certificates_of_another_authority(
    encrypted: Qemu, pki: Pki, tmp_path: Path
) -> None:
    strange = Pki(tmp_path / "strange")
    strange.issue(Holder(Kind.GATEWAY, "gateway"))
    theirs = certificates(strange)
    # They believe the server all the same.
    theirs.load_verify_locations(pki.directory(Kind.GATEWAY, "gateway") / "ca.pem")
    encrypted.trust(theirs)
    with pytest.raises(ScreenUnavailable):
        asyncio.run(name_of(encrypted))
    # Nor without any.
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(pki.directory(Kind.GATEWAY, "gateway") / "ca.pem")
    encrypted.trust(nobody)
    with pytest.raises(ScreenUnavailable):
        asyncio.run(name_of(encrypted))


def test_qemu_lets_in_nobody_who_was_revoked(pki: Pki, tmp_path: Path) -> None:
    theirs = certificates(pki)
    pki.issue(Holder(Kind.GATEWAY, "another"))
    pki.revoke(Kind.GATEWAY, "gateway")
    qemu = Qemu(tmp_path, certificates=pki.directory(Kind.HOST, "h1") / "vnc")
    try:
        qemu.trust(theirs)
        with pytest.raises(ScreenUnavailable):
            asyncio.run(name_of(qemu))
        another = screens.encryption(pki.directory(Kind.GATEWAY, "another"))
        assert another is not None
        qemu.trust(another)
        assert asyncio.run(name_of(qemu)).startswith(b"QEMU")
    finally:
        qemu.stop()
