"""The gateway: clients that nobody here wrote, expiry, idleness, its sudden death."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import asyncvnc
import pytest
from django.db import connection
from django.utils import timezone

from compute.models import VM, VncLease
from compute.states.vms import VmStatus
from compute.vnc import gateway as gateway_module
from compute.vnc import rfb
from compute.vnc.actions import get_vnc_information
from compute.vnc.gateway import Gateway, LeaseBook
from compute.vnc.leases import VncInformation
from compute.vnc.screen import ScreenOpener
from compute.vnc.threads import in_database_thread
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import settle
from tests.compute.vnc.screens import SERVER_INIT, running_screen

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unpooled")]
KEY = bytes([4, 1, 0, 0, 0, 0, 0, 65])
REQUEST = bytes([3, 1]) + bytes(8)


class Client:
    """A VNC client with nothing but the protocol."""

    dialled: ClassVar[list["Client"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.dialled.append(self)

    @classmethod
    async def dial(cls, information: VncInformation) -> "Client":
        """Connect, when the gateway has opened the port."""
        for _ in range(200):
            try:
                return cls(*await asyncio.open_connection(information.address, information.port))
            except OSError:
                await asyncio.sleep(0.05)
        raise AssertionError("the port was never opened")

    async def readexactly(self, n: int, /) -> bytes:
        return await self.reader.readexactly(n)

    async def write(self, data: bytes, /) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def log_in(self, password: str) -> None:
        await rfb.pass_security(self, self, password=password)
        await self.write(b"\1")
        assert await self.readexactly(len(SERVER_INIT)) == SERVER_INIT

    async def is_closed(self, timeout_s: float = 5) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:  # an OSError too, so it has to come first
            return False
        except OSError:
            return True
        return True


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story, and hang up afterwards."""

    async def run() -> None:
        try:
            await story()
        finally:
            while Client.dialled:
                writer = Client.dialled.pop().writer
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    asyncio.run(run())


@contextlib.asynccontextmanager
async def opened(opener: ScreenOpener, **options: Any) -> Any:
    """A gateway that works in this loop."""
    gateway = Gateway(LeaseBook(), opener, **options)
    task = asyncio.create_task(gateway.run())
    try:
        yield gateway
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def state_of(information: VncInformation) -> tuple[str, str]:
    """State and reason in the book."""

    def read() -> tuple[str, str]:
        with scopes_disabled():
            lease = VncLease.objects.get(pk=information.lease_id)
        return lease.state, lease.close_reason

    return await in_database_thread(read)


async def until(information: VncInformation, state: str) -> str:
    """Wait for a state; return the reason."""
    async with asyncio.timeout(10):
        while (found := await state_of(information))[0] != state:
            await asyncio.sleep(0.05)
    return found[1]


@pytest.fixture
def information(vm: VM, actor: Actor) -> VncInformation:
    """What the person was given."""
    return get_vnc_information(actor=actor, vm=vm)


def test_one_client_gets_in_and_the_port_is_shut_behind_it(information: VncInformation) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            client = await Client.dial(information)
            await client.log_in(information.password)
            await client.write(KEY)
            assert await client.readexactly(len(KEY)) == KEY
            assert (await state_of(information))[0] == "connected"
            with pytest.raises(OSError, match=r"refused|failed"):
                await asyncio.open_connection(information.address, information.port)
            client.writer.close()
            assert await until(information, "closed") == "The client left."

    play(story)


def test_a_client_with_a_wrong_password_is_told_and_the_right_one_still_gets_in(
    information: VncInformation,
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            stranger = await Client.dial(information)
            with pytest.raises(rfb.WrongPassword, match="password is wrong"):
                await rfb.pass_security(stranger, stranger, password="guess001")
            client = await Client.dial(information)
            await client.log_in(information.password)
            assert screen.sessions == 1

    play(story)


def test_guessing_closes_the_port(information: VncInformation) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            for number in range(gateway_module.MAX_WRONG_PASSWORDS):
                stranger = await Client.dial(information)
                with pytest.raises(rfb.WrongPassword):
                    await rfb.pass_security(stranger, stranger, password=f"guess{number}")
            assert await until(information, "closed") == "Too many wrong passwords."
            with pytest.raises(OSError, match=r"refused|failed"):
                await asyncio.open_connection(information.address, information.port)
            assert screen.sessions == 0

    play(story)


def test_those_who_open_the_port_and_say_nothing_do_not_keep_the_client_out(
    information: VncInformation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "CLIENT_HANDSHAKE_TIMEOUT_S", 0.5)

    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            silent = [await Client.dial(information) for _ in range(10)]
            await asyncio.sleep(0.8)
            client = await Client.dial(information)
            await client.log_in(information.password)
            assert all([await one.is_closed() for one in silent])

    play(story)


def test_a_port_that_nobody_used_in_time_is_shut(information: VncInformation) -> None:
    with scopes_disabled():
        VncLease.objects.update(expires_at=timezone.now() + timedelta(seconds=2))

    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            waiting = await Client.dial(information)
            async with asyncio.timeout(10):
                while gateway.doors:
                    await asyncio.sleep(0.05)
            assert await waiting.is_closed()
            with pytest.raises(OSError, match=r"refused|failed"):
                await asyncio.open_connection(information.address, information.port)

    play(story)


def test_a_session_without_input_is_cut_although_the_viewer_asks_for_updates(
    information: VncInformation,
) -> None:
    async def story() -> None:
        async with (
            running_screen() as screen,
            opened(ScreenOpener(screen.prepare), idle_timeout_s=1.0),
        ):
            client = await Client.dial(information)
            await client.log_in(information.password)
            started = time.monotonic()
            for _ in range(8):  # somebody types for a while
                await client.write(KEY)
                await asyncio.sleep(0.2)
            assert not await client.is_closed(timeout_s=0.01)
            while time.monotonic() - started < 10 and not client.reader.at_eof():
                client.writer.write(REQUEST)
                await client.is_closed(timeout_s=0.1)
            assert 2 < time.monotonic() - started < 6
            assert "Nobody typed" in await until(information, "closed")

    play(story)


def test_the_client_is_cut_when_the_vm_stops(information: VncInformation, vm: VM) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            client = await Client.dial(information)
            await client.log_in(information.password)
            await in_database_thread(lambda: settle(vm, VmStatus.STOPPED))
            gateway.hear("scloud_events", {"kind": "vm.stopped", "resource_id": vm.pk})
            assert await client.is_closed()
            assert await until(information, "closed") == "The VM is not running any more."

    play(story)


def test_a_port_that_is_taken_on_the_machine_ends_the_lease_with_the_reason(
    information: VncInformation,
) -> None:
    async def story() -> None:
        with socket.create_server((information.address, information.port)):
            async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
                assert "could not be opened" in await until(information, "closed")

    play(story)


def test_a_newer_lease_of_the_vm_shuts_the_port_of_the_older(
    information: VncInformation, vm: VM, actor: Actor
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            await until(information, "listening")
            newer = await in_database_thread(lambda: get_vnc_information(actor=actor, vm=vm))
            gateway.wake.set()
            await until(newer, "listening")
            assert list(gateway.doors) == [newer.lease_id]

    play(story)


# -- the process ----------------------------------------------------------------------------------


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start gateway processes on the test database; end them afterwards."""
    started: list[subprocess.Popen[bytes]] = []
    settings = connection.settings_dict
    url = "postgres://{USER}@{HOST}:{PORT}/{NAME}".format(**settings)

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "compute.vnc", "gateway"],
            env={**os.environ, "DATABASE_URL": url},
        )
        started.append(process)
        return process

    yield start
    for one in started:
        if one.poll() is None:
            one.terminate()
            one.wait(15)


def test_after_the_sudden_death_of_the_gateway_nothing_is_open_and_the_next_one_opens_it_again(
    information: VncInformation, process: Callable[[], subprocess.Popen[bytes]]
) -> None:
    async def story() -> None:
        first = process()
        await Client.dial(information)
        second = process()
        await asyncio.sleep(1)
        first.send_signal(signal.SIGKILL)
        first.wait(5)
        # The other one, which waited for its turn, takes over the lease that is still good.
        client = await Client.dial(information)
        assert await client.readexactly(12) == rfb.VERSION
        second.send_signal(signal.SIGKILL)
        second.wait(5)
        assert await client.is_closed()
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection(information.address, information.port)

    play(story)


def test_a_gateway_that_is_told_to_stop_stops(
    information: VncInformation, process: Callable[[], subprocess.Popen[bytes]]
) -> None:
    async def story() -> None:
        one = process()
        client = await Client.dial(information)
        one.terminate()
        assert await client.is_closed()
        assert one.wait(10) == 0

    play(story)


def test_the_gateway_hears_of_a_lease_at_once(
    vm: VM, actor: Actor, process: Callable[[], subprocess.Popen[bytes]]
) -> None:
    async def story() -> None:
        process()
        first = await in_database_thread(lambda: get_vnc_information(actor=actor, vm=vm))
        await until(first, "listening")
        delays = []
        for _ in range(3):
            await asyncio.sleep(0.3)
            started = time.monotonic()
            lease = await in_database_thread(lambda: get_vnc_information(actor=actor, vm=vm))
            async with asyncio.timeout(10):
                while (await state_of(lease))[0] != "listening":
                    await asyncio.sleep(0.02)
            delays.append(time.monotonic() - started)
        # By looking every two seconds alone, three in a row would not be this quick.
        assert sum(delays) < 3

    play(story)


@pytest.mark.lab
# How asyncvnc calls its cipher is going out of use.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_a_client_that_nobody_here_wrote_types_into_qemu(
    information: VncInformation, tmp_path: Path
) -> None:
    from tests.compute.vnc.qemu import Qemu

    qemu = Qemu(tmp_path)

    async def story() -> None:
        async with opened(ScreenOpener(qemu.prepare)):
            await until(information, "listening")
            await asyncio.sleep(3)  # the BIOS has to find the disk before anybody reads keys
            async with asyncvnc.connect(
                information.address, information.port, password=information.password
            ) as client:
                assert client.video.name.startswith("QEMU")
                picture = await client.screenshot()
                assert picture.any()
                client.keyboard.write("by asyncvnc")
                await client.drain()
                await asyncio.to_thread(qemu.wait_typed, "by asyncvnc")
            await until(information, "closed")

    try:
        play(story)
    finally:
        qemu.stop()
