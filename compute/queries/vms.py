"""Scoped reads with all that lists and pages show, in a number of queries that rows do not raise.

What a row shows of other tables comes as columns of the same query (JSON where there are several
rows). A page is cut out first, by ids alone, and only its rows get those columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Network
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField, F, Func, OuterRef, Q, QuerySet, TextField, Value
from django.db.models.functions import JSONObject
from django.db.models.lookups import IContains
from django.utils.translation import gettext as _

from billing.models import Subscription
from compute.models import VM, Cluster, Disk
from compute.queries import catalogue
from compute.queries.common import billing_columns
from compute.states.vms import PAUSED, VmStatus
from network.models import ExternalIp, Nic, PrivateAddress, SecurityGroup, Vpc, cidr
from network.queries.nics import nics_with_ipv6
from scloud.lib.errors import NotFound
from scloud.lib.pages import PagedRows
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant

# A VM in one of these is not on the list: it is in the recycle bin, or is gone.
UNLISTED = (VmStatus.BINNED, VmStatus.DESTROYED)
_ADDRESS_LIKE = re.compile(r"\A[0-9a-fA-F:.]{2,39}\Z")


def vms(region: Region | None = None) -> QuerySet[VM]:
    """Return the VMs that exist for the user, with what a row of the list shows.

    Annotated: ``disk_rows`` (``[{"system", "gib"}]``), ``nic_rows`` (``[{"address", "mac",
    "ipv6_cidr", "network", "subnet", "subnet_id", "vpc", "vpc_id"}]`` by device; see
    :func:`ipv6_address`), ``external_rows`` (``[{"address", "id", "egress"}]``, the first bound
    first), ``billing_method``, ``paid_until``, ``auto_renew``.
    """
    rows: QuerySet[VM] = VM.objects.exclude(status__in=UNLISTED)
    if region is not None:
        rows = rows.filter(region=region)
    return with_row(rows)


def with_row(rows: QuerySet[VM]) -> QuerySet[VM]:
    """Add what a row shows to any VMs; see :func:`vms`."""
    return (
        PagedRows.of(rows)
        .select_related("cluster", "image")
        .annotate(
            disk_rows=ArraySubquery(
                Disk.objects.filter(vm=OuterRef("pk"))
                .order_by("target")
                .values(json=JSONObject(system=F("is_system"), gib=F("size_gib")))
            ),
            nic_rows=ArraySubquery(
                Nic.objects.filter(vm_id=OuterRef("pk"))
                .order_by("index", "addresses__address")
                .values(
                    json=JSONObject(
                        address=F("addresses__address"),
                        mac=F("mac"),
                        ipv6_cidr=F("subnet__ipv6_cidr"),
                        network=F("network"),
                        subnet=F("subnet__name"),
                        subnet_id=F("subnet_id"),
                        vpc=F("subnet__vpc__name"),
                        vpc_id=F("subnet__vpc_id"),
                    )
                )
            ),
            external_rows=ArraySubquery(
                ExternalIp.objects.filter(target_kind=VM.KIND, target_id=OuterRef("pk"))
                # Said for the index, which has those that are bound only.
                .exclude(target_id="")
                .order_by("bound_at", "id")
                .values(json=JSONObject(address=F("address"), id=F("id"), egress=F("egress")))
            ),
            **billing_columns(),
        )
    )


def vm(vm_id: str, *, binned: bool = False) -> VM:
    """Return one VM with what its page shows. Raises NotFound for an unknown or foreign one.

    ``binned`` lets one in the recycle bin through as well.
    """
    hidden = (VmStatus.DESTROYED,) if binned else UNLISTED
    found: VM | None = (
        with_row(VM.objects.exclude(status__in=hidden))
        .select_related("tenant", "region", "host", "cluster", "image", "placement_group")
        .filter(pk=vm_id)
        .first()
    )
    if found is None:
        raise NotFound(
            _("There is no VM %(vm_id)s.") % {"vm_id": vm_id[:40]},
            code="vm_not_found",
            remedy=_("It may have been deleted. Check the list and the recycle bin."),
        )
    return found


def matching(word: str) -> Q:
    """Return what one word of a search finds: name, remark, id, tag, address."""
    found = Q(name__icontains=word) | Q(remark__icontains=word) | Q(id__icontains=word)
    # One condition for all of a row's tags, of which there are 20 at most.
    tags = Func(F("tags"), Value(" "), function="array_to_string", output_field=TextField())
    found |= Q(IContains(tags, word))
    if _ADDRESS_LIKE.match(word):
        held = PrivateAddress.objects.filter(address__icontains=word)
        found |= Q(pk__in=Nic.objects.filter(addresses__in=held).values("vm_id"))
        found |= Q(pk__in=nics_with_ipv6(word).values("vm_id"))
        outside = ExternalIp.objects.filter(target_kind=VM.KIND, address__icontains=word)
        found |= Q(pk__in=outside.values("target_id"))
    return found


def standing(rows: QuerySet[VM], *values: str) -> QuerySet[VM]:
    """Narrow VMs to those that stand in one of the values: a status, or *paused*."""
    still = ~Q(pause_reason="")
    found = Q(status__in=[one for one in values if one not in (PAUSED, VmStatus.RUNNING)])
    if PAUSED in values:
        found |= Q(status=VmStatus.RUNNING) & still
    if VmStatus.RUNNING in values:
        found |= Q(status=VmStatus.RUNNING) & ~still
    return rows.filter(found)


def in_vpcs(rows: QuerySet[VM], vpc_ids: Iterable[str]) -> QuerySet[VM]:
    nics = Nic.objects.filter(subnet__vpc__in=list(vpc_ids), vm_id__isnull=False)
    return rows.filter(pk__in=nics.values("vm_id"))


def paid_by(rows: QuerySet[VM], methods: Iterable[str]) -> QuerySet[VM]:
    """Narrow VMs to those that are paid by hour, month or year."""
    paid = Subscription.objects.filter(resource_kind=VM.KIND, method__in=list(methods))
    return rows.filter(pk__in=paid.values("resource_id"))


@dataclass(frozen=True)
class FilterChoices:
    """What the list of VMs can be narrowed to: (id, label) each."""

    clusters: list[tuple[str, str]]
    images: list[tuple[str, str]]
    vpcs: list[tuple[str, str]]


def filter_choices(tenant: Tenant, region: Region | None) -> FilterChoices:
    """Return models, images and VPCs of a region, in one query."""

    def named(kind: str, rows: QuerySet[Any], label: str) -> QuerySet[Any, Any]:
        return rows.order_by().values_list(Value(kind, CharField()), F("id"), F(label), named=False)

    where: dict[str, Any] = {"region": region} if region is not None else {}
    clusters = Cluster.objects.filter(Q(tenants=None) | Q(tenants=tenant), **where)
    found = named("cluster", clusters, "alias").union(
        named("image", catalogue.images(tenant, region), "name"),
        named("vpc", Vpc.objects.filter(**where), "name"),
    )
    grouped: dict[str, list[tuple[str, str]]] = {"cluster": [], "image": [], "vpc": []}
    for kind, key, label in found:
        grouped[kind].append((key, label))
    for choices in grouped.values():
        choices.sort(key=lambda choice: choice[1].casefold())
    return FilterChoices(grouped["cluster"], grouped["image"], grouped["vpc"])


def vms_naming(group: SecurityGroup) -> int:
    """Return how many VMs, binned ones included, name a group as their external one."""
    rows = VM.objects.filter(external_security_group=group.pk)
    return int(rows.exclude(status=VmStatus.DESTROYED).count())


# --- what a row says of the annotations


def system_gib(row: Any) -> int:
    """Return the size of a row's system disk."""
    return sum(int(disk["gib"]) for disk in row.disk_rows if disk["system"])


def data_gib(row: Any) -> int:
    """Return the size of all data disks of a row together."""
    return sum(int(disk["gib"]) for disk in row.disk_rows if not disk["system"])


def private_ips(row: Any) -> list[str]:
    """Return the private addresses of a row, those of eth0 first, of a NIC that of IPv4 first."""
    found = []
    for nic in row.nic_rows:
        if nic["address"]:
            found += [_bare(nic["address"]), ipv6_address(nic)]
    return [one for one in dict.fromkeys(found) if one]


def ipv6_address(nic: Mapping[str, Any]) -> str | None:
    """Return the private IPv6 address of one of ``nic_rows``; None where it has none."""
    if not nic["ipv6_cidr"]:
        return None
    return str(cidr.eui64(IPv6Network(nic["ipv6_cidr"]), nic["mac"]))


def external_ips(row: Any) -> list[str]:
    """Return the external addresses of a row, the first bound first."""
    return [_bare(one["address"]) for one in row.external_rows]


def _bare(address: str) -> str:
    """PostgreSQL writes an inet of one host into JSON with or without its mask."""
    return address.split("/")[0]


def paid_until(row: Any) -> datetime | None:
    value: datetime | None = row.paid_until
    return value
