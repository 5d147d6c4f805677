"""What pools hold, compared with the rows of disks and images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from django.utils import timezone

from compute.models import Disk, Drift, Image, StoragePool
from compute.states.disks import KEPT, DiskStatus, DiskTask
from compute.states.images import ImageStatus
from compute.states.pools import PoolState, state_of_error
from compute.storage.base import (
    Storage,
    StorageError,
    StorageFull,
    StorageReadOnly,
    VolumeInfo,
)
from compute.sweeps.drift import FROZEN, close_drift, drift, note_repair
from compute.tasks.drivers import claim, needs_marker, storage_of
from compute.tasks.pools import saw
from scloud.jobs.rows import each
from scloud.lib.backoff import Said
from scloud.recovery import freezing
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
NOTED_BYTES = 64 * 1024**2
"""A change of what a volume takes that is written down, or a fiftieth of it."""


def reconcile_pools() -> None:
    """Measure the pools and remove volumes, images and temporary files that no row wants."""
    compared = set()

    def compare(pool: StoragePool) -> None:
        try:
            reconcile_pool(pool)
        except StorageError as error:
            saw(pool, state_of_error(error.code), error.message)
        else:
            compared.add(pool.pk)

    with scopes_disabled():
        pools = list(StoragePool.objects.all())
        each(pools, compare, "comparing a pool")
    if len(compared) == len(pools):
        freezing.reported("pools")


def _try_writing(pool: StoragePool, storage: Storage) -> PoolState:
    """Write down, and return, whether the pool, which can be read, can be written."""
    state, reason = PoolState.AVAILABLE, ""
    try:
        storage.try_write()
    except (StorageFull, StorageReadOnly) as error:
        state, reason = state_of_error(error.code), error.message
    saw(pool, state, reason)
    return state


def _note_sizes(disks: Mapping[str, Disk], infos: Iterable[VolumeInfo]) -> None:
    """Keep what volumes take. Small changes are no reason to write thousands of rows a minute."""
    changed = []
    for info in infos:
        disk = disks.get(info.volume_id)
        if disk is None or disk.task == DiskTask.CREATING:
            continue
        if not info.size_bytes:
            # It is not there: what it takes is not known, and not nothing.
            continue
        known = disk.stored_bytes
        if known is None or abs(info.stored_bytes - known) >= max(known // 50, NOTED_BYTES):
            disk.stored_bytes = info.stored_bytes
            changed.append(disk)
    Disk.objects.bulk_update(changed, ["stored_bytes"], batch_size=500)


def _there(pool: StoragePool) -> tuple[set[str], set[str]]:
    """Return the disks and images that the rows say are in the pool, none of them in work."""
    disks = Disk.objects.filter(pool=pool, status__in=KEPT).values_list("pk", "task")
    images = Image.objects.filter(pool=pool, status=ImageStatus.AVAILABLE)
    return {pk for pk, task in disks if not task}, set(images.values_list("pk", flat=True))


def reconcile_pool(pool: StoragePool) -> None:
    """Bring one pool in line with the rows; raises StorageError when it is not there."""
    if needs_marker(pool):
        claim(pool)
    storage = storage_of(pool)
    capacity = storage.capacity()
    StoragePool.objects.filter(pk=pool.pk).update(
        total_bytes=capacity.total_bytes,
        available_bytes=capacity.available_bytes,
        observed_at=timezone.now(),
    )
    # What is removed makes room in a full one.
    if _try_writing(pool, storage) != PoolState.READ_ONLY:
        storage.sweep_temporary()
    open_drift: list[tuple[str, str, str]] = []
    frozen = freezing.is_frozen()
    # What is made while the pool is asked may be in the rows and not in its answer.
    disks_before, images_before = _there(pool)
    infos = storage.list_volumes()
    volumes = {info.volume_id for info in infos}
    disks: dict[str, Any] = {
        disk.pk: disk
        for disk in Disk.objects.filter(pool=pool).only(
            "id", "status", "created_at", "task", "vm", "stored_bytes"
        )
    }
    _note_sizes(disks, infos)
    for volume_id in volumes:
        disk = disks.get(volume_id)
        if disk is None:
            open_drift.append(
                drift("unknown_volume", pool.pk, volume_id, "no disk has this volume")
            )
        elif disk.vm_id is not None or disk.task:
            # In use, or in work: also of a VM that failed on a host that has been silent since.
            continue
        elif disk.status in (DiskStatus.DESTROYED, DiskStatus.FAILED):
            if frozen:
                detail = f"its disk is gone; not removed: {FROZEN}"
                open_drift.append(drift("leftover_volume", pool.pk, volume_id, detail))
                continue
            try:
                storage.delete_volume(volume_id)
                note_repair("leftover_volume", pool.pk, volume_id, "its disk is gone")
            except StorageError as error:
                said.say(
                    volume_id,
                    error.code,
                    logging.WARNING,
                    "volume %s could not be removed: %s",
                    volume_id,
                    error.message,
                )
    open_drift += [
        drift("missing_volume", pool.pk, disk.pk, "the disk's volume is not in the pool")
        for disk in disks.values()
        if disk.pk in disks_before - volumes and not disk.task and disk.status in KEPT
    ]
    images = {info.image_id for info in storage.list_images()}
    rows = {image.pk: image for image in Image.objects.filter(pool=pool)}
    for image_id in images:
        image = rows.get(image_id)
        if image is None:
            open_drift.append(drift("unknown_image", pool.pk, image_id, "no image has this file"))
        elif image.status in (ImageStatus.DESTROYED, ImageStatus.FAILED):
            if frozen:
                detail = f"its image is gone; not removed: {FROZEN}"
                open_drift.append(drift("leftover_image", pool.pk, image_id, detail))
                continue
            try:
                storage.delete_image(image_id)
                note_repair("leftover_image", pool.pk, image_id, "its image is gone")
            except StorageError as error:
                said.say(
                    image_id,
                    error.code,
                    logging.WARNING,
                    "image %s could not be removed: %s",
                    image_id,
                    error.message,
                )
    open_drift += [
        drift("missing_image", pool.pk, image.pk, "the image's file is not in the pool")
        for image in rows.values()
        if image.pk in images_before - images and image.status == ImageStatus.AVAILABLE
    ]
    close_drift(
        (
            "unknown_volume",
            "missing_volume",
            "leftover_volume",
            "unknown_image",
            "missing_image",
            "leftover_image",
        ),
        [*open_drift, *_of_other_pools(pool)],
    )


def _of_other_pools(pool: StoragePool) -> list[tuple[str, str, str]]:
    rows = Drift.objects.filter(repaired_at=None).exclude(place=pool.pk)
    return [(row.kind, row.place, row.resource_id) for row in rows]
