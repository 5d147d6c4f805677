"""A tenant's network on a fabric in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from network.actions import Defaults, ensure_tenant_defaults
from network.fabric import fake
from network.models.base import FabricResource
from network.states.resources import Status
from network.tasks import fabrics
from scloud.jobs import runner
from scloud.jobs.models import ACTIVE, Job
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled


@pytest.fixture
def world(region: Region, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake.World]:
    """The fabric behind the region."""
    Region.objects.filter(pk=region.pk).update(ovn_nb="tcp:192.0.2.1:6641")
    region.refresh_from_db()
    world = fake.World()

    def connect(
        nb: str, *, owner: str, sb: str | None = None, timeout_s: float = 10.0
    ) -> fake.FakeFabric:
        return fake.FakeFabric(world, owner)

    monkeypatch.setattr(fabrics, "connect", connect)
    fabrics.close_all()
    yield world
    fabrics.close_all()


def status_of(row: FabricResource) -> Status:
    """Return the status as it is at this moment; the type checker takes an attribute for fixed."""
    return row.status


@pytest.fixture
def run_jobs() -> Callable[[], list[str]]:
    """Runs what is queued, in order, and returns what became of each job."""

    def run() -> list[str]:
        with scopes_disabled():
            ids = list(
                Job.objects.filter(status__in=ACTIVE)
                .order_by("created_at")
                .values_list("id", flat=True)
            )
        return [runner.run(job_id) for job_id in ids]

    return run


@pytest.fixture
def defaults(tenant: Tenant, region: Region) -> Defaults:
    """What the tenant starts with."""
    return ensure_tenant_defaults(tenant, region)
