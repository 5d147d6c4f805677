"""The whole product on drivers in memory: VMs that really go through their jobs, and dying workers.

``Box.die_at`` makes the worker die at a point of a job, as SIGKILL would: nothing of the attempt
is written any more, its lease runs out, and another worker takes the job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute.hypervisor.fake import FakeDomain, FakeHost, fake_host, forget_fake_hosts
from compute.models import VM, Disk, Image, Snapshot
from compute.storage.fake import FakeStorage, FakeVolume, forget_fake_pools
from compute.tasks.drivers import hypervisor_of, storage_of
from network.fabric import fake as fake_fabric
from network.tasks import fabrics
from scloud.jobs import faults, handlers, runner, sweep
from scloud.jobs.handlers import handler_for
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.lib.errors import ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.budget import WHOLE
from tests.compute.factories import Platform, buy_vms, make_platform


class WorkerDied(BaseException):
    """Not an Exception: nothing in the product may catch it, as nothing catches SIGKILL."""


@dataclass
class Box:
    """A platform, its owner, and hands to look behind the ports."""

    platform: Platform
    actor: Actor
    died_at: list[str] = field(default_factory=list)

    @property
    def storage(self) -> FakeStorage:
        """The pool."""
        found = storage_of(self.platform.pool)
        assert isinstance(found, FakeStorage)
        return found

    def host_of(self, vm: VM) -> FakeHost:
        """The host that the row names."""
        vm.refresh_from_db()
        assert vm.host is not None
        hypervisor_of(vm.host)
        return fake_host(vm.host.uri)

    def domain(self, vm: VM) -> FakeDomain:
        """The domain on the VM's host."""
        return self.host_of(vm).domains[str(vm.uuid)]

    def volume(self, disk: Disk) -> FakeVolume:
        """The volume of a disk."""
        return self.storage.volumes[disk.pk]

    def places(self, vm: VM) -> list[str]:
        """The hosts that know the VM's domain."""
        return [
            host.name for host in self.platform.hosts if str(vm.uuid) in fake_host(host.uri).domains
        ]

    def vm(self, *, stopped: bool = False, **changes: Any) -> VM:
        """Buy a VM and run its jobs; it runs and its guest has booted, or it is stopped."""
        (vm,) = buy_vms(self.platform, self.actor, **changes)
        self.run()
        vm.refresh_from_db()
        assert vm.status == "running", vm.failure
        # Its agent answers from then on.
        time.sleep(max(0.0, self.domain(vm).agent_at - time.monotonic()))
        if stopped:
            from compute.actions.vms.lifecycle import power_off_vm

            power_off_vm(actor=self.actor, vm=vm)
            self.run()
            vm.refresh_from_db()
            assert vm.status == "stopped", vm.failure
        return vm

    def system_disk(self, vm: VM) -> Disk:
        """The VM's system disk."""
        found: Disk = Disk.objects.get(vm=vm, is_system=True)
        return found

    # -- workers -----------------------------------------------------------------------------

    def run(self) -> list[Job]:
        """Work until no job is active; waits of retries are skipped."""
        ran: dict[str, Job] = {}
        for _ in range(200):
            with scopes_disabled():
                active = list(Job.objects.filter(status__in=ACTIVE).order_by("created_at", "id"))
                if not active:
                    return list(ran.values())
                for job in active:
                    Job.objects.filter(pk=job.pk, status=JobStatus.QUEUED).update(
                        not_before=timezone.now() - timedelta(seconds=1)
                    )
                    Job.objects.filter(pk=job.pk, status=JobStatus.RUNNING).update(
                        lease_until=timezone.now() - timedelta(seconds=1)
                    )
                    runner.run(job.pk)
                    job.refresh_from_db()
                    ran[job.pk] = job
        raise AssertionError("the jobs do not end")

    @contextmanager
    def dying_at(self, point: str) -> Iterator[None]:
        """The first worker that passes the point dies there."""

        def hook(reached: str) -> None:
            if reached == point and point not in self.died_at:
                self.died_at.append(point)
                raise WorkerDied(point)

        faults.install(hook)
        try:
            yield
        finally:
            faults.install(None)

    def run_dying(self, point: str) -> None:
        """Work, die once at the point, and let another worker finish."""
        with self.dying_at(point):
            with pytest.raises(WorkerDied):
                self.run()
            self.run()
        assert self.died_at[-1:] == [point]

    def give_up_at(self, point: str) -> None:
        """Work, die at the point, and let the sweep end the job past its deadline."""
        with self.dying_at(point), pytest.raises(WorkerDied):
            self.run()
        with scopes_disabled():
            for job in Job.objects.filter(status__in=ACTIVE):
                assert sweep.end_now(
                    job, ScloudError("The operation timed out.", code="deadline_exceeded")
                )

    # -- truth -------------------------------------------------------------------------------

    def assert_nothing_orphaned(self) -> None:
        """Rows, hosts and pool say the same, and nothing is in flight."""
        with scopes_disabled():
            assert not Job.objects.filter(status__in=ACTIVE).exists()
            assert not VM.objects.exclude(task="").exists()
            assert not Disk.objects.exclude(task="").exists()
            living = Disk.objects.exclude(status__in=["destroyed", "failed"])
            assert {v.volume_id for v in self.storage.list_volumes()} == {d.pk for d in living}
            images = Image.objects.filter(status__in=["available", "binned"])
            assert {i.image_id for i in self.storage.list_images()} == {i.pk for i in images}
            for disk in living:
                names = {s.name for s in self.storage.list_snapshots(disk.pk)}
                rows = Snapshot.objects.filter(disk=disk, status="available")
                assert names == {row.pk for row in rows}, disk
                assert self.storage.volume_info(disk.pk).size_gib == disk.size_gib
            for vm in VM.objects.filter(status__in=["running", "stopped"]):
                assert vm.destination is None
                assert vm.host is not None
                assert self.places(vm) == [vm.host.name]
                domain = self.domain(vm)
                assert (domain.running is not None) == (vm.status == "running")
                assert not domain.frozen
                wanted = {d.pk for d in Disk.objects.filter(vm=vm)}
                assert {d.id for d in domain.spec.disks} == wanted
                if domain.running is not None:
                    size = (domain.running.vcpus, domain.running.memory_mib)
                    assert size == (vm.vcpus, vm.memory_mib)
                    assert {d.id for d in domain.running.disks} == wanted


def points_of(kind: str, **payload: Any) -> list[str]:
    """Return the points at which a worker dies in a job of that kind; in a soak all there are.

    Else before each step and after the last one: from the end of a step to the beginning of the
    next nothing happens but a note in the row of the job.
    """
    job = Job(kind=kind, target_kind="vm", target_id="vm-x", payload=payload)
    every = [
        f"{kind}:{step.name}:{when}"
        for step in handler_for(kind).steps(job)
        for when in ("before", "after")
    ]
    return every if WHOLE else [*every[::2], every[-1]]


@pytest.fixture
def fabric(region: Region, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_fabric.World]:
    """The network behind the region, in memory."""
    Region.objects.filter(pk=region.pk).update(ovn_nb="tcp:192.0.2.1:6641")
    region.refresh_from_db()
    world = fake_fabric.World()

    def connect(
        nb: str, *, owner: str, sb: str | None = None, timeout_s: float = 10.0
    ) -> fake_fabric.FakeFabric:
        return fake_fabric.FakeFabric(world, owner)

    monkeypatch.setattr(fabrics, "connect", connect)
    fabrics.close_all()
    yield world
    fabrics.close_all()


@pytest.fixture
def make_box(
    fabric: fake_fabric.World, region: Region, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Box]]:
    """Return a function that makes a box on a platform, or on one of its own.

    Keywords are those of ``make_platform``.
    """
    forget_fake_hosts()
    forget_fake_pools()
    # Nothing happens on these hosts while a job keeps its slot: what is not so at once is so when
    # the test says so.
    monkeypatch.setattr(handlers, "KEEPS_SLOT_S", 0.0)

    def make(platform: Platform | None = None, **changes: Any) -> Box:
        box = Box(platform or make_platform(region, **changes), actor)
        box.storage.add_image(box.platform.image.pk, size_gib=2)
        return box

    assert actor.tenant is not None
    with scope(tenant=actor.tenant):
        yield make
    forget_fake_hosts()
    forget_fake_pools()


@pytest.fixture
def box(make_box: Callable[..., Box], platform: Platform) -> Box:
    """Two hosts with room, inside the scope of the tenant."""
    return make_box(platform)
