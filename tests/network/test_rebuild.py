"""A northbound database that was lost, or restored from a backup, is made from the rows anew."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from network.actions import (
    NicRequest,
    RuleInput,
    change_security_group,
    create_nics,
    ensure_tenant_defaults,
)
from network.actions.security import add_rule, create_security_group
from network.fabric import fake
from network.fabric.base import Fabric, FabricError, Kind, PortSpec, SecurityGroupSpec
from network.models import (
    ExternalSegment,
    Nic,
    SecurityGroup,
    Subnet,
    Vpc,
)
from network.sweeps import reconcile
from network.tasks import fabrics, plumbing
from scloud.jobs import runner
from scloud.jobs.models import Job
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.network.estates import Estate
from tests.network.fabric.conftest import SCHEMAS, Databases, dump, running

pytestmark = pytest.mark.django_db
Dump = dict[Any, Any]


class Site(Protocol):
    """A fabric whose database can be lost."""

    def dump(self) -> Dump:
        """Everything that is in it."""

    def empty(self) -> None:
        """Lose the database."""

    def keep(self) -> Any:
        """Make a backup."""

    def restore(self, kept: Any) -> None:
        """Restore a backup."""


@dataclass
class Memory:
    """The fabric in memory."""

    world: fake.World

    def dump(self) -> Dump:
        return dict(self.world.things)

    def empty(self) -> None:
        self.world.things.clear()

    def keep(self) -> Dump:
        return self.dump()

    def restore(self, kept: Dump) -> None:
        self.world.things.clear()
        self.world.things.update(kept)


@dataclass
class Ovn:
    """A real database, looked at and lost from outside. The UUIDs of rows are compared as well."""

    databases: Databases

    def dump(self) -> Dump:
        return dump(self.databases)

    def empty(self) -> None:
        self._replace(None)

    def keep(self) -> bytes:
        return (self.databases.folder / "nb.db").read_bytes()

    def restore(self, kept: bytes) -> None:
        self._replace(kept)

    def _replace(self, content: bytes | None) -> None:
        self.databases.stop("nb")
        file = self.databases.folder / "nb.db"
        file.unlink()
        (self.databases.folder / ".nb.db.~lock~").unlink(missing_ok=True)
        if content is None:
            schema = SCHEMAS / "ovn-nb.ovsschema"
            subprocess.run(["ovsdb-tool", "create", file, schema], check=True)
        else:
            file.write_bytes(content)
        self.databases.start_server("nb")


@pytest.fixture(params=["fake", pytest.param("ovn", marks=pytest.mark.lab)])
def site(request: pytest.FixtureRequest, region: Region) -> Iterator[Site]:
    """The region's fabric."""
    if request.param == "fake":
        yield Memory(request.getfixturevalue("world"))
        return
    with running(northd=False) as databases:
        Region.objects.filter(pk=region.pk).update(ovn_nb=databases.nb)
        region.refresh_from_db()
        fabrics.close_all()
        yield Ovn(databases)
        fabrics.close_all()


@contextmanager
def undone() -> Iterator[None]:
    """Rows of one example, which the next does not see."""
    with transaction.atomic(), scopes_disabled():
        yield
        transaction.set_rollback(True)


def answering(region: Region) -> Fabric:
    """The region's fabric once its database is up again."""
    fabric = fabrics.fabric_of(region)
    for attempt in range(100):
        try:
            fabric.list_owned()
        except FabricError:
            assert attempt < 99
            time.sleep(0.1)
            continue
        return fabric
    raise AssertionError("not reached")


SOME = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    # An example is a seed: a smaller one is not a simpler one.
    phases=[Phase.explicit, Phase.generate],
)
seeds = st.integers(0, 2**32)


@SOME
@given(seed=seeds)
def test_a_lost_database_is_rebuilt_from_the_rows_alone(
    region: Region, tenant: Tenant, other_tenant: Tenant, site: Site, seed: int
) -> None:
    with undone():
        estate = Estate(region, [tenant, other_tenant], random.Random(seed))
        estate.build()
        estate.apply(answering(region))
        before = site.dump()
        site.empty()
        answering(region)
        told = reconcile.reconcile(region)
        assert site.dump() == before
        assert {drift.problem for drift in told} == {"missing"}
        assert all(drift.repaired for drift in told)
        assert reconcile.reconcile(region) == []
        site.empty()


@SOME
@given(seed=seeds, steps=st.integers(1, 25))
def test_a_database_of_yesterday_is_brought_to_what_the_rows_say_now(
    region: Region, tenant: Tenant, other_tenant: Tenant, site: Site, seed: int, steps: int
) -> None:
    with undone():
        estate = Estate(region, [tenant, other_tenant], random.Random(seed))
        estate.build()
        estate.apply(answering(region))
        yesterday = site.keep()
        for _ in range(steps):
            estate.change()
        estate.apply(answering(region))
        today = site.dump()
        site.restore(yesterday)
        answering(region)
        compared = reconcile.reconcile(region, repair=False)
        told = reconcile.reconcile(region)
        assert site.dump() == today
        # The dry run says the same things, if not always for the same reason.
        assert {(one.kind, one.target_id) for one in compared} == {
            (one.kind, one.target_id) for one in told
        }
        assert reconcile.reconcile(region) == []
        site.empty()


KINDS: list[tuple[str, type[Any]]] = [
    ("vpc", Vpc),
    ("subnet", Subnet),
    ("segment", ExternalSegment),
    ("security group", SecurityGroup),
    ("port", Nic),
]


@pytest.mark.parametrize(("name", "left_out"), KINDS, ids=[name for name, _model in KINDS])
def test_the_comparison_notices_a_kind_that_is_not_rebuilt(
    region: Region,
    tenant: Tenant,
    other_tenant: Tenant,
    world: fake.World,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    left_out: type[Any],
) -> None:
    site = Memory(world)
    settled = reconcile._settled
    with undone():
        estate = Estate(region, [tenant, other_tenant], random.Random(1))
        estate.build()
        estate.apply(fabrics.fabric_of(region))
        before = site.dump()
        site.empty()
        monkeypatch.setattr(
            reconcile,
            "_settled",
            lambda model, *given: [] if model is left_out else settled(model, *given),
        )
        reconcile.reconcile(region)
        assert site.dump() != before


@pytest.mark.parametrize("left_out", [Kind.PORT, Kind.SECURITY_GROUP, Kind.SUBNET, Kind.VPC])
def test_the_comparison_notices_a_kind_whose_surplus_stays(
    region: Region,
    tenant: Tenant,
    other_tenant: Tenant,
    world: fake.World,
    monkeypatch: pytest.MonkeyPatch,
    left_out: Kind,
) -> None:
    site = Memory(world)
    with undone():
        estate = Estate(region, [tenant, other_tenant], random.Random(3))
        estate.build()
        # Whosever VM is dropped, it is not the last one.
        estate._vm(tenant)
        estate._vm(other_tenant)
        # After the VMs, which would take them: they are empty and can be dropped.
        estate._vpc(tenant)
        estate._group(tenant)
        estate._subnet(estate._vpc(tenant))
        estate.apply(fabrics.fabric_of(region))
        yesterday = site.keep()
        estate._drop_vm()
        # The subnet before its VPC. Which one is tried is drawn from ids, which no seed decides.
        for _ in range(40):
            estate._drop_empty()
        estate.apply(fabrics.fabric_of(region))
        today = site.dump()
        gone = {kind for (_owner, kind, _id) in yesterday.keys() - today.keys()}
        assert left_out in gone
        site.restore(yesterday)
        for name in ("_FREED_FIRST", "_FREED_LAST"):
            kinds = tuple(one for one in getattr(reconcile, name) if one is not left_out)
            monkeypatch.setattr(reconcile, name, kinds)
        reconcile.reconcile(region)
        assert site.dump() != today


# --- not for a moment


def watched(world: fake.World, owner: str, states: list[Dump]) -> Fabric:
    """A fabric that notes the whole of its content after each call."""

    class Noting(fake.FakeFabric):
        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if not name.startswith(("ensure_", "delete_")):
                return found

            def call(*args: Any, **kwargs: Any) -> Any:
                try:
                    return found(*args, **kwargs)
                finally:
                    states.append(dict(world.things))

            return call

    return Noting(world, owner)


def passes(state: Dump) -> dict[str, tuple[Any, ...]]:
    """What each port lets through: on which switch, by which addresses, by which rules."""
    found = {}
    for (owner, kind, name), spec in state.items():
        if kind is not Kind.PORT:
            continue
        assert isinstance(spec, PortSpec)
        group = state.get((owner, Kind.SECURITY_GROUP, spec.security_group_id or ""))
        assert group is None or isinstance(group, SecurityGroupSpec)
        assert (group is None) == (spec.security_group_id is None)
        rules = frozenset(group.rules) if group else None
        found[name] = (spec.switch_id, spec.addresses, rules)
    return found


@settings(SOME, max_examples=8)
@given(seed=seeds, steps=st.integers(1, 40))
def test_while_it_is_repaired_no_port_lets_through_what_it_did_not_before_and_shall_not_after(
    region: Region,
    tenant: Tenant,
    other_tenant: Tenant,
    world: fake.World,
    seed: int,
    steps: int,
) -> None:
    with undone():
        estate = Estate(region, [tenant, other_tenant], random.Random(seed))
        estate.build()
        estate.apply(fabrics.fabric_of(region))
        yesterday = dict(world.things)
        for _ in range(steps):
            estate.change()
        estate.apply(fabrics.fabric_of(region))
        before, after = passes(yesterday), passes(world.things)
        world.things.clear()
        world.things.update(yesterday)
        states: list[Dump] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fabrics, "connect", lambda nb, **_: watched(world, region.pk, states))
            fabrics.close_all()
            reconcile.reconcile(region)
        fabrics.close_all()
        assert passes(world.things) == after
        assert len(states) > 1
        for state in states:
            now = passes(state)
            for name, let_through in now.items():
                assert let_through in (before.get(name), after.get(name))
            # What was there and shall be there stays.
            assert before.keys() & after.keys() <= now.keys()
        world.things.clear()


EVERYTHING = RuleInput(
    direction="in", protocol="all", cidr="0.0.0.0/0", ports="", action="accept", priority="high"
)


def test_a_nic_that_left_a_group_never_has_the_rules_that_came_later(
    actor: Actor, region: Region, tenant: Tenant, world: fake.World, run_jobs: Callable[[], Any]
) -> None:
    """Whatever the order in which workers come to the two changes."""
    with scope(tenant=tenant):
        mine = ensure_tenant_defaults(tenant, region)
        assert mine.subnet is not None
        group = create_security_group(actor=actor, region=region, name="strict")
        (nic,) = create_nics(
            subnet=mine.subnet, requests=[NicRequest(vm_id="vm-1", security_group=group)]
        )
        run_jobs()
        plumbing.ensure_nic_ports([nic])
        name = str(nic.port_uuid)
        before = passes(world.things)[name]
        change_security_group(actor=actor, nic=nic, group=mine.security_group)
        add_rule(actor=actor, group=group, rule=EVERYTHING)
        states: list[Dump] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fabrics, "connect", lambda nb, **_: watched(world, region.pk, states))
            fabrics.close_all()
            # The later one first.
            for job in Job.objects.filter(status="queued").order_by("-created_at"):
                assert runner.run(job.pk) == "succeeded"
        fabrics.close_all()
    after = passes(world.things)[name]
    assert {passes(state)[name] for state in states} <= {before, after}
    assert before != after
    assert states
    left = world.things[region.pk, Kind.SECURITY_GROUP, group.pk]
    assert isinstance(left, SecurityGroupSpec)
    assert "0.0.0.0/0" in {str(rule.remote) for rule in left.rules}


def test_rules_are_applied_though_a_nic_that_moves_cannot_be(
    actor: Actor, region: Region, tenant: Tenant, world: fake.World, run_jobs: Callable[[], Any]
) -> None:
    with scope(tenant=tenant):
        mine = ensure_tenant_defaults(tenant, region)
        assert mine.subnet is not None
        group = create_security_group(actor=actor, region=region, name="one")
        add_rule(actor=actor, group=group, rule=EVERYTHING)
        (nic,) = create_nics(
            subnet=mine.subnet, requests=[NicRequest(vm_id="vm-1", security_group=group)]
        )
        run_jobs()
        plumbing.ensure_nic_ports([nic])
        change_security_group(actor=actor, nic=nic, group=None)
        # Its port's name is somebody else's by now.
        del world.things[region.pk, Kind.PORT, str(nic.port_uuid)]
        world.foreign[Kind.PORT, str(nic.port_uuid)] = "Logical_Switch_Port"
        group.rules.all().delete()
        SecurityGroup.objects.filter(pk=group.pk).update(generation=9)
        assert plumbing.apply_security_group(fabrics.fabric_of(region), group.pk)
    kept = world.things[region.pk, Kind.SECURITY_GROUP, group.pk]
    assert isinstance(kept, SecurityGroupSpec)
    assert kept.rules == ()
