"""Leases: what the web process writes and the gateway reads."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from compute.actions.vnc import get_vnc_information
from compute.models import VM, VncLease
from compute.states.vms import VmStatus
from compute.vnc import leases
from scloud.audit.models import Event, Operation
from scloud.lib.errors import Conflict, Forbidden, NoCapacity
from scloud.tenancy.actor import Actor
from scloud.tenancy.permissions import Role
from tests.compute.factories import Platform, make_vm, settle

pytestmark = pytest.mark.usefixtures("unscoped")


def test_the_information_holds_what_a_client_needs_and_lasts_300_seconds(
    vm: VM, actor: Actor, settings: Any
) -> None:
    settings.SCLOUD_VNC_GATEWAY_ADDRESS = "192.0.2.99"
    information = get_vnc_information(actor=actor, vm=vm)
    assert information.vm_id == vm.pk
    assert information.address == "192.0.2.99"
    assert information.port in leases.port_range()
    assert len(information.password) == 8
    left = information.expires_at - timezone.now()
    assert timedelta(seconds=295) < left <= timedelta(seconds=300)


def test_port_and_password_are_new_each_time_and_the_former_ones_are_closed(
    vm: VM, actor: Actor
) -> None:
    first = get_vnc_information(actor=actor, vm=vm)
    second = get_vnc_information(actor=actor, vm=vm)
    assert first.password != second.password
    assert VncLease.objects.get(pk=first.lease_id).state == "closed"
    assert [lease.pk for lease in leases.waiting()] == [second.lease_id]


def test_the_password_is_kept_encrypted_and_only_while_it_is_needed(vm: VM, actor: Actor) -> None:
    information = get_vnc_information(actor=actor, vm=vm)
    lease = VncLease.objects.get()
    assert information.password not in lease.password_box
    assert leases.password_of(lease) == information.password
    assert leases.mark_listening(lease.pk)
    assert leases.mark_connected(lease.pk, client_ip="192.0.2.50")
    assert VncLease.objects.get().password_box == ""


def test_neither_log_nor_text_of_the_information_shows_the_password(vm: VM, actor: Actor) -> None:
    information = get_vnc_information(actor=actor, vm=vm)
    operation = Operation.objects.get(verb="compute.get_vnc_information")
    assert operation.after == {"address": information.address, "port": information.port}
    assert information.password not in str(information)


def test_the_password_of_a_closed_lease_cannot_be_kept(vm: VM, actor: Actor) -> None:
    get_vnc_information(actor=actor, vm=vm)
    with pytest.raises(IntegrityError), transaction.atomic():
        VncLease.objects.update(state="closed")


def test_a_lease_that_nobody_used_expires_and_forgets_its_password(vm: VM, actor: Actor) -> None:
    get_vnc_information(actor=actor, vm=vm)
    VncLease.objects.update(expires_at=timezone.now())
    assert leases.waiting() == []
    assert not leases.mark_listening(VncLease.objects.get().pk)
    assert leases.sweep() == 1
    lease = VncLease.objects.get()
    assert (lease.state, lease.password_box) == ("closed", "")


def test_a_client_that_comes_when_the_time_is_over_gets_nothing(vm: VM, actor: Actor) -> None:
    lease_id = get_vnc_information(actor=actor, vm=vm).lease_id
    assert leases.mark_listening(lease_id)
    # The gateway has not shut the port yet, nor has a sweep closed the lease.
    VncLease.objects.update(expires_at=timezone.now())
    assert not leases.mark_connected(lease_id, client_ip="192.0.2.50")
    assert VncLease.objects.get().state == "listening"
    assert not Event.objects.filter(kind="vm.vnc_opened").exists()


def test_exactly_one_client_gets_the_lease(vm: VM, actor: Actor) -> None:
    lease_id = get_vnc_information(actor=actor, vm=vm).lease_id
    assert leases.mark_listening(lease_id)
    assert leases.mark_connected(lease_id, client_ip="192.0.2.50")
    assert not leases.mark_connected(lease_id, client_ip="192.0.2.51")
    leases.mark_closed(lease_id, reason="The client left.")
    leases.mark_closed(lease_id, reason="Again.")
    lease = VncLease.objects.get()
    assert (lease.client_ip, lease.close_reason) == ("192.0.2.50", "The client left.")
    kinds = Event.objects.filter(kind__startswith="vm.vnc_").order_by("pk")
    assert [event.kind for event in kinds] == ["vm.vnc_opened", "vm.vnc_closed"]


def test_what_a_dead_gateway_had_connected_is_closed_by_the_next_one(vm: VM, actor: Actor) -> None:
    lease_id = get_vnc_information(actor=actor, vm=vm).lease_id
    leases.mark_listening(lease_id)
    leases.mark_connected(lease_id, client_ip=None)
    assert leases.forget_connected() == 1
    assert VncLease.objects.get().state == "closed"


def test_a_vm_that_does_not_run_has_no_screen_to_lease(vm: VM, actor: Actor) -> None:
    stopped = settle(vm, VmStatus.STOPPED)
    with pytest.raises(Conflict):
        get_vnc_information(actor=actor, vm=stopped)
    assert not VncLease.objects.exists()


def test_a_reader_gets_no_information(vm: VM, actor: Actor) -> None:
    reader = Actor(tenant=actor.tenant, user=actor.user, role=Role.READONLY, via="console")
    with pytest.raises(Forbidden):
        get_vnc_information(actor=reader, vm=vm)


def test_when_all_ports_are_leased_the_refusal_says_so(
    platform: Platform, vm: VM, actor: Actor, settings: Any
) -> None:
    settings.SCLOUD_VNC_GATEWAY_PORTS = "15900-15900"
    get_vnc_information(actor=actor, vm=vm)
    other = make_vm(platform, actor, name="other")
    with pytest.raises(NoCapacity) as refusal:
        get_vnc_information(actor=actor, vm=other)
    assert refusal.value.code == "vnc_ports_exhausted"
    assert refusal.value.numbers == {"ports": 1}
    # The same VM may: its own former port is free again.
    assert get_vnc_information(actor=actor, vm=vm).port == 15900
