"""The product on the region in a box: rows for its hosts, a tenant with money, jobs run here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.utils import timezone

from compute.actions.vms import create
from compute.hypervisor.base import Hypervisor, HypervisorError
from compute.management import seeding
from compute.models import VM, Cluster, DiskType, Host, Image, Spec, StoragePool
from compute.rules.orders import VmOrder
from compute.storage.base import Storage
from compute.sweeps import reconcile
from compute.sweeps.reconcile import Rounds
from compute.tasks.drivers import hypervisor_of, storage_of
from network.fabric.base import Kind
from network.models import SecurityGroup, Subnet
from network.tasks import fabrics
from scloud.jobs import runner
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.lab import images, region
from scloud.lab.plan import Lab
from scloud.lib.errors import NotFound
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled

OWNER_PASSWORD = "correct horse 9 battery"
GUEST_PASSWORD = "Passw0rd!x"
# The same in every test, so that the image is imported into the pool once.
IMAGE_IDS = {
    "mini": "image-minitest1",
    "debian": "image-debitest1",
    "debian-nm": "image-debnmtest",
}


@dataclass
class RealPlatform:
    """A seeded platform on a real lab; ``actor`` is the owner of ``tenant``."""

    lab: Lab
    region: Region
    cluster: Cluster
    pool: StoragePool
    disk_type: DiskType
    image: Image
    tenant: Tenant
    user: User
    actor: Actor
    subnet: Subnet
    group: SecurityGroup
    vms: list[VM] = field(default_factory=list)

    @property
    def storage(self) -> Storage:
        """The driver of the pool."""
        return storage_of(self.pool)

    def hypervisor(self, vm: VM) -> Hypervisor:
        """The driver of the host that the VM is on now."""
        vm.refresh_from_db()
        if vm.host is None:
            raise NotFound(f"{vm.id} is on no host")
        return hypervisor_of(vm.host)

    def order(self, **changes: object) -> VmOrder:
        """An order of one small VM of the mini image."""
        values: dict[str, object] = {
            "region": self.region,
            "cluster": self.cluster,
            "image": self.image,
            "spec": Spec.objects.get(cluster=self.cluster, vcpus=1, memory_mib=256),
            "system_disk_type": self.disk_type,
            "system_disk_gib": 40,
            "subnet": self.subnet,
            "internal_group": self.group,
            "name": "web",
            "password": GUEST_PASSWORD,
        }
        values.update(changes)
        return VmOrder(**values)  # type: ignore[arg-type]  # checked by the action

    def buy(self, **changes: object) -> list[VM]:
        """Buy VMs; their jobs are queued, not run."""
        order = self.order(**changes)
        quote = create.quote_vms(actor=self.actor, order=order)
        vms = create.create_vms(actor=self.actor, order=order, quote_token=quote.token)
        self.vms += vms
        return vms

    def running_vm(self, *, agent: bool = False, **changes: object) -> VM:
        """Buy one VM and run its jobs; with ``agent`` wait until its agent answers."""
        vm = self.buy(**changes)[0]
        self.run_jobs()
        vm.refresh_from_db()
        assert vm.status == "running", vm.failure
        if agent:
            self.await_agent(vm)
        return vm

    def run_jobs(self, timeout_s: float = 180) -> list[Job]:
        """Run every queued job in this process, retries included, until none is left."""
        ran: list[Job] = []
        end = time.monotonic() + timeout_s
        with scopes_disabled():
            while True:
                active = list(Job.objects.filter(status__in=ACTIVE).order_by("created_at", "id"))
                if not active:
                    return ran
                assert time.monotonic() < end, f"still active: {active}"
                for job in active:
                    if job.not_before > timezone.now() + timedelta(milliseconds=1):
                        # A retry that waits for its time: the clock is not what is tested.
                        Job.objects.filter(pk=job.pk, status=JobStatus.QUEUED).update(
                            not_before=timezone.now()
                        )
                    runner.run(job.pk)
                    job.refresh_from_db()
                    if not job.is_active:
                        ran.append(job)
                time.sleep(0.02)

    @property
    def is_small(self) -> bool:
        """Whether its guests are the mini system, not a whole Debian."""
        return self.image.pk == IMAGE_IDS["mini"]

    def await_agent(self, vm: VM, timeout_s: float | None = None) -> None:
        """Wait until the guest's agent answers, and a Debian has done what it does at a boot."""
        driver = self.hypervisor(vm)
        if timeout_s is None:
            timeout_s = 90 if self.is_small else 600
        end = time.monotonic() + timeout_s
        while not driver.agent_ready(str(vm.uuid)):
            assert time.monotonic() < end, f"the agent of {vm.id} did not answer"
            time.sleep(0.3)
        if not self.is_small:
            told = self.guest(
                vm, "/bin/sh", "-c", "cloud-init status --wait --long || true", timeout_s=timeout_s
            )
            assert "status: done" in told

    def guest(self, vm: VM, *argv: str, timeout_s: float = 30) -> str:
        """Run a command in the guest through its agent; its output, stripped."""
        done = self.hypervisor(vm).run(str(vm.uuid), argv, timeout_s=timeout_s)
        assert done.exit_code == 0, (argv, done.exit_code, done.stdout, done.stderr)
        return done.stdout.decode(errors="replace").strip()

    def domains(self) -> dict[str, list[str]]:
        """What the hosts have: domain name -> names of the hosts that know it."""
        found: dict[str, list[str]] = {}
        for host in Host.objects.all():
            for domain in hypervisor_of(host).observe_all():
                found.setdefault(domain.name, []).append(host.name)
        return found

    def ports(self) -> set[str]:
        """The logical switch ports that the product owns on OVN."""
        inventory = fabrics.fabric_of(self.region).list_owned()
        return {thing.id for thing in inventory.owned if thing.kind is Kind.PORT}


@pytest.fixture
def make_real_platform(lab: Lab, transactional_db: None) -> Iterator[Callable[[str], RealPlatform]]:
    """Return a function that seeds the platform with one base image, by its name in the lab."""
    made: list[RealPlatform] = []

    def make(image: str = "mini") -> RealPlatform:
        platform = _seed(lab, image)
        made.append(platform)
        return platform

    yield make
    for platform in made:
        _clean(platform)


@pytest.fixture
def real_platform(make_real_platform: Callable[[str], RealPlatform]) -> Iterator[RealPlatform]:
    """The platform with the mini image, inside the scope of its tenant."""
    platform = make_real_platform("mini")
    with scope(tenant=platform.tenant):
        yield platform


def _seed(lab: Lab, image: str) -> RealPlatform:
    facts = region.status(lab)
    seeded = seeding.seed_platform(facts, extra_specs_mib=[(1, 256), (1, 512), (2, 512)])
    file = seeding.ImageFile(
        image,
        image,
        Path(images.ensure(image)),
        image,
        "1" if image == "mini" else "12",
        image_id=IMAGE_IDS[image],
    )
    base = seeding.seed_images(seeded, [file])[0]
    reconcile.reconcile_hosts(Rounds(patience_s=60))
    tenant, user = seeding.seed_tenant(
        name="Acme",
        email="owner@acme.test",
        password=OWNER_PASSWORD,
        region=seeded.region,
        balance=Decimal("1000.00"),
    )
    with scope(tenant=tenant):
        subnet = Subnet.objects.get()
        group = SecurityGroup.objects.get()
    return RealPlatform(
        lab=lab,
        region=seeded.region,
        cluster=seeded.cluster,
        pool=seeded.pool,
        disk_type=seeded.disk_types[0],
        image=base,
        tenant=tenant,
        user=user,
        actor=Actor(tenant=tenant, user=user, role=user.role, via="console", ip="192.0.2.7"),
        subnet=subnet,
        group=group,
    )


def _clean(platform: RealPlatform) -> None:
    """Take everything of the test off the hosts, the pool and OVN; the image stays for the next."""
    for host in Host.objects.all():
        driver = hypervisor_of(host)
        try:
            for domain in driver.observe_all():
                driver.undefine(domain.uuid)
        except HypervisorError as error:
            pytest.fail(f"cannot clean {host.name}: {error.message}")
    storage = platform.storage
    for volume in storage.list_volumes():
        storage.delete_volume(volume.volume_id)
    for kept in storage.list_images():
        if kept.image_id not in IMAGE_IDS.values():
            storage.delete_image(kept.image_id)
    shutil.rmtree(Path(platform.pool.location) / "seeds", ignore_errors=True)
    fabric = fabrics.fabric_of(platform.region)
    inventory = fabric.list_owned()
    fabric.delete_ports([thing.id for thing in inventory.owned if thing.kind is Kind.PORT])
    for kind, delete in (
        (Kind.SUBNET, fabric.delete_subnet),
        (Kind.VPC, fabric.delete_vpc),
        (Kind.SECURITY_GROUP, fabric.delete_security_group),
        (Kind.SEGMENT, fabric.delete_segment),
    ):
        for thing in inventory.owned:
            if thing.kind is kind:
                delete(thing.id)
