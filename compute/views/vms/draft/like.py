"""A new VM like another one: all of its choices, nothing that it alone can have."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict

from billing.views.dialogs import FIRST_METHOD, renews_at_first
from compute.models import VM, Disk, Spec
from compute.queries import disks as disk_queries
from compute.queries import ssh_keys as key_queries
from compute.rules import sshkeys
from network.queries.external_ips import external_ips_of


def values_of(vm: Any) -> QueryDict:
    """Return what would have been typed to buy a VM of :func:`compute.queries.vms.vm` again.

    Names, addresses and the password stay out. What is no longer offered is there nevertheless, so
    that the page says so instead of choosing something else in silence.
    """
    data = QueryDict(mutable=True)
    spec = Spec.objects.filter(
        cluster=vm.cluster, enabled=True, vcpus=vm.vcpus, memory_mib=vm.memory_mib
    ).first()
    data.update(
        {
            "cluster": vm.cluster_id,
            "image": vm.image_id,
            "spec": str(spec.pk) if spec is not None else "0",
            "gpu_count": str(vm.gpu_count),
            "internal_group": vm.internal_security_group,
            "external_group": vm.external_security_group,
            "remark": vm.remark,
            "tags": ", ".join(vm.tags),
            "user_data": vm.user_data,
            "method": vm.billing_method or FIRST_METHOD.value,
        }
    )
    if vm.placement_group_id is not None:
        data["placement_group"] = vm.placement_group_id
    if vm.nic_rows:
        data["subnet"] = vm.nic_rows[0]["subnet_id"]
    renews = renews_at_first(vm.tenant) if vm.billing_method is None else vm.auto_renew
    if renews:
        data["auto_renew"] = "on"
    _add_disks(data, disk_queries.disks_of(vm))
    _add_external_ip(data, vm)
    _add_keys(data, vm)
    return data


def _add_disks(data: QueryDict, disks: Any) -> None:
    """The system disk and the first data disk; the page offers one."""
    found: list[Disk] = list(disks)
    for disk in found:
        if disk.is_system:
            data["system_disk_type"] = disk.disk_type_id
            data["system_disk_gib"] = str(disk.size_gib)
    first = next((disk for disk in found if not disk.is_system), None)
    if first is not None:
        data["data_disk"] = "on"
        data["data_disk_type"] = first.disk_type_id
        data["data_disk_gib"] = str(first.size_gib)


def _add_external_ip(data: QueryDict, vm: VM) -> None:
    row = external_ips_of(VM.KIND, vm.pk).order_by("bound_at", "id").first()
    if row is not None and row.segment_id is not None:
        data["external_segment"] = row.segment_id
        data["external_bandwidth_mbps"] = str(row.bandwidth_mbps)


def _add_keys(data: QueryDict, vm: VM) -> None:
    """Keys that are kept are chosen, all others are typed."""
    kept = {sshkeys.identity(one.public_key): one.pk for one in key_queries.ssh_keys()}
    typed = []
    for line in filter(str.strip, vm.ssh_public_key.splitlines()):
        known = kept.get(sshkeys.identity(line))
        if known is not None:
            data.appendlist("ssh_keys", known)
        else:
            typed.append(line)
    data["ssh_public_key"] = "\n".join(typed)
