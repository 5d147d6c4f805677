"""The rows that the input of a verb may name, and what is built of its values."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from compute.models import VM, Disk, Image, PlacementGroup, Snapshot, Spec
from compute.queries import catalogue
from compute.queries import disks as disk_queries
from compute.queries import ssh_keys as key_queries
from compute.queries.vms import UNLISTED
from compute.rules.orders import DiskOrder, disk_order
from network.models import SecurityGroup, Subnet
from network.queries import vpcs as vpc_queries
from scloud.lib.errors import InvalidInput
from scloud.lib.sizes import size_mib
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.verbs.inputs import builder, rows


@rows("compute.images")
def images(actor: Actor, vm: VM) -> QuerySet[Image]:
    """Return the images that the tenant may use where the VM is."""
    tenant: Tenant = actor.tenant or vm.tenant
    return catalogue.images(tenant, vm.region)


@rows("compute.security_groups")
def security_groups(actor: Actor, vm: VM) -> QuerySet[SecurityGroup]:
    found: QuerySet[SecurityGroup] = SecurityGroup.objects.filter(region=vm.region)
    return found


@rows("compute.placement_groups")
def placement_groups(actor: Actor, vm: VM) -> QuerySet[PlacementGroup]:
    """Return the placement groups of the VM's region that its tenant made."""
    found: QuerySet[PlacementGroup] = PlacementGroup.objects.filter(
        region=vm.region, tenant=vm.tenant
    )
    return found


@rows("compute.subnets_of_vpc")
def subnets_of_vpc(actor: Actor, vm: VM) -> QuerySet[Subnet]:
    """Return the subnets of the VPC that the VM is in."""
    return vpc_queries.subnets_around(vm.pk)


@rows("compute.vms")
def vms(actor: Actor, disk: Disk) -> QuerySet[VM]:
    found: QuerySet[VM] = VM.objects.exclude(status__in=UNLISTED)
    return found.select_related("cluster")


@rows("compute.disks")
def disks(actor: Actor, vm: VM) -> QuerySet[Disk]:
    return disk_queries.disks()


@rows("compute.disks_of_vm")
def disks_of_vm(actor: Actor, vm: VM) -> QuerySet[Disk]:
    found: QuerySet[Disk] = Disk.objects.filter(vm=vm)
    return found


@builder("vm.spec")
def spec_of(actor: Actor, vm: VM, data: dict[str, Any]) -> Spec:
    """Return the size of the VM's model. Raises InvalidInput (``spec_unknown``)."""
    found: Spec | None = Spec.objects.filter(
        cluster=vm.cluster, enabled=True, vcpus=data["vcpus"], memory_mib=data["memory_mib"]
    ).first()
    if found is None:
        raise InvalidInput(
            _("%(alias)s does not offer %(vcpus)s vCPU and %(memory)s.")
            % {
                "alias": vm.cluster.alias,
                "vcpus": data["vcpus"],
                "memory": size_mib(data["memory_mib"]),
            },
            code="spec_unknown",
            field="vcpus",
            remedy=_("Choose one of the sizes that GET /models lists."),
        )
    return found


@builder("vm.ssh_public_key")
def keys_of(actor: Actor, vm: VM, data: dict[str, Any]) -> str | None:
    """Return sent and kept keys together, None where neither was given: the VM keeps its own.

    Raises InvalidInput (``ssh_keys_unknown``).
    """
    if "ssh_public_key" not in data and not data.get("ssh_keys"):
        return None
    stored = key_queries.chosen(vm.tenant, data.get("ssh_keys", ()))
    return key_queries.together(data.get("ssh_public_key", ""), stored)


@builder("disk.order")
def clone_order(actor: Actor, disk: Disk, data: dict[str, Any]) -> DiskOrder:
    return copy_order(disk, data)


@builder("snapshot.order")
def restored_order(actor: Actor, snapshot: Snapshot, data: dict[str, Any]) -> DiskOrder:
    return copy_order(snapshot.disk, data)


def copy_order(source: Disk, data: dict[str, Any]) -> DiskOrder:
    """Return the order of a disk like ``source``, as large unless the input says more."""
    return disk_order(source.region, source.disk_type, {"size_gib": source.size_gib, **data})
