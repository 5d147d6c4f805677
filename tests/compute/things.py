"""A tenant with a VM, disks, a snapshot and an image of its own, and programs on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from compute.actions.disks import create_disk, quote_disk
from compute.models import VM, Disk, Image, Snapshot
from compute.rules.orders import DiskOrder
from compute.states.disks import DiskStatus
from compute.states.snapshots import SnapshotStatus
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.api.client import Program, program_of
from tests.compute.factories import Platform, make_vm


@pytest.fixture
def program(user: User) -> Program:
    """The owner's program."""
    return program_of(user)


@pytest.fixture
def rival(other_tenant: Tenant, make_user: Callable[..., User]) -> Program:
    """A program of another tenant."""
    return program_of(make_user(other_tenant))


@dataclass
class Things:
    """What the tenant has."""

    vm: VM
    system: Disk
    disk: Disk
    snapshot: Snapshot
    image: Image


def end_jobs(tenant: Tenant) -> None:
    """Let nothing be in flight any more, as after the jobs."""
    with scope(tenant=tenant):
        Job.objects.filter(status__in=ACTIVE).update(status=JobStatus.SUCCEEDED)
        Disk.objects.update(task="", task_job="", task_deadline=None)


def buy_disk(platform: Platform, actor: Actor, name: str = "data", size_gib: int = 20) -> Disk:
    """Buy a data disk that lies unbound afterwards."""
    assert actor.tenant is not None
    with scope(tenant=actor.tenant):
        order = DiskOrder(
            region=platform.region, disk_type=platform.disk_type, size_gib=size_gib, name=name
        )
        token = quote_disk(actor=actor, order=order).token
        made = create_disk(actor=actor, order=order, quote_token=token)
        Disk.objects.filter(pk=made.pk).update(
            status=DiskStatus.UNBOUND, task="", task_job="", task_deadline=None
        )
        Job.objects.filter(target_id=made.pk).update(status=JobStatus.SUCCEEDED)
        found: Disk = Disk.objects.get(pk=made.pk)
        return found


@pytest.fixture
def things(platform: Platform, actor: Actor, tenant: Tenant) -> Things:
    """A stopped VM, an unbound disk with a snapshot, an own image."""
    vm = make_vm(platform, actor, "stopped", name="web")
    disk = buy_disk(platform, actor)
    image = Image.objects.create(
        tenant=tenant,
        region=platform.region,
        pool=platform.pool,
        name="golden",
        distribution="debian",
        min_disk_gib=2,
    )
    with scope(tenant=tenant):
        snapshot = Snapshot.objects.create(
            tenant=tenant,
            region=platform.region,
            disk=disk,
            name="before",
            size_gib=20,
            status=SnapshotStatus.AVAILABLE,
        )
        system: Disk = Disk.objects.get(vm=vm, is_system=True)
    return Things(vm, system, disk, snapshot, image)


def fresh(obj: Any) -> Any:
    """Return a row as it is now."""
    with scopes_disabled():
        return type(obj).objects.select_related().get(pk=obj.pk)
