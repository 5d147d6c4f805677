"""What is bought: orders of VMs and of disks, as objects that the tenant may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from billing.services import QuoteItem
from compute.models import Cluster, DiskType, Image, PlacementGroup, Spec
from compute.rules import catalogue as rules_catalogue
from compute.rules import sizes
from network.models import ExternalSegment, SecurityGroup, Subnet
from network.rules.external_orders import (
    EXTERNAL_IP,
    ExternalIpOrder,
    bandwidth_items,
    quota_of,
)
from scloud.resources.models import Region


@dataclass(frozen=True, kw_only=True)
class VmParts:
    region: Region
    cluster: Cluster
    image: Image
    spec: Spec
    system_disk_type: DiskType
    subnet: Subnet
    data_disk_type: DiskType | None = None
    internal_group: SecurityGroup | None = None
    external_group: SecurityGroup | None = None
    external_segment: ExternalSegment | None = None
    placement_group: PlacementGroup | None = None


@dataclass(frozen=True, kw_only=True)
class VmOrder(VmParts):
    """What is to be bought, as objects that the tenant may see. Sizes in GiB.

    With an ``external_segment`` each VM gets an external IP of it.
    """

    system_disk_gib: int
    gpu_count: int = 0
    data_disk_gib: int = 0
    external_bandwidth_mbps: int = 0
    private_ips: Sequence[str] = ()
    name: str = "host"
    names: Sequence[str] = ()
    remark: str = ""
    tags: Sequence[str] = ()
    password: str | None = field(default=None, repr=False)
    ssh_public_key: str = ""
    user_data: str = ""
    method: str = "hour"
    periods: int = 1
    count: int = 1
    auto_renew: bool | None = None

    @property
    def disks_gib(self) -> tuple[int, ...]:
        """The sizes of one VM's disks, the system disk first."""
        data = (self.data_disk_gib,) if self.data_disk_type is not None else ()
        return (self.system_disk_gib, *data)

    @property
    def items(self) -> list[QuoteItem]:
        found = rules_catalogue.size_items(
            self.cluster, self.spec.vcpus, self.spec.memory_mib, self.gpu_count
        )
        found.append(
            rules_catalogue.disk_item(self.system_disk_type, self.system_disk_gib, system=True)
        )
        if self.data_disk_type is not None:
            found.append(
                rules_catalogue.disk_item(
                    self.data_disk_type,
                    self.data_disk_gib,
                    system=False,
                    part=rules_catalogue.DATA_DISK,
                )
            )
        if self.external_ips is not None:
            found += bandwidth_items(
                self.external_ips.segment, self.external_bandwidth_mbps, part=EXTERNAL_IP
            )
        return found

    @property
    def external_ips(self) -> ExternalIpOrder | None:
        """The external IPs that are bought along, one for each VM; None for none."""
        if self.external_segment is None:
            return None
        return ExternalIpOrder(
            region=self.region,
            segment=self.external_segment,
            bandwidth_mbps=self.external_bandwidth_mbps,
            count=self.count,
            method=self.method,
            periods=self.periods,
            auto_renew=self.auto_renew,
        )

    @property
    def vm_quota(self) -> dict[str, int]:
        """The quota that a VM holds: the system disk belongs to it."""
        return sizes.vm_quota(
            self.spec.vcpus, self.spec.memory_mib, self.gpu_count, (self.system_disk_gib,)
        )

    @property
    def quota(self) -> dict[str, int]:
        """The quota that one VM of the order needs, its disks included."""
        outside = quota_of(self.external_bandwidth_mbps) if self.external_segment else {}
        return {
            **sizes.vm_quota(self.spec.vcpus, self.spec.memory_mib, self.gpu_count, self.disks_gib),
            **outside,
        }

    @property
    def whole_quota(self) -> dict[str, int]:
        """The quota that all VMs of the order need together."""
        return {item: amount * self.count for item, amount in self.quota.items()}


def vm_order(parts: VmParts, data: Mapping[str, Any]) -> VmOrder:
    """Return the order of validated input, whose ids the caller has turned into ``parts``."""
    return VmOrder(
        **{name: getattr(parts, name) for name in VmParts.__dataclass_fields__},
        gpu_count=data["gpu_count"],
        system_disk_gib=data["system_disk_gib"],
        data_disk_gib=data.get("data_disk_gib", 0),
        external_bandwidth_mbps=data.get("external_bandwidth_mbps", 0),
        private_ips=data.get("private_ips", ()),
        name=data["name"],
        names=data.get("names", ()),
        remark=data["remark"],
        tags=data.get("tags", ()),
        password=data.get("password"),
        ssh_public_key=data["ssh_public_key"],
        user_data=data["user_data"],
        method=data["billing_method"],
        periods=data["periods"],
        count=data["count"],
        auto_renew=data["auto_renew"],
    )


@dataclass(frozen=True, kw_only=True)
class DiskOrder:
    region: Region
    disk_type: DiskType
    size_gib: int
    name: str = "disk"
    remark: str = ""
    tags: Sequence[str] = ()
    method: str = "hour"
    periods: int = 1
    auto_renew: bool | None = None

    @property
    def items(self) -> list[QuoteItem]:
        return [rules_catalogue.disk_item(self.disk_type, self.size_gib, system=False)]


def disk_order(region: Region, disk_type: DiskType, data: Mapping[str, Any]) -> DiskOrder:
    """Return the order of validated input: a new disk, or one like another."""
    return DiskOrder(
        region=region,
        disk_type=disk_type,
        size_gib=data["size_gib"],
        name=data["name"],
        remark=data["remark"],
        tags=data.get("tags", ()),
        method=data["billing_method"],
        periods=data["periods"],
        auto_renew=data["auto_renew"],
    )
