"""Can A reach B by external IPs? And where the picture shows them."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from network.actions import Defaults, NicRequest, RuleInput, create_nics, create_security_group
from network.models import (
    ExternalAddress,
    ExternalIp,
    ExternalSegment,
    Nic,
    NicNetwork,
    SecurityGroup,
)
from network.queries.reach import Way, reach
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from tests.outside import make_segment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]


@pytest.fixture
def public(region: Region) -> ExternalSegment:
    return make_segment(region)


@pytest.fixture
def office(region: Region) -> ExternalSegment:
    return make_segment(
        region,
        name="office",
        cidr="198.51.100.0/24",
        gateway="198.51.100.1",
        route_policy="specified",
        destinations=["10.99.0.0/16"],
    )


@pytest.fixture
def group(actor: Actor, region: Region) -> SecurityGroup:
    """Lets SSH in from anywhere and nothing out."""
    rule = RuleInput(direction="in", protocol="tcp", cidr="0.0.0.0/0", ports="22")
    return create_security_group(actor=actor, region=region, name="edge", rules=[rule])


def a_vm(
    defaults: Defaults, vm_id: str, *held: tuple[ExternalSegment, str, bool], group: object = None
) -> None:
    """A VM's two NICs; the external one has these addresses (the last says: egress)."""
    assert defaults.subnet is not None
    create_nics(subnet=defaults.subnet, requests=[NicRequest(vm_id=vm_id)])
    nic = Nic.objects.create(
        tenant=defaults.vpc.tenant,
        region=defaults.vpc.region,
        name="eth1",
        vm_id=vm_id,
        index=1,
        network=NicNetwork.EXTERNAL,
        segment=held[0][0] if held else None,
        security_group=group if isinstance(group, SecurityGroup) else None,
    )
    for segment, address, egress in held:
        ip = ExternalIp.objects.create(
            tenant=nic.tenant,
            region=nic.region,
            segment=segment,
            ip_version=4,
            address=address,
            bandwidth_mbps=5,
            status="bound",
            target_kind="vm",
            target_id=vm_id,
            nic=nic,
            egress=egress,
        )
        ExternalAddress.objects.create(
            tenant=nic.tenant, segment=segment, address=address, external_ip=ip
        )


def test_an_external_ip_leads_out_by_the_default_egress_and_in_by_itself(
    defaults: Defaults, public: ExternalSegment, office: ExternalSegment, group: SecurityGroup
) -> None:
    a_vm(defaults, "vm-plain")
    a_vm(
        defaults,
        "vm-edge",
        (office, "198.51.100.9", False),
        (public, "203.0.113.9", True),
        group=group,
    )
    assert reach("vm-plain", "192.0.2.7", "tcp", 443).way is Way.NO_WAY_OUT
    out = reach("vm-edge", "192.0.2.7", "tcp", 443)
    # By the egress, and the external group decides.
    assert (str(out.source.address), out.reason) == ("203.0.113.9", "egress_denied")
    into = reach("192.0.2.7", "vm-edge", "tcp", 22)
    assert (str(into.destination.address), into.reason) == ("203.0.113.9", "allowed")
    assert reach("192.0.2.7", "198.51.100.9", "tcp", 22).reason == "allowed"
    assert reach("192.0.2.7", "203.0.113.9", "tcp", 23).reason == "ingress_denied"
    assert reach("192.0.2.7", "vm-plain", "tcp", 22).way is Way.NO_WAY_IN
    # Two VMs of a VPC meet inside of it, whatever else they have.
    inside = reach("vm-plain", "vm-edge", "tcp", 22)
    assert (str(inside.destination.address), inside.reason) == ("10.0.0.3", "allowed")
    # By the address of the other side it is the other side's group.
    assert reach("vm-plain", "203.0.113.9", "tcp", 22).way is Way.NO_WAY_OUT


@pytest.mark.parametrize(
    ("destination", "way"),
    [
        ("10.99.1.1", Way.OPEN),
        ("198.51.100.77", Way.OPEN),
        ("10.98.1.1", Way.NO_ROUTE),
        ("192.0.2.7", Way.NO_ROUTE),
    ],
)
def test_a_segment_with_specified_routes_leads_there_only(
    defaults: Defaults, office: ExternalSegment, destination: str, way: Way
) -> None:
    a_vm(defaults, "vm-office", (office, "198.51.100.9", False))
    assert reach("198.51.100.9", destination, "tcp", 443).way is way


def test_the_picture_shows_external_ips_with_their_vm(
    console: Client, defaults: Defaults, public: ExternalSegment, group: SecurityGroup
) -> None:
    a_vm(defaults, "vm-edge", (public, "203.0.113.9", True), group=group)
    page = console.get(reverse("network-topology")).content.decode()
    label = "VM vm-edge, 10.0.0.2, not filtered, external IPs 203.0.113.9, security group edge"
    assert f"<title>{label}</title>" in page
    assert ">203.0.113.9</text>" in page
    asked = {"source": "192.0.2.7", "destination": "vm-edge", "protocol": "tcp", "port": "22"}
    answer = console.get(reverse("network-reach"), asked).content.decode()
    assert "192.0.2.7 can reach vm-edge (203.0.113.9): TCP 22" in answer
