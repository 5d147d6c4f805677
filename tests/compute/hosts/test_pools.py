"""Pools of which one knows what they are: marked once, compared, reported, waited for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alarms.queries import platform as figures
from alarms.rules.operators import Condition, Thresholds, findings
from compute.models import Disk, DiskType, Drift, StoragePool
from compute.states.disks import DiskStatus
from compute.states.pools import PoolState
from compute.storage import lookout
from compute.storage.base import StorageUnavailable
from compute.storage.fake import FakeStorage
from compute.storage.marker import digest_of
from compute.sweeps.pools import reconcile_pools
from compute.tasks.drivers import storage_of
from scloud.audit.models import Operation
from scloud.jobs import runner
from scloud.jobs.models import Job, JobStatus
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.compute.box import Box
from tests.compute.disks.test_tasks import buy


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The directory of a pool."""
    path = tmp_path / "pool"
    path.mkdir()
    yield path
    lookout.lookout(path).end()


@pytest.fixture
def pool(region: Region, root: Path) -> StoragePool:
    """A pool that nobody has used yet."""
    made: StoragePool = StoragePool.objects.create(
        id="nfs", region=region, kind="dir", location=str(root)
    )
    return made


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    return client


def row_of(pool: StoragePool, tenant: Tenant, disk_id: str) -> None:
    """A disk whose volume is in the pool."""
    kind = DiskType.objects.create(id="nfs", region=pool.region, pool=pool, alias="NFS")
    with scope(tenant=tenant):
        Disk.objects.create(
            id=disk_id,
            tenant=tenant,
            region=pool.region,
            name="data",
            disk_type=kind,
            pool=pool,
            size_gib=1,
            status=DiskStatus.UNBOUND,
        )


def seen(pool: StoragePool) -> tuple[str, str]:
    """Let the sweep look; return what the row says afterwards: state and reason."""
    reconcile_pools()
    pool.refresh_from_db()
    return str(pool.state), pool.last_error


def told() -> list[str]:
    """What operators are told of the pool."""
    found = findings(figures.figures(timezone.now(), ()), Thresholds())
    return [one.words for one in found if one.condition is Condition.POOL_UNUSABLE]


def lost() -> int:
    return Drift.objects.filter(kind__startswith="missing_", repaired_at=None).count()


def test_a_pool_is_marked_once_and_found_again(
    pool: StoragePool, root: Path, operator: Client, tenant: Tenant
) -> None:
    # Empty and of no rows: the first use marks it, and a second that knew nothing of it.
    stale = StoragePool.objects.get(pk=pool.pk)
    storage_of(pool).create_volume("disk-1", size_gib=1)
    assert pool.marker
    assert pool.marker not in (root / "pool.json").read_text()
    storage_of(stale)
    assert stale.marker == pool.marker
    assert seen(pool) == (PoolState.AVAILABLE, "")
    since = pool.state_since
    assert seen(pool) == (PoolState.AVAILABLE, "")
    assert pool.state_since == since
    assert told() == []
    row_of(pool, tenant, "disk-1")

    # Not mounted: nothing is lost, and nothing is written there.
    away = root.with_name("away")
    root.rename(away)
    root.mkdir()
    state, reason = seen(pool)
    assert (state, reason[:39]) == (PoolState.GONE, "The storage directory has no marker: is")
    assert (lost(), list(root.iterdir())) == (0, [])
    StoragePool.objects.filter(pk=pool.pk).update(state_since=timezone.now() - timedelta(minutes=9))
    (words,) = told()
    assert words.startswith("Storage pool nfs has not been usable for 9 min: The storage directory")
    page = operator.get(reverse("admin:compute_storagepool_changelist")).content.decode()
    assert "Not there" in page
    assert "is it mounted?" in page

    # Another pool.
    (root / "pool.json").write_text('{"pool": "hdd", "token": "of another"}')
    state, reason = seen(pool)
    assert (state, reason) == (
        PoolState.WRONG,
        "The storage directory is another pool: its marker names 'hdd'.",
    )
    assert (lost(), [one.name for one in root.iterdir()]) == (0, ["pool.json"])

    # The right one again, by itself.
    (root / "pool.json").unlink()
    root.rmdir()
    away.rename(root)
    assert seen(pool) == (PoolState.AVAILABLE, "")
    assert (lost(), told()) == (0, [])


def test_an_administrator_has_a_pool_marked_anew(
    pool: StoragePool, root: Path, operator: Client
) -> None:
    (root / "pool.json").write_text('{"pool": "nfs", "token": "of an earlier installation"}')
    assert seen(pool)[0] == PoolState.WRONG
    url = reverse("admin:compute_storagepool_do", args=[pool.pk, "adopt"])
    assert "right storage is mounted" in operator.get(url).content.decode()
    assert seen(pool)[0] == PoolState.WRONG
    operator.post(url)
    assert seen(pool) == (PoolState.AVAILABLE, "")
    assert not pool.adopting
    text = (root / "pool.json").read_text()
    assert "of an earlier installation" not in text
    assert "is in order" in operator.post(url, follow=True).content.decode()
    with scopes_disabled():
        log = Operation.objects.filter(verb="platform.adopt_pool").order_by("pk")
        assert [one.succeeded for one in log] == [True, False]


def test_a_pool_of_an_earlier_release_is_taken_over_only_where_it_is(
    pool: StoragePool, root: Path, tenant: Tenant
) -> None:
    row_of(pool, tenant, "disk-1")
    state, reason = seen(pool)
    assert (state, list(root.glob("pool*"))) == (PoolState.GONE, [])
    assert "none of 1 volumes and images" in reason
    with pytest.raises(StorageUnavailable):
        storage_of(pool).list_volumes()
    assert lost() == 0
    StoragePool.objects.filter(pk=pool.pk).update(marker=digest_of("for a moment"))
    (root / "pool.json").write_text('{"pool": "nfs", "token": "for a moment"}')
    pool.refresh_from_db()
    storage_of(pool).create_volume("disk-1", size_gib=1)
    StoragePool.objects.filter(pk=pool.pk).update(marker="")
    (root / "pool.json").unlink()
    assert seen(pool) == (PoolState.AVAILABLE, "")
    assert pool.marker != digest_of("for a moment")
    assert [one.volume_id for one in storage_of(pool).list_volumes()] == ["disk-1"]


@pytest.mark.parametrize(("fault", "swept"), [("full", True), ("read_only", False), ("", True)])
def test_a_full_pool_is_swept_all_the_same(
    box: Box, monkeypatch: pytest.MonkeyPatch, fault: str, swept: bool
) -> None:
    calls: list[float] = []

    def sweep(_pool: FakeStorage, *, older_than_s: float = 3600.0) -> tuple[str, ...]:
        calls.append(older_than_s)
        return ()

    monkeypatch.setattr(FakeStorage, "sweep_temporary", sweep)
    if fault:
        setattr(box.storage.faults, fault, True)
    reconcile_pools()
    assert bool(calls) == swept
    assert StoragePool.objects.get(pk=box.platform.pool.pk).state == (fault or "available")


@pytest.mark.parametrize(
    ("fault", "state"),
    [("unavailable", "gone"), ("read_only", "read_only"), ("hanging", "hanging")],
)
def test_what_needs_a_pool_waits_for_it(box: Box, fault: str, state: str) -> None:
    setattr(box.storage.faults, fault, True)
    disk = buy(box)
    job = Job.objects.get(kind="disk.create")
    for _attempt in range(8):
        Job.objects.filter(pk=job.pk).update(not_before=timezone.now() - timedelta(seconds=1))
        assert runner.run(job.pk) == "will retry"
    job.refresh_from_db()
    assert job.status == JobStatus.QUEUED
    reconcile_pools()
    assert StoragePool.objects.get(pk=box.platform.pool.pk).state == state
    setattr(box.storage.faults, fault, False)
    box.run()
    disk.refresh_from_db()
    assert (disk.status, disk.failure) == ("unbound", "")
    reconcile_pools()
    assert StoragePool.objects.get(pk=box.platform.pool.pk).state == "available"
