"""Bounds and numbers of the network's rules: those of standards, of files, and of what is sold."""

from __future__ import annotations

from contextlib import nullcontext
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any
from unittest.mock import patch

import pytest
from django.db import IntegrityError

from network.actions import Defaults, create_security_group, create_subnet, create_vpc
from network.actions import defaults as starting
from network.actions.common import checked_text, numbered
from network.actions.nics import assign_security_group, change_security_group
from network.models import Nic, SecurityGroup, SecurityGroupRule, Vpc
from network.rules import csv_rules, guest, targets, templates
from network.rules.evaluate import Because, Packet, evaluate
from network.rules.guest import AddressPlan, NicPlan, Route, Rule, routes_of, rules_of
from network.rules.refusals import security_group_refusal, subnet_refusal, vpc_refusal
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]
HERE, THERE = ip_address("10.0.0.5"), ip_address("192.0.2.7")
HERE6, THERE6 = ip_address("fd00::5"), ip_address("2001:db8::7")


# --- numbers of standards


@pytest.mark.parametrize(
    ("protocol", "number"), [("icmp", 1), ("tcp", 6), ("udp", 17), ("icmpv6", 58)]
)
def test_protocols_have_the_numbers_that_the_registry_gives_them(
    protocol: str, number: int
) -> None:
    """https://www.iana.org/assignments/protocol-numbers"""
    six = protocol == "icmpv6"
    rule = SecurityGroupRule(
        direction="in",
        protocol=protocol,
        cidr="::/0" if six else "0.0.0.0/0",
        action="accept",
        priority="medium",
    )

    def passes(number: int) -> bool:
        packet = Packet(
            source=THERE6 if six else THERE,
            destination=HERE6 if six else HERE,
            protocol=number,
            port=9 if number in (6, 17) else None,
            icmp_type=8,
        )
        return evaluate([rule], "in", packet).allowed

    assert [one for one in range(256) if passes(one)] == [number]


@pytest.mark.parametrize("source", ["2001:db8::7", "fe80::7"])
def test_what_of_icmpv6_always_passes(source: str) -> None:
    """Discovery of neighbours (RFC 4861) from anywhere, of listeners (RFC 2710) on the link."""
    passing = [
        kind
        for kind in range(256)
        if evaluate(
            [],
            "in",
            Packet(source=ip_address(source), destination=HERE6, protocol=58, icmp_type=kind),
        ).because
        is Because.ALWAYS
    ]
    link = [130, 131, 132] if source.startswith("fe80") else []
    assert passing == [*link, 133, 134, 135, 136]
    report = Packet(
        source=ip_address(source),
        destination=ip_address("ff02::16"),
        protocol=58,
        icmp_type=143,
    )
    assert evaluate([], "in", report).because is Because.ALWAYS


def test_a_guest_may_ask_a_server_for_an_address_and_nothing_else_without_a_rule() -> None:
    ports = [(68, 67), (67, 68), (68, 66), (67, 67), (69, 67), (68, 68)]
    found = [
        evaluate(
            [],
            "out",
            Packet(source=HERE, destination=THERE, protocol=17, source_port=one, port=other),
        ).allowed
        for one, other in ports
    ]
    assert found == [True, *[False] * 5]


# --- what a guest configures


def test_what_guests_were_told_by_earlier_releases_is_found_again() -> None:
    """Rules and tables are known in a guest by these numbers; another one would leave the old."""
    assert guest.RULE_PRIORITY == 10_100
    assert (guest.FIRST_TABLE, guest.TABLES) == (10_200, 50_000)
    assert guest.DEFAULT_ROUTE_METRIC == 50
    outer = guest.GuestNic(
        1,
        "eth1",
        "52:54:00:00:00:0A",
        1500,
        external=True,
        addresses=(
            guest.HeldAddress(ip_interface("203.0.113.9/24"), ip_address("203.0.113.1")),
            guest.HeldAddress(ip_interface("198.51.100.9/24"), ip_address("198.51.100.1")),
        ),
        dns=(HERE, THERE, HERE),
    )
    (found,) = guest.plan([outer])
    assert [one.table for one in found.addresses] == [16_912, 34_333]
    assert (found.mac, found.dns) == ("52:54:00:00:00:0a", (HERE, THERE))


def test_the_routes_of_a_nic_are_those_of_its_addresses() -> None:
    gateway, far = ip_address("10.0.0.1"), ip_address("192.0.2.1")
    inner = AddressPlan(
        ip_interface("10.0.0.5/24"),
        gateway,
        (ip_network("10.0.0.0/16"),),
        default_route=True,
        table=10_300,
    )
    odd = AddressPlan(ip_interface("203.0.113.9/32"), far, (), default_route=False, table=10_301)
    lonely = AddressPlan(ip_interface("198.51.100.4/24"), None, (ip_network("192.0.2.0/24"),))
    six = AddressPlan(ip_interface("fd00::5/64"), ip_address("fd00::1"), default_route=True)
    nic = NicPlan(0, "eth0", "52:54:00:00:00:01", 1442, (inner, odd, lonely, six))
    any4, any6 = ip_network("0.0.0.0/0"), ip_network("::/0")
    assert routes_of(nic) == (
        Route(ip_network("10.0.0.0/16"), gateway),
        Route(any4, gateway, ip_address("10.0.0.5"), 50),
        Route(any6, ip_address("fd00::1"), ip_address("fd00::5"), 50),
        Route(ip_network("10.0.0.0/24"), table=10_300),
        Route(any4, gateway, table=10_300),
        Route(ip_network("203.0.113.9/32"), table=10_301),
        # Its gateway lies outside of its network: the guest is told that it is on the link.
        Route(any4, far, table=10_301, on_link=True),
    )
    assert rules_of(nic) == (
        Rule(ip_address("10.0.0.5"), 10_300, 10_100),
        Rule(ip_address("203.0.113.9"), 10_301, 10_100),
    )


# --- sets of rules

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
ANYWHERE = ("0.0.0.0/0", "::/0")
PING = {"in icmp * 0.0.0.0/0", "in icmpv6 * ::/0"}
OUT = {"out all * 0.0.0.0/0", "out all * ::/0"}


def tcp(*ports: int, sources: tuple[str, ...] = ANYWHERE) -> set[str]:
    return {f"in tcp {port} {source}" for port in ports for source in sources}


SETS = {
    "default": tcp(22, 3389, 80, 443) | PING | OUT,
    "web": tcp(80, 443) | PING,
    "ssh": tcp(22),
    "remote-desktop": tcp(3389) | {f"in udp 3389 {source}" for source in ANYWHERE},
    "database": tcp(3306, 5432, 1433, 27017, 6379, sources=PRIVATE),
    "mail": tcp(25, 465, 587, 143, 993),
    "dns": tcp(53, sources=PRIVATE) | {f"in udp 53 {source}" for source in PRIVATE},
    "files": tcp(445, 2049, sources=PRIVATE),
    "private": {f"in all * {source}" for source in PRIVATE},
    "outbound": OUT,
}


def test_the_sets_of_rules_are_what_they_say() -> None:
    found = {
        one.key: {
            f"{rule.direction} {rule.protocol} {rule.ports or '*'} {rule.cidr}"
            for rule in one.rules()
        }
        for one in templates.TEMPLATES
    }
    assert found == SETS
    assert {rule.action for one in templates.TEMPLATES for rule in one.rules()} == {"accept"}


# --- files of rules

HEAD = "direction,protocol,ports,cidr,action,priority,description\n"
LINE = "in,tcp,22,0.0.0.0/0,accept,low,\n"


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        (HEAD + LINE + "in,tcp,22,0.0.0.0/0,accept,low,a,b\n", {"line": 3}),
        (HEAD + LINE + LINE + "in,tcp,\x00\n", {"line": 4}),
        ("\x00", {"line": 1}),
        (HEAD + LINE + 'in,tcp,22,0.0.0.0/0,accept,low,"never closed\n', {"line": 3}),
        (HEAD + LINE * 201, {"limit": 200}),
        (HEAD + "x" * 100_001, {"max": 100_000, "given": 100_001 + len(HEAD)}),
        (
            "direction,colour,Shape\n",
            {"unknown": ["colour", "shape"], "missing": ["protocol", "cidr"]},
        ),
    ],
    ids=["too many values", "NUL", "NUL alone", "quotes", "rules", "length", "columns"],
)
def test_a_file_that_cannot_be_read_says_where(content: str, numbers: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        csv_rules.read(content)
    assert refused.value.numbers == numbers


def test_a_file_of_the_longest_kind_is_read() -> None:
    whole = HEAD + LINE * 200
    found = csv_rules.read(whole + "\n" * (100_000 - len(whole)))
    assert [one.number for one in found] == list(range(2, 202))


@pytest.mark.parametrize(
    ("cell", "text"),
    [("'=SUM(A1)", "=SUM(A1)"), ("''quoted", "'quoted"), ("'plain", "'plain"), ("=1", "=1")],
)
def test_a_mark_against_formulas_is_taken_off_again(cell: str, text: str) -> None:
    (found,) = csv_rules.read(HEAD + f"in,tcp,22,0.0.0.0/0,accept,low,{cell}\n")
    assert found.rule.description == text
    written = csv_rules.written([SecurityGroupRule(description=text)]).splitlines()[1]
    (again,) = csv_rules.read(HEAD + "in,tcp,22,::/0,accept,low," + written.split(",")[-1])
    assert again.rule.description == text


def test_words_of_other_products_are_understood() -> None:
    content = "direction,protocol,cidr,action\nIngress,any,::/0,Deny\nEGRESS,tcp,::/0,allow\n"
    found = [one.rule for one in csv_rules.read(content)]
    assert [(one.direction, one.protocol, one.action, one.priority) for one in found] == [
        ("in", "all", "drop", "medium"),
        ("out", "tcp", "accept", "medium"),
    ]


# --- what is made


def test_texts_and_names_of_a_batch_have_their_longest() -> None:
    assert checked_text(" " + "x" * 200 + "\r\n", field="remark") == "x" * 200
    with pytest.raises(InvalidInput) as refused:
        checked_text("x" * 201, field="remark")
    assert refused.value.numbers == {"max": 200, "given": 201}
    assert numbered("one", 1) == ["one"]
    assert numbered("n" * 28, 2) == ["n" * 28 + "-1", "n" * 28 + "-2"]
    with pytest.raises(InvalidInput):
        numbered("n" * 29, 2)


@pytest.mark.parametrize(
    "server",
    ["224.0.0.1", "127.0.0.53", "169.254.1.1", "0.0.0.0", "0.1.2.3", "240.0.0.1", "10.0.1.0",
     "10.0.1.255", "255.255.255.255"],
)  # fmt: skip
def test_a_dns_server_is_one_that_can_answer(actor: Actor, defaults: Defaults, server: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_subnet(
            actor=actor, vpc=defaults.vpc, name="more", cidr="10.0.1.0/24", dns_servers=[server]
        )
    assert (refused.value.code, refused.value.field) == ("dns_unusable", "dns_servers")


def test_three_dns_servers_are_kept_in_their_order_each_once(
    actor: Actor, defaults: Defaults
) -> None:
    given = ["9.9.9.9", " 10.0.1.53 ", "9.9.9.9", ""]
    made = create_subnet(
        actor=actor, vpc=defaults.vpc, name="more", cidr="10.0.1.0/24", dns_servers=given
    )
    assert made.dns_servers == ["9.9.9.9", "10.0.1.53"]
    with pytest.raises(InvalidInput) as refused:
        create_subnet(
            actor=actor,
            vpc=defaults.vpc,
            name="most",
            cidr="10.0.2.0/24",
            dns_servers=["9.9.9.9"] * 4,
        )
    assert refused.value.numbers == {"max": 3, "given": 4}


def test_only_the_first_network_is_the_default_one(actor: Actor, defaults: Defaults) -> None:
    region = defaults.vpc.region
    own = create_vpc(actor=actor, region=region, name="own", cidr="10.9.0.0/16")
    group = create_security_group(actor=actor, region=region, name="own")
    assert (own.is_default, group.is_default) == (False, False)
    assert (defaults.vpc.is_default, defaults.security_group.is_default) == (True, True)


def test_defaults_that_somebody_else_made_in_the_same_moment_are_taken(
    actor: Actor, tenant: Tenant, region: Region
) -> None:
    create_vpc(actor=actor, region=region, name="own", cidr="10.9.0.0/16")
    create_security_group(actor=actor, region=region, name="own")
    theirs: list[Any] = []

    def beaten(maker: Any) -> Any:
        def make(**values: Any) -> Any:
            if not theirs or not isinstance(theirs[-1], SecurityGroup):
                theirs.append(maker(**values))
            raise IntegrityError("duplicate key")

        return make

    class Elsewhere:
        """The other transaction: what it made stays when ours is taken back."""

        @staticmethod
        def atomic() -> Any:
            return nullcontext()

    with (
        patch.object(starting, "transaction", Elsewhere),
        patch.object(starting, "create_vpc", beaten(create_vpc)),
        patch.object(starting, "create_security_group", beaten(create_security_group)),
    ):
        found = starting.ensure_tenant_defaults(tenant, region)
    assert [found.vpc, found.security_group] == theirs
    assert Vpc.objects.filter(is_default=True).get() == found.vpc


def test_the_platform_itself_has_no_network(region: Region) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_vpc(actor=Actor.system(None), region=region, name="x", cidr="10.0.0.0/16")
    assert (refused.value.code, refused.value.field) == ("tenant_missing", "tenant")


# --- NICs and their groups


@pytest.fixture
def nic(defaults: Defaults) -> Nic:
    """An internal NIC with the default group."""
    assert defaults.subnet is not None
    made: Nic = Nic.objects.create(
        tenant=defaults.vpc.tenant,
        region=defaults.vpc.region,
        name="eth0",
        vm_id="vm-1",
        index=0,
        subnet=defaults.subnet,
        security_group=defaults.security_group,
    )
    return made


def syncs(nic: Nic) -> int:
    return Job.objects.filter(kind="network.sync_nic", target_id=nic.pk).count()


def test_a_nic_is_given_another_group_once(actor: Actor, nic: Nic, defaults: Defaults) -> None:
    same = assign_security_group(nic, defaults.security_group, actor=actor)
    assert (same.generation, syncs(nic)) == (nic.generation, 0)
    bare = assign_security_group(nic, None, actor=actor)
    assert (bare.security_group, bare.generation, syncs(nic)) == (None, nic.generation + 1, 1)
    assert assign_security_group(nic, None, actor=actor).generation == nic.generation + 1
    Nic.objects.filter(pk=nic.pk).update(port_wanted=False)
    # Of one that has no port the network has nothing to change.
    assign_security_group(nic, defaults.security_group, actor=actor)
    assert syncs(nic) == 1
    nic.refresh_from_db()
    with pytest.raises(Conflict) as gone:
        change_security_group(actor=actor, nic=nic, group=None)
    assert gone.value.code == "nic_gone"


def test_a_group_of_another_region_is_refused(actor: Actor, nic: Nic) -> None:
    far = Region.objects.create(id="far", name="Far")
    group = create_security_group(actor=actor, region=far, name="far")
    with pytest.raises(InvalidInput) as refused:
        change_security_group(actor=actor, nic=nic, group=group)
    assert (refused.value.code, refused.value.field) == ("region_differs", "internal")


# --- targets, and what buttons say


def test_a_target_is_of_a_known_kind_and_there() -> None:
    with pytest.raises(InvalidInput) as kind:
        targets.find("balloon", "balloon-1")
    assert (kind.value.code, kind.value.field) == ("target_kind_unknown", "target_kind")
    assert kind.value.numbers == {"allowed": ["vm"]}
    with pytest.raises(InvalidInput) as row:
        targets.find("vm", "vm-nowhere")
    assert (row.value.code, row.value.field) == ("target_unknown", "target")


def test_buttons_say_what_is_in_the_way_of_a_verb(defaults: Defaults) -> None:
    vpc, subnet, group = defaults.vpc, defaults.subnet, defaults.security_group
    said: list[tuple[Any, Any, str, str, int]] = [
        (vpc_refusal, vpc, "delete_vpc", "subnet_count", 1),
        (subnet_refusal, subnet, "delete_subnet", "address_count", 1),
        (security_group_refusal, group, "delete_security_group", "nic_count", 1),
        (security_group_refusal, group, "add_rule", "rule_count", 200),
        (security_group_refusal, group, "add_template", "rule_count", 200),
    ]
    for refusal, row, verb, counted, most in said:
        assert refusal(row, verb) == ""
        for count in (most - 1, most):
            setattr(row, counted, count)
            assert bool(refusal(row, verb)) is (count == most), (verb, count)
        assert refusal(row, "rename_it") == ""
        delattr(row, counted)
