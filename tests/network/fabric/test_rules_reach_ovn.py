"""Every rule that the product stores is one that OVN can parse."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from network.actions import RuleInput, add_rule, create_security_group
from network.actions.security import fill_rule
from network.fabric import ovn
from network.fabric.base import Fabric
from network.models import (
    RuleAction,
    RuleDirection,
    RulePriority,
    RuleProtocol,
    SecurityGroupRule,
)
from network.tasks.specs import rule_spec
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from tests.budget import WHOLE
from tests.network.fabric.conftest import Databases
from tests.network.fabric.test_contract import Things

RULES_PER_EXAMPLE = 200
EXAMPLES = 50 if WHOLE else 20

addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
scoped = st.tuples(st.ip_addresses(v=6).map(str), st.text("%eth0/", max_size=4)).map("".join)
ranges = st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(
    lambda pair: f"{pair[0]}/{pair[1]}"
) | st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda pair: f"{pair[0]}/{pair[1]}")
networks = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
    lambda pair: f"{_ipv6(pair[0] >> (128 - pair[1]) << (128 - pair[1]))}/{pair[1]}"
) | st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: f"{_ipv4(pair[0] >> (32 - pair[1]) << (32 - pair[1]))}/{pair[1]}"
)
ports = st.sampled_from(["", "0", "1", "65535", "65536", "22-22", "9-8", "٢٢"]) | st.tuples(
    st.integers(1, 65_535), st.integers(1, 65_535)
).map(lambda pair: f"{min(pair)}-{max(pair)}")
written = st.builds(
    RuleInput,
    direction=st.sampled_from(RuleDirection.values),
    protocol=st.sampled_from(RuleProtocol.values),
    cidr=addresses | scoped | ranges | networks | st.just("0.0.0.0/0") | st.just("::/0"),
    ports=ports,
    action=st.sampled_from(RuleAction.values),
    priority=st.sampled_from(RulePriority.values),
)


def _ipv4(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def _ipv6(number: int) -> str:
    return ":".join(f"{number >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))


@pytest.mark.parametrize("zone", ["fe80::1%eth0", "fe80::%1/64", "::1%", "%", "10.0.0.0%x/8"])
@pytest.mark.django_db
def test_an_address_with_a_zone_is_refused_and_named(
    zone: str, actor: Actor, region: Region, scoped: object
) -> None:
    group = create_security_group(actor=actor, region=region, name="web")
    rule = RuleInput(direction="in", protocol="all", cidr=zone)
    with pytest.raises(InvalidInput, match="zone") as refused:
        add_rule(actor=actor, group=group, rule=rule)
    assert refused.value.code == "cidr_invalid"
    assert refused.value.field == "cidr"
    assert not group.rules.exists()


@pytest.fixture(scope="module")
def fabric(databases: Databases) -> Iterator[Fabric]:
    """OVN with one port, which every group of the test has as its member."""
    found = ovn.connect(databases.nb, owner="rules", sb=databases.sb, timeout_s=5)
    yield found
    found.close()


def complaints(databases: Databases, port: str, switch: str) -> str:
    """What OVN's own parser says of the matches of the whole region; it reads all of them."""
    databases.nbctl("--wait=sb", "sync")
    flow = f'inport=="{port}" && eth.src==52:54:00:00:00:05 && ip4'
    traced = subprocess.run(
        ["ovn-trace", f"--db={databases.sb}", "--summary", switch, flow],
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line for line in traced.stderr.splitlines() if "parsing" in line)


@pytest.mark.lab
def test_ovn_parses_every_rule_that_is_accepted(databases: Databases, fabric: Fabric) -> None:
    things = Things()
    things.ensure_all(fabric)
    accepted = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(written, min_size=RULES_PER_EXAMPLE, max_size=RULES_PER_EXAMPLE))
    def example(rules: list[RuleInput]) -> None:
        nonlocal accepted
        rows = []
        for rule in rules:
            with suppress(InvalidInput):
                rows.append(fill_rule(SecurityGroupRule(), rule))
        # The group of the port: its rules are replaced by these.
        fabric.ensure_security_group(replace(things.group, rules=tuple(map(rule_spec, rows))))
        assert complaints(databases, things.port.name, things.subnet.id) == ""
        accepted += len(rows)

    example()
    # Enough of what was written was good enough to be stored.
    assert accepted >= EXAMPLES * RULES_PER_EXAMPLE / 4


@pytest.mark.lab
def test_ovns_parser_does_complain(databases: Databases, fabric: Fabric) -> None:
    """The control: a match that OVN cannot parse is found."""
    things = Things()
    things.ensure_all(fabric)
    databases.nbctl("pg-add", "broken", things.port.name)
    match = "outport == @broken && ip6.src == fe80::1%eth0/128"
    databases.nbctl("--type=port-group", "acl-add", "broken", "to-lport", "9", match, "allow")
    try:
        assert "fe80::1%eth0" in complaints(databases, things.port.name, things.subnet.id)
    finally:
        databases.nbctl("pg-del", "broken")
