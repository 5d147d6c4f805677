"""Tenants read no path, URI, host or pool of the platform, whatever broke; operators read it."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import LedgerTransaction
from compute.actions.vms.create import create_vms, quote_vms
from compute.actions.vms.lifecycle import start_vm
from compute.actions.vms.migrate import migrate_vm
from compute.hypervisor.base import HypervisorError
from compute.hypervisor.fake import FakeHypervisor, fake_host
from compute.models import VM, Disk, Host, Image, Snapshot
from compute.storage.base import ImageMissing, ImageRefused, StorageError
from compute.storage.fake import FakeStorage
from compute.storage.sandbox import SandboxMissing
from compute.vnc.screen import ScreenUnavailable
from compute.vnc.screens import prepare
from network.actions import security, vpcs
from network.fabric.base import FabricError
from network.fabric.fake import FakeFabric
from network.models import Nic, SecurityGroup, Vpc
from scloud.audit.models import Event, Operation
from scloud.jobs import handlers, runner
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.lib.errors import NoCapacity, ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from tests.api.client import program_of
from tests.budget import WHOLE
from tests.compute.box import Box
from tests.compute.factories import make_order
from tests.compute.test_failed_verbs import CASES, Case

SAID = (
    "qemu+tls://hv-17.rack-b.example.net/system: internal error: process exited: "
    "qemu-system-x86_64: -blockdev /var/lib/scloud/pools/ssd-a/disk.qcow2: Could not open; "
    "tcp:10.99.8.7:6641 northbound"
)
SECRETS = ("hv-17", "qemu+tls", "qemu-system", "/var/lib", "10.99.8.7", ":6641", "northbound")
API = (
    "/jobs",
    "/vms",
    "/disks",
    "/snapshots",
    "/images",
    "/vpcs",
    "/subnets",
    "/security-groups",
    "/models",
)
PAGES = (
    "tasks",
    "task-strip",
    "operations",
    "vm-list",
    "disk-list",
    "image-list",
    "snapshot-list",
    "bin",
    "vpc-list",
    "security-group-list",
    "home",
)


def _kinds(base: type[Exception]) -> list[type[Exception]]:
    """The class and all that are made from it."""
    return [base, *(one for sub in base.__subclasses__() for one in _kinds(sub))]


def _made(kind: type[Exception]) -> Exception:
    if issubclass(kind, ImageRefused):
        return kind(SAID, reason="corrupt")
    return kind(SAID)


DRIVERS: dict[str, list[type[Exception]]] = {
    "hypervisor": [*_kinds(HypervisorError), RuntimeError],
    "storage": [*_kinds(StorageError), RuntimeError],
    "fabric": [*_kinds(FabricError), OSError],
}


@pytest.fixture
def superuser(db: None) -> User:
    """A platform administrator."""
    made: User = User.objects.create_superuser("root@scloud.test", "a long secret 9")
    return made


class Broken:
    """Makes every call of one driver raise."""

    def __init__(self, box: Box, fabric: Any, monkeypatch: pytest.MonkeyPatch, media: Path) -> None:
        self.box = box
        self.media = media
        self.fabric = fabric
        self.patch = monkeypatch

    @contextlib.contextmanager
    def driver(self, name: str, error: Exception) -> Iterator[list[str]]:
        """While it lasts the driver raises ``error``; what the others did is undone afterwards.

        Yields a list of the calls that raised.
        """
        raised: list[str] = []

        def call(_driver: object, call: str, **_more: Any) -> NoReturn:
            raised.append(call)
            raise error

        hosts = [fake_host(host.uri) for host in self.box.platform.hosts]
        kept = [(thing, copy.deepcopy(thing.domains)) for thing in hosts]
        pool = self.box.storage
        held = {
            key: copy.deepcopy(value)
            for key, value in vars(pool).items()
            if isinstance(value, dict | set)
        }
        things = dict(self.fabric.things)
        files = set(self.media.rglob("*"))
        with self.patch.context() as patched:
            if name == "hypervisor":
                patched.setattr(FakeHypervisor, "_call", call)
            elif name == "storage":
                patched.setattr(FakeStorage, "_call", call)
            else:
                patched.setattr(FakeFabric, "_begin", call)
            yield raised
        for host, domains in kept:
            host.domains = domains
        for key, value in held.items():
            setattr(pool, key, value)
        self.fabric.things.clear()
        self.fabric.things.update(things)
        for new in set(self.media.rglob("*")) - files:
            if new.is_file():
                new.unlink()


@pytest.fixture
def broken(
    box: Box, fabric: Any, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> Broken:
    """One try per job and no waiting."""
    media = settings.MEDIA_ROOT = tmp_path / "media"
    monkeypatch.setattr(handlers, "KEEPS_SLOT_S", 0.0)
    monkeypatch.setattr(runner, "BUSY_PATIENCE_S", -1.0)
    for kind in handlers.registered_kinds():
        monkeypatch.setattr(handlers.handler_for(kind), "max_attempts", 1)
    return Broken(box, fabric, monkeypatch, media)


def work(job: Job) -> Job:
    """Run a job until it ended or only waits on."""
    with scopes_disabled():
        for _ in range(8):
            Job.objects.filter(pk=job.pk, status=JobStatus.QUEUED).update(
                not_before=timezone.now() - timedelta(seconds=1)
            )
            runner.run(job.pk)
            job.refresh_from_db()
            if job.status not in ACTIVE:
                break
    return job


def secrets_of(box: Box) -> tuple[str, ...]:
    """What no tenant may read: of the drivers' words, and of this platform."""
    with scopes_disabled():
        hosts = [text for host in Host.objects.all() for text in (host.name, host.address)]
    return (*SECRETS, *hosts, box.platform.pool.location, "192.0.2.1:6641")


def columns_text(job: Job) -> str:
    """What the rows tell tenants of a failure, and the events."""
    said = [job.title, job.step, job.error_code, job.error_message, job.error_remedy]
    said += [json.dumps(job.steps)]
    with scopes_disabled():
        for model in (VM, Disk, Image, Snapshot):
            said += model.objects.values_list("failure", flat=True)
        said += Nic.objects.values_list("sync_error", flat=True)
        said += [json.dumps(data) for data in Event.objects.values_list("data", flat=True)]
        # What is of no tenant, no tenant sees.
        for row in Operation.objects.exclude(tenant=None):
            said += [row.error_message, json.dumps([row.resources, row.before, row.after])]
        said += LedgerTransaction.objects.values_list("note", flat=True)
    return "\n".join(said)


def api_text(box: Box, user: User) -> str:
    """Everything that the tenant's programs and open pages are sent."""
    program = program_of(user)
    said = [json.dumps(program.get(path).body) for path in API]
    with scopes_disabled():
        jobs = list(Job.objects.filter(tenant=user.tenant))
        said += [json.dumps(program.get(f"/jobs/{job.pk}").body) for job in jobs]
        said += [json.dumps(row.data) for row in Event.objects.filter(tenant=user.tenant)]
    return "\n".join(said)


def console_text(console: Client, user: User) -> str:
    """Everything that the tenant's pages show."""
    paths = [reverse(name) for name in PAGES]
    with scopes_disabled():
        paths += [
            reverse("task-detail", args=[job.pk]) for job in Job.objects.filter(tenant=user.tenant)
        ]
        paths += [
            reverse("operation-detail", args=[row.pk])
            for row in Operation.objects.filter(tenant=user.tenant)
        ]
        for vm in VM.objects.exclude(status__in=["binned", "destroyed", "failed"]):
            paths += [
                reverse(name, args=[vm.pk])
                for name in ("vm-detail", "vm-disks", "vm-network", "vm-log", "vm-events")
            ]
    said = []
    for path in paths:
        answer = console.get(path)
        assert answer.status_code == 200, path
        said.append(answer.content.decode())
    return "\n".join(said)


def assert_clean(text: str, box: Box, where: object) -> None:
    """Fail with the place of the first thing that must not be there."""
    for secret in secrets_of(box):
        at = text.find(secret)
        assert at < 0, (where, secret, text[max(0, at - 200) : at + 100])


def tried(number: int) -> list[tuple[str, type[Exception]]]:
    """What breaks in a case: of each driver the general error, one of its own, an unforeseen one.

    There are more cases than errors of a driver, so that each error has its turn.
    """
    return [
        (driver, kind)
        for driver, kinds in DRIVERS.items()
        for kind in dict.fromkeys((kinds[0], kinds[number % len(kinds)], kinds[-1]))
    ]


def test_every_error_has_its_turn() -> None:
    took = {one for number in range(len(CASES)) for one in tried(number)}
    assert took == {(driver, kind) for driver, kinds in DRIVERS.items() for kind in kinds}
    assert SandboxMissing in DRIVERS["storage"]


@pytest.mark.parametrize(
    ("number", "case"),
    list(enumerate(CASES)),
    ids=[f"{n}-{case.kind}" for n, case in enumerate(CASES)],
)
def test_whatever_breaks_in_a_verb_of_a_resource(
    number: int, case: Case, box: Box, broken: Broken, user: User, console: Client
) -> None:
    begin = case.prepare(box)
    box.run()
    failed = []
    mark = None
    for driver, kind in tried(number):
        if mark is not None:
            transaction.savepoint_rollback(mark)
        mark = transaction.savepoint()
        known = set(Job.objects.values_list("pk", flat=True))
        with broken.driver(driver, _made(kind)) as raised:
            begin()
            (job,) = Job.objects.exclude(pk__in=known)
            work(job)
        if case.kind == "image.import" and kind is ImageMissing:
            # That says only that it is not there yet; what fails then is to fetch it.
            continue
        if not raised or job.status != JobStatus.FAILED:
            # This verb asks nothing of that driver, or copes with it.
            continue
        where = (driver, kind.__name__)
        failed.append(where)
        assert_clean(columns_text(job), box, where)
        assert job.error_message, where
        assert SAID in job.error_detail, where
        if (len(failed) == 1 and number % 3 == 0) or WHOLE:
            # The pages show those columns, whichever error it was of whatever verb.
            assert_clean(api_text(box, user), box, where)
            assert_clean(console_text(console, user), box, where)
    assert len(failed) > 1


@pytest.mark.parametrize("kind", DRIVERS["fabric"], ids=lambda kind: kind.__name__)
def test_a_network_that_refuses(
    kind: type[Exception], box: Box, broken: Broken, user: User, console: Client, actor: Actor
) -> None:
    box.vm()
    with broken.driver("fabric", _made(kind)):
        vpcs.create_vpc(actor=actor, region=box.platform.region, name="lan", cidr="10.8.0.0/16")
        security.create_security_group(actor=actor, region=box.platform.region, name="closed")
        for job in Job.objects.filter(status__in=ACTIVE):
            work(job)
    assert Vpc.objects.get(name="lan").sync_error
    assert SAID in Vpc.objects.get(name="lan").sync_error_detail
    assert SAID in SecurityGroup.objects.get(name="closed").sync_error_detail
    assert_clean(api_text(box, user), box, kind)
    assert_clean(console_text(console, user), box, kind)


def test_a_region_without_a_network_controller(
    box: Box, user: User, console: Client, actor: Actor
) -> None:
    Region.objects.update(ovn_nb="")
    vpcs.create_vpc(actor=actor, region=box.platform.region, name="lan", cidr="10.8.0.0/16")
    box.run()
    vpc = Vpc.objects.get(name="lan")
    assert "OVN" in vpc.sync_error_detail
    text = api_text(box, user) + console_text(console, user)
    assert vpc.sync_error in text
    assert "OVN" not in text


def test_a_size_that_fits_nowhere(box: Box, user: User, console: Client, actor: Actor) -> None:
    box.vm()
    Host.objects.update(state="locked")
    assert actor.tenant is not None
    order = make_order(box.platform, actor.tenant)
    quote = quote_vms(actor=actor, order=order)
    with pytest.raises(NoCapacity) as caught:
        create_vms(actor=actor, order=order, quote_token=quote.token)
    error = caught.value
    assert error.message == "This size is not available here right now."
    assert "2 hosts" in error.detail
    assert "host" not in json.dumps(error.as_dict())
    logged = Operation.objects.filter(verb="compute.create_vm").latest("pk")
    assert logged.detail == error.detail
    text = api_text(box, user) + console_text(console, user)
    assert "This size is not available here right now." in text
    assert "2 hosts" not in text


def test_a_migration_by_an_administrator(
    box: Box, user: User, console: Client, superuser: User
) -> None:
    vm = box.vm()
    before = vm.host
    assert before is not None
    administrator = Actor.administrator(superuser, vm.tenant, "127.0.0.1")
    with pytest.raises(ScloudError):
        migrate_vm(actor=administrator, vm=vm, host=before)
    migrate_vm(actor=administrator, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert vm.host is not None
    assert vm.host != before
    assert_clean(api_text(box, user), box, "migrated")
    assert_clean(console_text(console, user), box, "migrated")
    logged = Operation.objects.filter(verb="platform.migrate_vm").latest("pk")
    assert logged.detail == f"From {before.name} to {vm.host.name}."


@pytest.mark.parametrize("kind", _kinds(HypervisorError), ids=lambda kind: kind.__name__)
def test_a_screen_that_cannot_be_opened(kind: type[Exception], box: Box, broken: Broken) -> None:
    vm = box.vm()
    with (
        broken.driver("hypervisor", _made(kind)),
        pytest.raises(ScreenUnavailable) as caught,
    ):
        prepare(vm.pk)
    assert_clean(str(caught.value), box, kind)


def test_operators_read_what_the_driver_said(
    box: Box, broken: Broken, superuser: User, actor: Actor
) -> None:
    vm = box.vm(stopped=True)
    with broken.driver("hypervisor", HypervisorError(SAID)):
        start_vm(actor=actor, vm=vm)
        (job,) = Job.objects.filter(status__in=ACTIVE)
        work(job)
    vm = VM.objects.get(pk=job.target_id)
    assert vm.failure
    http = Client()
    http.force_login(superuser)
    for page, row in (("jobs_job", job), ("compute_vm", vm)):
        shown = http.get(reverse(f"admin:{page}_change", args=[row.pk])).content.decode()
        assert "/var/lib/scloud/pools/ssd-a/disk.qcow2" in shown, page
