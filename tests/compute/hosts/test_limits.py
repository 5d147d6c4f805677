"""Changed limits reach what runs, whoever changed them; and the reconciler's small repairs."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from compute.actions.vms import lifecycle
from compute.hypervisor.base import STARTING, DiskLimits
from compute.hypervisor.fake import fake_host
from compute.models import VM, Cluster, Disk, DiskType, Drift
from compute.sweeps import drift, reconcile
from compute.sweeps.limits import apply_changed_limits
from scloud.jobs.models import Job
from tests.compute.box import Box
from tests.compute.disks.test_tasks import attached, ready


def limits(box: Box, vm: VM) -> set[DiskLimits]:
    domain = box.domain(vm)
    assert domain.running is not None
    found = {one.limits for one in domain.running.disks}
    assert found == {one.limits for one in domain.spec.disks}
    return found


def test_new_limits_of_a_disk_type_hold_at_once(box: Box) -> None:
    vm = box.vm()
    attached(box, vm)
    DiskType.objects.filter(pk="ssd").update(iops_limit=1000, throughput_limit_mbps=50)
    assert apply_changed_limits() >= 1
    box.run()
    assert limits(box, vm) == {DiskLimits(iops=1000, throughput_mbps=50)}
    assert apply_changed_limits() == 0
    DiskType.objects.filter(pk="ssd").update(iops_limit=None)
    assert apply_changed_limits() == 1
    box.run()
    assert limits(box, vm) == {DiskLimits(throughput_mbps=50)}


def test_new_cpu_limits_of_a_cluster_hold_at_once(box: Box) -> None:
    vm = box.vm()
    Cluster.objects.filter(pk="x86").update(cpu_quota_percent=50, cpu_shares_per_vcpu=512)
    apply_changed_limits()
    box.run()
    running = box.domain(vm).running
    assert running is not None
    assert (running.cpu_quota_percent, running.cpu_shares) == (50, 512 * vm.vcpus)
    assert apply_changed_limits() == 0


def test_a_silent_host_is_come_back_to(box: Box) -> None:
    vm = box.vm()
    host = box.host_of(vm)
    apply_changed_limits()
    box.run()
    DiskType.objects.filter(pk="ssd").update(iops_limit=7)
    host.faults.unreachable = True
    assert apply_changed_limits() == 1
    box.run()
    host.faults.unreachable = False
    assert limits(box, vm) == {DiskLimits()}
    assert apply_changed_limits() == 1
    box.run()
    assert limits(box, vm) == {DiskLimits(iops=7)}


# -- repairs


def test_a_disk_that_hangs_where_no_row_wants_it_is_taken_off(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    Disk.objects.filter(pk=disk.pk).update(vm=None, target="", status="unbound")
    reconcile.reconcile_hosts()
    box.assert_nothing_orphaned()
    assert Drift.objects.get(kind="surplus_disk").resource_id == disk.pk
    reconcile.reconcile_hosts()
    assert Drift.objects.filter(kind="surplus_disk").count() == 1


def test_repairs_are_forgotten_after_three_months(db: None) -> None:
    now = timezone.now()
    for name, repaired_at in (
        ("open", None),
        ("fresh", now),
        ("old", now - drift.KEEP_REPAIRED - timedelta(hours=1)),
    ):
        Drift.objects.create(kind=name, place="h1", resource_id="x", repaired_at=repaired_at)
    assert drift.forget_repaired() == 1
    assert {row.kind for row in Drift.objects.all()} == {"open", "fresh"}


def test_a_disk_in_flight_is_left_to_its_job(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    other = ready(box)
    Disk.objects.filter(pk=disk.pk).update(vm=None, target="", status="unbound", task="cloning",
                                           task_deadline=disk.created_at)  # fmt: skip
    reconcile.reconcile_hosts()
    running = box.domain(vm).running
    assert running is not None
    assert disk.pk in [one.id for one in running.disks]
    assert other.pk not in [one.id for one in running.disks]


def test_the_row_follows_a_vm_that_moved_while_nobody_looked(box: Box) -> None:
    vm = box.vm()
    here = box.host_of(vm)
    there = next(host for host in box.platform.hosts if host.pk != vm.host_id)
    fake_host(there.uri).domains[str(vm.uuid)] = here.domains.pop(str(vm.uuid))
    here.faults.unreachable = True
    reconcile.reconcile_hosts()
    vm.refresh_from_db()
    assert vm.host != there, "the silent host may still run it"
    here.faults.unreachable = False
    reconcile.reconcile_hosts()
    vm.refresh_from_db()
    assert (vm.host, vm.status) == (there, "running")
    box.assert_nothing_orphaned()
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    box.assert_nothing_orphaned()


def test_a_start_that_libvirt_never_ended_is_told_until_it_is_freed(box: Box) -> None:
    vm = box.vm(stopped=True)
    box.domain(vm).reason = STARTING
    lifecycle.start_vm(actor=box.actor, vm=vm)
    (job,) = box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.failure_code, job.error_code) == (
        "stopped",
        "start_unfinished",
        "start_unfinished",
    )
    assert "restart libvirt" in Job.objects.get(pk=job.pk).error_detail
    reconcile.reconcile_hosts()
    drift = Drift.objects.get(kind="unfinished_start", repaired_at=None)
    assert vm.host is not None
    assert (drift.place, drift.resource_id) == (vm.host.name, vm.pk)

    box.domain(vm).reason = ""
    reconcile.reconcile_hosts()
    assert not Drift.objects.filter(kind="unfinished_start", repaired_at=None).exists()
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert vm.status == "running"
