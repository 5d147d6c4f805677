"""The gateway: clients that nobody here wrote, expiry, idleness, its sudden death."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import asyncvnc
import pytest
from django.db import connection
from django.utils import timezone

from compute.actions.vnc import get_vnc_information
from compute.models import VM, VncLease
from compute.states.vms import VmStatus
from compute.vnc import gateway as gateway_module
from compute.vnc import leases, rfb
from compute.vnc.gateway import Gateway, LeaseBook
from compute.vnc.leases import VncInformation
from compute.vnc.screen import ScreenOpener
from compute.vnc.threads import in_database_thread
from scloud.audit.models import Event
from scloud.tenancy import apikeys
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import ApiKey, Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled
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
    async def dial(cls, information: VncInformation, *, source: str = "127.0.0.1") -> "Client":
        """Connect from an address of this machine, when the gateway has opened the port."""
        for _ in range(200):
            try:
                return cls(
                    *await asyncio.open_connection(
                        information.address, information.port, local_addr=(source, 0)
                    )
                )
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


async def refused(information: VncInformation) -> None:
    """Nothing listens there."""
    with pytest.raises(OSError, match=r"refused|failed"):
        await asyncio.open_connection(information.address, information.port)


async def events() -> list[str]:
    """What the time line tells: who opened the screen, and why it was closed."""

    def read() -> list[str]:
        with scopes_disabled():
            found = Event.objects.filter(kind__startswith="vm.vnc_").order_by("pk")
            return [event.data.get("reason", "opened") for event in found]

    return await in_database_thread(read)


async def in_use(client: Client) -> None:
    """What the client types comes back from the screen."""
    await client.write(KEY)
    assert await client.readexactly(len(KEY)) == KEY


def test_a_client_that_was_dropped_comes_again_with_the_same_information(
    information: VncInformation,
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            for _ in range(2):
                client = await Client.dial(information)
                await client.log_in(information.password)
                await in_use(client)
                assert (await state_of(information))[0] == "connected"
                client.writer.transport.abort()
                await until(information, "listening")
            client = await Client.dial(information)
            await client.log_in(information.password)
            await in_use(client)
            screen.close_all()
            assert await client.is_closed()
            await until(information, "listening")
            client = await Client.dial(information)
            await client.log_in(information.password)
            assert screen.sessions == 4
            ends = (await events())[1::2]
            assert set(ends[:2]) <= {"The client left.", "The connection broke."}
            assert ends[2:] == ["The VM closed its screen."]

    play(story)


def test_a_client_that_dials_as_soon_as_the_port_is_open_gets_in(
    information: VncInformation, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = LeaseBook.listening

    async def slowly(book: LeaseBook, lease_id: str) -> bool:
        await asyncio.sleep(2)
        return await listening(book, lease_id)

    monkeypatch.setattr(LeaseBook, "listening", slowly)

    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            client = await Client.dial(information)
            await client.log_in(information.password)
            assert (await state_of(information))[0] == "connected"
            await asyncio.sleep(2.5)
            await in_use(client)
            assert (await state_of(information))[0] == "connected"

    play(story)


def test_the_right_password_is_asked_for_each_time(information: VncInformation) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            client = await Client.dial(information)
            await client.log_in(information.password)
            client.writer.close()
            await until(information, "listening")
            for number in range(gateway_module.MAX_WRONG_PASSWORDS):
                stranger = await Client.dial(information)
                with pytest.raises(rfb.WrongPassword):
                    await rfb.pass_security(stranger, stranger, password=f"guess{number}")
            # Who guesses is shut out, although the client came from there.
            shut_out = await Client.dial(information)
            assert await shut_out.is_closed()
            assert screen.sessions == 1

    play(story)


def test_nobody_else_comes_by_the_port_of_a_client(information: VncInformation) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            client = await Client.dial(information)
            await client.log_in(information.password)
            for drops in (False, True):
                if drops:
                    client.writer.close()
                    await until(information, "listening")
                stranger = await Client.dial(information, source="127.0.0.9")
                # Not even the greeting.
                with contextlib.suppress(ConnectionError):
                    assert await stranger.reader.read(1) == b""
            client = await Client.dial(information)
            await client.log_in(information.password)
            assert screen.sessions == 2

    play(story)


def test_a_client_that_comes_again_takes_the_place_of_its_own_dead_connection(
    information: VncInformation,
) -> None:
    """The network may have lost it without a word, and the gateway does not know yet."""

    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            dead = await Client.dial(information)
            await dead.log_in(information.password)
            client = await Client.dial(information)
            await client.log_in(information.password)
            assert await dead.is_closed()
            await in_use(client)
            assert (await state_of(information))[0] == "connected"
            assert await events() == ["opened", "The client came again.", "opened"]
            assert list(gateway.doors) == [information.lease_id]
            assert screen.sessions == 2

    play(story)


def test_of_many_that_come_at_once_one_stays(information: VncInformation) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            await until(information, "listening")
            clients = [await Client.dial(information) for _ in range(4)]
            logins = [client.log_in(information.password) for client in clients]
            await asyncio.gather(*logins, return_exceptions=True)
            ends = await asyncio.gather(*(client.is_closed(1) for client in clients))
            assert sorted(ends) == [False, True, True, True]
            assert (await state_of(information))[0] == "connected"
            assert (await events())[-1] == "opened"
            assert screen.sessions >= 1

    play(story)


def test_those_who_open_the_port_do_not_push_out_the_client(information: VncInformation) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            client = await Client.dial(information)
            await client.log_in(information.password)
            for number in range(80):
                # The client's own machine among them.
                await Client.dial(information, source=f"127.0.0.{1 + number % 2}")
            await asyncio.sleep(0.2)
            held = gateway.doors[information.lease_id].handshakes
            assert 0 < len(held) <= gateway_module.MAX_HANDSHAKES_OF_SOURCE
            await in_use(client)

    play(story)


def test_when_the_time_is_over_the_client_stays_and_cannot_come_again(
    information: VncInformation,
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            client = await Client.dial(information)
            await client.log_in(information.password)
            door = gateway.doors[information.lease_id]
            # By the gateway's own clock: the database need not be asked.
            door.expires_at = time.monotonic()
            gateway.wake.set()
            async with asyncio.timeout(10):
                while not door.is_shut:
                    await asyncio.sleep(0.05)
            await refused(information)
            assert door.password == ""
            await in_use(client)

            def over() -> None:
                with scopes_disabled():
                    VncLease.objects.update(expires_at=timezone.now())

            await in_database_thread(over)
            client.writer.close()
            assert await until(information, "closed") == "The client left."
            assert gateway.doors == {}
            assert screen.sessions == 1

    play(story)


def test_a_login_that_began_in_time_and_ends_late_gets_nothing(
    information: VncInformation,
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            client = await Client.dial(information)
            await client.log_in(information.password)
            client.writer.close()
            await until(information, "listening")
            late = await Client.dial(information)
            assert await late.readexactly(12) == rfb.VERSION

            def over() -> None:
                with scopes_disabled():
                    VncLease.objects.update(expires_at=timezone.now())

            await in_database_thread(over)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await late.write(rfb.VERSION + b"\2")
                await late.readexactly(2)
                challenge = await late.readexactly(rfb.CHALLENGE_BYTES)
                await late.write(rfb.answer_challenge(information.password, challenge))
            assert await late.is_closed()
            assert screen.sessions == 1

    play(story)


def test_new_information_ends_the_old_but_not_who_is_connected_by_it(
    information: VncInformation, vm: VM, actor: Actor
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            client = await Client.dial(information)
            await client.log_in(information.password)
            newer = await in_database_thread(lambda: get_vnc_information(actor=actor, vm=vm))
            gateway.wake.set()
            await until(newer, "listening")
            await refused(information)
            await in_use(client)
            second = await Client.dial(newer)
            await second.log_in(newer.password)
            client.writer.close()
            assert await until(information, "closed") == "The client left."
            assert list(gateway.doors) == [newer.lease_id]
            await in_use(second)

    play(story)


def test_new_information_may_have_the_port_of_the_old(vm: VM, actor: Actor, settings: Any) -> None:
    settings.SCLOUD_VNC_GATEWAY_PORTS = "16900-16900"
    information = get_vnc_information(actor=actor, vm=vm)

    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            client = await Client.dial(information)
            await client.log_in(information.password)
            newer = await in_database_thread(lambda: get_vnc_information(actor=actor, vm=vm))
            gateway.wake.set()
            await until(newer, "listening")
            second = await Client.dial(newer)
            await second.log_in(newer.password)
            assert screen.sessions == 2

    play(story)


def test_a_vm_that_stopped_and_started_is_not_seen_with_information_of_before(
    information: VncInformation, vm: VM
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            client = await Client.dial(information)
            await client.log_in(information.password)
            client.writer.close()
            await until(information, "listening")

            def stop_and_start() -> None:
                settle(vm, VmStatus.STOPPED)
                settle(vm, VmStatus.RUNNING)

            await in_database_thread(stop_and_start)
            assert (await state_of(information))[0] == "closed"
            gateway.wake.set()
            async with asyncio.timeout(10):
                while gateway.doors:
                    await asyncio.sleep(0.05)
            await refused(information)

    play(story)


def test_a_client_comes_again_to_the_next_gateway(information: VncInformation) -> None:
    async def story() -> None:
        async with running_screen() as screen:
            async with opened(ScreenOpener(screen.prepare)):
                client = await Client.dial(information)
                await client.log_in(information.password)
            assert await client.is_closed()
            assert (await state_of(information))[0] == "listening"
            assert await events() == ["opened", "The gateway stopped."]
            await refused(information)

            def died() -> None:
                """As a gateway leaves it that was killed."""
                with scopes_disabled():
                    VncLease.objects.update(state="connected")
                leases.forget_connected()

            await in_database_thread(died)
            async with opened(ScreenOpener(screen.prepare)):
                stranger = await Client.dial(information, source="127.0.0.9")
                assert await stranger.is_closed()
                client = await Client.dial(information)
                await client.log_in(information.password)
                await in_use(client)

    play(story)


def test_a_client_comes_again_although_its_end_could_not_be_written_down_at_once(
    information: VncInformation, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, failures = LeaseBook.left, [2]

    async def told(book: LeaseBook, lease_id: str, reason: str) -> bool:
        if failures[0]:
            failures[0] -= 1
            raise OSError("no database")
        return await left(book, lease_id, reason)

    monkeypatch.setattr(LeaseBook, "left", told)

    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            client = await Client.dial(information)
            await client.log_in(information.password)
            client.writer.close()
            async with asyncio.timeout(10):
                while failures[0]:
                    gateway.wake.set()
                    await asyncio.sleep(0.05)
            gateway.wake.set()
            await until(information, "listening")
            client = await Client.dial(information)
            await client.log_in(information.password)
            assert screen.sessions == 2

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


def test_guessing_shuts_out_its_source_and_nobody_else(information: VncInformation) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            for number in range(gateway_module.MAX_WRONG_PASSWORDS):
                stranger = await Client.dial(information, source="127.0.0.9")
                with pytest.raises(rfb.WrongPassword):
                    await rfb.pass_security(stranger, stranger, password=f"guess{number}")
            shut_out = await Client.dial(information, source="127.0.0.9")
            assert await shut_out.is_closed()
            assert (await state_of(information))[0] == "listening"
            client = await Client.dial(information)
            await client.log_in(information.password)
            assert screen.sessions == 1

    play(story)


@pytest.mark.parametrize("sources", [1, 40])
def test_those_who_open_the_port_and_say_nothing_do_not_keep_the_client_out(
    information: VncInformation, sources: int
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            for number in range(160):
                await Client.dial(information, source=f"127.0.1.{1 + number % sources}")
            door = gateway.doors[information.lease_id]
            await asyncio.sleep(0.2)
            held = Counter(door.handshakes.values())
            assert 0 < held.total() <= gateway_module.MAX_HANDSHAKES
            assert max(held.values()) <= gateway_module.MAX_HANDSHAKES_OF_SOURCE
            # At once: none of the silent ones has run into its time limit yet.
            client = await Client.dial(information)
            await client.log_in(information.password)
            assert screen.sessions == 1

    play(story)


def test_a_client_that_is_typing_its_password_is_not_pushed_out_by_others(
    information: VncInformation,
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            client = await Client.dial(information)
            assert await client.readexactly(12) == rfb.VERSION
            for _ in range(100):
                await Client.dial(information, source="127.0.0.9")
            await client.write(rfb.VERSION + b"\2")
            assert await client.readexactly(2) == b"\1\2"
            challenge = await client.readexactly(rfb.CHALLENGE_BYTES)
            await client.write(rfb.answer_challenge(information.password, challenge))
            assert await client.readexactly(4) == bytes(4)
            await until(information, "connected")
            assert screen.sessions <= 1

    play(story)


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_one_site_is_one_source(peer: str, source: str) -> None:
    assert leases.source_of(peer) == source


def lose_role(actor: Actor) -> None:
    User.objects.filter(pk=actor.user.pk).update(role=Role.READONLY)  # type: ignore[union-attr]  # a person


def lose_account(actor: Actor) -> None:
    User.objects.filter(pk=actor.user.pk).update(is_active=False)  # type: ignore[union-attr]  # a person


def lose_tenant(actor: Actor) -> None:
    Tenant.objects.filter(pk=actor.tenant.pk).update(is_active=False)  # type: ignore[union-attr]  # has one


def move_away(actor: Actor) -> None:
    elsewhere = Tenant.objects.create(name="Elsewhere")
    User.objects.filter(pk=actor.user.pk).update(tenant=elsewhere)  # type: ignore[union-attr]  # a person


def revoke_key(actor: Actor) -> None:
    ApiKey.objects.update(revoked_at=timezone.now())


def narrow_key(actor: Actor) -> None:
    ApiKey.objects.update(scopes=["compute.view_vm"])


@pytest.mark.parametrize(
    "loss", [lose_role, lose_account, lose_tenant, move_away, revoke_key, narrow_key]
)
def test_an_open_session_ends_with_the_right_to_it(
    vm: VM, actor: Actor, loss: Callable[[Actor], None]
) -> None:
    assert actor.user is not None
    with scope(tenant=actor.tenant):
        key, _secret = apikeys.issue(user=actor.user, name="program")
    by_key = replace(actor, api_key=key, via="api")
    information = get_vnc_information(actor=by_key, vm=vm)

    def lose() -> None:
        with scopes_disabled():
            loss(actor)

    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)) as gateway:
            client = await Client.dial(information)
            await client.log_in(information.password)
            await until(information, "connected")
            # What concerns others is not looked at, what concerns the user is.
            await in_database_thread(lose)
            gateway.hear("scloud_events", {"resource_id": str(actor.user.pk)})  # type: ignore[union-attr]  # a person
            assert await client.is_closed()
            assert await until(information, "closed") == "The right to this screen has ended."

    play(story)


def test_a_session_whose_right_cannot_be_confirmed_for_long_ends(
    information: VncInformation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away for a moment does not end it."""
    monkeypatch.setattr(gateway_module, "CHECK_INTERVAL_S", 0.05)
    away, checks = [False], [0]
    ending = LeaseBook.ending

    async def asked(book: LeaseBook, lease_id: str) -> str:
        if away[0]:
            checks[0] += 1
            raise OSError("no database")
        return await ending(book, lease_id)

    monkeypatch.setattr(LeaseBook, "ending", asked)

    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            client = await Client.dial(information)
            await client.log_in(information.password)
            await until(information, "connected")
            away[0] = True
            assert await client.is_closed()
            assert checks[0] == gateway_module.CHECK_FAILURES_ALLOWED
            assert await until(information, "closed") == "The right to this screen is unconfirmed."

    play(story)


def test_failed_checks_with_a_good_one_between_them_do_not_add_up(
    information: VncInformation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "CHECK_INTERVAL_S", 0.01)
    checks = [0]
    ending = LeaseBook.ending

    async def asked(book: LeaseBook, lease_id: str) -> str:
        checks[0] += 1
        # One short of what ends a session, then one that succeeds, again and again.
        if checks[0] % gateway_module.CHECK_FAILURES_ALLOWED:
            raise OSError("no database")
        return await ending(book, lease_id)

    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            client = await Client.dial(information)
            await client.log_in(information.password)
            await until(information, "connected")
            monkeypatch.setattr(LeaseBook, "ending", asked)
            async with asyncio.timeout(20):
                while checks[0] < 4 * gateway_module.CHECK_FAILURES_ALLOWED:
                    assert await state_of(information) == ("connected", "")
                    await asyncio.sleep(0.02)

    play(story)


def test_a_lease_is_worth_nothing_once_the_right_is_gone(
    information: VncInformation, actor: Actor
) -> None:
    async def story() -> None:
        async with running_screen() as screen, opened(ScreenOpener(screen.prepare)):
            await until(information, "listening")

            def lose() -> None:
                with scopes_disabled():
                    lose_role(actor)

            await in_database_thread(lose)
            client = await Client.dial(information)
            await rfb.pass_security(client, client, password=information.password)
            assert await client.is_closed()
            assert await until(information, "closed") == "The right to this screen has ended."
            assert screen.sessions == 0

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


@pytest.mark.parametrize("ticks", range(6))
def test_a_gateway_that_is_stopped_while_news_arrive_stops(ticks: int) -> None:
    """Whatever the event loop does first."""

    class EmptyBook(LeaseBook):
        async def waiting(self) -> list[VncLease]:
            return []

    async def story() -> None:
        async with running_screen() as screen:
            gateway = Gateway(EmptyBook(), ScreenOpener(screen.prepare))
            task = asyncio.create_task(gateway.run())
            await asyncio.sleep(0.05)
            gateway.wake.set()
            for _ in range(ticks):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=1)
            task.cancel()
            assert done == {task}

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
            await until(information, "listening")
            async with asyncvnc.connect(
                information.address, information.port, password=information.password
            ) as client:
                client.keyboard.write(" again")
                await client.drain()
                await asyncio.to_thread(qemu.wait_typed, "by asyncvnc again")

    try:
        play(story)
    finally:
        qemu.stop()
