"""Security groups and their rules."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.db import connection, transaction

from billing import quotas
from network.actions import (
    Defaults,
    NicRequest,
    RuleInput,
    add_rule,
    change_security_group,
    create_nics,
    create_security_group,
    delete_security_group,
    edit_rule,
    remove_rule,
    rename_security_group,
)
from network.fabric import fake
from network.fabric.base import Kind, SecurityGroupSpec
from network.models import SecurityGroup, SecurityGroupRule
from network.rules import refusals
from network.rules.services import service_of
from network.states.resources import Status
from network.tasks import specs
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput, NotFound, ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope
from tests.network.conftest import status_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]
RunJobs = Callable[[], list[str]]
SSH = RuleInput(direction="in", protocol="tcp", cidr="0.0.0.0/0", ports="22")


@pytest.fixture
def group(actor: Actor, region: Region) -> SecurityGroup:
    return create_security_group(actor=actor, region=region, name="web")


def test_the_default_group_lets_in_what_it_should_and_out_everything(defaults: Defaults) -> None:
    inbound = SecurityGroupRule.objects.filter(group=defaults.security_group, direction="in")
    assert {(rule.protocol, rule.ports) for rule in inbound} == {
        ("tcp", "22"), ("tcp", "3389"), ("tcp", "80"), ("tcp", "443"), ("icmp", ""), ("icmpv6", ""),
    }  # fmt: skip
    outbound = SecurityGroupRule.objects.filter(group=defaults.security_group, direction="out")
    assert {(rule.protocol, rule.cidr) for rule in outbound} == {
        ("all", "0.0.0.0/0"),
        ("all", "::/0"),
    }


def test_every_change_of_a_rule_reaches_the_fabric(
    actor: Actor, region: Region, world: fake.World, group: SecurityGroup, run_jobs: RunJobs
) -> None:
    def in_fabric() -> list[str]:
        spec = world.things[region.pk, Kind.SECURITY_GROUP, group.pk]
        assert isinstance(spec, SecurityGroupSpec)
        return [f"{rule.protocol} {rule.port_min}" for rule in spec.rules]

    run_jobs()
    assert in_fabric() == []
    rule = add_rule(actor=actor, group=group, rule=SSH)
    group.refresh_from_db()
    assert status_of(group) == Status.APPLYING
    run_jobs()
    assert in_fabric() == ["tcp 22"]
    edit_rule(actor=actor, rule=rule, values=replace(SSH, ports="2222"))
    run_jobs()
    assert in_fabric() == ["tcp 2222"]
    remove_rule(actor=actor, rule=rule)
    run_jobs()
    assert in_fabric() == []
    group.refresh_from_db()
    assert status_of(group) == Status.AVAILABLE


def test_a_change_while_an_earlier_one_is_applied_is_not_taken_for_applied(
    actor: Actor, world: fake.World, group: SecurityGroup, run_jobs: RunJobs
) -> None:
    run_jobs()
    add_rule(actor=actor, group=group, rule=SSH)
    add_rule(actor=actor, group=group, rule=replace(SSH, ports="80"))
    first, second = Job.objects.filter(status="queued").order_by("created_at")
    stale = SecurityGroup.objects.get(pk=group.pk)
    stale.generation -= 1
    SecurityGroup.objects.filter(pk=group.pk).update(applied_generation=stale.generation)
    group.refresh_from_db()
    assert status_of(group) == Status.APPLYING
    assert {first.kind, second.kind} == {"network.sync_security_group"}
    assert run_jobs() == ["succeeded", "succeeded"]
    group.refresh_from_db()
    assert status_of(group) == Status.AVAILABLE


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"direction": "sideways"}, "direction_invalid", "direction"),
        ({"protocol": "gre"}, "protocol_invalid", "protocol"),
        ({"action": "maybe"}, "action_invalid", "action"),
        ({"priority": "1"}, "priority_invalid", "priority"),
        ({"cidr": "everyone"}, "cidr_invalid", "cidr"),
        ({"cidr": "10.0.0.1/8"}, "cidr_invalid", "cidr"),
        ({"ports": "0"}, "ports_invalid", "ports"),
        ({"ports": "65536"}, "ports_invalid", "ports"),
        ({"ports": "90-80"}, "ports_invalid", "ports"),
        ({"ports": "80-"}, "ports_invalid", "ports"),
        ({"ports": "-80"}, "ports_invalid", "ports"),
        ({"ports": "80,443"}, "ports_invalid", "ports"),
        ({"ports": "٨٠"}, "ports_invalid", "ports"),
        ({"ports": "9" * 5000}, "ports_invalid", "ports"),
        ({"protocol": "icmp"}, "ports_not_allowed", "ports"),
        ({"protocol": "all"}, "ports_not_allowed", "ports"),
        ({"protocol": "icmp", "ports": "", "cidr": "::/0"}, "protocol_ip_version", "cidr"),
        ({"protocol": "icmpv6", "ports": ""}, "protocol_ip_version", "cidr"),
        ({"description": "x" * 101}, "text_invalid", "description"),
    ],
)
def test_a_bad_rule_is_refused_and_changes_nothing(
    actor: Actor, group: SecurityGroup, values: dict[str, str], code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        add_rule(actor=actor, group=group, rule=replace(SSH, **values))
    assert (refused.value.code, refused.value.field) == (code, field)
    assert not SecurityGroupRule.objects.exists()
    group.refresh_from_db()
    assert group.generation == 1


@pytest.mark.parametrize(
    ("ports", "shown"), [("", ""), ("22", "22"), (" 8000 - 8100 ", "8000-8100"), ("1-65535",) * 2]
)
def test_ports_are_understood(actor: Actor, group: SecurityGroup, ports: str, shown: str) -> None:
    rule = add_rule(actor=actor, group=group, rule=replace(SSH, ports=ports))
    assert rule.ports == shown


def test_the_same_rule_twice_is_refused(actor: Actor, group: SecurityGroup) -> None:
    add_rule(actor=actor, group=group, rule=SSH)
    other = add_rule(actor=actor, group=group, rule=replace(SSH, ports="23"))
    with pytest.raises(Conflict) as refused:
        add_rule(actor=actor, group=group, rule=replace(SSH, description="another text"))
    assert refused.value.code == "rule_repeated"
    with pytest.raises(Conflict):
        edit_rule(actor=actor, rule=other, values=SSH)
    edit_rule(actor=actor, rule=other, values=replace(SSH, ports="23", description="telnet"))


def test_groups_count_against_their_quota(
    actor: Actor, tenant: Tenant, region: Region, group: SecurityGroup
) -> None:
    used = quotas.usage(tenant, region)["security_groups"].used
    create_security_group(actor=actor, region=region, name="another")
    assert quotas.usage(tenant, region)["security_groups"].used == used + 1
    delete_security_group(actor=actor, group=group)
    assert quotas.usage(tenant, region)["security_groups"].used == used


def test_what_was_not_counted_refuses_nothing(defaults: Defaults) -> None:
    assert defaults.subnet is not None
    vpc, subnet, group = defaults.vpc, defaults.subnet, defaults.security_group
    assert refusals.vpc_refusal(vpc, "delete_vpc") == ""
    assert refusals.subnet_refusal(subnet, "delete_subnet") == ""
    assert refusals.security_group_refusal(group, "delete_security_group") == ""


@pytest.mark.parametrize(
    ("protocol", "ports", "service"),
    [
        ("tcp", "22", "ssh"), ("tcp", "53", "tcp"), ("tcp", "8000-8100", "tcp"),
        ("udp", "53", "dns"), ("udp", "22", "udp"), ("icmp", "", "ping"), ("all", "", "all"),
    ],
)  # fmt: skip
def test_a_rule_is_shown_as_the_service_that_it_is(
    actor: Actor, group: SecurityGroup, protocol: str, ports: str, service: str
) -> None:
    wanted = RuleInput(direction="in", protocol=protocol, cidr="10.0.0.0/8", ports=ports)
    assert service_of(add_rule(actor=actor, group=group, rule=wanted)).key == service


def test_two_hundred_rules_are_the_most(actor: Actor, group: SecurityGroup) -> None:
    SecurityGroupRule.objects.bulk_create(
        SecurityGroupRule(
            tenant=group.tenant, group=group, direction="in", protocol="tcp", port_min=port,
            port_max=port, cidr="0.0.0.0/0", action="accept", priority="low",
        )
        for port in range(1, 201)
    )  # fmt: skip
    with pytest.raises(Conflict) as refused:
        add_rule(actor=actor, group=group, rule=replace(SSH, ports="201"))
    assert refused.value.code == "too_many_rules"
    assert refused.value.numbers == {"limit": 200, "used": 200, "asked": 1}


def test_a_group_in_use_is_not_deleted(
    actor: Actor, group: SecurityGroup, defaults: Defaults
) -> None:
    assert defaults.subnet is not None
    nic = create_nics(
        subnet=defaults.subnet, requests=[NicRequest(vm_id="vm-1", security_group=group)]
    )[0]
    with pytest.raises(Conflict) as refused:
        delete_security_group(actor=actor, group=group)
    assert refused.value.code == "security_group_in_use"
    change_security_group(actor=actor, nic=nic, group=None)
    delete_security_group(actor=actor, group=group)
    assert not SecurityGroup.objects.filter(pk=group.pk).exists()


def test_a_deleted_group_cannot_be_used(
    actor: Actor, group: SecurityGroup, defaults: Defaults
) -> None:
    copy = SecurityGroup.objects.get(pk=group.pk)
    delete_security_group(actor=actor, group=group)
    assert defaults.subnet is not None
    with pytest.raises(NotFound):
        create_nics(
            subnet=defaults.subnet, requests=[NicRequest(vm_id="vm-1", security_group=copy)]
        )
    with pytest.raises(NotFound):
        add_rule(actor=actor, group=copy, rule=SSH)


def test_another_tenants_rule_does_not_exist(
    actor: Actor, group: SecurityGroup, other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    rule = add_rule(actor=actor, group=group, rule=SSH)
    user = make_user(other_tenant)
    rival = Actor(tenant=other_tenant, user=user, role=user.role, via="api")
    for verb in (
        lambda: remove_rule(actor=rival, rule=rule),
        lambda: edit_rule(actor=rival, rule=rule, values=SSH),
        lambda: add_rule(actor=rival, group=group, rule=SSH),
        lambda: rename_security_group(actor=rival, group=group, name="mine"),
    ):
        with pytest.raises(NotFound):
            verb()


def test_a_rule_becomes_a_specification_unchanged(actor: Actor, group: SecurityGroup) -> None:
    add_rule(
        actor=actor,
        group=group,
        rule=RuleInput(
            direction="out", protocol="udp", cidr="2001:db8::/32", ports="53", action="drop",
            priority="high",
        ),
    )  # fmt: skip
    (rule,) = specs.security_group_spec(group).rules
    assert (rule.direction, rule.protocol, str(rule.remote)) == ("out", "udp", "2001:db8::/32")
    assert (rule.port_min, rule.port_max, rule.action, rule.priority) == (53, 53, "drop", "high")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", ["use", "delete"])
def test_a_group_is_either_used_or_deleted_when_both_happen_at_once(
    tenant: Tenant, actor: Actor, group: SecurityGroup, defaults: Defaults, first: str
) -> None:
    subnet = defaults.subnet
    assert subnet is not None
    begun = threading.Event()
    outcome: dict[str, str] = {}

    def attempt(name: str, work: Callable[[], object]) -> None:
        try:
            with scope(tenant=tenant), transaction.atomic():
                if name != first:
                    begun.wait(10)
                work()
                if name == first:
                    begun.set()
                    # The other one reaches the lock now and has to wait for the commit.
                    time.sleep(0.3)
            outcome[name] = "done"
        except ScloudError as error:
            outcome[name] = error.code
        finally:
            connection.close()

    request = NicRequest(vm_id="vm-1", security_group=group)
    works: dict[str, Callable[[], object]] = {
        "use": lambda: create_nics(subnet=subnet, requests=[request]),
        "delete": lambda: delete_security_group(actor=actor, group=group),
    }
    threads = [threading.Thread(target=attempt, args=one) for one in works.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    refused = {"use": {"delete": "security_group_in_use"}, "delete": {"use": "not_found"}}
    assert outcome == {first: "done", **refused[first]}
