"""Can A reach B? Which rule decides, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from network.actions import (
    Defaults,
    NicRequest,
    RuleInput,
    add_rule,
    create_nics,
    create_security_group,
    create_subnet,
    create_vpc,
)
from network.models import SecurityGroup, SecurityGroupRule, Subnet
from network.queries.reach import Reach, reach
from network.rules.evaluate import Because
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from tests.network.test_api import call

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]


@pytest.fixture
def group(actor: Actor, region: Region) -> SecurityGroup:
    """Lets HTTPS in from 10.0.0.0/24, and everything out but DNS."""
    made = create_security_group(actor=actor, region=region, name="web")
    for rule in (
        RuleInput(direction="in", protocol="tcp", cidr="10.0.0.0/24", ports="443"),
        RuleInput(direction="out", protocol="all", cidr="0.0.0.0/0", priority="low"),
        RuleInput(direction="out", protocol="udp", cidr="0.0.0.0/0", ports="53", action="drop"),
    ):
        add_rule(actor=actor, group=made, rule=rule)
    return made


@pytest.fixture
def subnet(defaults: Defaults) -> Subnet:
    assert defaults.subnet is not None
    return defaults.subnet


@pytest.fixture
def two(scoped: object, subnet: Subnet, group: SecurityGroup) -> tuple[str, str]:
    """Two VMs of one subnet: one in the group, one in none."""
    create_nics(
        subnet=subnet,
        requests=[
            NicRequest(vm_id="vm-guarded", security_group=group),
            NicRequest(vm_id="vm-open"),
        ],
    )
    return "vm-guarded", "vm-open"


def decided(found: Reach) -> tuple[str, str, str]:
    """The reason, and what decides at the source and at the destination."""

    def step(one: Any) -> str:
        if one is None:
            return "-"
        rule: SecurityGroupRule | None = one.verdict.rule
        return str(rule) if rule else str(one.verdict.because)

    return found.reason, step(found.egress), step(found.ingress)


@pytest.mark.parametrize(
    ("ends", "protocol", "port", "expected"),
    [
        (
            ("vm-open", "vm-guarded"),
            "tcp",
            443,
            ("allowed", Because.UNFILTERED, "in tcp 443 10.0.0.0/24 accept"),
        ),
        (
            ("vm-open", "vm-guarded"),
            "tcp",
            80,
            ("ingress_denied", Because.UNFILTERED, Because.NO_RULE),
        ),
        (
            ("vm-open", "vm-guarded"),
            "icmp",
            None,
            ("ingress_denied", Because.UNFILTERED, Because.NO_RULE),
        ),
        (
            ("vm-guarded", "vm-open"),
            "tcp",
            443,
            ("allowed", "out all * 0.0.0.0/0 accept", Because.UNFILTERED),
        ),
        (
            ("vm-guarded", "vm-open"),
            "udp",
            53,
            ("egress_denied", "out udp 53 0.0.0.0/0 drop", Because.UNFILTERED),
        ),
        # By its address it is the same VM.
        (
            ("10.0.0.3", "10.0.0.2"),
            "tcp",
            443,
            ("allowed", Because.UNFILTERED, "in tcp 443 10.0.0.0/24 accept"),
        ),
    ],
)
@pytest.mark.usefixtures("two")
def test_the_deciding_rules_are_named(
    ends: tuple[str, str], protocol: str, port: int | None, expected: tuple[str, str, str]
) -> None:
    assert decided(reach(*ends, protocol, port)) == expected


def test_another_subnet_of_the_vpc_is_reached_and_another_vpc_is_not(
    actor: Actor, region: Region, subnet: Subnet, two: tuple[str, str]
) -> None:
    beside = create_subnet(actor=actor, vpc=subnet.vpc, name="two", cidr="10.0.1.0/24")
    vpc = create_vpc(actor=actor, region=region, name="other", cidr="10.0.0.0/16")
    apart = create_subnet(actor=actor, vpc=vpc, name="same", cidr="10.0.0.0/24")
    create_nics(subnet=beside, requests=[NicRequest(vm_id="vm-beside")])
    create_nics(subnet=apart, requests=[NicRequest(vm_id="vm-apart")])
    assert decided(reach("vm-open", "vm-beside", "tcp", 22))[0] == "allowed"
    assert decided(reach("vm-beside", "vm-guarded", "tcp", 443))[0] == "ingress_denied"
    assert decided(reach("vm-open", "vm-apart", "tcp", 22))[0] == "isolated"
    # The other VPC has the same address; the one of the own VPC is meant.
    found = reach("vm-open", "10.0.0.2", "tcp", 443)
    assert found.destination.nic is not None
    assert (found.destination.nic.vm_id, found.reason) == ("vm-guarded", "allowed")


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        ("vm-open", "10.0.0.200", "address_unused"),
        ("vm-open", "203.0.113.7", "no_way_out"),
        ("203.0.113.7", "vm-guarded", "no_way_in"),
        ("203.0.113.7", "203.0.113.8", "outside"),
        ("vm-open", "2001:db8::1", "no_common_version"),
    ],
)
@pytest.mark.usefixtures("two")
def test_what_the_network_does_not_carry_is_said(
    source: str, destination: str, reason: str
) -> None:
    found = reach(source, destination, "tcp", 443)
    assert (found.reason, found.allowed) == (reason, False)


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        (("vm-nobody", "vm-open", "tcp", 1), "source_unknown", "source"),
        (("vm-open", "", "tcp", 1), "destination_unknown", "destination"),
        (("vm-open", "nic-nothing", "tcp", 1), "destination_unknown", "destination"),
        (("vm-open", "10.0.0.0/24", "tcp", 1), "destination_unknown", "destination"),
        (("vm-open", "vm-open", "tcp", 1), "same_end", "destination"),
        (("vm-open", "vm-guarded", "gre", None), "protocol_invalid", "protocol"),
        (("vm-open", "vm-guarded", "tcp", None), "port_missing", "port"),
        (("vm-open", "vm-guarded", "udp", 65_536), "port_invalid", "port"),
        (("vm-open", "vm-guarded", "icmp", 1), "port_not_allowed", "port"),
    ],
)
@pytest.mark.usefixtures("two")
def test_a_question_that_makes_no_sense_is_refused(
    asked: tuple[str, str, str, int | None], code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        reach(*asked)
    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.usefixtures("two")
def test_the_page_and_the_api_answer(console: Client, group: SecurityGroup) -> None:
    asked = {"source": "vm-open", "destination": "vm-guarded", "protocol": "tcp", "port": "443"}
    page = console.get(reverse("network-reach"), asked).content.decode()
    assert "vm-open (10.0.0.3) can reach vm-guarded (10.0.0.2): TCP 443" in page
    assert group.rules.get(direction="in").pk in page
    assert reverse("security-group-detail", args=[group.pk]) in page
    answer = call(console, "GET", "/reachability?" + "&".join(f"{k}={v}" for k, v in asked.items()))
    assert answer.status_code == 200, answer.content
    said = answer.json()
    assert (said["allowed"], said["reason"]) == (True, "allowed")
    assert said["egress"]["because"] == "unfiltered"
    assert said["ingress"]["rule"]["ports"] == "443"
    assert said["ingress"]["security_group"] == group.pk
    denied = console.get(reverse("network-reach"), asked | {"port": "80"}).content.decode()
    assert "vm-open (10.0.0.3) cannot reach vm-guarded (10.0.0.2): TCP 80" in denied
    assert "No inbound rule matches" in denied
    wrong = console.get(reverse("network-reach"), asked | {"port": ""})
    assert wrong.status_code == 422
    assert "A port is needed for TCP and UDP." in wrong.content.decode()


@pytest.mark.usefixtures("two")
def test_another_tenants_ends_are_unknown(
    other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    stranger = Client()
    stranger.force_login(make_user(other_tenant))
    path = "/reachability?source=vm-open&destination=192.0.2.1&protocol=icmp"
    answer = call(stranger, "GET", path)
    assert (answer.status_code, answer.json()["code"]) == (400, "source_unknown")
    # Its address says nothing of who has it either.
    path = "/reachability?source=10.0.0.3&destination=192.0.2.1&protocol=icmp"
    assert call(stranger, "GET", path).json()["source"]["nic"] is None
