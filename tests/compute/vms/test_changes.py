"""Password, size, reinstall and image on drivers in memory, with workers that die anywhere."""

from __future__ import annotations

import pytest

from billing.models import Order, QuotaClaim
from billing.services import subscription_of
from compute.actions.vms import changes
from compute.actions.vms.lifecycle import start_vm
from compute.models import VM, Image, Spec
from compute.rules.logins import open_hash, open_pending
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput, NoCapacity, StaleQuote
from tests.compute.box import Box, points_of

NEW_PASSWORD = "An0ther-one"


def spec(box: Box, vcpus: int) -> Spec:
    return next(one for one in box.platform.specs if one.vcpus == vcpus)


def resize(box: Box, vm: VM, vcpus: int, *, hot: bool = False) -> Job:
    wanted = spec(box, vcpus)
    quote = changes.quote_size(actor=box.actor, vm=vm, spec=wanted)
    verb = changes.hot_upgrade_vm if hot else changes.modify_vm
    return verb(actor=box.actor, vm=vm, spec=wanted, quote_token=quote.token)


def vcpu_quota(vm: VM) -> int:
    found: int = QuotaClaim.objects.get(resource_id=vm.pk, item="vcpu").amount
    return found


def paid(vm: VM) -> int:
    return sum(order.total_minor for order in Order.objects.exclude(kind="new"))


# -- reset password


def test_a_new_password_reaches_the_guest_as_a_hash(box: Box) -> None:
    vm = box.vm()
    old = open_hash(vm)
    changes.reset_password(actor=box.actor, vm=vm, password=NEW_PASSWORD)
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.task, vm.failure) == ("running", "", "")
    told = box.domain(vm).passwords["root"]
    assert told.startswith("$6$")
    assert told != old
    assert open_hash(vm) == told
    assert open_pending(vm) is None
    assert NEW_PASSWORD not in str(list(Job.objects.values()))


def test_a_windows_guest_is_told_the_password_itself(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its agent takes no hash; the platform forgets the password when the job has ended."""
    vm = box.vm()
    Image.objects.filter(pk=vm.image_id).update(os_family="windows")
    VM.objects.filter(pk=vm.pk).update(admin_account="administrator")
    vm = VM.objects.get(pk=vm.pk)
    old = open_hash(vm)
    changes.reset_password(actor=box.actor, vm=vm, password=NEW_PASSWORD)
    assert NEW_PASSWORD.encode() not in bytes(vm.login.sealed_pending)
    box.run()
    assert box.domain(vm).passwords["administrator"] == NEW_PASSWORD
    assert (open_hash(vm), open_pending(vm)) == (old, None)


def test_a_guest_without_agent_keeps_its_password_and_says_so(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compute.tasks.vms.changes.AGENT_PATIENCE_S", 0.1)
    vm = box.vm()
    old = open_hash(vm)
    box.host_of(vm).faults.agent_missing = True
    job = changes.reset_password(actor=box.actor, vm=vm, password=NEW_PASSWORD)
    box.run()
    vm.refresh_from_db()
    job.refresh_from_db()
    assert job.error_code == vm.failure_code == "agent_unavailable"
    assert "qemu-guest-agent" in job.error_remedy
    assert vm.status == "running"
    assert open_hash(vm) == old
    assert open_pending(vm) is None


def test_a_weak_password_is_refused_before_anything_happens(box: Box) -> None:
    vm = box.vm()
    with pytest.raises(InvalidInput) as refused:
        changes.reset_password(actor=box.actor, vm=vm, password="password")
    assert refused.value.field == "password"
    assert not Job.objects.filter(kind="vm.reset_password").exists()


@pytest.mark.parametrize("point", points_of("vm.reset_password"))
def test_a_reset_survives_its_worker(box: Box, point: str) -> None:
    vm = box.vm()
    changes.reset_password(actor=box.actor, vm=vm, password=NEW_PASSWORD)
    box.run_dying(point)
    vm.refresh_from_db()
    assert vm.failure == ""
    assert open_hash(vm) == box.domain(vm).passwords["root"]
    box.assert_nothing_orphaned()


# -- modify


@pytest.mark.parametrize("vcpus", [4, 1])
def test_a_stopped_vm_changes_its_size_both_ways(box: Box, vcpus: int) -> None:
    vm = box.vm(stopped=True, spec=spec(box, 2), method="month")
    resize(box, vm, vcpus)
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.vcpus, vm.failure) == ("stopped", vcpus, "")
    assert box.domain(vm).spec.vcpus == vcpus
    assert vcpu_quota(vm) == vcpus
    assert (paid(vm) > 0) == (vcpus > 2)
    lines = {line["sku"]: line["quantity"] for line in subscription_of(vm.tenant, vm.pk).lines}
    assert lines["vcpu"] == str(vcpus)
    start_vm(actor=box.actor, vm=vm)
    box.run()
    running = box.domain(vm).running
    assert running is not None
    assert running.vcpus == vcpus
    box.assert_nothing_orphaned()


def test_a_size_that_its_host_cannot_take_moves_the_vm(box: Box) -> None:
    vm = box.vm(stopped=True, spec=spec(box, 1))
    assert vm.host is not None
    former = vm.host
    type(former).objects.filter(pk=former.pk).update(memory_mib=4096)
    resize(box, vm, 4)
    box.run()
    vm.refresh_from_db()
    assert vm.host != former
    box.assert_nothing_orphaned()


def test_a_size_that_no_host_can_take_changes_nothing(box: Box) -> None:
    vm = box.vm(stopped=True, spec=spec(box, 1), method="month")
    before = (paid(vm), vcpu_quota(vm))
    for host in box.platform.hosts:
        type(host).objects.filter(pk=host.pk).update(memory_mib=4096)
    with pytest.raises(NoCapacity):
        resize(box, vm, 8)
    vm.refresh_from_db()
    assert (vm.task, vm.vcpus) == ("", 1)
    assert (paid(vm), vcpu_quota(vm)) == before


def test_the_price_must_be_the_one_that_was_shown(box: Box) -> None:
    vm = box.vm(stopped=True, method="month")
    quote = changes.quote_size(actor=box.actor, vm=vm, spec=spec(box, 2))
    with pytest.raises(StaleQuote):
        changes.modify_vm(actor=box.actor, vm=vm, spec=spec(box, 8), quote_token=quote.token)


@pytest.mark.parametrize("point", points_of("vm.modify"))
def test_a_change_of_size_survives_its_worker(box: Box, point: str) -> None:
    vm = box.vm(stopped=True, spec=spec(box, 1))
    resize(box, vm, 4)
    box.run_dying(point)
    vm.refresh_from_db()
    assert (vm.vcpus, vm.failure) == (4, "")
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("vm.modify"))
def test_a_change_of_size_that_is_given_up_costs_nothing(box: Box, point: str) -> None:
    vm = box.vm(stopped=True, spec=spec(box, 2), method="month")
    lines = subscription_of(vm.tenant, vm.pk).lines
    resize(box, vm, 4)
    box.give_up_at(point)
    vm.refresh_from_db()
    assert (vm.status, vm.task, vm.vcpus, vm.memory_mib) == ("stopped", "", 2, 4096)
    assert vm.failure_code == "deadline_exceeded"
    assert paid(vm) == 0
    assert vcpu_quota(vm) == 2
    assert subscription_of(vm.tenant, vm.pk).lines == lines
    start_vm(actor=box.actor, vm=vm)
    box.run()
    box.assert_nothing_orphaned()


# -- hot upgrade


def test_a_running_vm_grows_without_a_restart(box: Box) -> None:
    vm = box.vm(spec=spec(box, 1), method="month")
    boots = box.domain(vm).boots
    job = resize(box, vm, 2, hot=True)
    box.run()
    vm.refresh_from_db()
    job.refresh_from_db()
    domain = box.domain(vm)
    assert domain.running is not None
    assert (domain.running.vcpus, domain.running.memory_mib) == (2, 4096)
    assert (vm.status, vm.vcpus, domain.boots) == ("running", 2, boots)
    assert job.result["seen"] == {"vcpus": 2, "memory_mib": 4096}
    assert paid(vm) > 0


def test_a_hot_upgrade_beyond_the_headroom_is_refused(box: Box) -> None:
    vm = box.vm(spec=spec(box, 1))
    with pytest.raises(Conflict) as refused:
        resize(box, vm, 8, hot=True)
    assert refused.value.code == "headroom_exceeded"
    with pytest.raises(InvalidInput):
        resize(box, box.vm(spec=spec(box, 2), name="b"), 1, hot=True)


@pytest.mark.parametrize("point", points_of("vm.hot_upgrade"))
def test_a_hot_upgrade_survives_its_worker(box: Box, point: str) -> None:
    vm = box.vm(spec=spec(box, 1), method="month")
    resize(box, vm, 2, hot=True)
    box.run_dying(point)
    vm.refresh_from_db()
    assert (vm.vcpus, vm.failure) == (2, "")
    assert Order.objects.filter(kind="upgrade").count() == 1
    box.assert_nothing_orphaned()


# -- reinstall


def other_image(box: Box, **changes_: object) -> Image:
    image = box.platform.image
    image.pk, image.name, image.admin_account = "image-other0001", "Ubuntu 24.04", "ubuntu"
    image._state.adding = True
    for key, value in changes_.items():
        setattr(image, key, value)
    image.save()
    box.storage.add_image(image.pk, size_gib=2)
    found: Image = Image.objects.get(pk="image-other0001")
    return found


def test_a_reinstalled_vm_has_a_fresh_disk_and_a_new_first_boot(box: Box) -> None:
    vm = box.vm(stopped=True, data_disk_type=box.platform.disk_type, data_disk_gib=10)
    system = box.system_disk(vm)
    data = vm.disks.get(is_system=False)
    box.storage.write_content(system.pk, b"old")
    box.storage.write_content(data.pk, b"kept")
    image = other_image(box)
    changes.reinstall_vm(actor=box.actor, vm=vm, image=image, password=NEW_PASSWORD)
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.image, vm.seed_generation) == ("stopped", image, 2)
    assert vm.admin_account == "ubuntu"
    assert box.storage.volume_info(system.pk).image_id == image.pk
    assert b"old" not in box.storage.read_content(system.pk)
    assert box.storage.read_content(data.pk) == b"kept"
    assert open_pending(vm) is None
    start_vm(actor=box.actor, vm=vm)
    box.run()
    box.assert_nothing_orphaned()


def test_a_vm_stays_within_its_family(box: Box) -> None:
    vm = box.vm(stopped=True)
    image = other_image(box, os_family="windows")
    with pytest.raises(InvalidInput) as refused:
        changes.reinstall_vm(actor=box.actor, vm=vm, image=image)
    assert refused.value.code == "os_family_differs"


def test_a_vanished_image_leaves_the_old_disk(box: Box) -> None:
    vm = box.vm(stopped=True)
    system = box.system_disk(vm)
    box.storage.write_content(system.pk, b"old")
    image = other_image(box)
    box.storage.delete_image(image.pk)
    old = open_hash(vm)
    changes.reinstall_vm(actor=box.actor, vm=vm, image=image, password=NEW_PASSWORD)
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.failure_code, vm.seed_generation) == ("stopped", "image_missing", 1)
    assert box.storage.read_content(system.pk) == b"old"
    assert open_hash(vm) == old


@pytest.mark.parametrize("point", points_of("vm.reinstall"))
def test_a_reinstall_survives_its_worker(box: Box, point: str) -> None:
    vm = box.vm(stopped=True)
    image = other_image(box)
    changes.reinstall_vm(actor=box.actor, vm=vm, image=image)
    box.run_dying(point)
    vm.refresh_from_db()
    assert (vm.image, vm.seed_generation, vm.failure) == (image, 2, "")
    assert box.system_disk(vm).image == image
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("vm.reinstall"))
def test_a_reinstall_that_is_given_up_tells_what_the_disk_is(box: Box, point: str) -> None:
    vm = box.vm(stopped=True)
    before = vm.image
    image = other_image(box)
    changes.reinstall_vm(actor=box.actor, vm=vm, image=image)
    box.give_up_at(point)
    vm.refresh_from_db()
    assert vm.failure_code == "deadline_exceeded"
    disk = box.system_disk(vm)
    assert box.storage.volume_info(disk.pk).image_id == disk.image_id == vm.image_id
    assert (vm.image == before) == (point != "vm.reinstall:disk:after")
    box.assert_nothing_orphaned()


# -- make image


def test_an_image_of_a_vm_is_whole_and_its_own(box: Box) -> None:
    vm = box.vm(stopped=True)
    system = box.system_disk(vm)
    box.storage.write_content(system.pk, b"mine")
    Image.objects.filter(pk=vm.image_id).update(watchdog=True)
    vm = VM.objects.get(pk=vm.pk)
    image = changes.make_image(actor=box.actor, vm=vm, name="golden")
    assert image.status == "making"
    box.run()
    vm.refresh_from_db()
    image.refresh_from_db()
    assert (vm.status, vm.task) == ("stopped", "")
    assert (image.status, image.min_disk_gib, image.tenant) == ("available", 40, vm.tenant)
    assert image.base_image == vm.image
    assert image.supports_hot_upgrade
    assert image.watchdog
    assert len(image.sha256) == 64
    second = box.vm(image=image, name="copy")
    assert box.storage.read_content(box.system_disk(second).pk) == b"mine"
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("vm.make_image"))
def test_an_image_survives_the_worker_that_makes_it(box: Box, point: str) -> None:
    vm = box.vm(stopped=True)
    image = changes.make_image(actor=box.actor, vm=vm, name="golden")
    box.run_dying(point)
    image.refresh_from_db()
    assert image.status == "available"
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("vm.make_image"))
def test_an_image_that_is_given_up_leaves_nothing(box: Box, point: str) -> None:
    vm = box.vm(stopped=True)
    image = changes.make_image(actor=box.actor, vm=vm, name="golden")
    box.give_up_at(point)
    image.refresh_from_db()
    assert image.status == "failed"
    assert not QuotaClaim.objects.filter(resource_id=image.pk).exists()
    box.assert_nothing_orphaned()


def test_a_full_pool_is_named(box: Box) -> None:
    vm = box.vm(stopped=True)
    image = changes.make_image(actor=box.actor, vm=vm, name="golden")
    box.storage.faults.full = True
    box.run()
    box.storage.faults.full = False
    vm.refresh_from_db()
    image.refresh_from_db()
    assert vm.failure_code == "storage_full"
    assert "full" in image.failure
    box.assert_nothing_orphaned()
