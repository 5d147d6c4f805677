"""What the rows say of the VMs that hosts may name: whose they are, and what their devices are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from django.db.models import Q

from compute.models import VM, Disk
from network.models import ExternalIp, Nic
from scloud.tenancy.scoping import scopes_disabled


@dataclass(frozen=True, slots=True)
class Address:
    """An external IP, with the NIC that has no other address."""

    id: str
    tenant: str
    nic_id: str


@dataclass(frozen=True, slots=True)
class Target:
    """A VM. `nics` are ids by the UUIDs of their ports."""

    vm_id: str
    uuid: str
    tenant: str
    os_family: str
    disks: frozenset[str] = frozenset()
    nics: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()


def targets_of(host_ids: Collection[str]) -> dict[str, Target]:
    """Return the VMs of hosts, and those on their way to one of them, by UUID of the domain."""
    with scopes_disabled():
        vms = list(
            VM.objects.filter(Q(host__in=host_ids) | Q(destination__in=host_ids)).values_list(
                "pk", "uuid", "tenant_id", "image__os_family"
            )
        )
        ids = [pk for pk, *_rest in vms]
        disks: dict[str, set[str]] = defaultdict(set)
        for vm_id, disk_id in Disk.objects.filter(vm__in=ids).values_list("vm_id", "pk"):
            disks[vm_id].add(disk_id)
        nics: dict[str, dict[str, str]] = defaultdict(dict)
        owners: dict[str, str] = {}
        shared: set[str] = set()
        for plugged, nic_id, port, eni in Nic.objects.filter(vm_id__in=ids).values_list(
            "vm_id", "pk", "port_uuid", "eni"
        ):
            assert plugged is not None
            nics[plugged][str(port)] = nic_id
            owners[nic_id] = plugged
            if eni is not None:
                # It has an address of its own beside those that are bound to it.
                shared.add(nic_id)
        found: dict[str, list[Address]] = defaultdict(list)
        bound = ExternalIp.objects.filter(target_kind="vm", target_id__in=ids, nic__isnull=False)
        for address_id, tenant, nic_id in bound.values_list("pk", "tenant_id", "nic_id"):
            found[nic_id].append(Address(address_id, tenant, nic_id))
    addresses: dict[str, list[Address]] = defaultdict(list)
    for nic_id, those in found.items():
        # The traffic of several addresses of one NIC is not told apart by the host.
        if len(those) == 1 and nic_id in owners and nic_id not in shared:
            addresses[owners[nic_id]] += those
    return {
        str(uuid): Target(
            pk,
            str(uuid),
            tenant,
            family,
            frozenset(disks[pk]),
            nics[pk],
            tuple(addresses[pk]),
        )
        for pk, uuid, tenant, family in vms
    }
