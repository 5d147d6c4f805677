"""Tickets: once, soon, and only for whom they were made."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from compute.actions.vnc import open_vnc
from compute.models import VM, VncTicket
from compute.states.vms import VmStatus
from compute.vnc import tickets
from scloud.audit.models import Operation
from scloud.lib.errors import Conflict, Forbidden, NotFound, Unauthenticated
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import settle

SESSION = "session-of-the-browser"


def token_of(ticket: tickets.IssuedTicket) -> str:
    """The secret in the address of a ticket."""
    return ticket.path.partition("?ticket=")[2]


def claim(ticket: tickets.IssuedTicket, vm: VM, user: User, session: str = SESSION) -> bool:
    """Try to use a ticket."""
    return (
        tickets.claim(token=token_of(ticket), vm_id=vm.pk, user_id=user.pk, session_key=session)
        is not None
    )


def test_a_ticket_opens_one_connection_and_no_second(vm: VM, actor: Actor, user: User) -> None:
    ticket = open_vnc(actor=actor, vm=vm, session_key=SESSION)
    assert claim(ticket, vm, user)
    assert not claim(ticket, vm, user)


def test_a_ticket_lasts_a_minute_at_most(vm: VM, actor: Actor, user: User) -> None:
    ticket = open_vnc(actor=actor, vm=vm, session_key=SESSION)
    assert ticket.expires_at - timezone.now() <= timedelta(seconds=60)
    with scopes_disabled():
        VncTicket.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert not claim(ticket, vm, user)


def test_a_ticket_in_foreign_hands_is_worth_nothing_and_stays_good(
    vm: VM, actor: Actor, user: User, other_tenant: Tenant
) -> None:
    ticket = open_vnc(actor=actor, vm=vm, session_key=SESSION)
    colleague = User.objects.create_user("colleague@acme.test", tenant=user.tenant)
    stranger = User.objects.create_user("stranger@rival.test", tenant=other_tenant)
    for other in (colleague, stranger):
        assert not claim(ticket, vm, other)
    assert not claim(ticket, vm, user, session="another browser of the same user")
    assert claim(ticket, vm, user)


def test_a_ticket_is_for_one_vm(vm: VM, actor: Actor, user: User) -> None:
    ticket = open_vnc(actor=actor, vm=vm, session_key=SESSION)
    assert (
        tickets.claim(
            token=token_of(ticket), vm_id="vm-000000000", user_id=user.pk, session_key=SESSION
        )
        is None
    )


def test_neither_token_nor_session_is_kept(vm: VM, actor: Actor) -> None:
    ticket = open_vnc(actor=actor, vm=vm, session_key=SESSION)
    with scopes_disabled():
        row = VncTicket.objects.values().get()
    assert token_of(ticket) not in str(row)
    assert SESSION not in str(row)


def test_a_ticket_of_the_former_site_key_is_still_good(
    vm: VM, actor: Actor, user: User, settings: Any
) -> None:
    settings.SCLOUD_KEYS = {"digests": ["the old one"]}
    ticket = open_vnc(actor=actor, vm=vm, session_key=SESSION)
    settings.SCLOUD_KEYS = {"digests": ["the new one", "the old one"]}
    assert claim(ticket, vm, user)


def test_no_ticket_for_a_vm_that_does_not_run(vm: VM, actor: Actor) -> None:
    stopped = settle(vm, VmStatus.STOPPED)
    with pytest.raises(Conflict) as refusal:
        open_vnc(actor=actor, vm=stopped, session_key=SESSION)
    assert refusal.value.code == "vm_state"
    with scopes_disabled():
        assert not VncTicket.objects.exists()


def test_no_ticket_without_a_browser_session(vm: VM, actor: Actor) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        open_vnc(actor=actor, vm=vm, session_key=None)
    assert refusal.value.code == "vnc_needs_session"


@pytest.mark.parametrize("role", [Role.READONLY, Role.FINANCE])
def test_roles_that_run_nothing_get_no_ticket(vm: VM, actor: Actor, role: str) -> None:
    reader = Actor(tenant=actor.tenant, user=actor.user, role=role, via="console")
    with pytest.raises(Forbidden):
        open_vnc(actor=reader, vm=vm, session_key=SESSION)


def test_the_vm_of_another_tenant_is_unknown(vm: VM, other_tenant: Tenant) -> None:
    stranger = User.objects.create_user("stranger@rival.test", tenant=other_tenant)
    foreign = Actor(tenant=other_tenant, user=stranger, role=Role.OWNER, via="console")
    with pytest.raises(NotFound):
        open_vnc(actor=foreign, vm=vm, session_key=SESSION)


def test_asking_for_a_screen_is_in_the_operation_log(vm: VM, actor: Actor) -> None:
    ticket = open_vnc(actor=actor, vm=vm, session_key=SESSION)
    with scopes_disabled():
        operation = Operation.objects.get(verb="compute.open_vnc")
    assert operation.succeeded
    assert operation.resources[0]["id"] == vm.pk
    assert token_of(ticket) not in str(vars(operation))


def test_the_sweep_keeps_the_record_of_sessions_and_deletes_the_rest(
    vm: VM, actor: Actor, user: User
) -> None:
    used = open_vnc(actor=actor, vm=vm, session_key=SESSION)
    assert claim(used, vm, user)
    open_vnc(actor=actor, vm=vm, session_key=SESSION)
    with scopes_disabled():
        VncTicket.objects.update(expires_at=timezone.now() - timedelta(hours=2))
        assert tickets.sweep() == 1
        assert VncTicket.objects.get().used_at is not None
        VncTicket.objects.update(used_at=timezone.now() - timedelta(days=200))
        assert tickets.sweep() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_connections_with_one_ticket_exactly_one_gets_in(
    vm: VM, actor: Actor, user: User
) -> None:
    ticket = open_vnc(actor=actor, vm=vm, session_key=SESSION)
    gate = threading.Barrier(8)
    results: list[bool] = []

    def race() -> None:
        try:
            gate.wait(5)
            results.append(claim(ticket, vm, user))
        finally:
            connection.close()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
