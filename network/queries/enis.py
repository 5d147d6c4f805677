"""Scoped reads of ENIs, with all that lists and pages show."""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext as _

from billing.models import Subscription
from network.models import Eni
from network.states.enis import EniStatus
from scloud.lib.errors import NotFound
from scloud.lib.pages import PagedRows
from scloud.resources.models import Region


def enis(region: Region | None = None) -> QuerySet[Eni]:
    """Return the ENIs that exist for the user, with NIC, subnet, segment and group.

    Annotated: ``billing_method``, ``paid_until``, ``auto_renew``; null for internal ones.
    """
    rows: QuerySet[Eni] = Eni.objects.exclude(status=EniStatus.DESTROYED)
    if region is not None:
        rows = rows.filter(region=region)
    paid = Subscription.objects.filter(resource_id=OuterRef("pk"))
    annotated: QuerySet[Eni] = (
        PagedRows.of(rows)
        .select_related(
            "nic__subnet__vpc",
            "nic__security_group",
            "nic__external_address__segment",
            "region",
            "tenant",
        )
        .annotate(
            billing_method=Subquery(paid.values("method")[:1]),
            paid_until=Subquery(paid.values("paid_until")[:1]),
            auto_renew=Subquery(paid.values("auto_renew")[:1]),
        )
    )
    return annotated.order_by("-created_at", "id")


def eni(pk: str) -> Eni:
    """Return one ENI. Raises NotFound for an unknown or foreign one."""
    found = enis().filter(pk=pk).first()
    if found is None:
        raise NotFound(
            _("There is no ENI %(pk)s.") % {"pk": pk[:40]},
            code="eni_not_found",
            remedy=_("It may have been deleted. Check the list."),
        )
    return found


def enis_of(vm_id: str) -> QuerySet[Eni]:
    """Return the ENIs of a VM, in the order of their places."""
    return enis().filter(vm_id=vm_id).order_by("nic__index", "id")


def free_enis(region: Region) -> QuerySet[Eni]:
    """Return the ENIs of a region that can be bound now."""
    return enis(region).filter(status=EniStatus.FREE, task="").order_by("name", "id")


def by_state(rows: QuerySet[Any], values: list[str]) -> QuerySet[Any]:
    """Narrow by where they stand idle; ``busy`` means that something is being done."""
    found = Q(status__in=[value for value in values if value != "busy"], task="")
    return rows.filter(found | ~Q(task="")) if "busy" in values else rows.filter(found)
