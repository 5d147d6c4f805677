"""Storage of a tenant's snapshots, images and recycle bin, in GB: for quotas, and for what is
charged afterwards. Each thing counts as one at least."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.db.models import F, QuerySet, Sum, Value
from django.db.models.functions import Greatest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import hooks, quotas
from billing.hooks import Held
from billing.models import QuotaItem
from compute.models import VM, Disk, Image, Snapshot
from compute.states.disks import DiskStatus, DiskTask
from compute.states.images import ImageStatus
from compute.states.snapshots import SnapshotStatus
from compute.states.vms import VmStatus, VmTask
from scloud.jobs.models import Job
from scloud.lib import sizes
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant

GIB = 1024**3
# What takes storage of the images' quota, and what that of the bin.
KEPT = (ImageStatus.IMPORTING, ImageStatus.MAKING, ImageStatus.AVAILABLE)
BINNED = (ImageStatus.BINNED, ImageStatus.DELETING)
# Snapshots that are there. What is still being made is free, as it may fail.
TAKEN = (SnapshotStatus.AVAILABLE, SnapshotStatus.ROLLING_BACK, SnapshotStatus.DELETING)

# What is charged afterwards, by the GB and hour.
SNAPSHOT_SKU: Final = "snapshot_gib"
IMAGE_SKU: Final = "image_gib"
BIN_SKU: Final = "bin_gib"


def whole_gib(size_bytes: int) -> int:
    """Return a size in GB, rounded up, 1 at least."""
    return max(1, -(-size_bytes // GIB))


def _total(rows: QuerySet[Any], field: str) -> int:
    found: int | None = rows.aggregate(total=Sum(field))["total"]
    return found or 0


def _images_gib(tenant: Tenant, region: Region, statuses: Iterable[str]) -> int:
    rows = Image.objects.filter(tenant=tenant, region=region, status__in=statuses)
    # Integers divide towards zero.
    each = Greatest((F("size_bytes") + Value(GIB - 1)) / Value(GIB), Value(1))
    return _total(rows.annotate(gib=each), "gib")


def image_gib(tenant: Tenant, region: Region) -> int:
    """Return what a tenant's images take, those that are being made or imported included."""
    return _images_gib(tenant, region, KEPT)


def bin_gib(tenant: Tenant, region: Region) -> int:
    """Return what is in a tenant's recycle bin or is on its way there.

    A VM counts with its system disk; disks count with the size that was bought.
    """
    disks = Disk.objects.filter(tenant=tenant, region=region)
    system = disks.filter(is_system=True)
    loose = disks.filter(is_system=False)
    deleting = VM.objects.filter(tenant=tenant, region=region, task=VmTask.DELETING)
    jobs = Job.objects.filter(pk__in=deleting.values("task_job"))
    along = [disk for job in jobs for disk in job.payload.get("disks", [])]
    return (
        _total(system.filter(vm__status=VmStatus.BINNED), "size_gib")
        + _total(system.filter(vm__in=deleting), "size_gib")
        + _total(loose.filter(status=DiskStatus.BINNED), "size_gib")
        + _total(loose.exclude(status=DiskStatus.BINNED).filter(task=DiskTask.DELETING), "size_gib")
        + _total(loose.filter(pk__in=along).exclude(status=DiskStatus.BINNED), "size_gib")
        + _images_gib(tenant, region, BINNED)
    )


def require_bin(
    actor: Actor, tenant: Tenant, region: Region, size_gib: int, *, automatically: bool = False
) -> None:
    """Raise QuotaExceeded unless the quota of the recycle bin has so many GB left.

    What the platform itself moves there (the end of a grace period) is never refused.
    """
    if not automatically and not actor.is_platform:
        quotas.require(tenant, region, {QuotaItem.BIN_GIB.value: size_gib})


def reserve_image(image: Image, size_bytes: int) -> None:
    """Count an image with so many bytes from now on, where it was counted with fewer.

    Raises QuotaExceeded; the image counts as before then.
    """
    if size_bytes <= image.size_bytes:
        return
    more = whole_gib(size_bytes) - whole_gib(image.size_bytes)
    with transaction.atomic():
        if image.tenant is not None and more:
            quotas.require(image.tenant, image.region, {QuotaItem.IMAGE_GIB.value: more})
        Image.objects.filter(pk=image.pk).update(size_bytes=size_bytes)
    image.size_bytes = size_bytes


# --- what is charged afterwards


def _snapshots() -> Iterator[Held]:
    """All snapshots, each with the size that its disk had when it was taken."""
    rows = Snapshot.objects.filter(status__in=TAKEN).values_list(
        "tenant_id", "region_id", "pk", "name", "size_gib"
    )
    for tenant, region, pk, name, size_gib in rows:
        yield Held(tenant, region, Snapshot.KIND, pk, name, Decimal(size_gib))


def _images(statuses: Iterable[str] = (ImageStatus.AVAILABLE,)) -> Iterator[Held]:
    """All images of tenants, each with the size of its file."""
    rows = Image.objects.filter(tenant__isnull=False, status__in=statuses).values_list(
        "tenant_id", "region_id", "pk", "name", "size_bytes"
    )
    for tenant, region, pk, name, size_bytes in rows:
        yield Held(tenant, region, Image.KIND, pk, name, Decimal(whole_gib(size_bytes)))


def _binned() -> Iterator[Held]:
    """All that is in recycle bins: VMs with their system disk, data disks, images."""
    yield from _images(BINNED)
    disks = Disk.objects.filter(is_system=False, status=DiskStatus.BINNED)
    for tenant, region, pk, name, size_gib in disks.values_list(
        "tenant_id", "region_id", "pk", "name", "size_gib"
    ):
        yield Held(tenant, region, Disk.KIND, pk, name, Decimal(size_gib))
    systems = Disk.objects.filter(is_system=True, vm__status=VmStatus.BINNED)
    for tenant, region, pk, name, size_gib in systems.values_list(
        "tenant_id", "region_id", "vm_id", "vm__name", "size_gib"
    ):
        yield Held(tenant, region, VM.KIND, pk, name, Decimal(size_gib))


def _sized(words: str, quantity: Decimal) -> str:
    return words % {"size": sizes.size_gib(int(quantity))}


def register() -> None:
    """Make the meters known."""
    quotas.register_meter(QuotaItem.IMAGE_GIB.value, image_gib)
    quotas.register_meter(QuotaItem.BIN_GIB.value, bin_gib)
    hooks.register_meter(
        hooks.Meter(
            SNAPSHOT_SKU,
            gettext_lazy("Snapshots"),
            lambda quantity: _sized(_("%(size)s snapshot"), quantity),
            _snapshots,
        )
    )
    hooks.register_meter(
        hooks.Meter(
            IMAGE_SKU,
            gettext_lazy("Images"),
            lambda quantity: _sized(_("%(size)s image"), quantity),
            _images,
        )
    )
    hooks.register_meter(
        hooks.Meter(
            BIN_SKU,
            gettext_lazy("Recycle bin"),
            lambda quantity: _sized(_("%(size)s in the recycle bin"), quantity),
            _binned,
        )
    )
