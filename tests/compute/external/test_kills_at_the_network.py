"""Workers that die before or after a write to the network, at each one that a job makes.

What is written to the network is not noted in the database any more; the next sweep ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.utils import timezone

from compute.models import VM
from compute.tasks import external_target
from network.actions import enis as eni_actions
from network.actions import external_ips as ip_actions
from network.fabric import fake
from network.fabric.base import Kind
from network.models import Eni, ExternalIp, ExternalSegment, Nic, Subnet, Tombstone
from network.rules.carried import carried_by
from network.sweeps.reconcile import SETTLE, reconcile
from network.tasks import fabrics, specs
from scloud.jobs import sweep
from scloud.jobs.models import ACTIVE, Job
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box, WorkerDied
from tests.compute.external import test_enis as enis
from tests.compute.external import test_external_ips as ips
from tests.compute.factories import give_network
from tests.compute.things import fresh
from tests.outside import buy_ip

pytestmark = pytest.mark.django_db


@dataclass
class Deaths:
    """Counts the writes to the network, and dies at one of them."""

    at: int | None = None
    after: bool = False
    calls: list[str] = field(default_factory=list)

    def write(self, name: str, run: Callable[[], Any]) -> Any:
        """Do it, or die before, or after it."""
        number = len(self.calls)
        self.calls.append(name)
        if number == self.at and not self.after:
            raise WorkerDied(name)
        done = run()
        if number == self.at:
            raise WorkerDied(name)
        return done

    @contextmanager
    def counting(self, at: int | None = None, *, after: bool = False) -> Iterator[None]:
        """Begin to count."""
        self.calls.clear()
        self.at, self.after = at, after
        try:
            yield
        finally:
            self.at = None


@pytest.fixture
def deaths(fabric: fake.World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deaths]:
    """The network behind the region, at which workers die."""
    found = Deaths()

    class Mortal(fake.FakeFabric):
        def __getattribute__(self, name: str) -> Any:
            done = super().__getattribute__(name)
            if not name.startswith(("ensure_", "delete_")):
                return done

            def call(*args: Any, dry_run: bool = False, **kwargs: Any) -> Any:
                if dry_run:
                    return done(*args, dry_run=True, **kwargs)
                return found.write(name, lambda: done(*args, **kwargs))

            return call

    monkeypatch.setattr(fabrics, "connect", lambda nb, *, owner, **_: Mortal(fabric, owner))
    fabrics.close_all()
    yield found
    fabrics.close_all()


@pytest.fixture(autouse=True)
def _obedient_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests do what they are told."""
    monkeypatch.setattr(external_target, "apply_guest_network", lambda vm_id: True)


@pytest.fixture
def subnet(box: Box, tenant: Tenant) -> Subnet:
    """The default subnet."""
    found = give_network(tenant, box.platform.region).subnet
    assert found is not None
    box.run()
    return found


Prepare = Callable[[Box, Actor, ExternalSegment, Subnet, VM], ExternalIp | Eni]


def _bind_ip(b: Box, a: Actor, segment: ExternalSegment, s: Subnet, vm: VM) -> ExternalIp:
    row = buy_ip(a, segment)
    ip_actions.bind_external_ip(actor=a, external_ip=row, target=vm)
    return row


def _unbind_ip(b: Box, a: Actor, segment: ExternalSegment, s: Subnet, vm: VM) -> ExternalIp:
    row = ips.bind(b, buy_ip(a, segment), vm)
    ip_actions.unbind_external_ip(actor=a, external_ip=row)
    return row


def _unbind_one_of_two(b: Box, a: Actor, segment: ExternalSegment, s: Subnet, vm: VM) -> ExternalIp:
    ips.bind(b, buy_ip(a, segment), vm)
    return _unbind_ip(b, a, segment, s, vm)


def _resize_ip(b: Box, a: Actor, segment: ExternalSegment, s: Subnet, vm: VM) -> ExternalIp:
    row = ips.bind(b, buy_ip(a, segment), vm)
    ips.resize(a, row, 20)
    return row


def _bind_inner(b: Box, a: Actor, segment: ExternalSegment, subnet: Subnet, vm: VM) -> Eni:
    row = enis.inner(a, subnet)
    eni_actions.bind_eni(actor=a, eni=row, vm=vm)
    return row


def _unbind_inner(b: Box, a: Actor, segment: ExternalSegment, subnet: Subnet, vm: VM) -> Eni:
    row = enis.bind(b, enis.inner(a, subnet), vm)
    eni_actions.unbind_eni(actor=a, eni=row)
    return row


def _bind_outer(b: Box, a: Actor, segment: ExternalSegment, s: Subnet, vm: VM) -> Eni:
    row = enis.outer(a, segment)
    eni_actions.bind_eni(actor=a, eni=row, vm=vm)
    return row


def _unbind_outer(b: Box, a: Actor, segment: ExternalSegment, s: Subnet, vm: VM) -> Eni:
    row = enis.bind(b, enis.outer(a, segment), vm)
    eni_actions.unbind_eni(actor=a, eni=row)
    return row


def _delete_outer(b: Box, a: Actor, segment: ExternalSegment, s: Subnet, vm: VM) -> Eni:
    row = enis.outer(a, segment)
    eni_actions.delete_eni(actor=a, eni=row)
    return row


#: What is done, and where it stands once it is done, or given up.
VERBS: dict[str, tuple[Prepare, str, str]] = {
    "bind an external IP": (_bind_ip, "bound", "free"),
    "unbind an external IP": (_unbind_ip, "free", "bound"),
    "unbind one of two": (_unbind_one_of_two, "free", "bound"),
    "change a bandwidth": (_resize_ip, "bound", "bound"),
    "bind an internal ENI": (_bind_inner, "bound", "free"),
    "unbind an internal ENI": (_unbind_inner, "free", "bound"),
    "bind an external ENI": (_bind_outer, "bound", "free"),
    "unbind an external ENI": (_unbind_outer, "free", "bound"),
    "delete an external ENI": (_delete_outer, "destroyed", "free"),
}


def assert_ports_are_right(box: Box, world: fake.World) -> None:
    """The network has the ports that the rows ask for, and no other."""
    wanted = {}
    for nic in Nic.objects.filter(region=box.platform.region):
        spec = specs.port_spec(nic) if nic.port_wanted else None
        if spec is not None:
            wanted[spec.name] = spec
            if nic.network == "external":
                assert set(spec.addresses) == {one.address for one in carried_by(nic)}
    there = {name: spec for (_owner, kind, name), spec in world.things.items() if kind is Kind.PORT}
    assert there == wanted


@pytest.mark.parametrize("given_up", [False, True], ids=["taken over", "given up"])
@pytest.mark.parametrize("verb", VERBS)
def test_one_sweep_ends_what_a_dead_worker_began(
    box: Box,
    actor: Actor,
    segment: ExternalSegment,
    subnet: Subnet,
    fabric: fake.World,
    deaths: Deaths,
    verb: str,
    given_up: bool,
) -> None:
    prepare, done, undone = VERBS[verb]
    vm = box.vm()
    row = prepare(box, actor, segment, subnet, vm)
    with deaths.counting():
        box.run()
    assert fresh(row).status == done
    writes = len(deaths.calls)
    assert writes
    for number in range(writes):
        for after in (False, True):
            vm = box.vm()
            row = prepare(box, actor, segment, subnet, vm)
            with deaths.counting(number, after=after), pytest.raises(WorkerDied):
                box.run()
            # A change younger than a minute is left to its job.
            long_ago = timezone.now() - 2 * SETTLE
            Nic.objects.update(created_at=long_ago)
            Tombstone.objects.update(buried_at=long_ago)
            if given_up:
                with scopes_disabled():
                    for job in Job.objects.filter(status__in=ACTIVE):
                        error = ScloudError("The operation timed out.", code="deadline_exceeded")
                        assert sweep.end_now(job, error)
                # What the end itself has queued for later does not matter.
                reconcile(box.platform.region)
                assert fresh(row).status == undone
            else:
                reconcile(box.platform.region)
            assert_ports_are_right(box, fabric)
            box.run()
            assert fresh(row).status == (undone if given_up else done)
            assert_ports_are_right(box, fabric)
            (enis if isinstance(row, Eni) else ips).assert_in_order(box, fabric)
