"""Leases: what the web process writes and the gateway reads."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from compute.actions.vnc import get_vnc_information
from compute.models import VM, Host, VncLease
from compute.states.vms import VmStatus
from compute.vnc import leases
from network.actions.segments import save_external_segment
from scloud.audit.models import Event, Operation
from scloud.lib.errors import Conflict, Forbidden, NoCapacity
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.permissions import Role
from tests.compute.factories import Platform, make_vm, settle
from tests.outside import make_segment

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


@pytest.mark.parametrize("enabled", [True, False])
def test_the_address_is_that_of_the_region_s_segment_for_it(
    platform: Platform, vm: VM, actor: Actor, settings: Any, enabled: bool
) -> None:
    settings.SCLOUD_VNC_GATEWAY_ADDRESS = "192.0.2.99"
    elsewhere = Region.objects.create(id="elsewhere", name="Elsewhere")
    make_segment(elsewhere, serves_vnc=True, vnc_address="203.0.113.77")
    segment = make_segment(
        platform.region, serves_vnc=True, vnc_address="203.0.113.9", enabled=enabled
    )
    assert get_vnc_information(actor=actor, vm=vm).address == "203.0.113.9"
    segment.serves_vnc = False
    save_external_segment(actor=Actor.system(None), segment=segment)
    assert get_vnc_information(actor=actor, vm=vm).address == "192.0.2.99"


def test_the_password_is_kept_encrypted_and_only_while_it_is_good(vm: VM, actor: Actor) -> None:
    information = get_vnc_information(actor=actor, vm=vm)
    lease = VncLease.objects.get()
    assert information.password not in lease.password_box
    assert leases.password_of(lease) == information.password
    assert leases.mark_listening(lease.pk)
    assert leases.mark_connected(lease.pk, client_ip="192.0.2.50")
    assert leases.password_of(VncLease.objects.get()) == information.password
    VncLease.objects.update(expires_at=timezone.now())
    assert leases.expire() == 1
    lease = VncLease.objects.get()
    # The client stays, although nobody can connect any more.
    assert (lease.state, lease.password_box, lease.close_reason) == ("connected", "", "")


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


def test_a_client_may_be_faster_than_the_note_that_the_port_is_open(vm: VM, actor: Actor) -> None:
    lease_id = get_vnc_information(actor=actor, vm=vm).lease_id
    assert leases.mark_connected(lease_id, client_ip="192.0.2.50")
    assert leases.mark_listening(lease_id)
    assert VncLease.objects.get().state == "connected"


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


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.50", "192.0.2.50", True),
        ("192.0.2.50", "192.0.2.51", False),
        ("192.0.2.50", None, False),
        ("2001:db8:1:2::5", "2001:db8:1:2:9::7", True),
        ("2001:db8:1:2::5", "2001:db8:1:3::5", False),
    ],
)
def test_a_client_comes_again_from_where_it_came_first(
    vm: VM, actor: Actor, first: str, second: str | None, same: bool
) -> None:
    lease_id = get_vnc_information(actor=actor, vm=vm).lease_id
    leases.mark_listening(lease_id)
    assert leases.mark_connected(lease_id, client_ip=first)
    assert leases.mark_left(lease_id, reason="The connection broke.")
    assert [lease.pk for lease in leases.waiting()] == [lease_id]
    assert leases.mark_connected(lease_id, client_ip=second) is same
    events = Event.objects.filter(kind__startswith="vm.vnc_").order_by("pk")
    kinds = ["vm.vnc_opened", "vm.vnc_closed"] + ["vm.vnc_opened"] * same
    assert [event.kind for event in events] == kinds


def test_a_client_that_leaves_when_the_time_is_over_does_not_come_again(
    vm: VM, actor: Actor
) -> None:
    lease_id = get_vnc_information(actor=actor, vm=vm).lease_id
    leases.mark_listening(lease_id)
    leases.mark_connected(lease_id, client_ip=None)
    VncLease.objects.update(expires_at=timezone.now())
    assert not leases.mark_left(lease_id, reason="The client left.")
    lease = VncLease.objects.get()
    assert (lease.state, lease.password_box) == ("closed", "")
    assert lease.close_reason == "The client left."


def test_clients_of_a_dead_gateway_may_come_again_to_the_next_one_within_their_time(
    platform: Platform, vm: VM, actor: Actor
) -> None:
    other = make_vm(platform, actor, name="other")
    good, late = (get_vnc_information(actor=actor, vm=one).lease_id for one in (vm, other))
    for lease_id in (good, late):
        leases.mark_listening(lease_id)
        leases.mark_connected(lease_id, client_ip=None)
    VncLease.objects.filter(pk=late).update(expires_at=timezone.now())
    assert leases.forget_connected() == 2
    assert VncLease.objects.get(pk=good).state == "requested"
    gone = VncLease.objects.get(pk=late)
    assert (gone.state, gone.password_box) == ("closed", "")


def stop_and_start(vm: VM) -> None:
    settle(vm, VmStatus.STOPPED)
    settle(vm, VmStatus.RUNNING)


def move(vm: VM) -> None:
    others = Host.objects.exclude(pk=vm.host_id)
    VM.objects.filter(pk=vm.pk).update(host=others.first())


def hand_over(vm: VM) -> None:
    VM.objects.filter(pk=vm.pk).update(tenant=Tenant.objects.create(name="Elsewhere"))


@pytest.mark.parametrize("happens", [stop_and_start, move, hand_over])
@pytest.mark.parametrize("state", ["requested", "listening", "connected"])
def test_information_is_worth_nothing_once_the_vm_stopped_moved_or_changed_hands(
    platform: Platform, vm: VM, actor: Actor, state: str, happens: Callable[[VM], None]
) -> None:
    other = get_vnc_information(actor=actor, vm=make_vm(platform, actor, name="other"))
    lease_id = get_vnc_information(actor=actor, vm=vm).lease_id
    if state != "requested":
        leases.mark_listening(lease_id)
    if state == "connected":
        leases.mark_connected(lease_id, client_ip=None)
    happens(vm)
    lease = VncLease.objects.get(pk=lease_id)
    # Whether a connected client may stay is for the gateway to find out.
    assert lease.state == ("connected" if state == "connected" else "closed")
    assert lease.password_box == ""
    assert [one.pk for one in leases.waiting()] == [other.lease_id]
    assert not leases.mark_left(lease_id, reason="The VM closed its screen.")
    assert VncLease.objects.get(pk=lease_id).state == "closed"


def test_what_leaves_a_vm_running_where_it_is_leaves_its_information_good(
    vm: VM, actor: Actor
) -> None:
    lease_id = get_vnc_information(actor=actor, vm=vm).lease_id
    settle(vm, VmStatus.RUNNING, name="renamed", pause_reason="by_hand")
    vm.refresh_from_db()
    vm.save()
    assert [one.pk for one in leases.waiting()] == [lease_id]


def test_who_is_connected_stays_when_new_information_is_asked_for_but_does_not_come_again(
    vm: VM, actor: Actor
) -> None:
    first = get_vnc_information(actor=actor, vm=vm).lease_id
    leases.mark_listening(first)
    leases.mark_connected(first, client_ip="192.0.2.50")
    second = get_vnc_information(actor=actor, vm=vm).lease_id
    assert leases.ending(first) == ""
    assert [one.pk for one in leases.waiting()] == [second]
    assert not leases.mark_left(first, reason="The connection broke.")
    assert not leases.mark_connected(first, client_ip="192.0.2.50")


def test_a_client_of_a_vm_of_somebody_else_now_is_sent_away(vm: VM, actor: Actor) -> None:
    lease_id = get_vnc_information(actor=actor, vm=vm).lease_id
    leases.mark_listening(lease_id)
    leases.mark_connected(lease_id, client_ip=None)
    assert leases.ending(lease_id) == ""
    hand_over(vm)
    assert leases.ending(lease_id) == "The VM changed hands."


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
    again = get_vnc_information(actor=actor, vm=vm)
    assert again.port == 15900
    # The port of a client that may come again is not anybody's.
    leases.mark_listening(again.lease_id)
    leases.mark_connected(again.lease_id, client_ip=None)
    with pytest.raises(NoCapacity):
        get_vnc_information(actor=actor, vm=other)
    VncLease.objects.update(expires_at=timezone.now())
    assert get_vnc_information(actor=actor, vm=other).port == 15900
