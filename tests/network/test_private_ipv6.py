"""Private IPv6 of subnets: turned on, told, shown, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_interface
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from network.actions import (
    Defaults,
    NicRequest,
    RuleInput,
    add_rule,
    configure_subnet,
    create_nics,
    create_security_group,
    create_subnet,
    create_vpc,
    release_nics,
    turn_off_ipv6,
    turn_on_ipv6,
)
from network.actions.enis import create_eni
from network.actions.nics import move_nic
from network.fabric import fake
from network.fabric.base import Kind, PortSpec, SubnetSpec
from network.models import Nic, PrivateAddress, Subnet, Vpc, cidr
from network.queries.nics import nics_with_ipv6
from network.queries.reach import reach
from network.queries.topology import topology
from network.rules import targets
from network.rules.eni_orders import EniOrder
from network.rules.guest import plan, routes_of, rules_of
from network.states.resources import Status
from network.sweeps.reconcile import reconcile
from network.tasks import plumbing
from network.tasks.tracing import trace_spec
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.network.conftest import status_of
from tests.network.test_api import call

pytestmark = pytest.mark.django_db
RunJobs = Callable[[], list[str]]


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


def nics_of(subnet: Subnet, *vms: str) -> list[Nic]:
    return create_nics(subnet=subnet, requests=[NicRequest(vm_id=vm) for vm in vms])


def fresh(nic: Nic) -> Nic:
    found: Nic = Nic.objects.select_related("subnet__vpc").get(pk=nic.pk)
    return found


# --- turning it on


@pytest.mark.usefixtures("scoped")
def test_nics_that_are_there_and_later_ones_get_an_address_of_their_mac(
    world: fake.World, subnet: Subnet, actor: Actor, run_jobs: RunJobs
) -> None:
    (early,) = nics_of(subnet, "vm-early")
    plumbing.ensure_nic_ports([early])
    assert port_in(world, early).addresses == (ip_address("10.0.0.2"),)

    turn_on_ipv6(actor=actor, subnet=subnet)
    subnet.refresh_from_db()
    early.refresh_from_db()
    assert status_of(subnet) == status_of(early) == Status.APPLYING
    assert set(run_jobs()) == {"succeeded"}
    subnet.refresh_from_db()
    early = fresh(early)
    assert status_of(subnet) == status_of(early) == Status.AVAILABLE

    vpc = Vpc.objects.get(pk=subnet.vpc_id)
    assert vpc.ipv6_network is not None
    assert subnet.ipv6_network is not None
    assert vpc.ipv6_network.subnet_of(cidr.ULA)
    assert subnet.ipv6_network.subnet_of(vpc.ipv6_network)
    assert early.ipv6 == cidr.eui64(subnet.ipv6_network, early.mac)
    assert port_in(world, early).addresses == (ip_address("10.0.0.2"), early.ipv6)
    six = in_fabric(world, subnet).ipv6
    assert six is not None
    assert (six.cidr, six.gateway) == (subnet.ipv6_network, subnet.ipv6_network[1])
    assert six.routes == (vpc.ipv6_network,)

    (late,) = nics_of(subnet, "vm-late")
    plumbing.ensure_nic_ports([late])
    assert fresh(late).ipv6 in port_in(world, late).addresses
    assert fresh(late).ipv6 != early.ipv6


@pytest.mark.usefixtures("scoped")
def test_of_more_nics_than_one_turn_takes_none_is_left_out(
    world: fake.World,
    subnet: Subnet,
    actor: Actor,
    run_jobs: RunJobs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("network.tasks.sync.NICS_AT_ONCE", 2)
    nics = nics_of(subnet, *(f"vm-{number}" for number in range(5)))
    plumbing.ensure_nic_ports(nics)
    run_jobs()
    turn_on_ipv6(actor=actor, subnet=subnet)
    world.calls.clear()
    assert set(run_jobs()) == {"succeeded"}
    assert [len(one.split()) - 1 for one in world.calls if one.startswith("ensure_ports")] == [
        2, 2, 1,
    ]  # fmt: skip
    assert all(fresh(nic).ipv6 in port_in(world, nic).addresses for nic in nics)


@pytest.mark.usefixtures("scoped")
def test_a_nic_that_was_applied_before_its_subnet_is_applied_again(
    world: fake.World, subnet: Subnet, actor: Actor, run_jobs: RunJobs
) -> None:
    """Its port was written without DHCPv6, which was not there yet, or by an older worker."""
    (nic,) = nics_of(subnet, "vm-a")
    plumbing.ensure_nic_ports([nic])
    before = port_in(world, nic)
    turn_on_ipv6(actor=actor, subnet=subnet)
    plumbing.ensure_nic_ports([nic])
    assert status_of(fresh(nic)) == Status.AVAILABLE
    world.things[nic.region_id, Kind.PORT, before.name] = before
    run_jobs()
    assert fresh(nic).ipv6 in port_in(world, nic).addresses


@pytest.mark.usefixtures("scoped")
def test_the_job_may_run_again_and_changes_nothing_then(
    world: fake.World, subnet: Subnet, actor: Actor, run_jobs: RunJobs, region: Region
) -> None:
    plumbing.ensure_nic_ports(nics_of(subnet, "vm-a"))
    turn_on_ipv6(actor=actor, subnet=subnet)
    run_jobs()
    before = dict(world.things)
    with scopes_disabled():
        Job.objects.filter(kind="network.sync_subnet_nics").update(status="queued", attempt=1)
    assert run_jobs() == ["succeeded"]
    assert world.things == before
    assert reconcile(region) == []


@pytest.mark.usefixtures("scoped")
def test_what_the_fabric_lost_of_it_is_drift_and_is_put_right(
    world: fake.World, subnet: Subnet, actor: Actor, run_jobs: RunJobs, region: Region
) -> None:
    (nic,) = nics_of(subnet, "vm-a")
    plumbing.ensure_nic_ports([nic])
    turn_on_ipv6(actor=actor, subnet=subnet)
    run_jobs()
    there = dict(world.things)
    spec, port = in_fabric(world, subnet), port_in(world, nic)
    # As a worker of an earlier release would write both.
    world.things[subnet.region_id, Kind.SUBNET, subnet.pk] = SubnetSpec(
        spec.id, spec.vpc_id, spec.cidr, spec.gateway
    )
    world.things[nic.region_id, Kind.PORT, port.name] = PortSpec(
        port.name, port.nic_id, port.switch_id, port.mac, port.addresses[:1]
    )
    assert {one.kind for one in reconcile(region, repair=False)} == {"subnet", "port"}
    assert all(one.repaired for one in reconcile(region))
    assert world.things == there
    assert reconcile(region) == []


@pytest.mark.usefixtures("scoped")
def test_without_its_job_the_reconciler_does_the_same(
    world: fake.World, subnet: Subnet, actor: Actor, run_jobs: RunJobs, region: Region
) -> None:
    """The rows are committed, and the worker was killed before it wrote anything."""

    def lose_the_job() -> None:
        with scopes_disabled():
            Job.objects.filter(status="queued").update(status="failed")

    (nic,) = nics_of(subnet, "vm-a")
    plumbing.ensure_nic_ports([nic])
    turn_on_ipv6(actor=actor, subnet=subnet)
    lose_the_job()
    assert all(one.repaired for one in reconcile(region))
    assert in_fabric(world, subnet).ipv6 is not None
    assert fresh(nic).ipv6 in port_in(world, nic).addresses
    subnet.refresh_from_db()
    assert status_of(subnet) == status_of(fresh(nic)) == Status.AVAILABLE

    plumbing.remove_nic_ports([nic])
    release_nics("vm-a")
    turn_off_ipv6(actor=actor, subnet=subnet)
    lose_the_job()
    assert all(one.repaired for one in reconcile(region))
    assert in_fabric(world, subnet).ipv6 is None
    subnet.refresh_from_db()
    assert status_of(subnet) == Status.AVAILABLE


@pytest.mark.usefixtures("scoped")
def test_guests_are_told_soon_by_who_looks_after_them(
    subnet: Subnet,
    actor: Actor,
    run_jobs: RunJobs,
    world: fake.World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    kind = targets.kind_named("vm")
    assert kind is not None
    monkeypatch.setitem(targets._kinds, "vm", replace(kind, changed=told.extend))
    plumbing.ensure_nic_ports(nics_of(subnet, "vm-a", "vm-b"))
    turn_on_ipv6(actor=actor, subnet=subnet)
    run_jobs()
    assert sorted(told) == ["vm-a", "vm-b"]


@pytest.mark.usefixtures("scoped")
def test_each_subnet_has_a_range_of_its_own_and_the_vpc_keeps_its(
    defaults: Defaults, subnet: Subnet, actor: Actor, region: Region
) -> None:
    other = create_subnet(actor=actor, vpc=defaults.vpc, name="six", cidr="10.0.5.0/24", ipv6=True)
    turn_on_ipv6(actor=actor, subnet=subnet)
    subnet.refresh_from_db()
    vpc = Vpc.objects.get(pk=defaults.vpc.pk)
    assert vpc.ipv6_network is not None
    assert subnet.ipv6_cidr == f"{vpc.ipv6_network.network_address}/64"
    assert other.ipv6_cidr == str(IPv6Network((int(vpc.ipv6_network[0]) | 0xA0 << 64, 64)))
    was = other.ipv6_cidr
    turn_off_ipv6(actor=actor, subnet=other)
    turn_on_ipv6(actor=actor, subnet=other)
    other.refresh_from_db()
    assert other.ipv6_cidr == was
    strange = create_vpc(actor=actor, region=region, name="other", cidr="10.0.0.0/16")
    theirs = create_subnet(actor=actor, vpc=strange, name="six", cidr="10.0.5.0/24", ipv6=True)
    assert theirs.ipv6_network is not None
    assert not theirs.ipv6_network.overlaps(vpc.ipv6_network)


@pytest.mark.usefixtures("scoped")
def test_a_range_that_another_tenant_has_is_not_taken(
    defaults: Defaults,
    subnet: Subnet,
    actor: Actor,
    other_tenant: Tenant,
    region: Region,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, free = IPv6Network("fd00:1:2::/48"), IPv6Network("fd00:1:3::/48")
    with scope(tenant=other_tenant):
        Vpc.objects.create(
            tenant=other_tenant, region=region, name="x", cidr="10.0.0.0/16", ipv6_cidr=str(taken)
        )
    drawn = iter([taken, taken, free])
    monkeypatch.setattr("network.models.cidr.random_ula", lambda: next(drawn))
    turn_on_ipv6(actor=actor, subnet=subnet)
    assert Vpc.objects.get(pk=defaults.vpc.pk).ipv6_network == free


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Vpc, "fd00:1:2::/64"),
        (Vpc, "2001:db8::/48"),
        (Subnet, "fd00:1:2:3::/48"),
        (Subnet, "2001:db8::/64"),
    ],
)
def test_the_database_takes_no_other_ranges(
    defaults: Defaults, model: type[Vpc] | type[Subnet], text: str
) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        model.objects.update(ipv6_cidr=text)


@pytest.mark.usefixtures("scoped")
def test_the_database_gives_no_range_twice(
    defaults: Defaults, subnet: Subnet, actor: Actor
) -> None:
    other = create_subnet(actor=actor, vpc=defaults.vpc, name="b", cidr="10.0.5.0/24", ipv6=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        Subnet.objects.filter(pk=subnet.pk).update(ipv6_cidr=other.ipv6_cidr)


# --- what is refused


@pytest.mark.usefixtures("scoped")
def test_it_is_turned_on_once_and_off_only_while_nobody_has_an_address(
    world: fake.World, subnet: Subnet, actor: Actor, run_jobs: RunJobs
) -> None:
    with pytest.raises(Conflict) as refused:
        turn_off_ipv6(actor=actor, subnet=subnet)
    assert refused.value.code == "ipv6_is_off"
    turn_on_ipv6(actor=actor, subnet=subnet)
    with pytest.raises(Conflict) as refused:
        turn_on_ipv6(actor=actor, subnet=subnet)
    assert refused.value.code == "ipv6_is_on"

    (nic,) = nics_of(subnet, "vm-a")
    plumbing.ensure_nic_ports([nic])
    with pytest.raises(Conflict) as refused:
        turn_off_ipv6(actor=actor, subnet=subnet)
    assert (refused.value.code, refused.value.numbers) == (
        "ipv6_in_use", {"nics": 1, "leaving": 0, "dns_servers": 0},
    )  # fmt: skip
    assert "1 network interface has an IPv6 address" in refused.value.message
    assert refused.value.remedy
    subnet.refresh_from_db()
    assert subnet.ipv6_cidr

    plumbing.remove_nic_ports([nic])
    release_nics("vm-a")
    configure_subnet(actor=actor, subnet=subnet, dns_servers=["fd00::53"])
    with pytest.raises(Conflict) as refused:
        turn_off_ipv6(actor=actor, subnet=subnet)
    assert refused.value.numbers == {"nics": 0, "leaving": 0, "dns_servers": 1}
    configure_subnet(actor=actor, subnet=subnet, dns_servers=[])
    turn_off_ipv6(actor=actor, subnet=subnet)
    run_jobs()
    subnet.refresh_from_db()
    assert (subnet.ipv6_cidr, subnet.ipv6_network, subnet.ipv6_gateway) == ("", None, None)
    assert in_fabric(world, subnet).ipv6 is None


@pytest.mark.usefixtures("scoped")
def test_an_address_that_is_being_given_up_keeps_it_on(
    world: fake.World, defaults: Defaults, subnet: Subnet, actor: Actor
) -> None:
    turn_on_ipv6(actor=actor, subnet=subnet)
    other = create_subnet(actor=actor, vpc=defaults.vpc, name="b", cidr="10.0.5.0/24")
    (nic,) = nics_of(subnet, "vm-a")
    plumbing.ensure_nic_ports([nic])
    move_nic(fresh(nic), other, None, actor=actor)
    with pytest.raises(Conflict) as refused:
        turn_off_ipv6(actor=actor, subnet=subnet)
    assert refused.value.numbers == {"nics": 0, "leaving": 1, "dns_servers": 0}
    plumbing.ensure_nic_ports([nic])
    assert port_in(world, nic).addresses == (ip_address("10.0.5.2"),)
    assert not PrivateAddress.objects.filter(subnet=subnet).exists()
    turn_off_ipv6(actor=actor, subnet=subnet)


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize(
    ("servers", "code"),
    [
        (["fe80::1"], "dns_unusable"),
        (["::1"], "dns_unusable"),
        (["ff02::1"], "dns_unusable"),
        (["::"], "dns_unusable"),
        (["::ffff:192.0.2.53"], "dns_unusable"),
        (["2001:db8::53%eth0"], "dns_invalid"),
        (["2001:db8::zz"], "dns_invalid"),
        (["192.0.2.1", "192.0.2.2", "fd00::1", "fd00::2"], "dns_invalid"),
    ],
)
def test_a_dns_server_that_cannot_be_is_refused(
    subnet: Subnet, actor: Actor, servers: list[str], code: str
) -> None:
    turn_on_ipv6(actor=actor, subnet=subnet)
    with pytest.raises(InvalidInput) as refused:
        configure_subnet(actor=actor, subnet=subnet, dns_servers=servers)
    assert (refused.value.code, refused.value.field) == (code, "dns_servers")
    subnet.refresh_from_db()
    assert subnet.name_servers == ()


@pytest.mark.usefixtures("scoped")
def test_dns_servers_of_both_versions_are_told_and_need_ipv6(
    world: fake.World, defaults: Defaults, subnet: Subnet, actor: Actor, run_jobs: RunJobs
) -> None:
    asked = ["fd00::0053", "10.0.0.53", "fd00::53"]
    with pytest.raises(InvalidInput) as refused:
        configure_subnet(actor=actor, subnet=subnet, dns_servers=asked)
    assert refused.value.code == "dns_needs_ipv6"
    with pytest.raises(InvalidInput) as refused:
        create_subnet(
            actor=actor, vpc=defaults.vpc, name="b", cidr="10.0.5.0/24", dns_servers=["fd00::53"]
        )
    assert refused.value.code == "dns_needs_ipv6"
    turn_on_ipv6(actor=actor, subnet=subnet)
    nics_of(subnet, "vm-a")
    configure_subnet(actor=actor, subnet=subnet, dns_servers=asked)
    run_jobs()
    subnet.refresh_from_db()
    assert (subnet.dns_servers, subnet.ipv6_dns_servers) == (["10.0.0.53"], ["fd00::53"])
    spec = in_fabric(world, subnet)
    assert spec.ipv6 is not None
    assert (spec.dns, spec.ipv6.dns) == ((ip_address("10.0.0.53"),), (IPv6Address("fd00::53"),))
    (nic,) = plan(plumbing.guest_nics("vm-a"))
    assert [str(one) for one in nic.dns] == ["10.0.0.53", "fd00::53"]
    made = create_subnet(
        actor=actor, vpc=defaults.vpc, name="c", cidr="10.0.6.0/24", dns_servers=["fd00::53"],
        ipv6=True,
    )  # fmt: skip
    assert made.ipv6_dns_servers == ["fd00::53"]


# --- what guests are told


@pytest.mark.usefixtures("scoped")
def test_a_guest_has_the_address_and_a_route_to_its_vpc_but_no_default(
    subnet: Subnet, actor: Actor
) -> None:
    (nic,) = nics_of(subnet, "vm-a")
    turn_on_ipv6(actor=actor, subnet=subnet)
    nic = fresh(nic)
    assert nic.subnet is not None
    vpc = nic.subnet.vpc
    (planned,) = plan(plumbing.guest_nics("vm-a"))
    four, six = planned.addresses
    assert four.default_route
    assert six.interface == ip_interface(f"{nic.ipv6}/64")
    assert (six.gateway, six.default_route, six.table) == (None, False, None)
    routes = {str(one.to): str(one.via) for one in routes_of(planned) if one.to.version == 6}
    assert routes == {vpc.ipv6_cidr: str(nic.subnet.ipv6_gateway)}
    assert rules_of(planned) == ()


@pytest.mark.usefixtures("scoped")
def test_an_eni_in_the_subnet_has_one_too(
    world: fake.World, subnet: Subnet, actor: Actor, region: Region
) -> None:
    turn_on_ipv6(actor=actor, subnet=subnet)
    subnet.refresh_from_db()
    eni = create_eni(actor=actor, order=EniOrder(region=region, subnet=subnet))
    assert eni.nic is not None
    assert subnet.ipv6_network is not None
    assert eni.nic.ipv6 == cidr.eui64(subnet.ipv6_network, eni.nic.mac)


# --- who reaches whom


@pytest.mark.usefixtures("scoped")
def test_the_connection_test_knows_private_ipv6(
    defaults: Defaults, subnet: Subnet, actor: Actor, region: Region
) -> None:
    group = create_security_group(actor=actor, region=region, name="six")
    for rule in (
        RuleInput(direction="in", protocol="tcp", cidr="fd00::/8", ports="443"),
        RuleInput(direction="out", protocol="all", cidr="::/0"),
    ):
        add_rule(actor=actor, group=group, rule=rule)
    turn_on_ipv6(actor=actor, subnet=subnet)
    far = create_subnet(actor=actor, vpc=defaults.vpc, name="far", cidr="10.0.5.0/24", ipv6=True)
    a, b = (
        fresh(create_nics(subnet=one, requests=[NicRequest(vm_id=vm, security_group=group)])[0])
        for one, vm in ((subnet, "vm-a"), (far, "vm-b"))
    )
    found = reach(str(a.ipv6), str(b.ipv6), "tcp", 443)
    assert (found.allowed, found.source.nic, found.destination.nic) == (True, a, b)
    assert found.ingress is not None
    assert found.ingress.verdict.rule is not None
    assert found.ingress.verdict.rule.cidr == "fd00::/8"
    assert reach(str(a.ipv6), str(b.ipv6), "tcp", 80).reason == "ingress_denied"
    # Of two VMs, the first pair of addresses that the network connects is asked about: IPv4.
    assert reach("vm-a", "vm-b", "tcp", 443).source.address.version == 4
    assert b.subnet is not None
    assert b.subnet.ipv6_network is not None
    nobody = str(b.subnet.ipv6_network[0x77])
    assert reach("vm-a", nobody, "tcp", 443).reason == "address_unused"
    assert reach("vm-a", "fd00:dead:beef::1", "tcp", 443).reason == "no_way_out"

    elsewhere = create_vpc(actor=actor, region=region, name="other", cidr="10.0.0.0/16")
    theirs = create_subnet(actor=actor, vpc=elsewhere, name="six", cidr="10.0.0.0/24", ipv6=True)
    c = fresh(nics_of(theirs, "vm-c")[0])
    assert reach(str(a.ipv6), str(c.ipv6), "icmp").reason == "isolated"

    asked = {
        "source": str(a.ipv6), "destination": str(b.ipv6), "protocol": "icmp", "port": None,
    }  # fmt: skip
    spec = trace_spec(a, b, asked)
    assert (spec.switch_id, spec.source, spec.protocol.value) == (subnet.pk, a.ipv6, "icmpv6")


@pytest.mark.usefixtures("scoped")
def test_nics_are_found_by_their_address_and_by_its_beginning(subnet: Subnet, actor: Actor) -> None:
    nic, other = nics_of(subnet, "vm-a", "vm-b")
    assert nics_with_ipv6("fd").count() == nics_with_ipv6("fd12:3456").count() == 0
    turn_on_ipv6(actor=actor, subnet=subnet)
    six = str(fresh(nic).ipv6)
    assert [one.pk for one in nics_with_ipv6(six)] == [nic.pk]
    assert [one.pk for one in nics_with_ipv6(f" {IPv6Address(six).exploded} ")] == [nic.pk]
    for length in range(6, six.rindex(":") + 2):
        assert {one.pk for one in nics_with_ipv6(six[:length])} == {nic.pk, other.pk}, length
    assert nics_with_ipv6("fd00:dead:beef::5054:ff:fe00:1").count() == 0
    assert nics_with_ipv6("2001:db8::1").count() == 0
    assert nics_with_ipv6("10.0.0.2").count() == 0


@pytest.mark.usefixtures("scoped")
def test_the_picture_reads_no_more_for_it(
    subnet: Subnet, actor: Actor, region: Region, django_assert_num_queries: Any
) -> None:
    turn_on_ipv6(actor=actor, subnet=subnet)
    nics_of(subnet, *(f"vm-{number}" for number in range(3)))
    with django_assert_num_queries(5):
        (node,) = topology(region)
        assert all(nic.ipv6 for part in node.subnets for nic in part.nics)


# --- API, console, log


def test_by_api(console: Client, defaults: Defaults, subnet: Subnet) -> None:
    path = f"/subnets/{subnet.pk}"
    shown = call(console, "GET", path).json()
    assert (shown["ipv6_cidr"], shown["ipv6_gateway"]) == (None, None)
    assert "turn_on_ipv6" in shown["allowed_actions"]
    assert "turn_off_ipv6" not in shown["allowed_actions"]
    on = call(console, "POST", f"{path}/turn-on-ipv6")
    assert on.status_code == 200, on.content
    network = IPv6Network(on.json()["ipv6_cidr"])
    assert on.json()["ipv6_gateway"] == str(network[1])
    vpc = call(console, "GET", f"/vpcs/{subnet.vpc_id}").json()
    assert network.subnet_of(IPv6Network(vpc["ipv6_cidr"]))
    again = call(console, "POST", f"{path}/turn-on-ipv6")
    assert (again.status_code, again.json()["code"]) == (409, "ipv6_is_on")
    told = call(console, "POST", f"{path}/configure", {"dns_servers": ["fd00::53", "192.0.2.53"]})
    assert told.json()["dns_servers"] == ["192.0.2.53", "fd00::53"]
    call(console, "POST", f"{path}/configure", {"dns_servers": []})
    off = call(console, "POST", f"{path}/turn-off-ipv6")
    assert (off.status_code, off.json()["ipv6_cidr"]) == (200, None)
    new = {"vpc": subnet.vpc_id, "name": "six", "cidr": "10.0.5.0/24", "ipv6": True}
    made = call(console, "POST", "/subnets", new)
    assert made.status_code == 201, made.content
    assert IPv6Network(made.json()["ipv6_cidr"]).prefixlen == 64
    eni = call(
        console, "POST", "/enis", {"region": "box", "subnet": made.json()["id"], "name": "six"}
    )
    assert eni.status_code == 201, eni.content
    assert IPv6Address(eni.json()["ipv6_address"]) in IPv6Network(made.json()["ipv6_cidr"])


def test_pages_find_it(console: Client, tenant: Tenant, actor: Actor, subnet: Subnet) -> None:
    with scope(tenant=tenant):
        turn_on_ipv6(actor=actor, subnet=subnet)
        nic, _other = nics_of(subnet, "vm-a", "vm-b")
        subnet.refresh_from_db()
        eni = create_eni(
            actor=actor, order=EniOrder(region=subnet.region, subnet=subnet, name="mine")
        )
        assert eni.nic is not None
        mine, at_eni = str(fresh(nic).ipv6), str(eni.nic.ipv6)
    page = reverse("subnet-detail", args=[subnet.pk])
    text = console.get(page, {"q": mine}).content.decode()
    assert "10.0.0.2" in text
    assert "10.0.0.3" not in text
    assert "mine" in console.get(reverse("eni-list"), {"q": at_eni}).content.decode()
    assert "eni-detail" not in console.get(reverse("eni-list"), {"q": mine}).content.decode()
    shown = console.get(reverse("eni-detail", args=[eni.pk])).content.decode()
    assert at_eni in shown


def test_a_stranger_sees_no_such_subnet(
    console: Client, subnet: Subnet, other_tenant: Tenant, region: Region
) -> None:
    with scope(tenant=other_tenant):
        vpc = Vpc.objects.create(tenant=other_tenant, region=region, name="x", cidr="10.0.0.0/16")
        theirs = Subnet.objects.create(
            tenant=other_tenant, region=region, vpc=vpc, name="x", cidr="10.0.0.0/24"
        )
    for verb in ("turn-on-ipv6", "turn-off-ipv6"):
        assert call(console, "POST", f"/subnets/{theirs.pk}/{verb}").status_code == 404
    with scopes_disabled():
        theirs.refresh_from_db()
    assert theirs.ipv6_cidr == ""


def test_in_the_console(console: Client, tenant: Tenant, subnet: Subnet) -> None:
    page = reverse("subnet-detail", args=[subnet.pk])
    with scope(tenant=tenant):
        (nic,) = nics_of(subnet, "vm-a")
    assert "Turn on IPv6" in console.get(page).content.decode()
    asked = console.get(reverse("subnet-turn-on-ipv6", args=[subnet.pk]))
    assert "private IPv6 address" in asked.content.decode()
    assert console.post(reverse("subnet-turn-on-ipv6", args=[subnet.pk])).status_code < 400
    with scope(tenant=tenant):
        subnet.refresh_from_db()
        address = str(fresh(nic).ipv6)
        log = Operation.objects.get(verb="network.turn_on_ipv6")
        assert log.after is not None
        assert log.after["ipv6_cidr"] == subnet.ipv6_cidr
    text = console.get(page).content.decode()
    assert subnet.ipv6_cidr in text
    assert address in text
    assert (
        subnet.ipv6_cidr
        in console.get(reverse("vpc-detail", args=[subnet.vpc_id])).content.decode()
    )
    refused = console.post(reverse("subnet-turn-off-ipv6", args=[subnet.pk]))
    assert "IPv6 address in subnet" in refused.content.decode()
    made = console.post(
        reverse("subnet-create", args=[subnet.vpc_id]),
        {"name": "six", "cidr": "10.0.5.0/24", "dns_servers": "", "remark": "", "ipv6": "on"},
    )
    assert made.status_code < 400
    with scope(tenant=tenant):
        assert Subnet.objects.get(name="six").ipv6_cidr


# --- at once


def both(tenant: Tenant, first: Callable[[], object], second: Callable[[], object]) -> list[str]:
    """Do both in transactions of their own, the second while the first is not committed yet.

    Returns the codes of what was refused.
    """
    begun = threading.Event()
    refused: list[str] = []
    accidents: list[BaseException] = []

    def attempt(work: Callable[[], object], *, leads: bool) -> None:
        try:
            with scope(tenant=tenant), transaction.atomic():
                if not leads:
                    begun.wait(10)
                work()
                if leads:
                    begun.set()
                    # The other one reaches the lock now and has to wait for the commit.
                    time.sleep(0.3)
        except Conflict as error:
            refused.append(error.code)
        except BaseException as error:
            accidents.append(error)
        finally:
            begun.set()
            connection.close()

    threads = [
        threading.Thread(target=attempt, args=(work,), kwargs={"leads": leads})
        for work, leads in ((first, True), (second, False))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if accidents:
        raise accidents[0]
    return refused


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("born_first", [True, False])
def test_a_nic_that_is_born_while_ipv6_is_turned_on_has_it(
    world: fake.World,
    tenant: Tenant,
    subnet: Subnet,
    actor: Actor,
    run_jobs: RunJobs,
    born_first: bool,
) -> None:
    works: list[Callable[[], object]] = [
        lambda: nics_of(subnet, "vm-a"),
        lambda: turn_on_ipv6(actor=actor, subnet=subnet),
    ]
    first, second = works if born_first else reversed(works)
    assert both(tenant, first, second) == []
    with scope(tenant=tenant):
        nic = Nic.objects.get(vm_id="vm-a")
        run_jobs()
        plumbing.ensure_nic_ports([nic])
        assert fresh(nic).ipv6 is not None
        assert fresh(nic).ipv6 in port_in(world, nic).addresses


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("born_first", [True, False])
def test_a_nic_is_born_with_ipv6_or_after_it_was_turned_off(
    tenant: Tenant, subnet: Subnet, actor: Actor, born_first: bool
) -> None:
    with scope(tenant=tenant):
        turn_on_ipv6(actor=actor, subnet=subnet)
    works: list[Callable[[], object]] = [
        lambda: nics_of(subnet, "vm-a"),
        lambda: turn_off_ipv6(actor=actor, subnet=subnet),
    ]
    first, second = works if born_first else reversed(works)
    assert both(tenant, first, second) == (["ipv6_in_use"] if born_first else [])
    with scope(tenant=tenant):
        assert (fresh(Nic.objects.get()).ipv6 is not None) == born_first


@pytest.mark.django_db(transaction=True)
def test_of_two_that_turn_it_on_at_once_one_does(
    tenant: Tenant, subnet: Subnet, actor: Actor
) -> None:
    def on() -> None:
        turn_on_ipv6(actor=actor, subnet=subnet)

    assert both(tenant, on, on) == ["ipv6_is_on"]


@pytest.mark.django_db(transaction=True)
def test_two_subnets_that_turn_it_on_at_once_are_in_one_range(
    tenant: Tenant, subnet: Subnet, actor: Actor
) -> None:
    with scope(tenant=tenant):
        other = create_subnet(actor=actor, vpc=subnet.vpc, name="b", cidr="10.0.5.0/24")
    refused = both(
        tenant,
        lambda: turn_on_ipv6(actor=actor, subnet=subnet),
        lambda: turn_on_ipv6(actor=actor, subnet=other),
    )
    assert refused == []
    with scope(tenant=tenant):
        whole = Vpc.objects.get(pk=subnet.vpc_id).ipv6_network
        found = [one.ipv6_network for one in Subnet.objects.filter(vpc=subnet.vpc)]
    assert whole is not None
    assert all(one is not None and one.subnet_of(whole) for one in found)
    assert len(set(found)) == 2


@pytest.mark.django_db(transaction=True)
def test_workers_that_note_what_they_applied_meanwhile_are_in_nobodys_way(
    tenant: Tenant, subnet: Subnet, actor: Actor
) -> None:
    """A worker notes NICs by ID, one after the other, in one transaction."""
    with scope(tenant=tenant), transaction.atomic():
        nics = nics_of(subnet, *(f"vm-{number}" for number in range(12)))
    # Stored in one order, noted in the other.
    late, early = next(
        (one.pk, other.pk)
        for place, one in enumerate(nics)
        for other in nics[place + 1 :]
        if one.pk > other.pk
    )

    def note() -> None:
        Nic.objects.filter(pk=early).update(applied_generation=1)
        turning.set()
        time.sleep(0.5)
        Nic.objects.filter(pk=late).update(applied_generation=1)

    def turn_on() -> None:
        turning.wait(10)
        turn_on_ipv6(actor=actor, subnet=subnet)

    turning = threading.Event()
    accidents: list[BaseException] = []

    def attempt(work: Callable[[], object]) -> None:
        try:
            with scope(tenant=tenant), transaction.atomic():
                work()
        except BaseException as error:
            accidents.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt, args=(work,)) for work in (note, turn_on)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert accidents == []
    with scope(tenant=tenant):
        assert {one.generation for one in Nic.objects.all()} == {2}
