"""DNS servers and static routes of a subnet: what is refused, and who is told what."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from network.actions import (
    Defaults,
    NicRequest,
    configure_subnet,
    create_nics,
    create_subnet,
)
from network.fabric import fake
from network.fabric.base import Kind, PortSpec, RouteSpec, SubnetSpec
from network.models import Nic, Subnet
from network.rules.guest import plan, routes_of
from network.states.resources import Status
from network.tasks import plumbing
from scloud.audit.models import Operation
from scloud.lib.errors import InvalidInput
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.network.conftest import status_of
from tests.network.test_api import call

pytestmark = pytest.mark.django_db
RunJobs = Callable[[], list[str]]
ROUTE = {"destination": "192.0.2.0/24", "next_hop": "10.0.0.9"}


@pytest.fixture
def subnet(defaults: Defaults) -> Subnet:
    """10.0.0.0/24 of a VPC 10.0.0.0/16."""
    assert defaults.subnet is not None
    return defaults.subnet


def in_fabric(world: fake.World, row: Subnet) -> SubnetSpec:
    found = world.things[row.region_id, Kind.SUBNET, row.pk]
    assert isinstance(found, SubnetSpec)
    return found


def port_in(world: fake.World, nic: Nic) -> PortSpec:
    found = world.things[nic.region_id, Kind.PORT, str(nic.port_uuid)]
    assert isinstance(found, PortSpec)
    return found


def nics_at(subnet: Subnet, *asked: str) -> list[Nic]:
    return create_nics(
        subnet=subnet,
        requests=[NicRequest(vm_id=f"vm-{one[-1]}", address=one) for one in asked],
    )


@pytest.mark.usefixtures("scoped")
def test_guests_are_told_and_the_next_hop_may_forward(
    world: fake.World, subnet: Subnet, actor: Actor, run_jobs: RunJobs
) -> None:
    router, guest = nics_at(subnet, "10.0.0.9", "10.0.0.5")
    plumbing.ensure_nic_ports([router, guest])
    configure_subnet(actor=actor, subnet=subnet, dns_servers=["10.0.0.53"], routes=[ROUTE])
    subnet.refresh_from_db()
    assert status_of(subnet) == Status.APPLYING
    assert set(run_jobs()) == {"succeeded"}
    subnet.refresh_from_db()
    assert status_of(subnet) == Status.AVAILABLE
    spec = in_fabric(world, subnet)
    assert spec.dns == (ip_address("10.0.0.53"),)
    assert spec.static_routes == (RouteSpec(ip_network("192.0.2.0/24"), ip_address("10.0.0.9")),)  # type: ignore[arg-type]  # IPv4 literals
    assert port_in(world, router).forwards == (ip_network("192.0.2.0/24"),)
    assert port_in(world, guest).forwards == ()
    seen: dict[str, list[tuple[str, str]]] = {}
    for vm in ("vm-5", "vm-9"):
        (nic,) = plan(plumbing.guest_nics(vm))
        assert [str(one) for one in nic.dns] == ["10.0.0.53"]
        seen[vm] = [(str(one.to), str(one.via)) for one in routes_of(nic)]
    assert ("192.0.2.0/24", "10.0.0.9") in seen["vm-5"]
    assert "192.0.2.0/24" not in dict(seen["vm-9"])

    # Through another VM from now on: the former may forward no longer.
    configure_subnet(actor=actor, subnet=subnet, routes=[{**ROUTE, "next_hop": "10.0.0.5"}])
    run_jobs()
    assert port_in(world, router).forwards == ()
    assert port_in(world, guest).forwards == (ip_network("192.0.2.0/24"),)
    subnet.refresh_from_db()
    assert subnet.dns_servers == ["10.0.0.53"]
    configure_subnet(actor=actor, subnet=subnet, dns_servers=[], routes=[])
    run_jobs()
    assert in_fabric(world, subnet).static_routes == in_fabric(world, subnet).dns == ()
    assert port_in(world, guest).forwards == ()


@pytest.mark.usefixtures("scoped")
def test_a_nic_that_gets_the_address_of_a_next_hop_forwards(
    world: fake.World, subnet: Subnet, actor: Actor, run_jobs: RunJobs
) -> None:
    configure_subnet(actor=actor, subnet=subnet, routes=[ROUTE])
    (late,) = nics_at(subnet, "10.0.0.9")
    plumbing.ensure_nic_ports([late])
    assert port_in(world, late).forwards == (ip_network("192.0.2.0/24"),)
    assert port_in(world, late).addresses == (ip_address("10.0.0.9"),)


@pytest.mark.usefixtures("scoped")
def test_what_changes_nothing_is_not_applied_again(
    world: fake.World, subnet: Subnet, actor: Actor, run_jobs: RunJobs
) -> None:
    configure_subnet(actor=actor, subnet=subnet, routes=[ROUTE])
    run_jobs()
    subnet.refresh_from_db()
    before = subnet.generation
    configure_subnet(actor=actor, subnet=subnet, routes=[ROUTE])
    subnet.refresh_from_db()
    assert subnet.generation == before
    assert run_jobs() == []


def route(destination: str, next_hop: str = "10.0.0.9") -> dict[str, str]:
    return {"destination": destination, "next_hop": next_hop}


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize(
    ("routes", "code", "line"),
    [
        ([route("192.0.2.0")], "route_destination_invalid", 1),
        ([route("192.0.2.1/24")], "route_destination_invalid", 1),
        ([route("2001:db8::/32")], "route_destination_invalid", 1),
        ([route("")], "route_destination_invalid", 1),
        ([ROUTE, route("0.0.0.0/0")], "route_destination_unusable", 2),
        ([route("169.254.169.254/32")], "route_destination_unusable", 1),
        ([route("128.0.0.0/1")], "route_destination_unusable", 1),
        ([route("10.0.9.0/24")], "route_within_vpc", 1),
        ([route("10.0.0.0/8")], "route_within_vpc", 1),
        ([route("192.0.2.0/24", "10.0.0.1")], "route_next_hop_invalid", 1),
        ([route("192.0.2.0/24", "10.0.0.0")], "route_next_hop_invalid", 1),
        ([route("192.0.2.0/24", "10.0.0.255")], "route_next_hop_invalid", 1),
        ([route("192.0.2.0/24", "10.0.7.9")], "route_next_hop_invalid", 1),
        ([route("192.0.2.0/24", "router")], "route_next_hop_invalid", 1),
        ([ROUTE, route("192.0.2.0/24", "10.0.0.8")], "route_repeated", 2),
        ([{}], "route_destination_invalid", 1),
    ],
)
def test_a_route_that_cannot_be_is_refused_with_its_line(
    subnet: Subnet, actor: Actor, routes: list[dict[str, str]], code: str, line: int
) -> None:
    with pytest.raises(InvalidInput) as refused:
        configure_subnet(actor=actor, subnet=subnet, routes=routes)
    found = refused.value
    assert (found.code, found.field, found.numbers) == (code, "routes", {"line": line})
    assert found.message.startswith(f"Line {line}: ")
    subnet.refresh_from_db()
    assert subnet.routes == []


@pytest.mark.usefixtures("scoped")
def test_twenty_routes_are_the_most_and_fit_into_dhcp(subnet: Subnet, actor: Actor) -> None:
    many = [route(f"198.51.100.{number}/32") for number in range(21)]
    with pytest.raises(InvalidInput) as refused:
        configure_subnet(actor=actor, subnet=subnet, routes=many)
    assert (refused.value.code, refused.value.numbers) == (
        "routes_too_many", {"max": 20, "given": 21},
    )  # fmt: skip
    configure_subnet(actor=actor, subnet=subnet, routes=many[:20])
    subnet.refresh_from_db()
    # RFC 3442: the mask, the significant octets and the router of each, in 255 bytes.
    widths = [32] * len(subnet.static_routes) + [subnet.vpc.network.prefixlen]
    assert sum(1 + (width + 7) // 8 + 4 for width in widths) <= 255


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize("server", ["dns.example.org", "127.0.0.53", "10.0.0.255", "224.0.0.1"])
def test_a_dns_server_that_cannot_be_is_refused(subnet: Subnet, actor: Actor, server: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        configure_subnet(actor=actor, subnet=subnet, dns_servers=["192.0.2.53", server])
    assert refused.value.field == "dns_servers"
    subnet.refresh_from_db()
    assert subnet.dns_servers == []


def test_by_api(console: Client, defaults: Defaults, subnet: Subnet) -> None:
    path = f"/subnets/{subnet.pk}"
    answer = call(console, "POST", f"{path}/configure", {"routes": [ROUTE]})
    assert answer.status_code == 200, answer.content
    assert (answer.json()["routes"], answer.json()["dns_servers"]) == ([ROUTE], [])
    refused = call(console, "POST", f"{path}/configure", {"routes": [route("10.0.0.0/8")]})
    assert (refused.status_code, refused.json()["code"]) == (400, "route_within_vpc")
    assert refused.json()["numbers"] == {"line": 1}
    assert call(console, "POST", f"{path}/configure", {"routes": [{}]}).status_code == 400
    told = {"dns_servers": ["192.0.2.53"]}
    assert call(console, "POST", f"{path}/configure", told).json()["routes"] == [ROUTE]
    assert call(console, "GET", path).json()["dns_servers"] == ["192.0.2.53"]
    new = {"vpc": subnet.vpc_id, "name": "new", "cidr": "10.0.5.0/24"}
    new["routes"] = [route("192.0.2.0/24", "10.0.5.9")]  # type: ignore[assignment]  # JSON
    made = call(console, "POST", "/subnets", new)
    assert made.json()["routes"] == new["routes"], made.content


def test_in_the_console(
    console: Client, tenant: Tenant, defaults: Defaults, subnet: Subnet
) -> None:
    url = reverse("subnet-configure", args=[subnet.pk])
    assert (
        "DNS and routes" in console.get(reverse("subnet-detail", args=[subnet.pk])).content.decode()
    )
    text = "192.0.2.0/24 via 10.0.0.9\n\n 198.51.100.0/24 via 10.0.0.8 "
    assert console.post(url, {"dns_servers": "192.0.2.53", "routes": text}).status_code < 400
    with scope(tenant=tenant):
        subnet.refresh_from_db()
        assert subnet.routes == ["192.0.2.0/24 via 10.0.0.9", "198.51.100.0/24 via 10.0.0.8"]
        log = Operation.objects.get(verb="network.configure_subnet")
        assert log.before is not None
        assert log.after is not None
        assert (log.before["routes"], log.after["routes"]) == ([], subnet.routes)
    page = console.get(url).content.decode()
    assert "192.0.2.0/24 via 10.0.0.9\n198.51.100.0/24 via 10.0.0.8" in page
    refused: Any = console.post(url, {"dns_servers": "", "routes": "192.0.2.0/24 10.0.0.9"})
    assert "Line 1: " in refused.content.decode()
    with scope(tenant=tenant):
        subnet.refresh_from_db()
        assert len(subnet.routes) == 2


def test_the_routes_of_a_new_subnet_are_checked_too(defaults: Defaults, actor: Actor) -> None:
    with scope(tenant=defaults.vpc.tenant), pytest.raises(InvalidInput) as refused:
        create_subnet(
            actor=actor,
            vpc=defaults.vpc,
            name="new",
            cidr="10.0.5.0/24",
            routes=[route("192.0.2.0/24", "10.0.0.9")],
        )
    assert refused.value.code == "route_next_hop_invalid"
