"""Random networks of two tenants, written as rows, and random changes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from django.db.models import F
from django.utils import timezone

from network.actions.common import bury
from network.fabric.base import Fabric
from network.models import (
    Applied,
    Eni,
    ExternalAddress,
    ExternalIp,
    ExternalSegment,
    Nic,
    NicKind,
    NicNetwork,
    PrivateAddress,
    SecurityGroup,
    Subnet,
    Tombstone,
    Vpc,
)
from network.tasks import plumbing
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from tests.network.fabric.rule_sets import some_group

ROWS: tuple[type[Applied], ...] = (Vpc, Subnet, ExternalSegment, SecurityGroup, Nic)


@dataclass
class Estate:
    """What tenants have in a region. Needs ``scopes_disabled``."""

    region: Region
    tenants: Sequence[Tenant]
    rng: random.Random
    segments: list[ExternalSegment] = field(default_factory=list)
    made: int = 0

    def build(self) -> None:
        """One or more of everything."""
        for vlan in (None, 12):
            self.segments.append(self._segment(4, vlan))
        self.segments.append(self._segment(6, None))
        for tenant in self.tenants:
            for _ in range(self.rng.randint(1, 2)):
                vpc = self._vpc(tenant)
                for _ in range(self.rng.randint(1, 2)):
                    self._subnet(vpc)
            for _ in range(self.rng.randint(1, 3)):
                self._group(tenant)
            for _ in range(self.rng.randint(1, 2)):
                self._vm(tenant)
            self._eni(tenant, NicNetwork.INTERNAL, bound=True)
            self._eni(tenant, NicNetwork.EXTERNAL, bound=True)
            self._eni(tenant, NicNetwork.EXTERNAL, bound=False)

    def change(self) -> None:
        """Something that people do on a day."""
        some: Sequence[Callable[[], None]] = (
            self._new_vm, self._new_vm, self._new_subnet, self._new_group, self._new_rules,
            self._new_rules, self._other_group, self._other_group, self._no_group,
            self._other_bandwidth, self._unbind, self._rebind, self._unbind_eni, self._drop_vm,
            self._drop_empty, self._name_servers, self._other_address, self._turn_on_ipv6,
        )  # fmt: skip
        self.rng.choice(some)()

    # -- what jobs do

    def apply(self, fabric: Fabric) -> None:
        """Bring the fabric to what the rows say, one after the other, as jobs do."""
        for stone in Tombstone.objects.filter(kind="port", removed_at=None):
            plumbing.remove_buried(fabric, stone)
        for model, run in (
            (Vpc, plumbing.apply_vpc),
            (Subnet, plumbing.apply_subnet),
            (ExternalSegment, plumbing.apply_segment),
            (SecurityGroup, plumbing.apply_security_group),
        ):
            for pk in self._pks(model):
                run(fabric, pk)
        for pk in self._pks(Nic):
            plumbing.apply_nics(fabric, [pk])
        for kind in ("security_group", "subnet", "segment", "vpc"):
            for stone in Tombstone.objects.filter(kind=kind, removed_at=None):
                plumbing.remove_buried(fabric, stone)

    # -- rows

    def _pks(self, model: type[Any]) -> list[str]:
        return list(model.objects.filter(region=self.region).values_list("pk", flat=True))

    def _any(self, model: type[Any], **which: Any) -> Any:
        pks = sorted(model.objects.filter(region=self.region, **which).values_list("pk", flat=True))
        return model.objects.get(pk=self.rng.choice(pks)) if pks else None

    def _number(self) -> int:
        self.made += 1
        return self.made

    def _segment(self, version: int, vlan: int | None) -> ExternalSegment:
        number = self._number()
        cidr = f"198.18.{number}.0/24" if version == 4 else f"2001:db8:{number}::/64"
        segment = ExternalSegment(
            region=self.region,
            name=f"segment {number}",
            ip_version=version,
            cidr=cidr,
            gateway=str(ip_network(cidr)[1]),
            physical_network="ext",
            vlan=vlan,
        )
        segment.full_clean()
        segment.save()
        return segment

    def _vpc(self, tenant: Tenant) -> Vpc:
        return Vpc.objects.create(
            tenant=tenant, region=self.region, name=f"vpc {self._number()}", cidr="10.0.0.0/8"
        )

    def _subnet(self, vpc: Vpc) -> Subnet:
        number = self._number()
        subnet = Subnet.objects.create(
            tenant=vpc.tenant,
            region=self.region,
            vpc=vpc,
            name=f"subnet {number}",
            cidr=f"10.{number // 200}.{number % 200}.0/24",
            dns_servers=self.rng.choice(([], ["9.9.9.9"], ["9.9.9.9", "1.1.1.1"])),
        )
        if self.rng.random() < 0.5:
            self._give_ipv6(subnet)
        return subnet

    def _give_ipv6(self, subnet: Subnet) -> None:
        vpc = subnet.vpc
        number = self._number()
        if not vpc.ipv6_cidr:
            vpc.ipv6_cidr = f"fd00:0:{number:x}::/48"
            vpc.save()
        assert vpc.ipv6_network is not None
        first = int(vpc.ipv6_network.network_address) | number << 64
        subnet.ipv6_cidr = str(IPv6Network((first, 64)))
        subnet.ipv6_dns_servers = self.rng.choice(([], ["fd00::53"], ["fd00::53", "fd00::54"]))
        subnet.save()

    def _group(self, tenant: Tenant) -> SecurityGroup:
        group = SecurityGroup.objects.create(
            tenant=tenant, region=self.region, name=f"group {self._number()}"
        )
        self._fill(group)
        return group

    def _fill(self, group: SecurityGroup) -> None:
        near = [ip_address("10.0.0.5"), ip_address("2001:db8::5")]
        group.rules.all().delete()
        for rule in some_group(self.rng, 4, near):
            rule.tenant, rule.group = group.tenant, group
            rule.save(force_insert=True)

    def _vm(self, tenant: Tenant) -> None:
        vm = f"vm-{self._number()}"
        self._inner(tenant, vm, 0)
        outer = Nic.objects.create(
            tenant=tenant,
            region=self.region,
            name="eth1",
            network=NicNetwork.EXTERNAL,
            vm_id=vm,
            index=1,
            security_group=self._group_of(tenant),
        )
        for _ in range(self.rng.randint(0, 2)):
            self._ip(outer)

    def _group_of(self, tenant: Tenant) -> SecurityGroup | None:
        return None if self.rng.random() < 0.2 else self._any(SecurityGroup, tenant=tenant)

    def _inner(self, tenant: Tenant, vm: str | None, index: int | None, **more: Any) -> Nic:
        subnet = self._any(Subnet, tenant=tenant)
        nic = Nic.objects.create(
            tenant=tenant,
            region=self.region,
            name="eth0",
            vm_id=vm,
            index=index,
            subnet=subnet,
            security_group=self._group_of(tenant),
            **more,
        )
        self._hold(nic)
        return nic

    def _hold(self, nic: Nic) -> None:
        assert nic.subnet is not None
        address = self._free(nic.subnet.network, PrivateAddress.objects.filter(subnet=nic.subnet))
        PrivateAddress.objects.create(
            tenant=nic.tenant, subnet=nic.subnet, nic=nic, address=address
        )

    def _free(self, network: Any, taken: Any) -> str:
        """The lowest free address: what is given back is soon somebody else's."""
        held = set(taken.values_list("address", flat=True))
        first = 2 if isinstance(network, IPv4Network) else 16
        return next(
            str(network[number]) for number in range(first, 250) if str(network[number]) not in held
        )

    def _outside(self, vlan: int | None) -> tuple[ExternalSegment, str]:
        segment = self.rng.choice([one for one in self.segments if one.vlan == vlan])
        return segment, self._free(segment.network, ExternalAddress.objects.filter(segment=segment))

    def _ip(self, nic: Nic) -> None:
        """One that is bound to the NIC; all of a NIC are on one VLAN."""
        first = nic.external_ips.first()
        vlan = self.rng.choice((None, 12))
        if first is not None and first.segment is not None:
            vlan = first.segment.vlan
        segment, address = self._outside(vlan)
        row = ExternalIp.objects.create(
            tenant=nic.tenant,
            region=self.region,
            name=address,
            segment=segment,
            ip_version=segment.ip_version,
            address=address,
            bandwidth_mbps=self.rng.randint(1, 9),
            status="bound",
            nic=nic,
            target_kind="vm",
            target_id=str(nic.vm_id),
            bound_at=timezone.now(),
        )
        ExternalAddress.objects.create(
            tenant=nic.tenant, segment=segment, address=address, external_ip=row
        )

    def _eni(self, tenant: Tenant, network: str, *, bound: bool) -> None:
        vm = self._any(Nic, tenant=tenant, index=0).vm_id if bound else None
        index = 2 + Nic.objects.filter(vm_id=vm).count() if bound else None
        if network == NicNetwork.INTERNAL:
            nic = self._inner(tenant, vm, index, kind=NicKind.ENI)
            address = nic.addresses.get().address
        else:
            segment, address = self._outside(self.rng.choice((None, 12)))
            nic = Nic.objects.create(
                tenant=tenant,
                region=self.region,
                name="eni",
                kind=NicKind.ENI,
                network=network,
                vm_id=vm,
                index=index,
                segment=segment,
                security_group=self._group_of(tenant),
                bandwidth_mbps=self.rng.randint(1, 9),
            )
            ExternalAddress.objects.create(tenant=tenant, segment=segment, address=address, nic=nic)
        Eni.objects.create(
            tenant=tenant,
            region=self.region,
            name="eni",
            network=network,
            nic=nic,
            address=address,
            vm_id=vm or "",
            status="bound" if bound else "free",
        )

    # -- changes

    def _changed(self, row: Any) -> None:
        type(row).objects.filter(pk=row.pk).update(generation=F("generation") + 1)

    def _new_vm(self) -> None:
        self._vm(self.rng.choice(self.tenants))

    def _new_subnet(self) -> None:
        self._subnet(self._any(Vpc))

    def _new_group(self) -> None:
        self._group(self.rng.choice(self.tenants))

    def _new_rules(self) -> None:
        group = self._any(SecurityGroup)
        self._fill(group)
        self._changed(group)

    def _other_group(self) -> None:
        nic = self._any(Nic)
        nic.security_group = self._any(SecurityGroup, tenant=nic.tenant)
        nic.save()
        self._changed(nic)

    def _no_group(self) -> None:
        nic = self._any(Nic)
        nic.security_group = None
        nic.save()
        self._changed(nic)

    def _other_bandwidth(self) -> None:
        row = self._any(ExternalIp, status="bound")
        if row is not None:
            row.bandwidth_mbps += 1
            row.save()
            self._changed(row.nic)

    def _unbind(self) -> None:
        row = self._any(ExternalIp, status="bound")
        if row is not None:
            self._loosen(row)

    def _loosen(self, row: ExternalIp) -> Nic:
        nic = row.nic
        assert nic is not None
        row.status, row.nic, row.bound_at, row.target_kind, row.target_id = (
            "free", None, None, "", "",
        )  # fmt: skip
        row.save()
        self._changed(nic)
        return nic

    def _rebind(self) -> None:
        """To another VM of the tenant's."""
        row = self._any(ExternalIp, status="bound")
        if row is None or row.segment is None:
            return
        self._loosen(row)
        for nic in Nic.objects.filter(tenant=row.tenant, index=1).order_by("pk"):
            vlans = set(nic.external_ips.values_list("segment__vlan", flat=True))
            if vlans <= {row.segment.vlan}:
                row.status, row.nic, row.bound_at = "bound", nic, timezone.now()
                row.target_kind, row.target_id = "vm", str(nic.vm_id)
                row.save()
                self._changed(nic)
                return

    def _unbind_eni(self) -> None:
        eni = self._any(Eni, status="bound")
        if eni is not None:
            eni.status, eni.vm_id = "free", ""
            eni.save()
            Nic.objects.filter(pk=eni.nic_id).update(vm_id=None, index=None)
            self._changed(eni.nic)

    def _drop_vm(self) -> None:
        nic = self._any(Nic, index=0)
        if nic is None or Nic.objects.filter(index=0, tenant=nic.tenant).count() < 2:
            return
        for row in ExternalIp.objects.filter(target_id=nic.vm_id):
            self._loosen(row)
        for eni in Eni.objects.filter(vm_id=nic.vm_id):
            eni.status, eni.vm_id = "free", ""
            eni.save()
            Nic.objects.filter(pk=eni.nic_id).update(vm_id=None, index=None)
            self._changed(eni.nic)
        for own in Nic.objects.filter(vm_id=nic.vm_id):
            bury(own)

    def _drop_empty(self) -> None:
        """Groups, subnets and VPCs that nobody uses."""
        for model, used in ((SecurityGroup, "nics"), (Subnet, "nics"), (Vpc, "subnets")):
            row = self._any(model, **{f"{used}__isnull": True})
            if row is not None and model.objects.filter(tenant=row.tenant).count() > 1:
                bury(row)

    def _name_servers(self) -> None:
        subnet = self._any(Subnet)
        subnet.dns_servers = ["8.8.8.8"]
        subnet.save()
        self._changed(subnet)

    def _turn_on_ipv6(self) -> None:
        """Of a subnet that has none; its NICs follow."""
        subnet = self._any(Subnet, ipv6_cidr="")
        if subnet is None:
            return
        self._give_ipv6(subnet)
        self._changed(subnet)
        Nic.objects.filter(subnet=subnet).update(generation=F("generation") + 1)

    def _other_address(self) -> None:
        nic = self._any(Nic, index=0)
        before = nic.addresses.get()
        self._hold(nic)
        before.delete()
        self._changed(nic)
