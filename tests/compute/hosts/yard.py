"""Hosts with power on drivers in memory, and an eye on how many copies of a VM run.

A device that cuts the power of its host stops what runs there, as a plug does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.utils import timezone

from compute.actions.fencing import save_fence_device
from compute.fencing import fake as fake_devices
from compute.fencing.base import Power
from compute.fencing.fake import FakeMachine, forget_fake_machines
from compute.hypervisor.fake import FakeHost, FakeHypervisor, fake_host
from compute.models import VM, Cluster, FenceDevice, Host, HostSighting
from compute.models.fencing import FenceAgent
from compute.states.hosts import HostState
from compute.sweeps import failover, reconcile
from compute.tasks.drivers import hypervisor_of
from scloud.jobs import runner, service
from scloud.jobs.models import Job, JobStatus
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box
from tests.compute.hosts.test_states import time_passes

PASSWORD = "fence 9"


def cut(host: FakeHost) -> None:
    """Stop what runs on a host, without a word to anybody; its definitions stay."""
    for domain in host.domains.values():
        if domain.running is not None:
            FakeHypervisor(host)._stop(domain, "powered off")


@dataclass
class Plug(FakeMachine):
    """A machine that takes a host along. One that ``lies`` says *off* and switches nothing."""

    host: FakeHost | None = None
    lies: bool = False

    def now(self) -> Power:
        """Let happen what is due; without power the host is silent and runs nothing."""
        seen = super().now()
        if seen is Power.OFF and not self.lies and self.host is not None:
            cut(self.host)
            self.host.faults.unreachable = True
        return seen


@dataclass
class Yard:
    """A box whose hosts have fence devices, in a cluster with failover."""

    box: Box
    plugs: dict[str, Plug]
    second_copies: list[str] = field(default_factory=list)

    @property
    def hosts(self) -> list[Host]:
        """The hosts, as their rows are now."""
        ids = [host.pk for host in self.box.platform.hosts]
        return [Host.objects.select_related("cluster").get(pk=pk) for pk in ids]

    def behind(self, host: Host) -> FakeHost:
        """The machine itself."""
        hypervisor_of(host)
        return fake_host(host.uri)

    def plug(self, host: Host) -> Plug:
        """What holds its power."""
        return self.plugs[host.pk]

    def copies(self, vm: VM) -> list[str]:
        """The hosts on which a VM truly runs."""
        return [
            host.name
            for host in self.box.platform.hosts
            if (domain := self.behind(host).domains.get(str(vm.uuid))) is not None
            and domain.running is not None
        ]

    def look(self, *, rounds: int = 1) -> None:
        """Let hosts be asked, and the sweep do what follows."""
        for _ in range(rounds):
            reconcile.reconcile_hosts()
            failover.look_after_failures()

    def fall_silent(self, *hosts: Host) -> None:
        """Cut hosts off from everybody who asks; what runs there goes on."""
        for host in hosts:
            self.behind(host).faults.unreachable = True

    def suspect(self, *hosts: Host) -> None:
        """Let hosts be silent until they are suspect; nothing has been done about it yet."""
        reconcile.reconcile_hosts()
        self.fall_silent(*hosts)
        time_passes(61)
        reconcile.reconcile_hosts()
        for host in hosts:
            host.refresh_from_db()
            assert host.state == HostState.SUSPECT

    def fenced(self, host: Host) -> None:
        """Let a host die, be fenced and be seen to be off; nothing else goes on meanwhile."""
        self.suspect(host)
        failover.look_after_failures()
        with scopes_disabled():
            for job in Job.objects.filter(kind="host.fence", status=JobStatus.QUEUED):
                assert runner.run(job.pk) == "succeeded"
        reconcile.reconcile_hosts()
        failover.watch_off(timezone.now())
        host.refresh_from_db()
        assert host.is_off, host.failover_note

    def power_on(self, host: Host) -> None:
        """Let a host that was off boot: its definitions are there, and nothing runs."""
        plug = self.plug(host)
        plug.power, plug._next = Power.ON, None
        self.behind(host).faults.unreachable = False


@contextmanager
def watched(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note each start after which more than one copy of the VM runs."""
    start = FakeHypervisor.start

    def watching(self: FakeHypervisor, uuid: str) -> None:
        start(self, uuid)
        running = [
            one.ref.name
            for one in (yard.behind(host) for host in yard.box.platform.hosts)
            if uuid in one.domains and one.domains[uuid].running is not None
        ]
        if len(running) > 1:
            yard.second_copies.append(f"{uuid} on {running}")

    monkeypatch.setattr(FakeHypervisor, "start", watching)
    yield
    assert yard.second_copies == []


def make_yard(box: Box) -> Yard:
    """Give each host of a box a device, and its cluster failover."""
    Cluster.objects.filter(pk=box.platform.cluster.pk).update(failover=True)
    plugs = {}
    for host in box.platform.hosts:
        hypervisor_of(host)
        plug = Plug(user="operator", password=PASSWORD, host=fake_host(host.uri))
        fake_devices._machines[host.name] = plug
        plugs[host.pk] = plug
        device = FenceDevice(host=host, agent=FenceAgent.FAKE, address=host.name, user="operator")
        save_fence_device(actor=Actor.system(None), device=device, password=PASSWORD)
    return Yard(box, plugs)


@pytest.fixture
def yard(box: Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    """Two hosts with devices; no VM may ever run twice."""
    made = make_yard(box)
    with watched(made, monkeypatch):
        yield made
    forget_fake_machines()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again in the next round."""
    monkeypatch.setattr(service, "is_due_again", lambda tries, **times: True)


def unheard(host: Host) -> None:
    """Nobody has asked a host for a while: of now nothing is known."""
    for row in HostSighting.objects.filter(host=host):
        row.asked_at -= timedelta(seconds=40)
        row.save()
