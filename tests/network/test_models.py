"""What the tables themselves refuse."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from network.actions import Defaults, NicRequest, create_nics, create_security_group
from network.fabric.base import (
    Direction,
    IpProtocol,
    QosSpec,
    RuleAction,
    RulePriority,
    RuleSpec,
    SubnetSpec,
    router_mac,
)
from network.models import Nic, PrivateAddress, SecurityGroupRule, Subnet, Vpc
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant

database = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]


class TestRows:
    pytestmark = database

    def test_a_vpc_checks_its_range(self, tenant: Tenant, region: Region) -> None:
        Vpc(tenant=tenant, region=region, name="x", cidr="10.0.0.0/16").full_clean()
        for cidr in ("8.8.8.0/24", "10.0.0.0/8", "x"):
            with pytest.raises(ValidationError) as refused:
                Vpc(tenant=tenant, region=region, name="x", cidr=cidr).clean()
            assert "cidr" in refused.value.message_dict

    def test_a_subnet_checks_its_range(self, defaults: Defaults) -> None:
        subnet = defaults.subnet
        assert subnet is not None
        subnet.clean()
        subnet.cidr = "10.1.0.0/24"
        with pytest.raises(ValidationError):
            subnet.clean()

    def test_no_address_is_held_twice(self, defaults: Defaults) -> None:
        assert defaults.subnet is not None
        nic = create_nics(subnet=defaults.subnet, requests=[NicRequest(vm_id="vm-1")])[0]
        with pytest.raises(IntegrityError), transaction.atomic():
            PrivateAddress.objects.create(
                tenant=nic.tenant, subnet=defaults.subnet, nic=nic, address="10.0.0.2"
            )

    def test_a_vm_has_one_nic_per_slot(self, defaults: Defaults) -> None:
        assert defaults.subnet is not None
        create_nics(subnet=defaults.subnet, requests=[NicRequest(vm_id="vm-1")])
        with pytest.raises(IntegrityError), transaction.atomic():
            create_nics(subnet=defaults.subnet, requests=[NicRequest(vm_id="vm-1")])
        assert Nic.objects.count() == PrivateAddress.objects.count() == 1

    def test_a_rule_of_another_protocol_has_no_ports(self, defaults: Defaults) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            SecurityGroupRule.objects.create(
                tenant=defaults.vpc.tenant, group=defaults.security_group, direction="in",
                protocol="icmp", port_min=1, port_max=2, cidr="0.0.0.0/0", action="accept",
                priority="low",
            )  # fmt: skip

    def test_a_subnet_is_of_its_vpcs_tenant(
        self, defaults: Defaults, other_tenant: Tenant, region: Region
    ) -> None:
        with pytest.raises(ValueError, match="another tenant"):
            Subnet(
                tenant=other_tenant, region=region, vpc=defaults.vpc, name="x", cidr="10.0.5.0/24"
            ).save()

    def test_a_nic_takes_no_group_of_another_region(self, actor: Actor, defaults: Defaults) -> None:
        far = Region.objects.create(id="far", name="Far")
        group = create_security_group(actor=actor, region=far, name="there")
        assert defaults.subnet is not None
        with pytest.raises(InvalidInput) as refused:
            create_nics(
                subnet=defaults.subnet,
                requests=[NicRequest(vm_id="vm-1", security_group=group)],
            )
        assert refused.value.code == "region_differs"

    def test_macs_are_unicast_local_and_different(self, defaults: Defaults) -> None:
        assert defaults.subnet is not None
        nics = create_nics(
            subnet=defaults.subnet,
            requests=[NicRequest(vm_id=f"vm-{number}") for number in range(20)],
        )
        assert len({nic.mac for nic in nics}) == 20
        for nic in nics:
            first = int(nic.mac[:2], 16)
            assert first & 1 == 0
            assert first & 2 == 2


def rule(protocol: IpProtocol, remote: str, low: int | None, high: int | None) -> RuleSpec:
    return RuleSpec(
        id="sgr-1", direction=Direction.IN, protocol=protocol, remote=ip_network(remote),
        action=RuleAction.ACCEPT, priority=RulePriority.LOW, port_min=low, port_max=high,
    )  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        lambda: rule(IpProtocol.ICMP, "::/0", None, None),
        lambda: rule(IpProtocol.ICMPV6, "0.0.0.0/0", None, None),
        lambda: rule(IpProtocol.ALL, "::/0", 1, 2),
        lambda: rule(IpProtocol.TCP, "::/0", 1, None),
        lambda: rule(IpProtocol.TCP, "::/0", 2, 1),
        lambda: rule(IpProtocol.UDP, "::/0", 0, 1),
        lambda: rule(IpProtocol.UDP, "::/0", 1, 65_536),
        lambda: QosSpec(Direction.IN, 0),
        lambda: SubnetSpec("s", "v", IPv4Network("10.0.0.0/24"), IPv4Address("10.0.1.1")),
    ],
)
def test_a_specification_that_makes_no_sense_cannot_be_written(
    make: Callable[[], object],
) -> None:
    with pytest.raises(ValueError):
        make()


def test_a_gateways_mac_follows_from_the_subnet() -> None:
    assert router_mac("subnet-1") == router_mac("subnet-1") != router_mac("subnet-2")
    assert router_mac("subnet-1").startswith("0a:")
