"""Scoped reads of external IPs and segments, with all that lists and pages show."""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext as _

from billing.models import Subscription
from network.models import ExternalIp
from network.states.external_ips import ExternalIpStatus
from scloud.lib.errors import NotFound
from scloud.lib.pages import PagedRows
from scloud.resources.models import Region


def external_ips(region: Region | None = None, *, binned: bool = False) -> QuerySet[ExternalIp]:
    """Return the external IPs that exist for the user, with segment and NIC.

    Annotated: ``billing_method``, ``paid_until``, ``auto_renew``. ``binned`` lets those of the
    recycle bin in.
    """
    rows: QuerySet[ExternalIp] = ExternalIp.objects.exclude(status=ExternalIpStatus.DESTROYED)
    if not binned:
        rows = rows.exclude(status=ExternalIpStatus.BINNED)
    if region is not None:
        rows = rows.filter(region=region)
    paid = Subscription.objects.filter(resource_id=OuterRef("pk"))
    annotated: QuerySet[ExternalIp] = (
        PagedRows.of(rows)
        .select_related("segment", "nic", "region", "tenant")
        .annotate(
            billing_method=Subquery(paid.values("method")[:1]),
            paid_until=Subquery(paid.values("paid_until")[:1]),
            auto_renew=Subquery(paid.values("auto_renew")[:1]),
        )
    )
    return annotated.order_by("-created_at", "id")


def external_ip(pk: str, *, binned: bool = False) -> ExternalIp:
    """Return one external IP. Raises NotFound for an unknown or foreign one."""
    found = external_ips(binned=binned).filter(pk=pk).first()
    if found is None:
        raise NotFound(
            _("There is no external IP %(pk)s.") % {"pk": pk[:40]},
            code="external_ip_not_found",
            remedy=_("It may have been released. Check the list and the recycle bin."),
        )
    return found


def external_ips_of(target_kind: str, target_id: str) -> QuerySet[ExternalIp]:
    """Return what is bound to a target, or on its way to or from it, the first bound first."""
    rows = external_ips().filter(target_kind=target_kind, target_id=target_id)
    return rows.order_by("bound_at", "id")


def free_external_ips(region: Region) -> QuerySet[ExternalIp]:
    """Return the external IPs of a region that can be bound now."""
    rows: QuerySet[ExternalIp] = ExternalIp.objects.filter(
        region=region, status=ExternalIpStatus.FREE, task=""
    )
    return rows.select_related("segment").order_by("name", "id")


def by_state(rows: QuerySet[Any], values: list[str]) -> QuerySet[Any]:
    """Narrow by where they stand idle; ``busy`` means that something is being done."""
    found = Q(status__in=[value for value in values if value != "busy"], task="")
    return rows.filter(found | ~Q(task="")) if "busy" in values else rows.filter(found)
