"""The handshake with QEMU itself."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute.vnc.screen import Endpoint, ScreenOpener, ScreenUnavailable
from tests.compute.vnc.qemu import Qemu

pytestmark = pytest.mark.lab


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    """A QEMU with a screen."""
    qemu = Qemu(tmp_path)
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
