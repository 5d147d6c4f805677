"""What is connected to what in a region: VPCs, their subnets, the NICs in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from network.models import Nic, NicNetwork, Subnet, Vpc
from network.rules.carried import WITH_ADDRESSES
from scloud.resources.models import Region


@dataclass(frozen=True, slots=True)
class SubnetNode:
    """A subnet with the NICs in it; ``more`` were left out."""

    subnet: Subnet
    nics: Sequence[Nic]
    more: int = 0
    #: The external NICs of the VMs, by VM.
    outside: Mapping[str, Sequence[Nic]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VpcNode:
    """A VPC with its subnets."""

    vpc: Vpc
    subnets: list[SubnetNode] = field(default_factory=list)


def topology(region: Region, *, vpc_id: str = "", most: int = 500) -> list[VpcNode]:
    """The VPCs of a region, or one of them, by name; at most ``most`` NICs of VMs in all.

    A constant number of queries. Needs the tenant's scope.
    """
    vpcs = Vpc.objects.filter(region=region).order_by("-is_default", "name", "pk")
    if vpc_id:
        vpcs = vpcs.filter(pk=vpc_id)
    nodes = {vpc.pk: VpcNode(vpc) for vpc in vpcs}
    subnets = list(Subnet.objects.filter(vpc__in=list(nodes)).order_by("name", "pk"))
    nics: dict[str, list[Nic]] = {subnet.pk: [] for subnet in subnets}
    rows = Nic.objects.filter(subnet__in=list(nics), port_wanted=True, vm_id__isnull=False)
    counted = dict.fromkeys(nics, 0)
    shown = 0
    for nic in (
        rows.select_related("security_group", "subnet")
        .prefetch_related("addresses")
        .order_by("vm_id", "index", "pk")
    ):
        assert nic.subnet_id is not None
        counted[nic.subnet_id] += 1
        if shown < most:
            nics[nic.subnet_id].append(nic)
            shown += 1
    outside = _outside({str(nic.vm_id) for found in nics.values() for nic in found})
    for subnet in subnets:
        found = nics[subnet.pk]
        nodes[subnet.vpc_id].subnets.append(
            SubnetNode(subnet, found, counted[subnet.pk] - len(found), outside)
        )
    return list(nodes.values())


def _outside(vm_ids: set[str]) -> dict[str, list[Nic]]:
    rows = Nic.objects.filter(
        vm_id__in=vm_ids, network=NicNetwork.EXTERNAL, port_wanted=True
    ).select_related("security_group")
    found: dict[str, list[Nic]] = {}
    for nic in rows.prefetch_related(*WITH_ADDRESSES).order_by("index", "pk"):
        found.setdefault(str(nic.vm_id), []).append(nic)
    return found
