"""Disks on drivers in memory: every verb, and workers that die at every step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from billing.models import Order, QuotaClaim, Subscription
from billing.services import subscription_of
from compute.actions import disks, snapshots
from compute.actions.vms import lifecycle
from compute.hypervisor.base import CommandResult, GuestFilesystem
from compute.hypervisor.fake import FakeHypervisor
from compute.models import VM, Disk
from compute.rules.orders import DiskOrder
from compute.sweeps import disks as disk_sweeps
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput, QuotaExceeded
from tests.billing.helpers import fund
from tests.compute.box import Box, points_of


def order(box: Box, size_gib: int = 10, **changes: object) -> DiskOrder:
    values: dict[str, object] = {
        "region": box.platform.region,
        "disk_type": box.platform.disk_type,
        "size_gib": size_gib,
        "name": "data",
    }
    return DiskOrder(**{**values, **changes})  # type: ignore[arg-type]  # checked by the action


def buy(box: Box, size_gib: int = 10, **changes: object) -> Disk:
    assert box.actor.tenant is not None
    fund(box.actor.tenant, cash="1000")
    wanted = order(box, size_gib, **changes)
    quote = disks.quote_disk(actor=box.actor, order=wanted)
    return disks.create_disk(actor=box.actor, order=wanted, quote_token=quote.token)


def ready(box: Box, size_gib: int = 10, **changes: object) -> Disk:
    disk = buy(box, size_gib, **changes)
    box.run()
    disk.refresh_from_db()
    assert disk.status == "unbound", disk.failure
    return disk


def attached(box: Box, vm: VM, size_gib: int = 10) -> Disk:
    disk = ready(box, size_gib)
    disks.attach_disk(actor=box.actor, vm=vm, disk=disk)
    box.run()
    disk.refresh_from_db()
    assert disk.status == "bound", disk.failure
    return disk


def expand(box: Box, disk: Disk, size_gib: int) -> Job:
    quote = disks.quote_expansion(actor=box.actor, disk=disk, size_gib=size_gib)
    return disks.expand_disk(actor=box.actor, disk=disk, size_gib=size_gib, quote_token=quote.token)


def quota(disk: Disk | VM, item: str = "disk_gib") -> int:
    return sum(
        QuotaClaim.objects.filter(resource_id=disk.pk, item=item).values_list("amount", flat=True)
    )


# -- create


def test_a_bought_disk_lies_unbound_in_the_pool(box: Box) -> None:
    disk = ready(box, 20)
    assert box.storage.volume_info(disk.pk).size_gib == 20
    assert subscription_of(disk.tenant, disk.pk).resource_kind == "disk"
    assert (quota(disk), quota(disk, "disks")) == (20, 1)
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("size", [0, 9, 8001])
def test_a_size_that_the_type_does_not_offer_is_refused(box: Box, size: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        buy(box, size)
    assert refused.value.code == "disk_size_out_of_range"
    assert not Disk.objects.exists()


@pytest.mark.parametrize("point", points_of("disk.create"))
def test_a_creation_survives_its_worker(box: Box, point: str) -> None:
    disk = buy(box)
    box.run_dying(point)
    disk.refresh_from_db()
    assert disk.status == "unbound"
    assert Order.objects.count() == 1
    box.assert_nothing_orphaned()


def test_a_disk_that_never_came_to_be_is_paid_back_and_can_be_forgotten(box: Box) -> None:
    box.storage.faults.full = True
    disk = buy(box)
    box.run()
    box.storage.faults.full = False
    disk.refresh_from_db()
    assert (disk.status, disk.failure_code) == ("failed", "storage_full")
    assert sum(row.total_minor for row in Order.objects.all()) == 0
    assert quota(disk) == 0
    assert disks.delete_disk(actor=box.actor, disk=disk) is None
    disk.refresh_from_db()
    assert disk.status == "destroyed"
    box.assert_nothing_orphaned()


# -- attach


def test_a_disk_is_attached_to_a_running_vm_at_the_next_free_place(box: Box) -> None:
    vm = box.vm()
    first, second = attached(box, vm), attached(box, vm)
    assert (first.target, second.target) == ("vdb", "vdc")
    running = box.domain(vm).running
    assert running is not None
    assert [one.id for one in running.disks][1:] == [first.pk, second.pk]
    box.assert_nothing_orphaned()


def test_a_disk_of_a_stopped_vm_is_there_at_the_next_start(box: Box) -> None:
    vm = box.vm(stopped=True)
    disk = attached(box, vm)
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    running = box.domain(vm).running
    assert running is not None
    assert disk.pk in [one.id for one in running.disks]
    box.assert_nothing_orphaned()


def test_a_seventh_data_disk_is_refused(box: Box) -> None:
    vm = box.vm()
    for _ in range(6):
        attached(box, vm)
    with pytest.raises(Conflict) as refused:
        disks.attach_disk(actor=box.actor, vm=vm, disk=ready(box))
    assert refused.value.code == "too_many_disks"
    assert refused.value.numbers == {"limit": 6, "has": 6}


def test_a_disk_hangs_on_one_vm_only(box: Box) -> None:
    first, second = box.vm(), box.vm(name="b")
    disk = attached(box, first)
    with pytest.raises(Conflict) as refused:
        disks.attach_disk(actor=box.actor, vm=second, disk=disk)
    assert refused.value.code == "disk_state"


@pytest.mark.parametrize("point", points_of("disk.attach"))
def test_an_attachment_survives_its_worker(box: Box, point: str) -> None:
    vm, disk = box.vm(), ready(box)
    disks.attach_disk(actor=box.actor, vm=vm, disk=disk)
    box.run_dying(point)
    disk.refresh_from_db()
    assert (disk.status, disk.vm) == ("bound", vm)
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("disk.attach"))
def test_an_attachment_that_is_given_up_is_taken_back(box: Box, point: str) -> None:
    vm, disk = box.vm(), ready(box)
    disks.attach_disk(actor=box.actor, vm=vm, disk=disk)
    box.give_up_at(point)
    disk.refresh_from_db()
    assert (disk.status, disk.vm, disk.target) == ("unbound", None, "")
    box.assert_nothing_orphaned()


def test_nothing_else_is_done_to_the_vm_while_a_disk_is_being_attached(box: Box) -> None:
    vm, disk = box.vm(), ready(box)
    disks.attach_disk(actor=box.actor, vm=vm, disk=disk)
    with pytest.raises(Conflict):
        lifecycle.shut_down_vm(actor=box.actor, vm=vm)
    box.run()
    box.assert_nothing_orphaned()


# -- detach


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Box, VM, Disk], list[list[str]]]:
    """Say that a disk is mounted twice, one in the other; return what is run in the guest."""

    def mount(box: Box, vm: VM, disk: Disk) -> list[list[str]]:
        there = ["/data", "/data/inner"]
        ran: list[list[str]] = []

        def filesystems(self: FakeHypervisor, uuid: str) -> tuple[GuestFilesystem, ...]:
            return tuple(
                GuestFilesystem(path, "vdb", "ext4", None, None, (disk.pk,)) for path in there
            )

        def command(uuid: str, argv: object, stdin: bytes) -> CommandResult:
            words = list(argv)  # type: ignore[call-overload]  # a sequence of strings
            ran.append(words)
            there.remove(words[1])
            return CommandResult(0, b"", b"")

        monkeypatch.setattr(FakeHypervisor, "filesystems", filesystems)
        box.host_of(vm).guest_command = command
        return ran

    return mount


def test_a_mounted_disk_is_unmounted_inside_out_and_pulled(
    box: Box, mounted: Callable[[Box, VM, Disk], list[list[str]]]
) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    ran = mounted(box, vm, disk)
    disks.detach_disk(actor=box.actor, disk=disk)
    box.run()
    disk.refresh_from_db()
    assert (disk.status, disk.vm, disk.failure) == ("unbound", None, "")
    assert ran == [["/bin/umount", "/data/inner"], ["/bin/umount", "/data"]]
    box.assert_nothing_orphaned()


def test_a_disk_in_use_stays_and_says_so(
    box: Box, mounted: Callable[[Box, VM, Disk], list[list[str]]]
) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    mounted(box, vm, disk)
    box.host_of(vm).guest_command = lambda *_: CommandResult(32, b"", b"target is busy")
    job = disks.detach_disk(actor=box.actor, disk=disk)
    box.run()
    disk.refresh_from_db()
    job.refresh_from_db()
    assert (disk.status, disk.vm, disk.failure_code) == ("bound", vm, "disk_in_use")
    assert "target is busy" in job.error_message
    box.assert_nothing_orphaned()


def test_without_an_agent_only_force_detaches(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    box.host_of(vm).faults.agent_missing = True
    disks.detach_disk(actor=box.actor, disk=disk)
    box.run()
    disk.refresh_from_db()
    assert (disk.status, disk.failure_code) == ("bound", "agent_unavailable")
    disks.detach_disk(actor=box.actor, disk=disk, force=True)
    box.run()
    disk.refresh_from_db()
    assert disk.status == "unbound"
    box.assert_nothing_orphaned()


def test_a_guest_that_keeps_the_device_keeps_the_disk(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    box.host_of(vm).faults.keeps_devices = True
    disks.detach_disk(actor=box.actor, disk=disk)
    box.run()
    disk.refresh_from_db()
    assert (disk.status, disk.failure_code) == ("bound", "guest_refused")
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("disk.detach"))
def test_a_detachment_survives_its_worker(box: Box, point: str) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    disks.detach_disk(actor=box.actor, disk=disk)
    box.run_dying(point)
    disk.refresh_from_db()
    assert (disk.status, disk.vm) == ("unbound", None)
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("disk.detach"))
def test_a_detachment_that_is_given_up_tells_where_the_disk_is(box: Box, point: str) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    disks.detach_disk(actor=box.actor, disk=disk)
    box.give_up_at(point)
    disk.refresh_from_db()
    assert (disk.vm is None) == (point == "disk.detach:detach:after")
    box.assert_nothing_orphaned()


# -- expand


@pytest.mark.parametrize("where", ["unbound", "running", "stopped"])
def test_a_disk_grows_wherever_it_is(box: Box, where: str) -> None:
    disk = ready(box, 10, method="month")
    if where != "unbound":
        vm = box.vm(stopped=where == "stopped")
        disks.attach_disk(actor=box.actor, vm=vm, disk=disk)
        box.run()
    paid = sum(row.total_minor for row in Order.objects.all())
    expand(box, disk, 30)
    box.run()
    disk.refresh_from_db()
    assert (disk.size_gib, disk.failure) == (30, "")
    assert quota(disk) == 30
    assert sum(row.total_minor for row in Order.objects.all()) > paid
    box.assert_nothing_orphaned()


def test_a_system_disk_grows_and_its_vm_pays(box: Box) -> None:
    vm = box.vm(method="month")
    disk = box.system_disk(vm)
    expand(box, disk, 60)
    box.run()
    disk.refresh_from_db()
    assert disk.size_gib == 60
    assert quota(vm) == 60
    lines = {line["sku"]: line["quantity"] for line in subscription_of(vm.tenant, vm.pk).lines}
    assert lines["disk_gib:ssd"] == "60"
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("size", [5, 10])
def test_a_disk_never_shrinks(box: Box, size: int) -> None:
    disk = ready(box, 10)
    with pytest.raises(InvalidInput):
        expand(box, disk, size)


@pytest.mark.parametrize("point", points_of("disk.expand"))
def test_an_expansion_survives_its_worker(box: Box, point: str) -> None:
    disk = ready(box, 10)
    expand(box, disk, 30)
    box.run_dying(point)
    disk.refresh_from_db()
    assert disk.size_gib == 30
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("disk.expand"))
def test_an_expansion_that_is_given_up_costs_what_the_volume_says(box: Box, point: str) -> None:
    disk = ready(box, 10, method="month")
    before = sum(row.total_minor for row in Order.objects.all())
    expand(box, disk, 30)
    box.give_up_at(point)
    disk.refresh_from_db()
    grown = point == "disk.expand:grow:after"
    assert disk.size_gib == quota(disk) == (30 if grown else 10)
    assert (sum(row.total_minor for row in Order.objects.all()) > before) == grown
    box.assert_nothing_orphaned()


# -- clone


def clone(box: Box, disk: Disk, size_gib: int = 10) -> Disk:
    wanted = order(box, size_gib, name="copy")
    quote = disks.quote_disk(actor=box.actor, order=wanted)
    return disks.clone_disk(actor=box.actor, disk=disk, order=wanted, quote_token=quote.token)


def test_a_clone_is_its_own_disk(box: Box) -> None:
    disk = ready(box)
    box.storage.write_content(disk.pk, b"mine")
    copy = clone(box, disk, 12)
    disk.refresh_from_db()
    assert disk.task == "cloning"
    box.run()
    copy.refresh_from_db()
    assert (copy.status, copy.size_gib) == ("unbound", 12)
    box.storage.write_content(disk.pk, b"later")
    assert box.storage.read_content(copy.pk) == b"mine"
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("disk.create"))
def test_a_clone_that_is_given_up_frees_its_source(box: Box, point: str) -> None:
    disk = ready(box)
    copy = clone(box, disk)
    box.give_up_at(point)
    copy.refresh_from_db()
    disk.refresh_from_db()
    assert (copy.status, disk.status, disk.task) == ("failed", "unbound", "")
    box.assert_nothing_orphaned()


# -- the bin


def test_a_disk_goes_to_the_bin_comes_back_and_goes_for_good(box: Box) -> None:
    disk = ready(box)
    snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    box.run()
    disks.delete_disk(actor=box.actor, disk=disk)
    box.run()
    disk.refresh_from_db()
    assert disk.status == "binned"
    assert disk.destroy_at is not None
    assert quota(disk) == 0
    assert not QuotaClaim.objects.filter(item="snapshots").exists()
    assert Subscription.objects.get(resource_id=disk.pk).in_bin
    box.assert_nothing_orphaned()

    disks.restore_disk(actor=box.actor, disk=disk)
    disk.refresh_from_db()
    assert (disk.status, disk.vm, quota(disk)) == ("unbound", None, 10)
    assert not Subscription.objects.get(resource_id=disk.pk).in_bin

    disks.delete_disk(actor=box.actor, disk=disk)
    disk.refresh_from_db()
    with pytest.raises(InvalidInput):
        disks.destroy_disk(actor=box.actor, disk=disk, confirm_name="another")
    disks.destroy_disk(actor=box.actor, disk=disk, confirm_name=disk.name)
    box.run()
    disk.refresh_from_db()
    assert disk.status == "destroyed"
    assert Subscription.objects.get(resource_id=disk.pk).status == "ended"
    box.assert_nothing_orphaned()


def test_a_restored_disk_needs_quota_again(box: Box) -> None:
    from billing.models import QuotaLimit

    disk = ready(box)
    disks.delete_disk(actor=box.actor, disk=disk)
    QuotaLimit.objects.create(item="disk_gib", limit=5)
    with pytest.raises(QuotaExceeded):
        disks.restore_disk(actor=box.actor, disk=disk)
    disk.refresh_from_db()
    assert disk.status == "binned"


def test_the_bin_empties_itself(box: Box) -> None:
    disk = ready(box)
    disks.delete_disk(actor=box.actor, disk=disk)
    Disk.objects.filter(pk=disk.pk).update(destroy_at=timezone.now() - timedelta(seconds=1))
    assert disk_sweeps.empty_disk_bin() == 1
    box.run()
    disk.refresh_from_db()
    assert disk.status == "destroyed"
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("along", [True, False])
def test_a_deleted_vm_takes_its_disks_along_or_leaves_them(box: Box, along: bool) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    box.run()
    lifecycle.delete_vm(actor=box.actor, vm=vm, delete_disks=along)
    box.run()
    disk.refresh_from_db()
    vm.refresh_from_db()
    assert vm.status == "binned"
    assert (disk.status, disk.vm) == ("binned" if along else "unbound", None)
    assert quota(disk) == (0 if along else 10)
    box.assert_nothing_orphaned()


def test_an_expired_disk_is_pulled_and_binned_after_its_grace(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    disk_sweeps.disk_expired(disk.tenant, disk.pk)
    disk.refresh_from_db()
    assert (disk.status, disk.vm) == ("expired", vm)
    with pytest.raises(Conflict):
        disks.detach_disk(actor=box.actor, disk=disk)
    disk_sweeps.disk_renewed(disk.tenant, disk.pk)
    disk.refresh_from_db()
    assert disk.status == "bound"
    Subscription.objects.filter(resource_id=disk.pk).update(status="expired")
    disk_sweeps.disk_expired(disk.tenant, disk.pk)
    disk_sweeps.disk_overdue(disk.tenant, disk.pk)
    box.run()
    disk.refresh_from_db()
    assert (disk.status, disk.vm, disk.binned_automatically) == ("binned", None, True)
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", [*points_of("disk.delete"), *points_of("disk.destroy")])
def test_deletions_survive_their_worker(box: Box, point: str) -> None:
    disk = ready(box)
    snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    box.run()
    disks.delete_disk(actor=box.actor, disk=disk)
    if "delete" in point.split(":")[0]:
        box.run_dying(point)
    else:
        box.run()
        disks.destroy_disk(actor=box.actor, disk=disk)
        box.run_dying(point)
    box.assert_nothing_orphaned()
