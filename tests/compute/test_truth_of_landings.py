"""What was paid while its job ran lands as paid, and a sweep repairs what disagrees anyway."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from billing import services
from billing.models import Charge, Order, Subscription
from compute.actions import disks, snapshots
from compute.actions.vms import lifecycle
from compute.models import VM, Disk, Snapshot
from compute.sweeps import subscriptions
from network.models import Eni, ExternalIp
from scloud.jobs import faults
from scloud.jobs.models import Job
from scloud.tenancy.models import PlatformSettings
from tests.compute.box import Box
from tests.compute.disks.test_tasks import attached, ready
from tests.compute.snapshots.test_tasks import take

Paid = VM | Disk | ExternalIp | Eni


def expire(box: Box, resource: Paid) -> None:
    """Let the paid time of a resource be over, as the sweep of the books does."""
    row = Subscription.objects.get(resource_id=resource.pk)
    assert services.expire_due(tenant=resource.tenant, resource_id=resource.pk, now=row.paid_until)


def renew(box: Box, resource: Paid) -> None:
    quote = services.quote_renewal(tenant=resource.tenant, resource_id=resource.pk, periods=1)
    services.renew(actor=box.actor, resource_id=resource.pk, periods=1, quote_token=quote.token)


def renewed_at(box: Box, resource: Paid, point: str) -> None:
    """Run the jobs; the resource is renewed while one of them passes the point."""
    passed: list[str] = []

    def hook(reached: str) -> None:
        if reached == point and not passed:
            passed.append(reached)
            renew(box, resource)

    faults.install(hook)
    try:
        box.run()
    finally:
        faults.install(None)
    assert passed == [point]


@pytest.mark.parametrize(
    "point", ["vm.expire:shut_down:before", "vm.expire:off:before", "vm.expire:off:after"]
)
def test_a_vm_that_was_renewed_while_it_expired_can_be_started(box: Box, point: str) -> None:
    vm = box.vm()
    expire(box, vm)
    vm.refresh_from_db()
    assert vm.task == "expiring"
    renewed_at(box, vm, point)
    vm.refresh_from_db()
    assert (vm.status, vm.task) == ("stopped", "")
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert vm.status == "running"


def test_a_vm_that_was_not_renewed_lands_expired(box: Box) -> None:
    vm = box.vm()
    expire(box, vm)
    box.run()
    vm.refresh_from_db()
    assert vm.status == "expired"


@pytest.mark.parametrize("end", ["success", "failure"])
def test_a_disk_that_was_renewed_while_a_snapshot_went_is_not_expired(box: Box, end: str) -> None:
    disk = ready(box)
    kept = take(box, disk, "kept")
    expire(box, disk)
    snapshots.delete_snapshot(actor=box.actor, snapshot=kept)
    if end == "success":
        renewed_at(box, disk, "disk.delete_snapshot:delete:before")
    else:
        renew(box, disk)
        box.give_up_at("disk.delete_snapshot:delete:before")
    disk.refresh_from_db()
    assert (disk.status, disk.task) == ("unbound", "")


def overdue(box: Box, resource: VM | Disk) -> None:
    row = Subscription.objects.get(resource_id=resource.pk)
    assert row.expired_at is not None
    assert services.mark_overdue(
        tenant=resource.tenant,
        resource_id=resource.pk,
        now=row.expired_at,
        expired_before=row.expired_at,
    )


@pytest.mark.parametrize(
    "point",
    ["vm.delete:shut_down:before", "vm.delete:unmount:before", "vm.delete:snapshots:after"],
)
def test_a_vm_that_was_renewed_on_its_way_to_the_bin_stays_out_of_it(box: Box, point: str) -> None:
    vm = box.vm()
    lifecycle.protect_vm(actor=box.actor, vm=vm, protected=True)
    expire(box, vm)
    box.run()
    overdue(box, vm)
    assert Job.objects.get(kind="vm.delete").payload["automatically"] is True
    renewed_at(box, vm, point)
    vm.refresh_from_db()
    assert (vm.status, vm.failure_code) == ("stopped", "renewed_meanwhile")
    assert vm.deletion_protected
    assert not Subscription.objects.get(resource_id=vm.pk).in_bin
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert vm.status == "running", vm.failure
    box.assert_nothing_orphaned()


@pytest.mark.parametrize(
    ("point", "kept"),
    [("disk.retire:detach:before", True), ("disk.retire:snapshots:before", True),
     ("disk.retire:snapshots:after", False)],
)  # fmt: skip
def test_a_disk_that_was_renewed_on_its_way_to_the_bin_stays_out_of_it(
    box: Box, point: str, kept: bool
) -> None:
    disk = attached(box, box.vm())
    snapshot = take(box, disk, "kept")
    expire(box, disk)
    overdue(box, disk)
    renewed_at(box, disk, point)
    disk.refresh_from_db()
    assert disk.status == ("bound" if disk.vm_id else "unbound")
    assert disk.failure_code == "renewed_meanwhile"
    assert Snapshot.objects.get(pk=snapshot.pk).status == "available" or not kept


@pytest.mark.parametrize("resource", ["vm", "disk"])
def test_the_sweep_finds_what_is_paid_and_still_expired(box: Box, resource: str) -> None:
    row: Any = box.vm(stopped=True) if resource == "vm" else ready(box)
    before = row.status
    type(row).objects.filter(pk=row.pk).update(status="expired")
    assert subscriptions.agree_with_the_books() == 1
    row.refresh_from_db()
    assert row.status == before
    assert subscriptions.agree_with_the_books() == 0


def test_the_sweep_finds_what_renews_in_the_bin_and_what_does_not_outside(box: Box) -> None:
    vm, disk = box.vm(), ready(box)
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    services.set_in_bin(vm.pk, False)
    services.set_in_bin(disk.pk, True)
    assert subscriptions.agree_with_the_books() == 2
    marks = dict(Subscription.objects.values_list("resource_id", "in_bin"))
    assert (marks[vm.pk], marks[disk.pk]) == (True, False)
    assert subscriptions.agree_with_the_books() == 0


def test_the_sweep_ends_what_is_gone_and_pays_back_what_never_was(box: Box) -> None:
    vm, disk = box.vm(method="month"), ready(box, method="month")
    VM.objects.filter(pk=vm.pk).update(status="destroyed", destroyed_at=timezone.now(), host=None)
    Disk.objects.filter(pk=disk.pk).update(status="failed")
    assert subscriptions.agree_with_the_books() == 2
    assert set(Subscription.objects.values_list("status", flat=True)) == {"ended"}
    assert Order.objects.filter(kind="refund").count() == 2
    assert subscriptions.agree_with_the_books() == 0


def binned(box: Box, kind: str) -> VM | Disk:
    """Return a VM or a disk that is paid by the month and lies in the bin."""
    if kind == "vm":
        vm = box.vm(method="month")
        lifecycle.delete_vm(actor=box.actor, vm=vm)
        box.run()
        vm.refresh_from_db()
        return vm
    disk = ready(box, method="month")
    disks.delete_disk(actor=box.actor, disk=disk)
    disk.refresh_from_db()
    return disk


@pytest.mark.parametrize("kind", ["vm", "disk"])
def test_what_comes_out_of_the_bin_renews_itself_again(box: Box, kind: str) -> None:
    row = binned(box, kind)
    assert row.status == "binned"
    assert Subscription.objects.get(resource_id=row.pk).in_bin
    if isinstance(row, VM):
        lifecycle.restore_vm(actor=box.actor, vm=row)
        box.run()
    else:
        disks.restore_disk(actor=box.actor, disk=row)
    assert not Subscription.objects.get(resource_id=row.pk).in_bin
    # By itself, not by the sweep that repairs.
    assert subscriptions.agree_with_the_books() == 0


@pytest.mark.parametrize("destroyed_by", ["job", "sweep"])
@pytest.mark.parametrize("kind", ["vm", "disk"])
def test_paid_time_comes_back_from_the_day_in_the_bin_on(
    box: Box, kind: str, destroyed_by: str
) -> None:
    # Its share tells the instant: by the hour, half a month costs more than half of it, or all.
    PlatformSettings.objects.update_or_create(pk=1, defaults={"refund_pro_rata": True})
    row = binned(box, kind)
    (paid,) = Charge.objects.filter(resource_id=row.pk)
    # It went to the bin in the middle of its month, not at the moment of its destruction.
    rows = type(row)._default_manager.filter(pk=row.pk)
    rows.update(binned_at=paid.begin + (paid.end - paid.begin) / 2)
    row.refresh_from_db()
    if destroyed_by == "sweep":
        rows.update(status="destroyed", destroyed_at=timezone.now())
        assert subscriptions.agree_with_the_books() == 1
    elif isinstance(row, VM):
        lifecycle.destroy_vm(actor=box.actor, vm=row)
    else:
        disks.destroy_disk(actor=box.actor, disk=row)
    box.run()
    refund = Charge.objects.get(refunds=paid)
    assert abs(paid.amount_minor + 2 * refund.amount_minor) <= 1


def test_one_row_that_cannot_be_repaired_harms_no_other(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ready(box), ready(box)
    Disk.objects.update(status="expired")
    real = services.status_for_landing

    def broken(tenant: Any, resource_id: str) -> str | None:
        if resource_id == first.pk:
            raise RuntimeError("of this row alone")
        return real(tenant, resource_id)

    monkeypatch.setattr(services, "status_for_landing", broken)
    assert subscriptions.agree_with_the_books() == 1
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == ("expired", "unbound")
