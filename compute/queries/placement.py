"""Scoped reads of placement groups."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils.translation import gettext as _

from compute.models import VM, PlacementGroup
from compute.models.placement import GroupPolicy
from compute.states.vms import VmStatus
from scloud.lib.errors import NotFound
from scloud.resources.models import Region

_HERE = Q(vms__host__isnull=False) & ~Q(vms__status__in=(VmStatus.FAILED, VmStatus.DESTROYED))


def groups(region: Region | None = None) -> QuerySet[Any]:
    """The tenant's groups with ``vm_count``, and ``placed`` VMs on ``hosts`` different hosts."""
    rows: QuerySet[Any] = PlacementGroup.objects.select_related("region").annotate(
        vm_count=Count("vms", filter=~Q(vms__status=VmStatus.DESTROYED)),
        placed=Count("vms", filter=_HERE),
        hosts=Count("vms__host", filter=_HERE, distinct=True),
    )
    rows = rows.order_by("-created_at", "id")
    return rows if region is None else rows.filter(region=region)


def group_named(pk: str) -> Any:
    """Return a group with its counts. Raises NotFound."""
    found = groups().filter(pk=pk).first()
    if found is None:
        raise NotFound(_("There is no placement group %(id)s.") % {"id": pk[:60]})
    return found


def is_kept(group: Any) -> bool | None:
    """Whether a group's VMs are where its policy wants them; None while none is placed.

    Reads what :func:`groups` counted.
    """
    if not group.placed:
        return None
    if group.policy == GroupPolicy.SPREAD:
        return bool(group.hosts == group.placed)
    return bool(group.hosts == 1)


def vms_of(group: PlacementGroup) -> QuerySet[VM]:
    """Return the VMs of a group, those in the recycle bin included, the newest first."""
    rows: QuerySet[VM] = VM.objects.filter(placement_group=group)
    return rows.exclude(status=VmStatus.DESTROYED).order_by("-created_at", "id")
