"""The storage that images and the recycle bin take is counted in GB and bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing import quotas
from billing.models import QuotaClaim, QuotaItem, QuotaLimit, Subscription
from compute.actions import disks, images
from compute.actions.vms import changes, lifecycle
from compute.models import VM, Disk, Image
from compute.rules import storage
from compute.storage.base import ImageInfo
from compute.sweeps import vms as sweeps
from compute.transfer import staging, uploads
from scloud.lib.errors import InvalidInput, QuotaExceeded
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box, points_of
from tests.compute.disks.test_tasks import ready
from tests.compute.images.test_tasks import Server, facts, qcow2, run, upload
from tests.compute.snapshots.test_tasks import take

__all__ = ["qcow2"]
GIB = 1024**3


@pytest.fixture(autouse=True)
def _media(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.SCLOUD_IMPORT_ALLOWED_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def server(settings: Any) -> Iterator[Server]:
    server = Server()
    settings.SCLOUD_IMPORT_PORTS = [server.server.server_port]
    yield server
    server.close()


def tenant_of(box: Box) -> Tenant:
    assert box.actor.tenant is not None
    return box.actor.tenant


def limit(item: QuotaItem, amount: int) -> None:
    QuotaLimit.objects.update_or_create(
        tenant=None, region=None, item=item, defaults={"limit": amount}
    )


def used(box: Box, item: QuotaItem) -> int:
    return quotas.usage(tenant_of(box), box.platform.region)[item.value].used


def image_of(box: Box, qcow2: bytes, size_gib: int) -> Image:
    """An available image that counts with so many GB."""
    image = run(box, upload(box, qcow2))
    Image.objects.filter(pk=image.pk).update(size_bytes=size_gib * GIB)
    image.refresh_from_db()
    return image


def numbers(error: pytest.ExceptionInfo[QuotaExceeded]) -> tuple[Any, ...]:
    found = error.value.numbers or {}
    return tuple(found.get(key) for key in ("quota", "limit", "used", "asked"))


def test_images_are_counted_in_whole_gb(box: Box, qcow2: bytes) -> None:
    image = run(box, upload(box, qcow2))
    assert used(box, QuotaItem.IMAGE_GIB) == 1
    Image.objects.filter(pk=image.pk).update(size_bytes=2 * GIB + 1)
    assert used(box, QuotaItem.IMAGE_GIB) == 3
    Image.objects.filter(pk=image.pk).update(size_bytes=2 * GIB)
    assert used(box, QuotaItem.IMAGE_GIB) == 2
    assert used(box, QuotaItem.BIN_GIB) == 0
    assert not QuotaClaim.objects.filter(item="image_gib").exists()


def test_the_bin_holds_no_more_images_than_its_quota(box: Box, qcow2: bytes) -> None:
    limit(QuotaItem.BIN_GIB, 5)
    first, second = image_of(box, qcow2, 3), image_of(box, qcow2, 3)
    images.delete_image(actor=box.actor, image=first)
    assert (used(box, QuotaItem.BIN_GIB), used(box, QuotaItem.IMAGE_GIB)) == (3, 3)
    with pytest.raises(QuotaExceeded) as refused:
        images.delete_image(actor=box.actor, image=second)
    assert numbers(refused) == ("bin_gib", 5, 3, 3)
    assert "Destroy something" in str(refused.value.remedy)
    second.refresh_from_db()
    assert second.status == "available"
    # An image that is being destroyed is there until it is gone.
    images.destroy_image(actor=box.actor, image=first)
    assert used(box, QuotaItem.BIN_GIB) == 3
    box.run()
    assert images.delete_image(actor=box.actor, image=second).status == "binned"


def test_an_image_that_failed_takes_no_room_in_the_bin(box: Box) -> None:
    limit(QuotaItem.BIN_GIB, 0)
    image = run(box, upload(box, b"\x7fELF" + bytes(1020)))
    assert (image.status, used(box, QuotaItem.IMAGE_GIB)) == ("failed", 0)
    assert images.delete_image(actor=box.actor, image=image).status == "destroyed"


def test_a_restored_image_needs_storage_again(box: Box, qcow2: bytes) -> None:
    image = image_of(box, qcow2, 3)
    images.delete_image(actor=box.actor, image=image)
    limit(QuotaItem.IMAGE_GIB, 2)
    with pytest.raises(QuotaExceeded) as refused:
        images.restore_image(actor=box.actor, image=image)
    assert numbers(refused) == ("image_gib", 2, 0, 3)
    limit(QuotaItem.IMAGE_GIB, 3)
    images.restore_image(actor=box.actor, image=image)
    assert (used(box, QuotaItem.BIN_GIB), used(box, QuotaItem.IMAGE_GIB)) == (0, 3)


def test_an_upload_counts_from_its_import_on(box: Box, qcow2: bytes) -> None:
    limit(QuotaItem.IMAGE_GIB, 1)
    upload(box, qcow2)
    assert used(box, QuotaItem.IMAGE_GIB) == 1
    with pytest.raises(QuotaExceeded) as refused:
        upload(box, qcow2)
    assert numbers(refused) == ("image_gib", 1, 1, 1)


def test_a_download_counts_with_the_length_that_its_server_tells(
    box: Box, server: Server, qcow2: bytes
) -> None:
    limit(QuotaItem.IMAGE_GIB, 2)
    url = server.serve("/large", qcow2, length=2 * GIB + 1)
    image = run(box, images.import_image_url(actor=box.actor, facts=facts(box), url=url))
    assert image.status == "failed"
    assert "Image storage" in image.failure
    assert used(box, QuotaItem.IMAGE_GIB) == 0
    assert list(staging.folder().iterdir()) == []


def test_what_grows_when_it_is_unpacked_is_counted_as_it_is(
    box: Box, qcow2: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(QuotaItem.IMAGE_GIB, 4)
    real = type(box.storage).import_image

    def unpacked(self: Any, image_id: str, *given: Any, **named: Any) -> ImageInfo:
        info: ImageInfo = real(self, image_id, *given, **named)
        return ImageInfo(image_id, info.virtual_bytes, 5 * GIB, info.sha256)

    monkeypatch.setattr(type(box.storage), "import_image", unpacked)
    image = run(box, upload(box, qcow2))
    assert (image.status, used(box, QuotaItem.IMAGE_GIB)) == ("failed", 0)
    limit(QuotaItem.IMAGE_GIB, 5)
    image = run(box, upload(box, qcow2))
    assert (image.status, used(box, QuotaItem.IMAGE_GIB)) == ("available", 5)
    box.assert_nothing_orphaned()


def test_an_image_made_of_a_vm_needs_storage(box: Box) -> None:
    vm = box.vm(stopped=True)
    limit(QuotaItem.IMAGE_GIB, 0)
    with pytest.raises(QuotaExceeded):
        changes.make_image(actor=box.actor, vm=vm, name="mine")
    limit(QuotaItem.IMAGE_GIB, 1)
    image = changes.make_image(actor=box.actor, vm=vm, name="mine")
    assert run(box, image).status == "available"
    assert used(box, QuotaItem.IMAGE_GIB) == 1


def test_an_image_made_of_a_vm_counts_as_it_turns_out(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = box.vm(stopped=True)
    real = type(box.storage).image_from_volume

    def large(self: Any, image_id: str, *given: Any, **named: Any) -> ImageInfo:
        info: ImageInfo = real(self, image_id, *given, **named)
        return ImageInfo(image_id, info.virtual_bytes, 5 * GIB, info.sha256)

    monkeypatch.setattr(type(box.storage), "image_from_volume", large)
    limit(QuotaItem.IMAGE_GIB, 4)
    image = run(box, changes.make_image(actor=box.actor, vm=vm, name="large"))
    assert (image.status, used(box, QuotaItem.IMAGE_GIB)) == ("failed", 0)
    limit(QuotaItem.IMAGE_GIB, 5)
    vm.refresh_from_db()
    image = run(box, changes.make_image(actor=box.actor, vm=vm, name="large"))
    assert (image.status, used(box, QuotaItem.IMAGE_GIB)) == ("available", 5)
    box.assert_nothing_orphaned()


def test_a_vm_counts_with_its_disks_as_soon_as_it_is_deleted(box: Box) -> None:
    vm = box.vm()
    system = Disk.objects.get(vm=vm, is_system=True).size_gib
    limit(QuotaItem.BIN_GIB, system - 1)
    with pytest.raises(QuotaExceeded) as refused:
        lifecycle.delete_vm(actor=box.actor, vm=vm)
    assert numbers(refused) == ("bin_gib", system - 1, 0, system)
    limit(QuotaItem.BIN_GIB, system)
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    assert used(box, QuotaItem.BIN_GIB) == system
    box.run()
    vm.refresh_from_db()
    assert (vm.status, used(box, QuotaItem.BIN_GIB)) == ("binned", system)
    lifecycle.restore_vm(actor=box.actor, vm=vm)
    box.run()
    assert used(box, QuotaItem.BIN_GIB) == 0


def test_data_disks_that_go_along_count_as_well(box: Box) -> None:
    vm = box.vm(data_disk_type=box.platform.disk_type, data_disk_gib=30)
    system = Disk.objects.get(vm=vm, is_system=True).size_gib
    limit(QuotaItem.BIN_GIB, system + 29)
    with pytest.raises(QuotaExceeded):
        lifecycle.delete_vm(actor=box.actor, vm=vm, delete_disks=True)
    limit(QuotaItem.BIN_GIB, system + 30)
    lifecycle.delete_vm(actor=box.actor, vm=vm, delete_disks=True)
    assert used(box, QuotaItem.BIN_GIB) == system + 30
    box.run()
    assert used(box, QuotaItem.BIN_GIB) == system + 30


def test_a_deletion_that_fails_leaves_nothing_in_the_bin(box: Box) -> None:
    vm = box.vm()
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    assert used(box, QuotaItem.BIN_GIB) > 0
    box.give_up_at(points_of("vm.delete")[0])
    vm.refresh_from_db()
    assert (vm.task, vm.status != "binned") == ("", True)
    assert used(box, QuotaItem.BIN_GIB) == 0


def test_a_disk_counts_with_the_size_that_was_bought(box: Box) -> None:
    disk = ready(box, 30)
    limit(QuotaItem.BIN_GIB, 29)
    with pytest.raises(QuotaExceeded) as refused:
        disks.delete_disk(actor=box.actor, disk=disk)
    assert numbers(refused) == ("bin_gib", 29, 0, 30)
    limit(QuotaItem.BIN_GIB, 30)
    disks.delete_disk(actor=box.actor, disk=disk)
    assert used(box, QuotaItem.BIN_GIB) == 30
    disks.restore_disk(actor=box.actor, disk=disk)
    assert used(box, QuotaItem.BIN_GIB) == 0


def test_a_disk_with_snapshots_counts_while_it_is_on_its_way(box: Box) -> None:
    disk = ready(box, 30)
    take(box, disk, "kept")
    disks.delete_disk(actor=box.actor, disk=disk)
    disk.refresh_from_db()
    assert (disk.task, disk.status) == ("deleting", "unbound")
    assert used(box, QuotaItem.BIN_GIB) == 30
    box.run()
    disk.refresh_from_db()
    assert (disk.status, used(box, QuotaItem.BIN_GIB)) == ("binned", 30)


def test_the_end_of_a_grace_period_finds_room_in_a_full_bin(box: Box) -> None:
    limit(QuotaItem.BIN_GIB, 0)
    vm = box.vm()
    VM.objects.filter(pk=vm.pk).update(status="expired")
    Subscription.objects.filter(resource_id=vm.pk).update(
        status="expired", overdue_at=timezone.now()
    )
    sweeps.vm_overdue(tenant_of(box), vm.pk)
    box.run()
    vm.refresh_from_db()
    assert vm.status == "binned"
    assert used(box, QuotaItem.BIN_GIB) > 0


def test_with_the_switch_off_nothing_is_refused(box: Box, qcow2: bytes) -> None:
    from scloud.tenancy.models import PlatformSettings

    limit(QuotaItem.BIN_GIB, 0)
    limit(QuotaItem.IMAGE_GIB, 0)
    settings = PlatformSettings.load()
    settings.quota_enabled = False
    settings.save()
    image = run(box, upload(box, qcow2))
    assert images.delete_image(actor=box.actor, image=image).status == "binned"


def test_metered_items_cannot_be_claimed(box: Box) -> None:
    with pytest.raises(InvalidInput):
        quotas.take(tenant_of(box), box.platform.region, {"bin_gib": 1}, "x")


# -- uploads that wait


def test_uploads_that_wait_are_bounded_per_tenant(
    box: Box, settings: Any, other_tenant: Tenant, qcow2: bytes
) -> None:
    settings.SCLOUD_UPLOADS_WAITING = 2
    tenant = tenant_of(box)
    first = uploads.receive(tenant, [qcow2])
    uploads.receive(tenant, [qcow2])
    with pytest.raises(QuotaExceeded) as refused:
        uploads.receive(tenant, [qcow2])
    assert (refused.value.code, refused.value.numbers and refused.value.numbers["waiting"]) == (
        "uploads_waiting",
        2,
    )
    assert len(list(staging.folder().iterdir())) == 2
    uploads.receive(other_tenant, [qcow2])
    # What is being imported does not wait any more.
    images.import_image_file(
        actor=box.actor, facts=facts(box), path=uploads.path_of(tenant, first.token)
    )
    uploads.receive(tenant, [qcow2])


def test_uploads_that_wait_are_bounded_in_size(
    box: Box, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(staging, "LOOK_EVERY_BYTES", 10)
    monkeypatch.setattr(staging, "max_file_bytes", lambda: 250)
    tenant = tenant_of(box)
    uploads.receive(tenant, [b"x" * 100] * 2)
    with pytest.raises(QuotaExceeded):
        uploads.receive(tenant, iter([b"x" * 20] * 10))
    assert len(list(staging.folder().iterdir())) == 1
    uploads.receive(tenant, [b"x" * 20])


# -- races


@pytest.mark.django_db(transaction=True)
def test_two_deletions_at_once_do_not_both_take_the_last_room(
    tenant: Tenant, region: Region, actor: Actor
) -> None:
    """Whoever comes second waits for the first one's commit, and counts its rows then."""
    quotas.register_meter("bin_gib", lambda *_: 3 * QuotaLimit.objects.filter(item="vms").count())
    try:
        limit(QuotaItem.BIN_GIB, 5)
        refused: list[QuotaExceeded] = []
        first_has_checked, second_waits = threading.Event(), threading.Event()

        def second() -> None:
            assert first_has_checked.wait(30)
            second_waits.set()
            try:
                with scopes_disabled(), transaction.atomic():
                    storage.require_bin(actor, tenant, region, 3)
            except QuotaExceeded as error:
                refused.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=second)
        thread.start()
        with scopes_disabled(), transaction.atomic():
            storage.require_bin(actor, tenant, region, 3)
            first_has_checked.set()
            assert second_waits.wait(30)
            # It does not come through; without the lock it would count what is there now.
            thread.join(1.0)
            assert thread.is_alive()
            # What the first one puts into the bin.
            limit(QuotaItem.VMS, 1)
        thread.join(30)
        assert [error.numbers and error.numbers["used"] for error in refused] == [3]
    finally:
        storage.register()
