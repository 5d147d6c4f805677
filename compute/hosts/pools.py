"""How much room storage pools have, and whether something still fits: for purchases and operators.

Disks are thin: they take what guests have written. So a pool has two bounds. What was promised, the
sizes of all disks, may exceed its size by a factor; what is free on its medium may not fall below a
reserve, from which the disks that are there go on growing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet, Sum
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from compute.models import Disk, Image, StoragePool
from compute.states.disks import DiskStatus, DiskTask
from compute.states.images import ImageStatus
from compute.states.pools import PoolState
from compute.states.vms import VmTask
from scloud.jobs.models import Job
from scloud.lib.errors import NoCapacity
from scloud.tenancy.scoping import scopes_disabled

GIB = 1024**3
_READY = (PoolState.UNKNOWN, PoolState.AVAILABLE)
_NO_VOLUME = (DiskStatus.FAILED, DiskStatus.DESTROYED)
_NO_FILE = (ImageStatus.FAILED, ImageStatus.DESTROYED)


@dataclass(frozen=True, slots=True)
class Room:
    """A pool with what is taken of it; bytes.

    ``promised``: the sizes of its disks and images. ``reserved``: what copies, images and imports
    that are under way may still write, by what is known of their sources.
    """

    pool: StoragePool
    promised: int
    reserved: int

    @property
    def is_known(self) -> bool:
        """Whether its size has been seen yet."""
        return self.pool.observed_at is not None and self.pool.total_bytes > 0

    @property
    def limit(self) -> int | None:
        """How much may be promised; None without a bound."""
        factor = self.pool.overprovisioning
        return None if factor is None else int(self.pool.total_bytes * factor)

    @property
    def reserve(self) -> int:
        """What has to stay free."""
        return self.pool.total_bytes * self.pool.reserve_percent // 100

    @property
    def free(self) -> int:
        """What may still be written; below 0 where the reserve is in use."""
        return self.pool.available_bytes - self.reserve - self.reserved

    def refusal(self, promised: int, written: int) -> str | None:
        """Return the key of the first condition that fails for so many bytes more, or None."""
        if self.pool.state not in _READY:
            return "state"
        if not self.is_known:
            return None
        if self.limit is not None and self.promised + promised > self.limit:
            return "promised"
        # What writes nothing at once does so later: a pool that lives on its reserve takes nothing.
        if self.free < written or self.free < 0:
            return "free"
        return None

    def figures(self) -> str:
        """For operators: in which state it is and what is taken."""
        limit = "no limit" if self.limit is None else f"of {self.limit}"
        return (
            f"pool {self.pool.pk} is {self.pool.state}; promised {self.promised} ({limit}), "
            f"available {self.pool.available_bytes}, reserve {self.reserve}, "
            f"reserved {self.reserved} bytes"
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an order takes of a pool: bytes promised, and bytes written at once."""

    pool: StoragePool
    promised: int
    written: int = 0


def rooms(pools: Sequence[StoragePool]) -> dict[str, Room]:
    """Return the room of each pool, by id, in six queries."""
    keys = [pool.pk for pool in pools]
    with scopes_disabled():
        disks = Disk.objects.filter(pool__in=keys).exclude(status__in=_NO_VOLUME)
        images = Image.objects.filter(pool__in=keys)
        promised = _sums(disks, "size_gib", GIB)
        growing = _growth(disks)
        kept = _sums(images.exclude(status__in=_NO_FILE), "size_bytes")
        copied = _sums(
            disks.filter(Q(task=DiskTask.CREATING) | Q(is_system=True, vm__task=VmTask.IMAGING)),
            "stored_bytes",
        )
        coming = _sums(images.filter(status=ImageStatus.IMPORTING), "size_bytes")
    return {
        pool.pk: Room(
            pool,
            promised=_of(pool, promised, growing, kept),
            reserved=_of(pool, copied, coming),
        )
        for pool in pools
    }


def _of(pool: StoragePool, *parts: Mapping[str, int]) -> int:
    return sum(part.get(pool.pk, 0) for part in parts)


def _sums(rows: QuerySet[Any], column: str, unit: int = 1) -> dict[str, int]:
    """Return the sum of a column by pool, in bytes."""
    found = rows.order_by().values_list("pool").annotate(total=Sum(column))
    return {pool: int(total or 0) * unit for pool, total in found}


def _growth(disks: QuerySet[Any]) -> dict[str, int]:
    """Return what disks that are being expanded will be larger."""
    found: dict[str, int] = {}
    rows = disks.filter(task=DiskTask.EXPANDING).values_list("task_job", "pool", "size_gib")
    known = {job: (pool, size_gib) for job, pool, size_gib in rows}
    for job in Job.objects.filter(pk__in=known):
        pool, size_gib = known[job.pk]
        found[pool] = found.get(pool, 0) + (int(job.payload["size_gib"]) - size_gib) * GIB
    return found


def copy_bytes(disk: Disk) -> int:
    """Return what a copy of a disk writes at most, by what its volume was seen to take.

    A copy depends on no image. One whose volume was not seen yet may take all of its size.
    """
    size = disk.size_gib * GIB
    if disk.stored_bytes is None:
        return size
    below = disk.image.size_bytes if disk.image is not None else 0
    return min(size, disk.stored_bytes + below)


DISK_TYPE = _("This disk type is not available here right now.")
GROWTH = _("The disk cannot grow to this size right now.")
IMAGE = _("There is no space for the image here right now.")


def require_room(
    wanted: Iterable[Wanted], *, field: str | None = "disk_type", words: str | Promise = DISK_TYPE
) -> None:
    """Lock the pools until the transaction ends; raise NoCapacity unless all of it fits.

    Pools are locked after hosts and before the resource, in the order of their ids.
    """
    asked = list(wanted)
    keys = {one.pool.pk for one in asked}
    rows = StoragePool.objects.filter(pk__in=keys).order_by("pk")
    found = rooms(list(rows.select_for_update(no_key=True)))
    for key in sorted(keys):
        of_pool = [one for one in asked if one.pool.pk == key]
        promised = sum(one.promised for one in of_pool)
        written = sum(one.written for one in of_pool)
        failed = found[key].refusal(promised, written)
        if failed is not None:
            raise NoCapacity(
                str(words),
                code="no_storage",
                field=field,
                remedy=gettext("Choose another disk type or a smaller size, or try again later."),
                detail=(
                    f"{failed}: wanted {promised} bytes promised and {written} written; "
                    f"{found[key].figures()}."
                ),
            )
