"""Pools on Ceph in the administration: entered, tried; the key stays sealed and reaches hosts."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
from django.core import serializers
from django.test import Client
from django.urls import reverse

from compute.actions import pools
from compute.actions.disks import attach_disk
from compute.actions.vms import lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.hypervisor.fake import fake_host
from compute.models import VM, StoragePool
from compute.rules.pools import is_key
from compute.states.pools import PoolState
from compute.storage.rbd import calling
from compute.storage.rbd.driver import RbdStorage
from compute.tasks.drivers import needs_marker, storage_of
from scloud.audit.models import Event, Operation
from scloud.jobs import runner
from scloud.jobs.models import Job, JobStatus
from scloud.lib import keys
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy import sealed
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from tests.ceph_fixture import CephWorld
from tests.compute.box import Box
from tests.compute.disks.test_tasks import ready

SYSTEM = Actor.system(None)


def a_key(byte: int = 7) -> str:
    """A key as Ceph makes them."""
    raw = b"\1\0" + bytes(8) + b"\x10\0" + bytes([byte]) * 16
    return base64.b64encode(raw).decode()


@pytest.fixture
def operator(db: None) -> Client:
    """A browser in which a platform administrator is signed in."""
    client = Client()
    client.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    return client


def entered(region: Region, **changes: object) -> dict[str, Any]:
    """What the form sends."""
    values = {
        "id": "ceph",
        "region": region.pk,
        "kind": "rbd",
        "location": "rbd:vms",
        "monitors": "192.0.2.7:6789, [2001:db8::7]:6789,mon-c.example:6789",
        "user": "scloud",
        "new_key": a_key(),
        "snapshots": "inside",
        "overprovisioning": "",
        "reserve_percent": "5",
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


ADD = "admin:compute_storagepool_add"


def change(pool: StoragePool) -> str:
    return reverse("admin:compute_storagepool_change", args=[pool.pk])


def last_job() -> Job:
    """Run the job that was queued last."""
    with scopes_disabled():
        job: Job = Job.objects.filter(kind="storage_pool.test").latest("created_at")
        runner.run(job.pk)
        job.refresh_from_db()
    return job


def made(operator: Client, region: Region, **changes: object) -> StoragePool:
    operator.post(reverse(ADD), entered(region, **changes))
    return StoragePool.objects.get(pk="ceph")


def test_a_pool_is_entered_and_its_key_is_nowhere(
    operator: Client, region: Region, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    refused = operator.post(reverse(ADD), entered(region, new_key="")).content.decode()
    assert "Enter the key." in refused
    pool = made(operator, region)
    assert keys.box().decrypt(pool.sealed_key.encode()).decode() == a_key()
    assert needs_marker(pool)
    page = operator.get(change(pool)).content.decode()
    with scopes_disabled():
        told = json.dumps(list(Operation.objects.values("before", "after", "detail")), default=str)
        told += json.dumps(list(Event.objects.values("data")), default=str)
    told += serializers.serialize("json", StoragePool.objects.all())
    assert a_key() not in page + told + caplog.text
    assert '"key": "changed"' in told
    sealed.reseal()


def test_an_empty_key_stays_and_goes_to_nobody_else(operator: Client, region: Region) -> None:
    pool = made(operator, region)
    secret, uuid = pool.sealed_key, pool.secret_uuid
    assert uuid is not None
    operator.post(change(pool), entered(region, id=None, new_key="", reserve_percent="9"))
    pool.refresh_from_db()
    assert (pool.sealed_key, pool.secret_uuid, pool.reserve_percent) == (secret, uuid, 9)
    for other in ({"monitors": "192.0.2.66:6789"}, {"user": "another"}):
        answer = operator.post(change(pool), entered(region, id=None, new_key="", **other))
        assert "Enter the key." in answer.content.decode()
    operator.post(change(pool), entered(region, id=None, new_key=a_key(9), user="another"))
    pool.refresh_from_db()
    assert pool.user == "another"
    assert pool.secret_uuid == uuid
    assert keys.box().decrypt(pool.sealed_key.encode()).decode() == a_key(9)


def test_what_sweeps_have_written_meanwhile_stays(operator: Client, region: Region) -> None:
    pool = made(operator, region)
    stale = StoragePool.objects.get(pk=pool.pk)
    StoragePool.objects.filter(pk=pool.pk).update(state=PoolState.FULL, marker="a" * 64)
    stale.reserve_percent = 20
    pools.save_pool(actor=SYSTEM, pool=stale)
    pool.refresh_from_db()
    assert (pool.state, pool.marker, pool.reserve_percent) == (PoolState.FULL, "a" * 64, 20)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"location": "vms"}, "location"),
        ({"location": "/srv/pool"}, "location"),
        ({"location": "rbd:"}, "location"),
        ({"location": "rbd:a/b"}, "location"),
        ({"location": "rbd:-x"}, "location"),
        ({"kind": "dir", "location": "rbd:vms"}, "location"),
        ({"monitors": ""}, "monitors"),
        ({"monitors": "192.0.2.7"}, "monitors"),
        ({"monitors": "192.0.2.7:0"}, "monitors"),
        ({"monitors": "192.0.2.7:6789,"}, "monitors"),
        ({"monitors": "a b:6789"}, "monitors"),
        ({"monitors": "192.0.2.7:6789\nkey = x"}, "monitors"),
        ({"user": ""}, "user"),
        ({"user": "client scloud"}, "user"),
        ({"new_key": "secret"}, "new_key"),
        ({"new_key": base64.b64encode(bytes(28)).decode()}, "new_key"),
    ],
)
def test_what_is_wrong_is_said_of_its_field(
    operator: Client, region: Region, changes: dict[str, object], field: str
) -> None:
    answer = operator.post(reverse(ADD), entered(region, **changes))
    assert field in answer.context["adminform"].form.errors
    values = entered(region, **changes)
    key = values.pop("new_key")
    values["overprovisioning"] = None
    pool = StoragePool(**{**values, "region": region})
    with pytest.raises(InvalidInput) as refused:
        pools.save_pool(actor=SYSTEM, pool=pool, key=key)
    assert refused.value.field == field
    assert not StoragePool.objects.filter(pk="ceph").exists()


def test_a_key_has_the_form_that_ceph_gives_it() -> None:
    assert is_key(a_key())
    for wrong in ("", "x", a_key()[:-4], a_key() + "\n", "ä" * 40):
        assert not is_key(wrong)


def test_the_type_of_a_pool_in_use_does_not_change(operator: Client, box: Box) -> None:
    box.vm()
    pool = box.platform.pool
    answer = operator.post(change(pool), entered(pool.region, id=None))
    assert "disks or images are in the pool" in answer.content.decode()
    pool.kind, pool.location = "rbd", "rbd:vms"
    pool.monitors, pool.user = "192.0.2.7:6789", "scloud"
    with pytest.raises(Conflict) as refused:
        pools.save_pool(actor=SYSTEM, pool=pool, key=a_key())
    assert refused.value.code == "pool_in_use"
    pool.refresh_from_db()
    assert pool.kind == "fake"


def test_a_pool_that_is_no_ceph_has_no_key(operator: Client, region: Region) -> None:
    pool = made(operator, region)
    pool.kind, pool.location = "dir", "/srv/pool"
    pools.save_pool(actor=SYSTEM, pool=pool)
    pool.refresh_from_db()
    assert (pool.monitors, pool.user, pool.sealed_key, pool.secret_uuid) == ("", "", "", None)


def test_hosts_are_told_the_key_before_they_open_a_disk(box: Box) -> None:
    """At its definition, at an attachment and where it moves to; others are told nothing."""
    vm = box.vm()
    pool = box.platform.pool
    assert all(not fake_host(host.uri).secrets for host in box.platform.hosts)
    # The volumes stay where they are: only what hosts are told is looked at.
    StoragePool.objects.filter(pk=pool.pk).update(
        secret_uuid="5c10d000-0000-4000-a000-0000000000ce",
        sealed_key=keys.box().encrypt(a_key().encode()).decode(),
    )
    wanted = {"5c10d000-0000-4000-a000-0000000000ce": base64.b64decode(a_key())}
    here = box.host_of(vm)
    (there,) = (host for host in box.platform.hosts if host.uri != here.ref.uri)
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    lifecycle.start_vm(actor=box.actor, vm=now(vm))
    box.run()
    assert here.secrets == wanted
    here.secrets.clear()
    disk = ready(box)
    attach_disk(actor=box.actor, vm=now(vm), disk=disk)
    box.run()
    assert here.secrets == wanted
    assert fake_host(there.uri).secrets == {}
    migrate_vm(actor=Actor.system(box.actor.tenant), vm=now(vm), host=there)
    box.run()
    assert box.host_of(vm).ref.uri == there.uri
    assert fake_host(there.uri).secrets == wanted


def now(vm: VM) -> VM:
    """The row as it is now."""
    found: VM = VM.objects.get(pk=vm.pk)
    return found


def test_a_pool_is_tried_by_a_button(operator: Client, box: Box) -> None:
    pool = box.platform.pool
    url = reverse("admin:compute_storagepool_do", args=[pool.pk, "test"])
    said = operator.post(url, follow=True).content.decode()
    assert "is tried" in said
    assert last_job().status == JobStatus.SUCCEEDED
    pool.refresh_from_db()
    assert (pool.state, pool.last_error) == (PoolState.AVAILABLE, "")
    assert pool.total_bytes > 0
    box.storage.faults.unavailable = True
    operator.post(url)
    job = last_job()
    assert (job.status, job.error_code) == (JobStatus.FAILED, "storage_unavailable")
    pool.refresh_from_db()
    assert (pool.state, pool.last_error) == (PoolState.GONE, "The storage directory is not there.")


def test_one_whose_monitors_do_not_answer_is_not_there(
    operator: Client, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "QUICK_S", 0.2)
    pool = made(operator, region, monitors="127.0.0.1:1")
    assert isinstance(storage_of(pool), RbdStorage)
    operator.post(reverse("admin:compute_storagepool_do", args=[pool.pk, "test"]))
    assert last_job().status == JobStatus.FAILED
    pool.refresh_from_db()
    assert pool.state in (PoolState.HANGING, PoolState.GONE)
    assert pool.marker == ""


@pytest.mark.ceph
def test_a_real_pool_is_marked_tried_and_measured(
    operator: Client, region: Region, ceph: CephWorld
) -> None:
    pool = made(
        operator,
        region,
        location="rbd:scloud",
        monitors=ceph.cluster.monitors,
        new_key=ceph.cluster.key(),
    )
    operator.post(reverse("admin:compute_storagepool_do", args=[pool.pk, "test"]))
    assert last_job().status == JobStatus.SUCCEEDED
    pool.refresh_from_db()
    assert (pool.state, len(pool.marker)) == (PoolState.AVAILABLE, 64)
    assert pool.total_bytes >= pool.available_bytes > 0
    storage_of(pool).create_volume("disk-1", size_gib=1)
    # What another pool has marked is not taken.
    StoragePool.objects.filter(pk=pool.pk).update(marker="b" * 64)
    operator.post(reverse("admin:compute_storagepool_do", args=[pool.pk, "test"]))
    assert last_job().error_code == "storage_foreign"
    pool.refresh_from_db()
    assert pool.state == PoolState.WRONG
