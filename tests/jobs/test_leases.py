"""A worker believes in its lease for a time only, and looks again right before it publishes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from compute.hypervisor.base import Hypervisor
from compute.hypervisor.fake import FakeHypervisor
from compute.hypervisor.libvirt.driver import LibvirtHypervisor
from compute.storage.base import Storage
from compute.storage.dir import DirectoryStorage
from compute.storage.fake import FakeStorage
from compute.storage.rbd.driver import RbdStorage
from network.fabric.base import Fabric
from network.fabric.fake import FakeFabric
from network.fabric.ovn.driver import OvnFabric
from scloud.jobs import leases, runner, service
from scloud.jobs.handlers import Context, LeaseLostError
from scloud.jobs.models import Job
from scloud.lib import lease
from tests.jobs.conftest import Script, ago, change, fresh

Enqueue = Callable[..., Job]

# What changes nothing that others see. A frozen guest is thawed by whoever can.
LOOKS = {
    Hypervisor: "ref capacity cpu certificates pci_devices observe observe_all agent_ready "
    "addresses filesystems thaw read_file system screenshot console_log measure growth_headroom "
    "migration_progress vnc_endpoint guest_disks runs_as machine_types",
    Storage: "snapshots_need_hypervisor capacity probe_image image_info list_images export_image "
    "volume_info list_volumes disk_source list_snapshots sweep_temporary uses_overlays is_tidy "
    "next_merge heartbeats try_write in_doubt",
    Fabric: "port_observation list_owned chassis_answers close",
}  # fmt: skip


@pytest.mark.parametrize(
    ("port", "driver"),
    [
        (Hypervisor, FakeHypervisor),
        (Hypervisor, LibvirtHypervisor),
        (Storage, FakeStorage),
        (Storage, DirectoryStorage),
        (Storage, RbdStorage),
        (Fabric, FakeFabric),
        (Fabric, OvnFabric),
    ],
)
def test_every_call_that_changes_something_confirms_the_lease_first(
    port: type[Any], driver: type[Any]
) -> None:
    class Lost(Exception):
        pass

    def lost() -> None:
        raise Lost

    names = {name for name in vars(port) if not name.startswith("_")} - set(LOOKS[port].split())
    assert len(names) > 8
    for name in names:
        with lease.held(lost), pytest.raises(Lost):
            # Confirmed before anything is looked at, so that no arguments are needed.
            getattr(driver, name)(object())


def test_what_else_is_checked_comes_after_the_lease_and_only_within_its_block() -> None:
    asked: list[str] = []
    with lease.held(lambda: asked.append("lease")):
        with lease.also(lambda: asked.append("place")):
            lease.confirm()
        lease.confirm()
    # Without a runner it is checked all the same.
    with lease.also(lambda: asked.append("place")):
        lease.confirm()
    assert asked == ["lease", "place", "lease", "place"]


def test_a_lease_is_believed_for_less_than_it_lasts(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SCLOUD_JOB_LEASE_S = 15.0
    now = [100.0]
    monkeypatch.setattr(leases, "clock", lambda: now[0])
    book = leases.Leases()
    job = enqueue()
    claimed = runner.claim(job.id)
    assert claimed is not None
    book.hold(job.id, 1, now[0])
    now[0] += 11.9
    assert book.believed(job.id, 1)
    now[0] += 0.2
    # The database never said no: it only said nothing for too long.
    assert not book.believed(job.id, 1)
    assert book.renew(job.id, 1)
    assert book.believed(job.id, 1)
    book.drop(job.id, 1)
    assert not book.believed(job.id, 1)


def test_the_belief_is_counted_from_before_the_request(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SCLOUD_JOB_LEASE_S = 15.0
    now = [100.0]
    monkeypatch.setattr(leases, "clock", lambda: now[0])
    book = leases.Leases()
    job = enqueue()
    assert runner.claim(job.id) is not None
    book.hold(job.id, 1, now[0])

    def slow() -> Any:
        now[0] += 10.0
        from scloud.tenancy.scoping import scopes_disabled

        return scopes_disabled()

    monkeypatch.setattr(leases, "scopes_disabled", slow)
    assert book.renew(job.id, 1)
    now[0] += 2.1
    assert not book.believed(job.id, 1)
    book.drop(job.id, 1)


def test_nothing_is_published_when_the_database_does_not_answer(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []

    class Driver:
        @lease.publishes
        def start(self) -> None:
            published.append("started")

    def away(job_id: str, attempt: int) -> bool:
        raise OperationalError("server closed the connection")

    def work(_context: Context) -> None:
        Driver().start()
        monkeypatch.setattr(leases.leases, "confirm", away)
        monkeypatch.setattr("scloud.jobs.runner.connection.close", lambda: None)
        Driver().start()

    script.works["first"] = work
    job = enqueue()
    assert runner.run(job.id) == "lost"
    assert published == ["started"]
    assert fresh(job).status == "running"


@pytest.mark.parametrize("how", ["taken over", "superseded", "ended by the sweep"])
def test_nothing_is_published_once_the_job_is_somebody_elses(
    enqueue: Enqueue, script: Script, how: str
) -> None:
    published: list[str] = []

    def work(context: Context) -> None:
        if how == "taken over":
            change(context.job, lease_until=ago(1))
            assert runner.claim(context.job.id) is not None
        elif how == "superseded":
            assert service.supersede(context.job.id, "Power off was asked for.")
        else:
            change(context.job, status="failed", attempt=7, finished_at=timezone.now())
        context.guard()
        published.append("started")

    script.works["first"] = work
    assert runner.run(enqueue().id) == "lost"
    assert published == []


def test_a_clean_up_publishes_under_the_same_rule(enqueue: Enqueue, script: Script) -> None:
    from scloud.lib.errors import ScloudError

    removed: list[str] = []

    def clean(context: Context) -> None:
        change(context.job, attempt=50)
        lease.confirm()
        removed.append("domain")

    def refuse(_context: Context) -> None:
        raise ScloudError("No.", code="no")

    script.works.update({"first": refuse, "clean up": clean})
    assert runner.run(enqueue().id) == "lost"
    assert removed == []


def test_a_lost_lease_is_seen_without_asking(enqueue: Enqueue, script: Script) -> None:
    def work(context: Context) -> None:
        change(context.job, attempt=9)
        leases.leases.beat(context.job.id, 1)
        with pytest.raises(LeaseLostError):
            context.check()
        raise LeaseLostError

    script.works["first"] = work
    assert runner.run(enqueue().id) == "lost"


def test_asking_changes_the_belief_only_when_the_answer_is_no(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = leases.Leases()
    job = enqueue()
    assert runner.claim(job.id) is not None
    book.hold(job.id, 1, leases.clock())
    assert book.confirm(job.id, 1)
    assert book.believed(job.id, 1)
    change(job, attempt=9)
    now = [leases.clock()]
    monkeypatch.setattr(leases, "clock", lambda: now[0])
    assert not book.confirm(job.id, 1)
    assert not book.believed(job.id, 1)
    # What counts for a worker that hangs is when it was lost first.
    now[0] += 50
    assert not book.confirm(job.id, 1)
    assert book._held[job.id, 1].lost_at == now[0] - 50
    book.drop(job.id, 1)
    assert not book.confirm(job.id, 1)


def test_one_thread_renews_all_leases_and_a_new_one_begins_when_it_has_ended(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCLOUD_JOB_LEASE_S = 0.3
    book = leases.Leases()
    monkeypatch.setattr(book, "beat", lambda job_id, attempt: None)

    def thread() -> threading.Thread | None:
        return book._thread

    book.hold("job-a", 1, leases.clock())
    first = thread()
    book.hold("job-b", 1, leases.clock())
    assert first is not None
    assert thread() is first
    book.drop("job-a", 1)
    book.drop("job-b", 1)
    first.join(20)
    assert thread() is None
    book.hold("job-c", 1, leases.clock())
    second = thread()
    assert second is not None
    assert second is not first
    book.drop("job-c", 1)
    second.join(20)
