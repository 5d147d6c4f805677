"""A network controller that says nothing holds up what asks it, for its bound, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from network.actions import (
    Defaults,
    NicRequest,
    change_security_group,
    create_nics,
    create_vpc,
    ensure_tenant_defaults,
    release_nics,
)
from network.fabric import fake, ovn
from network.fabric.base import Fabric, FabricUnreachable, Inventory, Kind
from network.models import NetworkDrift, Nic, SecurityGroup, Subnet, Tombstone, Vpc
from network.sweeps import reconcile
from network.tasks import fabrics, plumbing
from scloud.lib.errors import HostError
from scloud.lib.locks import advisory_key
from scloud.recovery import freezing
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import in_scope_of, scope, scopes_disabled

TIMEOUT_S = 8.0
# What waits for nobody is done long before, on a busy machine too.
AT_ONCE_S = 4.0


@dataclass
class Regions:
    """One whose controller takes connections and never says a word, and one in order."""

    silent: Region
    good: Region
    world: fake.World


@pytest.fixture
def regions(db: None, region: Region, monkeypatch: pytest.MonkeyPatch) -> Iterator[Regions]:
    listener = socket.create_server(("127.0.0.1", 0))
    Region.objects.filter(pk=region.pk).update(ovn_nb=f"tcp:127.0.0.1:{listener.getsockname()[1]}")
    region.refresh_from_db()
    good = Region.objects.create(id="good", name="Good", ovn_nb="tcp:192.0.2.1:6641")
    world = fake.World()

    def connect(nb: str, *, owner: str, sb: str | None = None, timeout_s: float = 10.0) -> Fabric:
        if owner == good.pk:
            return fake.FakeFabric(world, owner)
        return ovn.connect(nb, owner=owner, sb=sb, timeout_s=TIMEOUT_S)

    monkeypatch.setattr(fabrics, "connect", connect)
    fabrics.close_all()
    yield Regions(region, good, world)
    fabrics.close_all()
    listener.close()


def waiting_for(vpc: Vpc) -> bool:
    """Whether somebody holds the lock of a VPC, and so asks the network for it."""
    key = advisory_key(vpc.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND ((classid::bigint << 32) | objid::bigint) = %s",
            [key],
        )
        return cursor.fetchone() is not None


def in_background(run: Callable[[], object]) -> tuple[threading.Thread, list[tuple[float, Any]]]:
    """Start a worker's thread; its list gets how long it took and what it raised."""
    found: list[tuple[float, Any]] = []

    def work() -> None:
        begun, raised = time.monotonic(), None
        try:
            with scopes_disabled():
                run()
        except HostError as error:
            raised = error
        finally:
            connections.close_all()
        found.append((time.monotonic() - begun, raised))

    thread = threading.Thread(target=work)
    thread.start()
    return thread, found


def took(run: Callable[[], object]) -> float:
    begun = time.monotonic()
    run()
    return time.monotonic() - begun


@pytest.mark.django_db(transaction=True)
def test_a_silent_network_delays_only_who_asks_it(
    regions: Regions, tenant: Tenant, other_tenant: Tenant, actor: Actor
) -> None:
    with scope(tenant=tenant):
        mine: Defaults = ensure_tenant_defaults(tenant, regions.silent)
        assert mine.subnet is not None
        with transaction.atomic():
            (nic,) = create_nics(
                subnet=mine.subnet,
                requests=[NicRequest(vm_id="vm-1", security_group=mine.security_group)],
            )
    with scope(tenant=other_tenant):
        theirs = ensure_tenant_defaults(other_tenant, regions.good)
        beside = ensure_tenant_defaults(other_tenant, regions.silent)
    fabric = fabrics.fabric_of(regions.silent)
    vpc, far, near = mine.vpc, theirs.vpc, beside.vpc
    first, asked = in_background(lambda: plumbing.apply_vpc(fabric, vpc.pk))
    end = time.monotonic() + TIMEOUT_S
    while not waiting_for(vpc):
        assert time.monotonic() < end
        time.sleep(0.02)
    # A second worker for the same thing, and another tenant's in the same region.
    second, again = in_background(lambda: plumbing.apply_vpc(fabric, vpc.pk))
    third, next_door = in_background(lambda: plumbing.apply_vpc(fabric, near.pk))
    # Another region's work goes on, whoever's it is.
    with scopes_disabled():
        good = fabrics.fabric_of(regions.good)
        assert took(lambda: plumbing.apply_vpc(good, far.pk)) < AT_ONCE_S
    assert (regions.good.pk, Kind.VPC, far.pk) in regions.world.things
    # So do requests, about the very things whose locks are held.
    with in_scope_of(tenant):
        assert took(lambda: change_security_group(actor=actor, nic=nic, group=None)) < AT_ONCE_S
        new = took(
            lambda: create_vpc(actor=actor, region=regions.silent, name="new", cidr="10.7.0.0/16")
        )
        assert new < AT_ONCE_S
    assert not asked, "the network was not silent while all this went on"
    for thread in (first, second, third):
        thread.join(60)
    for found, most_s in ((asked, TIMEOUT_S), (again, 2 * TIMEOUT_S), (next_door, 2 * TIMEOUT_S)):
        ((seconds, raised),) = found
        assert raised is not None
        assert (raised.code, raised.retryable) == ("fabric_unreachable", True)
        assert seconds < most_s + AT_ONCE_S
    assert not waiting_for(vpc)


@pytest.mark.django_db(transaction=True)
def test_the_sweep_comes_to_the_other_regions(
    regions: Regions, tenant: Tenant, other_tenant: Tenant
) -> None:
    with scope(tenant=tenant):
        ensure_tenant_defaults(tenant, regions.silent)
    with scope(tenant=other_tenant):
        theirs = ensure_tenant_defaults(other_tenant, regions.good)
        Vpc.objects.filter(pk=theirs.vpc.pk).update(applied_generation=1)
    assert took(reconcile.sweep) < 2 * TIMEOUT_S
    assert (regions.good.pk, Kind.VPC, theirs.vpc.pk) in regions.world.things


class Vanishing(fake.FakeFabric):
    """Answers the first question of a round, and none after it."""

    def list_owned(self) -> Inventory:
        found = super().list_owned()
        self.world.failure = FabricUnreachable("nobody answers")
        self.world.calls.clear()
        return found


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize("left", [(Vpc, Subnet, SecurityGroup, Nic), (Nic,), ()])
def test_a_network_that_falls_silent_half_way_is_asked_once_more_and_not_for_each_thing(
    region: Region,
    world: fake.World,
    defaults: Defaults,
    monkeypatch: pytest.MonkeyPatch,
    left: tuple[type[Any], ...],
) -> None:
    """Each question takes as long as the bound is, and other regions wait for all of them.

    With all there is to compare, with NICs alone, which are asked about together and then one by
    one, and with nothing but what is to be removed.
    """
    assert defaults.subnet is not None
    wanted = [NicRequest(vm_id=f"vm-{n}", security_group=defaults.security_group) for n in range(5)]
    plumbing.ensure_nic_ports(create_nics(subnet=defaults.subnet, requests=wanted))
    if not left:
        for one in wanted:
            release_nics(one.vm_id)
        Tombstone.objects.update(buried_at=timezone.now() - timedelta(minutes=5))
    settled = reconcile._settled
    monkeypatch.setattr(
        reconcile,
        "_settled",
        lambda model, *given, **more: settled(model, *given, **more) if model in left else [],
    )
    monkeypatch.setattr(fabrics, "connect", lambda nb, **given: Vanishing(world, region.pk))
    fabrics.close_all()
    assert reconcile.sweep() == 0
    assert len(world.calls) == 1, world.calls
    assert not NetworkDrift.objects.exists()
    if left:
        # Nor is it a whole report for those who release a freeze.
        world.failure = None
        row = freezing.freeze("a test")
        assert reconcile.sweep() == 0
        row.refresh_from_db()
        assert "network" in freezing.missing_reports(row)
