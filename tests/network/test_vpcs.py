"""Creating, renaming and deleting VPCs and subnets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from billing import quotas
from network.actions import (
    Defaults,
    NicRequest,
    create_nics,
    create_security_group,
    create_subnet,
    create_vpc,
    delete_subnet,
    delete_vpc,
    ensure_tenant_defaults,
    rename_subnet,
    rename_vpc,
)
from network.fabric import fake
from network.fabric.base import FabricUnreachable, Kind
from network.models import SecurityGroup, Subnet, Tombstone, Vpc
from network.states.resources import Status
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, Forbidden, InvalidInput, NotFound, QuotaExceeded
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from tests.network.conftest import status_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]
RunJobs = Callable[[], list[str]]


def test_a_vpc_is_made_and_applied_by_its_job(
    actor: Actor, region: Region, world: fake.World, run_jobs: RunJobs
) -> None:
    vpc = create_vpc(actor=actor, region=region, name="office", cidr="172.16.0.0/20")
    assert status_of(vpc) == Status.APPLYING
    assert world.calls == []
    assert run_jobs() == ["succeeded"]
    vpc.refresh_from_db()
    assert status_of(vpc) == Status.AVAILABLE
    assert (region.pk, Kind.VPC, vpc.pk) in world.things
    operation = Operation.objects.get(verb="network.create_vpc")
    assert operation.succeeded
    assert operation.after == {"name": "office", "cidr": "172.16.0.0/20"}


def test_a_subnet_is_made_and_applied_with_its_vpc(
    actor: Actor, region: Region, world: fake.World, run_jobs: RunJobs
) -> None:
    vpc = create_vpc(actor=actor, region=region, name="office", cidr="172.16.0.0/20")
    subnet = create_subnet(
        actor=actor, vpc=vpc, name="desks", cidr="172.16.1.0/24", dns_servers=["172.16.1.53"]
    )
    assert str(subnet.gateway) == "172.16.1.1"
    run_jobs()
    spec = world.things[region.pk, Kind.SUBNET, subnet.pk]
    assert str(spec.cidr) == "172.16.1.0/24"  # type: ignore[union-attr]  # it is a SubnetSpec
    subnet.refresh_from_db()
    assert status_of(subnet) == Status.AVAILABLE


def test_the_subnets_job_may_run_before_the_vpcs(
    actor: Actor, region: Region, world: fake.World, run_jobs: RunJobs
) -> None:
    vpc = create_vpc(actor=actor, region=region, name="office", cidr="172.16.0.0/20")
    Job.objects.all().delete()
    create_subnet(actor=actor, vpc=vpc, name="desks", cidr="172.16.1.0/24")
    assert run_jobs() == ["succeeded"]
    assert (region.pk, Kind.VPC, vpc.pk) in world.things


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"name": ""}, "invalid_name", "name"),
        ({"name": "a" * 31}, "invalid_name", "name"),
        ({"name": "<script>"}, "invalid_name", "name"),
        ({"cidr": "11.0.0.0/16"}, "cidr_not_private", "cidr"),
        ({"cidr": "10.0.0.0/8"}, "cidr_mask", "cidr"),
        ({"cidr": "nonsense"}, "cidr_invalid", "cidr"),
        ({"remark": "x" * 201}, "text_invalid", "remark"),
        ({"remark": "\x00"}, "text_invalid", "remark"),
    ],
)
def test_a_bad_vpc_is_refused_and_leaves_nothing(
    actor: Actor, region: Region, values: dict[str, str], code: str, field: str
) -> None:
    given: dict[str, Any] = {"name": "office", "cidr": "10.0.0.0/16", **values}
    with pytest.raises(InvalidInput) as refused:
        create_vpc(actor=actor, region=region, **given)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert not Vpc.objects.exists()
    assert not Job.objects.exists()
    assert quotas.usage(actor.tenant, region)["vpcs"].used == 0  # type: ignore[arg-type]  # set


def test_a_closed_region_takes_no_vpc(actor: Actor, region: Region) -> None:
    region.enabled = False
    region.save()
    with pytest.raises(InvalidInput) as refused:
        create_vpc(actor=actor, region=region, name="office", cidr="10.0.0.0/16")
    assert refused.value.code == "region_disabled"


def test_the_quota_of_vpcs_holds(actor: Actor, region: Region) -> None:
    for number in range(20):
        create_vpc(actor=actor, region=region, name=f"v{number}", cidr="10.0.0.0/16")
    with pytest.raises(QuotaExceeded) as refused:
        create_vpc(actor=actor, region=region, name="more", cidr="10.0.0.0/16")
    assert refused.value.numbers is not None
    assert refused.value.numbers["limit"] == 20
    assert Vpc.objects.count() == 20
    delete_vpc(actor=actor, vpc=Vpc.objects.all()[0])
    create_vpc(actor=actor, region=region, name="again", cidr="10.0.0.0/16")


@pytest.mark.parametrize(
    ("cidr", "code"),
    [
        ("10.1.0.0/24", "cidr_outside_vpc"),
        ("10.0.0.0/24", "cidr_overlaps"),
        ("10.0.0.64/26", "cidr_overlaps"),
        ("10.0.1.0/30", "cidr_mask"),
        ("10.0.1.5/24", "cidr_invalid"),
    ],
)
def test_a_subnet_that_does_not_fit_is_refused(
    actor: Actor, defaults: Defaults, cidr: str, code: str
) -> None:
    with pytest.raises((InvalidInput, Conflict)) as refused:
        create_subnet(actor=actor, vpc=defaults.vpc, name="more", cidr=cidr)
    assert (refused.value.code, refused.value.field) == (code, "cidr")
    assert Subnet.objects.count() == 1


@pytest.mark.parametrize("dns", [["10.0.0"], ["a"], ["10.0.0.1"] * 4, ["::g"]])
def test_bad_dns_servers_are_refused(actor: Actor, defaults: Defaults, dns: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_subnet(
            actor=actor, vpc=defaults.vpc, name="more", cidr="10.0.1.0/24", dns_servers=dns
        )
    assert refused.value.code == "dns_invalid"


def test_a_rename_keeps_everything_else(actor: Actor, defaults: Defaults) -> None:
    vpc = rename_vpc(actor=actor, vpc=defaults.vpc, name="main", remark="the first")
    assert (vpc.name, vpc.remark, vpc.cidr) == ("main", "the first", "10.0.0.0/16")
    assert defaults.subnet is not None
    subnet = rename_subnet(actor=actor, subnet=defaults.subnet, name="inner")
    assert (subnet.name, subnet.remark) == ("inner", "")
    operation = Operation.objects.get(verb="network.rename_vpc")
    assert operation.before == {"name": "default", "remark": ""}
    assert operation.after == {"name": "main", "remark": "the first"}


def test_a_vpc_with_a_subnet_is_not_deleted(actor: Actor, defaults: Defaults) -> None:
    with pytest.raises(Conflict) as refused:
        delete_vpc(actor=actor, vpc=defaults.vpc)
    assert refused.value.code == "vpc_not_empty"
    assert refused.value.numbers == {"subnets": 1}


def test_a_subnet_with_a_nic_is_not_deleted(actor: Actor, defaults: Defaults) -> None:
    assert defaults.subnet is not None
    create_nics(subnet=defaults.subnet, requests=[NicRequest(vm_id="vm-1")])
    with pytest.raises(Conflict) as refused:
        delete_subnet(actor=actor, subnet=defaults.subnet)
    assert refused.value.code == "subnet_not_empty"
    assert refused.value.numbers == {"nics": 1, "addresses": 1}


def test_deleting_takes_everything_away_from_the_fabric_and_the_quota(
    actor: Actor, region: Region, world: fake.World, defaults: Defaults, run_jobs: RunJobs
) -> None:
    run_jobs()
    assert defaults.subnet is not None
    subnet_id, vpc_id = defaults.subnet.pk, defaults.vpc.pk
    delete_subnet(actor=actor, subnet=defaults.subnet)
    delete_vpc(actor=actor, vpc=defaults.vpc)
    assert not Vpc.objects.exists()
    assert set(run_jobs()) == {"succeeded"}
    assert not {key for key in world.things if key[2] in (subnet_id, vpc_id)}
    assert Tombstone.objects.filter(removed_at__isnull=False).count() == 2
    usage = quotas.usage(defaults.vpc.tenant, region)
    assert (usage["vpcs"].used, usage["subnets"].used) == (0, 0)


def test_what_was_deleted_cannot_be_deleted_again(actor: Actor, defaults: Defaults) -> None:
    assert defaults.subnet is not None
    copy = Subnet.objects.get(pk=defaults.subnet.pk)
    delete_subnet(actor=actor, subnet=defaults.subnet)
    with pytest.raises(NotFound):
        delete_subnet(actor=actor, subnet=copy)
    with pytest.raises(NotFound):
        rename_subnet(actor=actor, subnet=copy, name="ghost")


def test_another_tenants_vpc_does_not_exist(
    defaults: Defaults, other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    stranger = make_user(other_tenant)
    rival = Actor(tenant=other_tenant, user=stranger, role=stranger.role, via="api")
    for verb in (
        lambda: rename_vpc(actor=rival, vpc=defaults.vpc, name="mine"),
        lambda: delete_vpc(actor=rival, vpc=defaults.vpc),
        lambda: create_subnet(actor=rival, vpc=defaults.vpc, name="x", cidr="10.0.5.0/24"),
    ):
        with pytest.raises(NotFound):
            verb()
    assert Vpc.objects.get().name == "default"


@pytest.mark.parametrize("role", ["finance", "readonly"])
def test_who_may_only_look_may_not_change(
    tenant: Tenant, region: Region, make_user: Callable[..., User], role: str
) -> None:
    user = make_user(tenant, role)
    actor = Actor(tenant=tenant, user=user, role=role, via="console")
    with pytest.raises(Forbidden):
        create_vpc(actor=actor, region=region, name="office", cidr="10.0.0.0/16")
    assert actor.allows("network.view_vpc")


def test_a_fabric_that_is_away_shows_on_the_row_and_not_in_the_request(
    actor: Actor, region: Region, world: fake.World, run_jobs: RunJobs
) -> None:
    world.failure = FabricUnreachable("nobody answers")
    vpc = create_vpc(actor=actor, region=region, name="office", cidr="10.0.0.0/16")
    assert run_jobs() == ["will retry"]
    Job.objects.update(max_attempts=2, not_before=vpc.created_at)
    assert run_jobs() == ["failed"]
    vpc.refresh_from_db()
    assert status_of(vpc) == Status.FAILED
    assert vpc.sync_error == "The network did not accept the change."
    assert vpc.sync_error_detail == "nobody answers"
    assert Job.objects.get().error_code == "fabric_unreachable"


def test_a_region_without_a_fabric_fails_the_job_with_the_remedy(
    actor: Actor, region: Region, run_jobs: RunJobs
) -> None:
    create_vpc(actor=actor, region=region, name="office", cidr="10.0.0.0/16")
    run_jobs()
    assert Job.objects.get().error_code == "fabric_not_configured"


def test_defaults_are_made_once(tenant: Tenant, region: Region, defaults: Defaults) -> None:
    assert ensure_tenant_defaults(tenant, region) == defaults
    assert defaults.subnet is not None
    assert (defaults.vpc.cidr, defaults.subnet.cidr) == ("10.0.0.0/16", "10.0.0.0/24")
    assert Vpc.objects.count() == SecurityGroup.objects.count() == Subnet.objects.count() == 1


def test_a_group_of_the_tenants_own_is_not_taken_for_the_default(
    tenant: Tenant, region: Region, actor: Actor, defaults: Defaults
) -> None:
    own = create_security_group(actor=actor, region=region, name="0-own")
    SecurityGroup.objects.filter(pk=own.pk).update(created_at=defaults.vpc.created_at)
    assert ensure_tenant_defaults(tenant, region) == defaults


def test_a_default_subnet_that_was_deleted_does_not_come_back(
    tenant: Tenant, region: Region, actor: Actor, defaults: Defaults
) -> None:
    assert defaults.subnet is not None
    delete_subnet(actor=actor, subnet=defaults.subnet)
    assert ensure_tenant_defaults(tenant, region).subnet is None


@pytest.mark.django_db(transaction=True)
def test_defaults_that_many_make_at_once_are_made_once(tenant: Tenant, region: Region) -> None:
    start = threading.Barrier(6)
    made: list[str] = []

    def make() -> None:
        try:
            start.wait(10)
            made.append(ensure_tenant_defaults(tenant, region).vpc.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 6
    assert len(set(made)) == 1
    assert Vpc.objects.count() == Subnet.objects.count() == SecurityGroup.objects.count() == 1
    assert quotas.usage(tenant, region)["vpcs"].used == 1
