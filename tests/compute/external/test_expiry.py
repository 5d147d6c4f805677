"""What expires leaves its VM: disks, external IPs and ENIs, by jobs that force nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute.actions import disks
from compute.actions.vms import lifecycle
from compute.models import VM, Disk
from compute.sweeps import disks as disk_sweeps
from compute.tasks import external_target
from compute.views.vms.detail import _EVENT_WORDS
from network.actions import enis, external_ips
from network.models import Eni, ExternalIp, ExternalSegment
from network.sweeps import enis as eni_sweeps
from network.sweeps import external_ips as external_ip_sweeps
from scloud.audit.models import Event
from scloud.jobs.models import Job
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from tests.compute.box import Box
from tests.compute.disks.test_tasks import attached
from tests.compute.external.test_enis import bind as bind_eni
from tests.compute.external.test_enis import macs, outer
from tests.compute.external.test_external_ips import bind as bind_ip
from tests.compute.test_truth_of_landings import expire, renew, renewed_at
from tests.compute.things import fresh
from tests.outside import buy_ip

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _obedient_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests do what they are told."""
    monkeypatch.setattr(external_target, "apply_guest_network", lambda vm_id: True)


def sweep() -> tuple[int, int, int]:
    """One round: how many disks, external IPs and ENIs were begun."""
    return (
        disk_sweeps.unbind_expired(),
        external_ip_sweeps.unbind_expired(),
        eni_sweeps.unbind_expired(),
    )


def disks_of(box: Box, vm: VM) -> set[str]:
    """The disks of what runs."""
    running = box.domain(vm).running
    assert running is not None
    return {one.id for one in running.disks}


def later() -> None:
    """Let the waits between tries be over."""
    Job.objects.update(created_at=timezone.now() - timedelta(hours=1))


def test_what_has_expired_is_unbound_and_can_be_renewed_and_bound_again(
    box: Box, actor: Actor, segment: ExternalSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    address = bind_ip(box, buy_ip(actor, segment), vm)
    eni = bind_eni(box, outer(actor, segment), vm)
    assert eni.nic is not None
    rows: list[Any] = [disk, address, eni]
    assert sweep() == (0, 0, 0)
    for row in rows:
        expire(box, row)
        assert fresh(row).status == "expired"
    # What holds the books back after a restore holds this back, too.
    with monkeypatch.context() as frozen:
        frozen.setattr(freezing, "is_frozen", lambda: True)
        assert sweep() == (0, 0, 0)
    assert sweep() == (1, 1, 1)
    assert sweep() == (0, 0, 0)
    box.run()
    off_disk, off_address, off_eni = (fresh(row) for row in rows)
    assert {row.status for row in (off_disk, off_address, off_eni)} == {"expired"}
    assert {row.failure for row in (off_disk, off_address, off_eni)} == {""}
    assert (off_disk.vm_id, off_disk.target) == (None, "")
    assert (off_address.nic_id, off_address.target_id) == (None, "")
    assert (off_eni.vm_id, off_eni.nic.vm_id) == ("", None)
    assert disk.pk not in disks_of(box, vm)
    assert eni.nic.mac not in macs(box, vm)
    box.assert_nothing_orphaned()
    # Both sides were told, in words that people see.
    for row, kind in zip(
        rows, ("disk.detached", "external_ip.unbound", "eni.unbound"), strict=True
    ):
        told = Event.objects.filter(kind=kind, resource_id__in=[row.pk, vm.pk])
        assert told.count() == 2
        assert kind in _EVENT_WORDS
    assert sweep() == (0, 0, 0)

    for row in rows:
        renew(box, row)
    assert [fresh(row).status for row in rows] == ["unbound", "free", "free"]
    disks.attach_disk(actor=actor, vm=vm, disk=fresh(disk))
    external_ips.bind_external_ip(actor=actor, external_ip=fresh(address), target=vm)
    enis.bind_eni(actor=actor, eni=fresh(eni), vm=vm)
    box.run()
    assert {fresh(row).status for row in rows} == {"bound"}
    assert sweep() == (0, 0, 0)


def test_what_cannot_be_unbound_now_is_tried_again(
    box: Box, actor: Actor, segment: ExternalSegment
) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    eni = bind_eni(box, outer(actor, segment), vm)
    for row in (disk, eni):
        expire(box, row)
    # The VM is in flight.
    lifecycle.restart_vm(actor=actor, vm=vm)
    assert disk_sweeps.unbind_expired() == 0
    box.run()
    # The guest does not say whether it uses the disk, and the host does not answer the other one.
    box.host_of(vm).faults.agent_missing = True
    assert disk_sweeps.unbind_expired() == 1
    box.run()
    box.host_of(vm).faults.unreachable = True
    assert eni_sweeps.unbind_expired() == 1
    box.run()
    box.host_of(vm).faults.unreachable = False
    held: Disk = fresh(disk)
    assert (held.status, held.vm_id, held.failure_code) == (
        "expired",
        vm.pk,
        "agent_unavailable",
    )
    assert (fresh(eni).status, fresh(eni).vm_id) == ("expired", vm.pk)
    assert disk.pk in disks_of(box, vm)
    # Not again at once.
    assert sweep() == (0, 0, 0)
    later()
    assert sweep() == (1, 0, 1)
    box.run()
    assert fresh(eni).vm_id == ""
    # A VM that has expired too, and is off.
    expire(box, vm)
    box.run()
    later()
    assert sweep() == (1, 0, 0)
    box.run()
    assert (fresh(disk).status, fresh(disk).vm_id) == ("expired", None)
    box.assert_nothing_orphaned()


@pytest.mark.parametrize(
    ("step", "stays"), [("paid:before", True), ("network:before", False), ("unplug:after", False)]
)
def test_what_is_renewed_meanwhile_stays_or_is_unbound_and_paid(
    box: Box, actor: Actor, segment: ExternalSegment, step: str, stays: bool
) -> None:
    vm = box.vm()
    eni: Eni = bind_eni(box, outer(actor, segment), vm)
    expire(box, eni)
    assert eni_sweeps.unbind_expired() == 1
    renewed_at(box, eni, f"eni.unbind_expired:{step}")
    found: Eni = fresh(eni)
    assert (found.status, bool(found.vm_id)) == (("bound", True) if stays else ("free", False))
    assert found.failure_code == ("renewed_meanwhile" if stays else "")
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("stays", [True, False])
def test_the_same_of_a_disk_and_an_external_ip(
    box: Box, actor: Actor, segment: ExternalSegment, stays: bool
) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    address: ExternalIp = bind_ip(box, buy_ip(actor, segment), vm)
    expire(box, disk)
    assert disk_sweeps.unbind_expired() == 1
    renewed_at(box, disk, f"disk.unbind_expired:{'paid:before' if stays else 'detach:after'}")
    expire(box, address)
    assert external_ip_sweeps.unbind_expired() == 1
    point = "paid:before" if stays else "guest:after"
    renewed_at(box, address, f"external_ip.unbind_expired:{point}")
    found = [fresh(disk).status, fresh(address).status, bool(fresh(disk).vm_id)]
    assert found == (["bound", "bound", True] if stays else ["unbound", "free", False])
    assert (fresh(address).nic_id is None) is not stays
    box.assert_nothing_orphaned()
