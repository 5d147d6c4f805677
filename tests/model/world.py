"""A platform on drivers in memory for the model: tenants, a clock, workers that die, faults.

Everything that is random or slow elsewhere is neither here: ids come from a seeded source, guests
boot at once, and time passes only where a step says so. So a run can be repeated from its seed.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from compute.hypervisor.base import PauseReason
from compute.hypervisor.fake import (
    FakeDomain,
    FakeHost,
    FakeHypervisor,
    fake_host,
    forget_fake_hosts,
    pause,
)
from compute.models import VM, DiskType, Host, StoragePool
from compute.states.hosts import Witness
from compute.storage.fake import FakeStorage, forget_fake_pools
from compute.sweeps import maintenance, reconcile, witnesses
from compute.sweeps.hosts import HostAnswer, ask_host, record_host
from compute.tasks.drivers import hypervisor_of, storage_of
from network.actions.defaults import ensure_tenant_defaults
from network.fabric import fake as fake_fabric
from network.fabric.base import FabricUnreachable
from network.tasks import fabrics
from scloud.jobs import faults, handlers, periodic, runner, sweep
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.lib import ids, lease
from scloud.lib.errors import ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.billing.helpers import fund
from tests.compute.box import WorkerDied
from tests.compute.factories import Platform, make_platform
from tests.fixtures import new_user
from tests.outside import make_segment

BEGINS = datetime(2026, 3, 2, 0, 10, tzinfo=UTC)
# Chores that are about the machine on which they run, not about the platform.
NOT_OURS = ("compute.hosts", "compute.staging", "rest.")
PURSES = {"Acme": "5000", "Rival": "60", "Thrift": "3"}


class Clock:
    """The time of this process and of its statements, which a step can move on."""

    def __init__(self) -> None:
        self.shift = BEGINS - datetime.now(UTC)

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self.shift += by

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Make it the clock of Django and of ``Now()``."""
        clock = self

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + clock.shift

        def now_sql(self: Now, compiler: Any, connection: Any, **context: Any) -> Any:
            seconds = f"{clock.shift.total_seconds():.6f}"
            template = f"(STATEMENT_TIMESTAMP() + INTERVAL '{seconds} seconds')"
            return self.as_sql(compiler, connection, template=template, **context)

        patch.setattr(timezone, "datetime", Shifted)
        patch.setattr(Now, "as_postgresql", now_sql)


class Complaints(logging.Handler):
    """Errors that nobody expected: sweeps and workers log them and go on."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep those with a traceback."""
        if record.exc_info and record.exc_info[1] is not None:
            self.heard.append(logging.Formatter().format(record))


@dataclass
class World:
    """What the steps of a run act on, and the journal of them."""

    platform: Platform
    region: Region
    hosts: list[Host]
    pools: list[StoragePool]
    disk_types: list[DiskType]
    actors: dict[str, Actor]
    administrator: User
    clock: Clock
    fabric: fake_fabric.World
    complaints: Complaints
    journal: list[str] = field(default_factory=list)
    late: list[list[HostAnswer]] = field(default_factory=list)
    named: int = 0

    # -- telling ------------------------------------------------------------------------------

    def say(self, words: str) -> None:
        """Add a line to the journal."""
        self.journal.append(words)

    def name(self, word: str) -> str:
        """Return a name that nothing had in this run."""
        self.named += 1
        return f"{word}{self.named}"

    def attempt(self, words: str, verb: Callable[[], object]) -> None:
        """Invoke a verb; a refusal is an answer like another, anything else ends the run."""
        try:
            verb()
        except ScloudError as error:
            self.say(f"{words}: refused ({error.code})")
        else:
            self.say(words)

    # -- drivers -------------------------------------------------------------------------------

    def host(self, number: int) -> FakeHost:
        """The machine behind a host's row."""
        return fake_host(self.hosts[number % len(self.hosts)].uri)

    def pool(self, number: int) -> FakeStorage:
        """The storage behind a pool's row."""
        found = storage_of(self.pools[number % len(self.pools)])
        assert isinstance(found, FakeStorage)
        return found

    def mend(self) -> None:
        """End all faults."""
        for host in self.hosts:
            machine = fake_host(host.uri)
            machine.faults = type(machine.faults)()
        for number in range(len(self.pools)):
            pool = self.pool(number)
            pool.faults = type(pool.faults)()
        self.fabric.failure = None

    def lose_network(self) -> None:
        """Let the network controller be away."""
        self.fabric.failure = FabricUnreachable("The database does not answer.")

    def running(self, vm: VM) -> tuple[FakeHost, FakeDomain] | None:
        """Return where a VM runs, and its domain."""
        for host in self.hosts:
            machine = fake_host(host.uri)
            domain = machine.domains.get(str(vm.uuid))
            if domain is not None and domain.running is not None:
                return machine, domain
        return None

    def switch_off(self, vm: VM) -> bool:
        """Let a guest shut itself down; False where it does not run."""
        found = self.running(vm)
        if found is not None:
            FakeHypervisor(found[0])._stop(found[1], "shut down")
        return found is not None

    def pause(self, vm: VM) -> bool:
        """Let an operator pause a guest by hand; False where it does not run."""
        found = self.running(vm)
        if found is not None:
            pause(found[1], PauseReason.BY_HAND)
        return found is not None

    # -- workers -------------------------------------------------------------------------------

    def active(self) -> list[Job]:
        """Jobs that have not ended, the oldest first."""
        with scopes_disabled():
            return list(Job.objects.filter(status__in=ACTIVE).order_by("created_at", "id"))

    def work(self, job: Job, trap: Trap | None = None) -> str:
        """Let a worker take a job, whose wait or lease is over; return what became of it."""
        with scopes_disabled():
            past = Now() - timedelta(seconds=1)
            rows = Job.objects.filter(pk=job.pk)
            rows.filter(status=JobStatus.QUEUED).update(not_before=past)
            rows.filter(status=JobStatus.RUNNING).update(lease_until=past)
        if trap is None:
            return runner.run(job.pk)
        with trap.set(job):
            try:
                return runner.run(job.pk)
            except WorkerDied:
                return f"its worker died ({trap.sprung})"

    def work_on(self, count: int) -> None:
        """Let workers take the oldest jobs, one attempt each."""
        for job in self.active()[:count]:
            self.say(f"  worker: {job.kind} on {self.label(job)}: {self.work(job)}")

    def label(self, job: Job) -> str:
        """How the journal calls what a job is about."""
        return job.title or job.target_id

    # -- sweeps --------------------------------------------------------------------------------

    def ask(self) -> list[HostAnswer]:
        """What the hosts say now."""
        with scopes_disabled():
            revisions = dict(VM.objects.values_list("pk", "revision"))
            return [ask_host(host, revisions) for host in Host.objects.order_by("pk")]

    def hear(self, answers: list[HostAnswer]) -> None:
        """Let answers of hosts land."""
        with scopes_disabled():
            for answer in answers:
                record_host(answer)
            heard = [answer for answer in answers if answer.capacity is not None]
            alive = {answer.host.pk for answer in heard}
            witnesses.note(
                Witness.LIBVIRT, {answer.host.pk: answer.host.pk in alive for answer in answers}
            )
            hosts = list(Host.objects.select_related("cluster"))
            known, left = reconcile.compare_those_returning(heard, hosts)
            reconcile.reconcile_domains(known, left=left)
            maintenance.finish_entering(known)

    def sweep_all(self) -> None:
        """Run every chore once."""
        for chore in list(periodic._chores.values()):
            if not chore.name.startswith(NOT_OURS):
                chore.run()
        sweep.end_overdue()
        self.hear(self.ask())

    def settle(self) -> None:
        """End the faults and let workers and sweeps do their work until there is none."""
        self.mend()
        self.late.clear()
        quiet = 0
        for _round in range(30):
            worked = self._drain()
            self.sweep_all()
            quiet = 0 if worked or self.active() else quiet + 1
            if quiet == 3:
                return
            # Younger changes are left to the jobs that are on their way.
            self.clock.move(timedelta(seconds=61))
        waiting = [f"{job.kind} on {self.label(job)}" for job in self.active()]
        raise AssertionError(f"the platform does not come to rest: {waiting}")

    def _drain(self) -> int:
        worked = 0
        for _round in range(60):
            active = self.active()
            if not active:
                return worked
            for job in active:
                self.work(job)
                worked += 1
        return worked


@dataclass
class Trap:
    """What happens to a worker when it passes its n-th point: before or after a step, or right
    before it publishes something.

    It dies there, or another worker takes the job meanwhile and this one goes on unknowingly.
    """

    at: int
    dies: bool
    passed: int = 0
    sprung: str = ""

    @contextmanager
    def set(self, job: Job) -> Iterator[None]:
        """Lay it for what runs within."""
        real = lease.confirm

        def reach(point: str) -> None:
            self.passed += 1
            if self.sprung or self.passed != self.at:
                return
            self.sprung = point
            if self.dies:
                raise WorkerDied(point)
            with scopes_disabled():
                Job.objects.filter(pk=job.pk).update(
                    attempt=F("attempt") + 1, lease_until=Now() - timedelta(seconds=1)
                )

        def confirm() -> None:
            reach("before it publishes")
            real()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lease, "confirm", confirm)
            faults.install(reach)
            try:
                yield
            finally:
                faults.install(None)


def _platform(region: Region) -> tuple[Platform, list[StoragePool], list[DiskType]]:
    platform = make_platform(region, vcpus=8, memory_mib=40_960)
    second = StoragePool.objects.create(
        id="second-pool", region=region, kind="fake", location="second-pool"
    )
    slow = DiskType.objects.create(id="hdd", region=region, pool=second, alias="HDD")
    return platform, [platform.pool, second], [platform.disk_type, slow]


@contextmanager
def new_world() -> Iterator[World]:
    """Make a world in a transaction that is taken back afterwards."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        stack.enter_context(_taken_back())
        source = random.Random(7)
        patch.setattr(
            ids, "secrets", SimpleNamespace(choice=source.choice, randbelow=source.randrange)
        )
        # A worker gives its slot back at the first look at what it waits for.
        patch.setattr(handlers, "KEEPS_SLOT_S", 0.0)
        clock = Clock()
        clock.install(patch)
        fabric = fake_fabric.World()
        patch.setattr(
            fabrics, "connect", lambda nb, *, owner, **more: fake_fabric.FakeFabric(fabric, owner)
        )
        stack.callback(fabrics.close_all)
        fabrics.close_all()
        stack.callback(forget_fake_hosts)
        stack.callback(forget_fake_pools)
        forget_fake_hosts()
        forget_fake_pools()
        complaints = Complaints()
        root = logging.getLogger()
        root.addHandler(complaints)
        stack.callback(root.removeHandler, complaints)

        region = Region.objects.create(id="box", name="Box", ovn_nb="tcp:192.0.2.1:6641")
        platform, pools, disk_types = _platform(region)
        PlatformSettings.objects.update_or_create(
            pk=1, defaults={"bin_retention_s": 20 * 3600, "expired_grace_days": 1}
        )
        for host in platform.hosts:
            hypervisor_of(host)
            machine = fake_host(host.uri)
            machine.boot_s = machine.shutdown_s = 0.0
            machine.vcpus, machine.memory_mib = host.vcpus, host.memory_mib
        # Few addresses, so that they are soon used again; both on one VLAN.
        make_segment(region, cidr="203.0.113.0/28")
        make_segment(
            region,
            name="office",
            cidr="198.51.100.0/28",
            gateway="198.51.100.1",
            route_policy="specified",
            destinations=["10.99.0.0/16"],
        )
        actors = {}
        for name, cash in PURSES.items():
            tenant = Tenant.objects.create(name=name)
            user = new_user(tenant)
            fund(tenant, cash=cash, gift="1")
            ensure_tenant_defaults(tenant, region)
            actors[name] = Actor(tenant=tenant, user=user, role=user.role, via="console")
        administrator = User.objects.create_superuser("operator@platform.test", None)
        world = World(
            platform,
            region,
            platform.hosts,
            pools,
            disk_types,
            actors,
            administrator,
            clock,
            fabric,
            complaints,
        )
        world.pool(0).add_image(platform.image.pk, size_gib=2)
        world._drain()
        yield world


@contextmanager
def _taken_back() -> Iterator[None]:
    block = transaction.atomic()
    block.__enter__()
    try:
        yield
    finally:
        transaction.set_rollback(True)
        block.__exit__(None, None, None)
