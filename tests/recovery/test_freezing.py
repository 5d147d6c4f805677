"""A restored database is recognised, and destroys nothing until somebody has looked."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import services, sweep
from billing.models import Subscription
from compute.actions import images
from compute.actions.vms import changes, lifecycle
from compute.hypervisor.fake import fake_host
from compute.models import VM, Disk, Drift, Host, Image, Snapshot
from compute.sweeps import disks as disk_sweeps
from compute.sweeps import hosts, pools, reconcile, schedules, subscriptions
from compute.sweeps import images as image_sweeps
from compute.sweeps import vms as vm_sweeps
from compute.sweeps.hosts import HostAnswer
from compute.sweeps.images import sweep_staging
from compute.sweeps.snapshots import sweep_leftovers
from compute.transfer import staging
from network.fabric import fake
from network.fabric.base import FabricUnreachable, Kind, SecurityGroupSpec
from network.models import Nic
from network.sweeps import reconcile as network
from scloud.audit.models import Operation
from scloud.lab.postgres import _binaries
from scloud.lib.errors import Conflict
from scloud.recovery import freezing
from scloud.recovery.models import DatabaseLife, SweepFreeze
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box, box, fabric, make_box
from tests.compute.disks.test_tasks import attached, ready
from tests.compute.snapshots.test_tasks import make_due, schedule, take

__all__ = ["box", "fabric", "make_box"]


@pytest.fixture(autouse=True)
def _state(settings: Any, tmp_path: Path) -> None:
    settings.SCLOUD_STATE_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "media"


def beats(django_capture_on_commit_callbacks: Any, times: int = 1) -> None:
    for _ in range(times):
        with django_capture_on_commit_callbacks(execute=True):
            freezing.look()


# -- recognising


@pytest.mark.django_db
def test_a_database_that_only_goes_on_is_not_frozen(
    django_capture_on_commit_callbacks: Any,
) -> None:
    beats(django_capture_on_commit_callbacks, 3)
    assert DatabaseLife.objects.get().beat == 3
    assert not freezing.is_frozen()


@pytest.mark.django_db
@pytest.mark.parametrize("mark", ["cluster", "database", "relation", "timeline"])
def test_a_database_that_was_made_anew_is_frozen_once(
    mark: str, django_capture_on_commit_callbacks: Any
) -> None:
    beats(django_capture_on_commit_callbacks)
    DatabaseLife.objects.update(**{mark: 1 + getattr(DatabaseLife.objects.get(), mark)})
    assert freezing.is_frozen()
    assert freezing.is_frozen()
    assert SweepFreeze.objects.count() == 1


@pytest.mark.django_db
def test_a_database_older_than_what_this_machine_saw_is_frozen(
    django_capture_on_commit_callbacks: Any,
) -> None:
    """A copy of the data directory carries every mark of the server's own."""
    beats(django_capture_on_commit_callbacks, 3)
    backup = DatabaseLife.objects.get().beat
    beats(django_capture_on_commit_callbacks, 3)
    DatabaseLife.objects.update(beat=backup)
    assert freezing.is_frozen()
    SweepFreeze.objects.update(released_at=timezone.now())
    beats(django_capture_on_commit_callbacks)
    assert not freezing.is_frozen()


@pytest.mark.django_db
def test_a_machine_that_knows_nothing_of_the_database_does_not_freeze_it(
    settings: Any, tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    beats(django_capture_on_commit_callbacks, 3)
    settings.SCLOUD_STATE_DIR = tmp_path / "another"
    beats(django_capture_on_commit_callbacks)
    assert not freezing.is_frozen()
    (path,) = (tmp_path / "another" / "run").iterdir()
    assert json.loads(path.read_text()) == {"beat": 4}
    path.write_text("torn")
    beats(django_capture_on_commit_callbacks)
    assert not freezing.is_frozen()


@pytest.fixture
def restored() -> Iterator[str]:
    """The name of a database that is removed afterwards."""
    name = f"{connection.settings_dict['NAME']}_restored"
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{name}"')


@pytest.mark.django_db(transaction=True)
def test_a_dump_that_was_restored_is_recognised(restored: str) -> None:
    """With PostgreSQL's own tools, into a database beside the first."""
    freezing.look()
    place = connection.settings_dict
    where = ["-h", place["HOST"], "-p", str(place["PORT"]), "-U", place["USER"]]
    dump = subprocess.run(
        [_binaries() / "pg_dump", *where, "-t", "recovery_*", place["NAME"]],
        check=True,
        capture_output=True,
    ).stdout
    subprocess.run([_binaries() / "createdb", *where, restored], check=True)
    subprocess.run(
        [_binaries() / "psql", "-X", "-q", *where, restored], input=dump, check=True,
        capture_output=True,
    )  # fmt: skip
    before = place["NAME"]
    connection.close()
    place["NAME"] = restored
    try:
        assert freezing.is_frozen()
        assert "restored from a backup" in SweepFreeze.objects.get().reason
    finally:
        connection.close()
        place["NAME"] = before
    assert not freezing.is_frozen()


# -- freezing


def bin_is_due(*tables: Any) -> None:
    for table in tables:
        table.objects.filter(status="binned").update(destroy_at=timezone.now())


def emptied() -> tuple[int, int, int]:
    """Empty the bin; return how many VMs, disks and images went."""
    return vm_sweeps.empty_bin(), disk_sweeps.empty_disk_bin(), image_sweeps.empty_image_bin()


def test_nothing_in_the_bin_is_destroyed_while_frozen(box: Box) -> None:
    """A VM that was restored after the backup lies in the bin again, and its time is over."""
    vm, disk = box.vm(), ready(box)
    image = changes.make_image(actor=box.actor, vm=box.vm(stopped=True), name="golden")
    box.run()
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    from compute.actions import disks

    disks.delete_disk(actor=box.actor, disk=disk)
    images.delete_image(actor=box.actor, image=Image.objects.get(pk=image.pk))
    bin_is_due(VM, Disk, Image)
    call_command("after_restore")
    assert emptied() == (0, 0, 0)
    box.run()
    for row in (vm, disk, image):
        row.refresh_from_db()
        assert row.status == "binned"
    looked_at()
    freezing.release(actor=Actor.system(None), row=SweepFreeze.objects.get())
    # Its tenant has the whole retention to take it out again.
    vm.refresh_from_db()
    assert vm.destroy_at is not None
    assert vm.destroy_at > timezone.now()
    assert emptied() == (0, 0, 0)
    bin_is_due(VM, Disk, Image)
    assert emptied() == (1, 1, 1)


def looked_at() -> None:
    """Make every drift report."""
    reconcile.reconcile_hosts()
    pools.reconcile_pools()
    network.sweep()


def test_what_runs_is_neither_removed_nor_taken_apart_while_frozen(box: Box) -> None:
    """The domain of a VM that the old rows call binned, and a disk that they call unbound."""
    vm, other = box.vm(stopped=True), box.vm()
    disk = attached(box, other)
    VM.objects.filter(pk=vm.pk).update(status="binned", host=None)
    Disk.objects.filter(pk=disk.pk).update(vm=None, status="unbound", target="")
    host = box.platform.hosts
    freezing.freeze("a test")
    reconcile.reconcile_hosts()
    assert box.places(vm)
    running = box.domain(other).running
    assert running is not None
    assert disk.pk in {one.id for one in running.disks}
    open_kinds = set(Drift.objects.filter(repaired_at=None).values_list("kind", flat=True))
    assert open_kinds == {"leftover_domain", "surplus_disk"}
    SweepFreeze.objects.update(released_at=timezone.now())
    reconcile.reconcile_hosts()
    assert not box.places(vm)
    assert not Drift.objects.filter(repaired_at=None).exists()
    assert host


def test_a_volume_is_not_removed_while_frozen(box: Box) -> None:
    disk = ready(box)
    Disk.objects.filter(pk=disk.pk).update(status="destroyed")
    freezing.freeze("a test")
    pools.reconcile_pools()
    assert disk.pk in box.storage.volumes
    assert Drift.objects.get(repaired_at=None).kind == "leftover_volume"
    SweepFreeze.objects.update(released_at=timezone.now())
    pools.reconcile_pools()
    assert disk.pk not in box.storage.volumes


def test_an_image_is_not_removed_while_frozen(box: Box) -> None:
    image = changes.make_image(actor=box.actor, vm=box.vm(stopped=True), name="golden")
    box.run()
    Image.objects.filter(pk=image.pk).update(status="destroyed")
    freezing.freeze("a test")
    pools.reconcile_pools()
    assert image.pk in box.storage.images
    assert Drift.objects.get(repaired_at=None).kind == "leftover_image"
    SweepFreeze.objects.update(released_at=timezone.now())
    pools.reconcile_pools()
    assert image.pk not in box.storage.images


def test_the_network_is_reported_and_neither_changed_nor_removed_while_frozen(
    box: Box, fabric: fake.World
) -> None:
    """A port of a VM that the old rows do not know, and a group that was changed since."""
    vm = box.vm()
    (port,) = [key for key in fabric.things if key[1] == Kind.PORT]
    group = next(key for key in fabric.things if key[1] == Kind.SECURITY_GROUP)
    before = fabric.things[group]
    assert isinstance(before, SecurityGroupSpec)
    changed = replace(before, rules=())
    fabric.things[group] = changed
    Nic.objects.filter(vm_id=vm.pk).delete()
    freezing.freeze("a test")
    assert network.sweep() > 0
    assert port in fabric.things
    assert fabric.things[group] == changed
    SweepFreeze.objects.update(released_at=timezone.now())
    network.sweep()
    assert fabric.things[group] != changed


def test_what_was_uploaded_since_the_backup_is_kept_while_frozen(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = staging.stage([b"uploaded after the backup"])
    monkeypatch.setattr(staging, "KEEP_S", -1.0)
    freezing.freeze("a test")
    assert sweep_staging() == 0
    assert staged.path.exists()
    SweepFreeze.objects.update(released_at=timezone.now())
    assert sweep_staging() == 1
    assert not staged.path.exists()


def test_a_snapshot_that_the_rows_call_gone_is_kept_while_frozen(box: Box) -> None:
    disk = ready(box)
    snapshot = take(box, disk, "kept")
    Snapshot.objects.filter(pk=snapshot.pk).update(status="destroyed", destroyed_at=timezone.now())
    freezing.freeze("a test")
    assert sweep_leftovers() == 0
    assert [one.name for one in box.storage.list_snapshots(disk.pk)] == [snapshot.pk]
    SweepFreeze.objects.update(released_at=timezone.now())
    assert sweep_leftovers() == 1
    assert box.storage.list_snapshots(disk.pk) == ()


def test_what_may_have_been_paid_is_not_switched_off_while_frozen(box: Box) -> None:
    vm = box.vm()
    Subscription.objects.update(paid_until=timezone.now(), auto_renew=False)
    freezing.freeze("a test")
    assert sweep.run().expired == []
    Subscription.objects.update(status="expired", expired_at=timezone.now())
    assert subscriptions.catch_up_expired() == 0
    Subscription.objects.update(expired_at=timezone.now() - timedelta(days=400))
    assert sweep.run().overdue == []
    Subscription.objects.update(overdue_at=timezone.now())
    assert subscriptions.catch_up_overdue() == 0
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.task) == ("running", "")
    assert services.subscription_of(vm.tenant, vm.pk).status == "expired"


def test_snapshots_are_taken_and_not_forgotten_while_frozen(box: Box) -> None:
    one = schedule(box, ready(box), keep_count=1)
    freezing.freeze("a test")
    for _ in range(2):
        make_due(one)
        schedules.run_schedules()
        box.run()
        assert schedules.keep_to_schedules() == 0
    assert one.snapshots.filter(status="available").count() == 2


# -- releasing


def test_the_report_of_the_hosts_is_complete_when_every_host_has_answered(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, gate = box.platform.hosts[0], threading.Event()
    answer_of = hosts.ask_host

    def slow(host: Host, revisions: Any) -> HostAnswer:
        if host.pk == silent.pk:
            gate.wait(30)
        return answer_of(host, revisions)

    row = freezing.freeze("a test")
    rounds = reconcile.Rounds(patience_s=0.3)
    monkeypatch.setattr(hosts, "ask_host", slow)
    reconcile.reconcile_hosts(rounds)
    row.refresh_from_db()
    assert "hosts" in freezing.missing_reports(row)
    gate.set()
    reconcile.reconcile_hosts(rounds)
    row.refresh_from_db()
    assert "hosts" not in freezing.missing_reports(row)


@pytest.mark.parametrize("name", ["hosts", "pools", "network"])
def test_an_error_is_no_answer_and_no_report_is_complete_without_it(
    box: Box, fabric: fake.World, name: str
) -> None:
    """The others are looked at and reported; the report is complete once all could be."""
    host = fake_host(box.platform.hosts[0].uri)
    row = freezing.freeze("a test")
    if name == "hosts":
        host.faults.unreachable = True
    elif name == "pools":
        box.storage.faults.unavailable = True
    else:
        fabric.failure = FabricUnreachable("nobody answers")
    looked_at()
    row.refresh_from_db()
    assert freezing.missing_reports(row) == [name]
    with pytest.raises(Conflict) as refused:
        freezing.release(actor=Actor.system(None), row=row)
    assert refused.value.numbers == {"missing": [name]}
    host.faults.unreachable = box.storage.faults.unavailable = False
    fabric.failure = None
    looked_at()
    row.refresh_from_db()
    assert freezing.missing_reports(row) == []


def test_a_freeze_is_released_by_an_administrator_who_can_have_read_the_report(
    box: Box, client: Client, django_user_model: Any
) -> None:
    operator = django_user_model.objects.create(
        email="op@example.org", is_staff=True, is_superuser=True
    )
    client.force_login(operator)
    call_command("after_restore")
    row = SweepFreeze.objects.get()
    with pytest.raises(Conflict) as refused:
        freezing.release(actor=Actor.system(None), row=row)
    assert refused.value.code == "report_incomplete"
    assert refused.value.numbers == {"missing": ["hosts", "network", "pools"]}
    looked_at()
    url = reverse("admin:recovery_sweepfreeze_do", args=[row.pk, "release"])
    assert client.get(url).status_code == 200
    assert freezing.is_frozen()
    client.post(url)
    row.refresh_from_db()
    assert row.released_by.endswith("op@example.org")
    assert not freezing.is_frozen()
    with scopes_disabled():
        released = Operation.objects.filter(verb="platform.release_sweeps", succeeded=True)
        assert released.count() == 1
    with pytest.raises(Conflict):
        freezing.release(actor=Actor.system(None), row=row)


def test_writers_of_the_beat_do_not_take_each_others_file(
    db: None, settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SCLOUD_STATE_DIR = tmp_path

    def write() -> None:
        for beat in range(200):
            freezing._keep_beat(1, beat)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert caplog.messages == []
    assert freezing._last_beat(1) == 199
    assert list((tmp_path / "run").glob("*.part")) == []
