"""Sessions through the whole proxy: ticket, cookies, websocket, rights while it is open."""

import contextlib
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client
from django.utils import timezone
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from compute.models import VM, VncTicket
from compute.states.vms import VmStatus
from compute.vnc import proxy
from scloud.audit.events import emit
from scloud.audit.models import Event
from scloud.tenancy.models import SecondFactor, Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scopes_disabled
from scloud.tenancy.sessions import SEEN_KEY, STARTED_KEY
from tests.compute.factories import Platform, settle
from tests.compute.vnc.conftest import Site, log_in

KEY = bytes([4, 1, 0, 0, 0, 0, 0, 65])


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait until something holds."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def recheck(site: Site) -> None:
    """Have all sessions checked now instead of in fifteen seconds."""
    site.on_loop(site.application.check_all)


def closing(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Read until the proxy closes; return code and reason."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(10)
    return socket.close_code, socket.close_reason


def kinds_of(vm: VM) -> list[str]:
    """The events about the VM's screen."""
    with scopes_disabled():
        return list(
            Event.objects.filter(resource_id=vm.pk, kind__startswith="vm.vnc_")
            .order_by("pk")
            .values_list("kind", flat=True)
        )


def test_a_browser_with_a_ticket_sees_the_screen_once(
    site: Site, console: Client, ticket_path: Callable[[], str], vm: VM
) -> None:
    path = ticket_path()
    socket = site.dial(console, path)
    log_in(socket)
    socket.send(KEY)
    assert socket.recv(5) == KEY
    with pytest.raises(InvalidStatus) as refusal:
        site.dial(console, path)
    assert refusal.value.response.status_code == 403
    socket.close()
    wait_for(lambda: kinds_of(vm) == ["vm.vnc_opened", "vm.vnc_closed"])
    with scopes_disabled():
        ticket = VncTicket.objects.get()
    assert ticket.closed_at is not None
    assert ticket.close_code == 1000


def test_every_connection_has_a_password_of_its_own(
    site: Site, console: Client, ticket_path: Callable[[], str]
) -> None:
    passwords = set()
    for _ in range(2):
        log_in(site.dial(console, ticket_path()))
        passwords.add(site.screen.password)
    assert len(passwords) == 2


def test_somebody_else_cannot_use_the_ticket(
    site: Site, ticket_path: Callable[[], str], make_user: Callable[..., User], user: User
) -> None:
    path = ticket_path()
    colleague = Client()
    colleague.force_login(make_user(user.tenant, Role.ADMINISTRATOR))
    same_user_elsewhere = Client()
    same_user_elsewhere.force_login(user)
    for browser in (Client(), colleague, same_user_elsewhere):
        with pytest.raises(InvalidStatus) as refusal:
            site.dial(browser, path)
        assert refusal.value.response.status_code == 403
    assert site.screen.sessions == 0


def test_a_page_of_another_site_cannot_use_the_ticket(
    site: Site, console: Client, ticket_path: Callable[[], str]
) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        site.dial(console, ticket_path(), origin="http://evil.example")
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize(
    "path",
    ["/", "/vnc/", "/vnc/vm-000000000", "/vnc/vm-000000000?ticket=", "/vnc/../x?ticket=a",
     "/vnc/vm-000000000?ticket=a&ticket=b", "/vnc/%00?ticket=a", "/vnc/vm-1?ticket=%ff%fe"],
)  # fmt: skip
def test_hostile_addresses_are_refused(site: Site, console: Client, path: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        site.dial(console, path)
    assert refusal.value.response.status_code == 403


def test_signing_out_ends_the_session(
    site: Site, console: Client, ticket_path: Callable[[], str]
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    console.logout()
    recheck(site)
    assert closing(socket) == (proxy.CLOSED_RIGHTS, "You were signed out.")


def test_a_changed_password_ends_the_session(
    site: Site, console: Client, ticket_path: Callable[[], str], user: User
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    user.set_password("another good one 7")
    user.save()
    recheck(site)
    assert closing(socket)[0] == proxy.CLOSED_RIGHTS


@pytest.mark.parametrize("change", [{"role": Role.READONLY}, {"is_active": False}])
def test_a_right_that_was_taken_away_ends_the_session(
    site: Site,
    console: Client,
    ticket_path: Callable[[], str],
    user: User,
    change: dict[str, object],
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    User.objects.filter(pk=user.pk).update(**change)
    recheck(site)
    assert closing(socket)[0] == proxy.CLOSED_RIGHTS


def test_a_second_factor_that_has_to_be_set_up_first_ends_the_session(
    site: Site, console: Client, ticket_path: Callable[[], str], user: User
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    Tenant.objects.filter(pk=user.tenant_id).update(second_factor_required=True)
    recheck(site)
    said = "A second factor has to be set up first."
    assert closing(socket) == (proxy.CLOSED_RIGHTS, said)


def test_a_session_that_began_without_the_code_carries_no_screen(
    site: Site, console: Client, ticket_path: Callable[[], str], user: User
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    SecondFactor.objects.create(user=user, sealed_secret=b"")
    recheck(site)
    assert closing(socket) == (proxy.CLOSED_RIGHTS, "You were signed out.")


def test_an_event_that_the_vm_stopped_ends_the_session_at_once(
    site: Site, console: Client, ticket_path: Callable[[], str], vm: VM
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    wait_for(lambda: kinds_of(vm) == ["vm.vnc_opened"])
    settle(vm, VmStatus.STOPPED)
    with scopes_disabled():
        emit(tenant_id=vm.tenant_id, kind="vm.stopped", resource_kind="vm", resource_id=vm.pk)
    started = time.monotonic()
    assert closing(socket)[0] == proxy.CLOSED_NOT_RUNNING
    assert time.monotonic() - started < 5


def test_a_vm_on_another_host_ends_the_session(
    site: Site, console: Client, ticket_path: Callable[[], str], vm: VM, platform: Platform
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    other = next(host for host in platform.hosts if host.pk != vm.host_id)
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(host=other)
    recheck(site)
    assert closing(socket)[0] == proxy.CLOSED_MOVED


def test_a_ticket_for_a_vm_that_stopped_meanwhile_opens_nothing(
    site: Site, console: Client, ticket_path: Callable[[], str], vm: VM
) -> None:
    path = ticket_path()
    settle(vm, VmStatus.STOPPED)
    with pytest.raises(InvalidStatus):
        site.dial(console, path)
    assert site.screen.sessions == 0


def seen_at(console: Client) -> float:
    """When the console last noted that somebody is there."""
    return float(SessionStore(console.session.session_key)[SEEN_KEY])


def look_idle(console: Client, minutes: int) -> None:
    """Pretend that nobody was there for a while."""
    store = SessionStore(console.session.session_key)
    store[SEEN_KEY] = (timezone.now() - timedelta(minutes=minutes)).timestamp()
    store.save()


def test_typing_into_the_screen_keeps_the_session_signed_in(
    site: Site, console: Client, ticket_path: Callable[[], str]
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    look_idle(console, minutes=14)
    socket.send(KEY)
    assert socket.recv(5) == KEY
    recheck(site)
    wait_for(lambda: timezone.now().timestamp() - seen_at(console) < 60)


def test_typing_does_not_make_a_session_older_than_any_may_get(
    site: Site, console: Client, ticket_path: Callable[[], str]
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    store = SessionStore(console.session.session_key)
    store[STARTED_KEY] = (timezone.now() - timedelta(hours=13)).timestamp()
    store.save()
    socket.send(KEY)
    socket.recv(5)
    recheck(site)
    code, reason = closing(socket)
    assert code == proxy.CLOSED_RIGHTS
    assert reason == "You were signed out."


def test_a_screen_that_nobody_uses_ends_with_the_idle_limit(
    site: Site, console: Client, ticket_path: Callable[[], str]
) -> None:
    socket = site.dial(console, ticket_path())
    log_in(socket)
    look_idle(console, minutes=16)
    socket.send(bytes([3, 1]) + bytes(8))  # what a viewer sends by itself is nobody
    socket.recv(5)
    recheck(site)
    code, reason = closing(socket)
    assert code == proxy.CLOSED_RIGHTS
    assert reason == "Nobody used the screen for a while."
