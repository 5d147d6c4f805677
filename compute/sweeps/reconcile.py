"""Observed against intended: what hosts and pools show, and what the rows say.

Absence is an alarm and never a reason to delete a row. What lies around on hosts and pools is
removed only when a row says that it is really gone; what no row knows is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext

from compute.hosts import gpu
from compute.hypervisor.base import STARTING, DomainObservation, HostCapacity, HypervisorError
from compute.hypervisor.base import PowerState as Power
from compute.models import VM, Disk, Drift, Host, Image, StoragePool
from compute.states.disks import DiskStatus
from compute.states.images import ImageStatus
from compute.states.vms import VmStatus
from compute.storage.base import StorageError
from compute.tasks.base import true_status
from compute.tasks.drivers import hypervisor_of, storage_of
from compute.tasks.vms.lifecycle import give_back_all, take_apart
from compute.transitions import vms as transitions
from scloud.audit import events
from scloud.jobs.handlers import Context, handler_for, knows
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.jobs.rows import Rota, each
from scloud.jobs.runner import give_up
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
KEEP_REPAIRED = timedelta(days=90)
FROZEN = "sweeps are frozen after a restore"
_stuck = Rota("task_deadline", 50)


@dataclass(frozen=True)
class HostAnswer:
    """What one host said, or why it said nothing.

    ``revisions`` are those of all VMs before the host was asked: of a VM whose revision is another
    one by now, the answer says nothing.
    """

    host: Host
    capacity: HostCapacity | None = None
    domains: tuple[DomainObservation, ...] = ()
    error: str = ""
    revisions: Mapping[str, int] = field(default_factory=dict)

    def speaks_of(self, vm: VM) -> bool:
        """Whether the VM is still as it was when the host was asked."""
        return self.revisions.get(vm.pk) == vm.revision


def ask_host(host: Host, revisions: Mapping[str, int]) -> HostAnswer:
    """Ask one host for its capacity and all its domains."""
    try:
        driver = hypervisor_of(host)
        return HostAnswer(host, driver.capacity(), driver.observe_all(), revisions=revisions)
    except HypervisorError as error:
        return HostAnswer(host, error=error.message)


def _ask_in_thread(host: Host, revisions: Mapping[str, int]) -> HostAnswer:
    try:
        return ask_host(host, revisions)
    finally:
        connection.close()


class Rounds:
    """Asks hosts round by round; one that takes its time is waited for in later rounds.

    A host is asked again only after it answered or its call failed, so a silent one costs one
    thread and holds up nobody.
    """

    def __init__(self, *, patience_s: float = 2.0, threads: int = 64) -> None:
        self._patience_s = patience_s
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="ask-host")
        self._asked: dict[str, Future[HostAnswer]] = {}

    def ask(self, hosts: list[Host]) -> list[HostAnswer]:
        """Return what is known after ``patience_s``: answers of this round and late ones."""
        wanted = {host.pk: host for host in hosts}
        for pk in self._asked.keys() - wanted.keys():
            if self._asked[pk].done():
                del self._asked[pk]
        free = [pk for pk in wanted if pk not in self._asked]
        if free:
            # Read before anybody is asked: that is what makes an answer comparable.
            revisions = dict(
                VM.objects.exclude(status=VmStatus.DESTROYED).values_list("pk", "revision")
            )
            for pk in free:
                self._asked[pk] = self._threads.submit(_ask_in_thread, wanted[pk], revisions)
        wait([self._asked[pk] for pk in wanted], timeout=self._patience_s)
        done = [pk for pk in wanted if self._asked[pk].done()]
        return [self._asked.pop(pk).result() for pk in done]


_rounds = Rounds()


def reconcile_hosts(rounds: Rounds | None = None) -> None:
    """Ask all hosts at once, then bring power states, capacities and drift up to date."""
    with scopes_disabled():
        hosts = list(Host.objects.select_related("cluster"))
        answers = (rounds or _rounds).ask(hosts)
        for answer in answers:
            record_host(answer)
        reconcile_domains([answer for answer in answers if answer.capacity is not None])
    if len(answers) == len(hosts):
        freezing.reported("hosts")


@dataclass(frozen=True)
class Place:
    """A domain on a host that answered."""

    answer: HostAnswer
    domain: DomainObservation

    @property
    def host(self) -> Host:
        return self.answer.host


def record_host(answer: HostAnswer) -> None:
    """Write down what a host has, or since when it is silent."""
    now = timezone.now()
    row = Host.objects.filter(pk=answer.host.pk)
    if answer.capacity is None:
        row.update(last_error=answer.error[:300])
        row.filter(unreachable_since=None).update(unreachable_since=now)
        return
    capacity = answer.capacity
    row.update(
        vcpus=capacity.vcpus,
        memory_mib=capacity.memory_mib,
        accelerated=capacity.accelerated,
        version=f"{capacity.hypervisor_version} / libvirt {capacity.libvirt_version}"[:60],
        observed_at=now,
        unreachable_since=None,
        last_error="",
    )


def reconcile_domains(answers: list[HostAnswer]) -> None:
    """Compare the domains of the hosts that answered with the VMs that should be there."""
    seen: dict[str, list[Place]] = {}
    for answer in answers:
        for domain in answer.domains:
            seen.setdefault(domain.uuid, []).append(Place(answer, domain))
    answered = {answer.host.pk: answer for answer in answers}
    vms = list(VM.objects.select_related("tenant", "host").exclude(status=VmStatus.DESTROYED))
    gone = {
        str(uuid)
        for uuid in VM.objects.filter(status=VmStatus.DESTROYED, uuid__in=list(seen)).values_list(
            "uuid", flat=True
        )
    }
    open_drift: list[tuple[str, str, str]] = []
    busy = set(
        Job.objects.filter(status__in=ACTIVE, target_kind="vm").values_list("target_id", flat=True)
    )
    idle = []
    at: dict[str, list[Place]] = {}
    for vm in vms:
        at[vm.pk] = seen.pop(str(vm.uuid), [])
        if not vm.task and vm.id not in busy and speak_of(vm, at[vm.pk], answered):
            idle.append(vm)
    compared = each(
        idle,
        lambda vm: open_drift.extend(reconcile_vm(vm, at[vm.pk], answered)),
        "comparing a VM with the hosts",
    )
    for uuid, places in seen.items():
        for place in places:
            host, domain = place.host, place.domain
            if uuid in gone:
                open_drift += remove_leftover(host, domain, f"{domain.name} was destroyed")
            else:
                open_drift.append(
                    drift("unknown_domain", host.name, domain.name, "no VM has this domain")
                )
    close_drift(
        (
            "unknown_domain",
            "missing_domain",
            "second_domain",
            "unfinished_start",
            "leftover_domain",
            "surplus_disk",
        ),
        open_drift,
        places=[answer.host.name for answer in answers],
        # Nothing was learned of these: what was reported of them stays.
        unknown={vm.pk for vm in vms} - {vm.pk for vm in compared},
    )


def speak_of(vm: VM, places: list[Place], answered: Mapping[str, HostAnswer]) -> bool:
    """Whether all that was said of a VM was asked after the VM's last change."""
    home = answered.get(vm.host_id or "")
    asked = [place.answer for place in places] + ([home] if home else [])
    return all(answer.speaks_of(vm) for answer in asked)


def reconcile_vm(
    vm: VM, places: list[Place], answered: Mapping[str, HostAnswer]
) -> list[tuple[str, str, str]]:
    """Bring one idle VM in line with what the hosts say of it; return what stays different."""
    with in_scope_of(vm.tenant):
        home = [place.domain for place in places if place.host.pk == vm.host_id]
        elsewhere = [place for place in places if place.host.pk != vm.host_id]
        left = []
        for place in elsewhere:
            host, domain = place.host, place.domain
            if domain.power_state == Power.RUNNING:
                # Never switched off by ourselves: somebody must look which copy is the true one.
                left.append(
                    drift("second_domain", host.name, vm.id, f"{vm.name} runs where it should not")
                )
            else:
                left += remove_leftover(host, domain, f"{vm.name} is not on {host.name}")
        if vm.status not in (VmStatus.RUNNING, VmStatus.STOPPED):
            for domain in home:
                if vm.host is not None and vm.status != VmStatus.EXPIRED:
                    left += remove_leftover(vm.host, domain, f"{vm.name} is {vm.status}")
            return left
        if vm.host_id is None or vm.host_id not in answered:
            return left
        if not home and len(elsewhere) == 1 and elsewhere[0].domain.power_state == Power.RUNNING:
            # It runs in one place, and where the row looks for it the host does not know it: a
            # migration ended while nobody could see it.
            return follow(vm, elsewhere[0])
        if home:
            left += take_off_surplus(vm, home[0])
            transitions.observe(
                vm, str(home[0].power_state.value), revision=vm.revision, reason=home[0].reason
            )
            if home[0].reason == STARTING and vm.host is not None:
                left.append(
                    drift(
                        "unfinished_start",
                        vm.host.name,
                        vm.id,
                        f"libvirt was interrupted while it started {vm.name} and must be "
                        "restarted, with the hook for hosts in place",
                    )
                )
        else:
            transitions.observe(
                vm,
                Power.ABSENT.value,
                revision=vm.revision,
                reason="The host does not know the VM.",
            )
            if vm.host is not None:
                left.append(
                    drift(
                        "missing_domain",
                        vm.host.name,
                        vm.id,
                        f"{vm.name} should be on {vm.host.name}; starting it defines it again",
                    )
                )
        return left


def follow(vm: VM, place: Place) -> list[tuple[str, str, str]]:
    """Let the row of an idle VM follow to the only host on which it is."""
    with transaction.atomic():
        moved = VM.objects.filter(pk=vm.pk, host=vm.host_id, revision=vm.revision, task="").update(
            host=place.host
        )
        if moved:
            note_repair("moved_domain", place.host.name, vm.id, f"{vm.name} was found running here")
            transitions.observe(
                vm,
                str(place.domain.power_state.value),
                # Its own change of the host, in this very transaction.
                revision=vm.revision + 1,
                reason=place.domain.reason,
            )
    return []


def take_off_surplus(vm: VM, domain: DomainObservation) -> list[tuple[str, str, str]]:
    """Detach disks that hang on the domain and, after the rows, on something else or nothing.

    Returns what stays different, because the sweeps are frozen.
    """
    rows = set(Disk.objects.filter(vm=vm).values_list("pk", flat=True))
    surplus_ids = sorted({disk.id for disk in domain.disks} - rows)
    if surplus_ids and vm.host is not None and freezing.is_frozen():
        return [
            drift(
                "surplus_disk", vm.host.name, one, f"it hangs on {vm.name}; not taken off: {FROZEN}"
            )
            for one in surplus_ids
        ]
    for surplus in surplus_ids:
        with transaction.atomic():
            # While the row is held nobody begins to attach the disk anywhere.
            disk = Disk.objects.select_for_update().filter(pk=surplus, task="").first()
            if disk is None or disk.vm_id == vm.pk or vm.host is None:
                continue
            try:
                hypervisor_of(vm.host).detach_disk(str(vm.uuid), surplus)
            except HypervisorError as error:
                said.say(
                    (vm.id, surplus),
                    error.code,
                    logging.WARNING,
                    "%s stays on %s: %s",
                    surplus,
                    vm.id,
                    error.message,
                )
                continue
            note_repair("surplus_disk", vm.host.name, surplus, f"it still hung on {vm.name}")
    return []


def remove_leftover(host: Host, domain: DomainObservation, why: str) -> list[tuple[str, str, str]]:
    """Take a domain off a host where no row wants it any more.

    Returns what stays different, because the sweeps are frozen.
    """
    if freezing.is_frozen():
        return [drift("leftover_domain", host.name, domain.name, f"{why}; not removed: {FROZEN}")]
    try:
        hypervisor_of(host).undefine(domain.uuid)
    except HypervisorError as error:
        said.say(
            (host.pk, domain.name),
            error.code,
            logging.WARNING,
            "%s on %s could not be removed: %s",
            domain.name,
            host.name,
            error.message,
        )
        return []
    log.info("%s removed from %s: %s", domain.name, host.name, why)
    note_repair("leftover_domain", host.name, domain.name, why)
    return []


def drift(kind: str, place: str, resource_id: str, detail: str) -> tuple[str, str, str]:
    """Report a difference that stays; return its key."""
    now = timezone.now()
    row, created = Drift.objects.get_or_create(
        kind=kind,
        place=place,
        resource_id=resource_id,
        repaired_at=None,
        defaults={"detail": detail},
    )
    if not created:
        Drift.objects.filter(pk=row.pk).update(last_seen_at=now, detail=detail)
    return kind, place, resource_id


def note_repair(kind: str, place: str, resource_id: str, detail: str) -> None:
    """Report a difference that was repaired at once."""
    Drift.objects.create(
        kind=kind,
        place=place,
        resource_id=resource_id,
        detail=detail[:500],
        repaired_at=timezone.now(),
    )


def close_drift(
    kinds: Iterable[str],
    still_open: list[tuple[str, str, str]],
    *,
    places: Iterable[str] | None = None,
    unknown: Collection[str] = (),
) -> None:
    """Mark the differences of these kinds that are gone as repaired.

    Only those of ``places`` (all, if None) that answered, and none of the resources in ``unknown``,
    of which nothing was learned this time.
    """
    keep = set(still_open)
    rows = Drift.objects.filter(kind__in=list(kinds), repaired_at=None)
    if places is not None:
        rows = rows.filter(place__in=list(places))
    for row in rows.exclude(resource_id__in=list(unknown)):
        if (row.kind, row.place, row.resource_id) not in keep:
            Drift.objects.filter(pk=row.pk).update(repaired_at=timezone.now())


def forget_repaired() -> int:
    """Delete differences that were repaired three months ago; return how many."""
    deleted, _ = Drift.objects.filter(repaired_at__lt=timezone.now() - KEEP_REPAIRED).delete()
    return int(deleted)


def reconcile_gpus() -> None:
    """Take the inventory of the accelerators of clusters that have some."""
    with scopes_disabled():
        rows = Host.objects.exclude(cluster__gpu_type="").filter(unreachable_since=None)
        each(list(rows), _record_gpus, "the inventory of a host")


def _record_gpus(host: Host) -> None:
    try:
        gpu.record(host, hypervisor_of(host).pci_devices())
    except HypervisorError as error:
        said.say(
            (host.pk, "inventory"),
            error.code,
            logging.WARNING,
            "no inventory of %s: %s",
            host.name,
            error.message,
        )


def reconcile_pools() -> None:
    """Measure the pools and remove volumes, images and temporary files that no row wants."""
    with scopes_disabled():
        each(list(StoragePool.objects.all()), _reconcile_or_tell, "comparing a pool")
    freezing.reported("pools")


def _reconcile_or_tell(pool: StoragePool) -> None:
    try:
        reconcile_pool(pool)
    except StorageError as error:
        StoragePool.objects.filter(pk=pool.pk).update(last_error=error.message[:300])


def reconcile_pool(pool: StoragePool) -> None:
    """Bring one pool in line with the rows; raises StorageError when it is not there."""
    storage = storage_of(pool)
    capacity = storage.capacity()
    StoragePool.objects.filter(pk=pool.pk).update(
        total_bytes=capacity.total_bytes,
        available_bytes=capacity.available_bytes,
        observed_at=timezone.now(),
        last_error="",
    )
    storage.sweep_temporary()
    open_drift: list[tuple[str, str, str]] = []
    frozen = freezing.is_frozen()
    volumes = {info.volume_id for info in storage.list_volumes()}
    disks: dict[str, Any] = {
        disk.pk: disk
        for disk in Disk.objects.filter(pool=pool).only("id", "status", "created_at", "task")
    }
    for volume_id in volumes:
        disk = disks.get(volume_id)
        if disk is None:
            open_drift.append(
                drift("unknown_volume", pool.pk, volume_id, "no disk has this volume")
            )
        elif disk.status in (DiskStatus.DESTROYED, DiskStatus.FAILED) and not disk.task:
            if frozen:
                detail = f"its disk is gone; not removed: {FROZEN}"
                open_drift.append(drift("leftover_volume", pool.pk, volume_id, detail))
                continue
            try:
                storage.delete_volume(volume_id)
                note_repair("leftover_volume", pool.pk, volume_id, "its disk is gone")
            except StorageError as error:
                said.say(
                    volume_id,
                    error.code,
                    logging.WARNING,
                    "volume %s could not be removed: %s",
                    volume_id,
                    error.message,
                )
    kept = (DiskStatus.BOUND, DiskStatus.UNBOUND, DiskStatus.BINNED, DiskStatus.EXPIRED)
    open_drift += [
        drift("missing_volume", pool.pk, disk.pk, "the disk's volume is not in the pool")
        for disk in disks.values()
        if disk.pk not in volumes and not disk.task and disk.status in kept
    ]
    images = {info.image_id for info in storage.list_images()}
    rows = {image.pk: image for image in Image.objects.filter(pool=pool)}
    for image_id in images:
        image = rows.get(image_id)
        if image is None:
            open_drift.append(drift("unknown_image", pool.pk, image_id, "no image has this file"))
        elif image.status in (ImageStatus.DESTROYED, ImageStatus.FAILED):
            if frozen:
                detail = f"its image is gone; not removed: {FROZEN}"
                open_drift.append(drift("leftover_image", pool.pk, image_id, detail))
                continue
            try:
                storage.delete_image(image_id)
                note_repair("leftover_image", pool.pk, image_id, "its image is gone")
            except StorageError as error:
                said.say(
                    image_id,
                    error.code,
                    logging.WARNING,
                    "image %s could not be removed: %s",
                    image_id,
                    error.message,
                )
    open_drift += [
        drift("missing_image", pool.pk, image.pk, "the image's file is not in the pool")
        for image in rows.values()
        if image.pk not in images and image.status == ImageStatus.AVAILABLE
    ]
    close_drift(
        (
            "unknown_volume",
            "missing_volume",
            "leftover_volume",
            "unknown_image",
            "missing_image",
            "leftover_image",
        ),
        [*open_drift, *_of_other_pools(pool)],
    )


def _of_other_pools(pool: StoragePool) -> list[tuple[str, str, str]]:
    rows = Drift.objects.filter(repaired_at=None).exclude(place=pool.pk)
    return [(row.kind, row.place, row.resource_id) for row in rows]


def land_stuck() -> int:
    """Land VMs whose task outlived its deadline: the second net under the jobs' own deadlines.

    It catches what has no live job any more, whatever the reason. A live job has a deadline of
    its own, which moves with its progress and which the sweep of the jobs looks at; one of a kind
    that this release does not know is left to a newer one. A job that ended without landing its
    VM lands it now, with all that its handler gives back.
    """
    with scopes_disabled():
        stuck = _stuck.take(
            VM.objects.select_related("tenant", "host")
            .exclude(task="")
            .filter(task_deadline__lt=timezone.now())
            .exclude(task_job__in=Job.objects.filter(status__in=ACTIVE).values("pk"))
        )
    landed: list[str] = []

    def land(vm: VM) -> None:
        with in_scope_of(vm.tenant):
            if _land(vm):
                landed.append(vm.pk)

    each(stuck, land, "landing a VM")
    return len(landed)


def _land(vm: VM) -> bool:
    error = ScloudError(gettext("It did not end in time."), code="deadline_exceeded")
    job = Job.objects.filter(pk=vm.task_job).first()
    if job is not None and (job.is_active or not knows(job.kind)):
        return False
    if job is not None and job.status != JobStatus.SUCCEEDED:
        handler = handler_for(job.kind)
        context = Context(job, still_mine=lambda: True, report=lambda fraction, words: None)
        give_up(context, handler, error)
        with transaction.atomic():
            handler.on_failure(context, error)
        if not VM.objects.filter(pk=vm.pk, task_job=vm.task_job).exclude(task="").exists():
            return True
    elif vm.status == VmStatus.NEW:
        # Its job is gone and will not give anything back.
        try:
            take_apart(vm)
        except ScloudError as left:
            said.say(vm.pk, left.code, logging.WARNING, "%s: %s", vm.pk, left.message)
        with transaction.atomic():
            give_back_all(vm, error.message)
    status = true_status(vm) if vm.status in (VmStatus.RUNNING, VmStatus.STOPPED) else vm.status
    if vm.status == VmStatus.NEW:
        status = VmStatus.FAILED
    changed = VM.objects.filter(pk=vm.pk, task=vm.task, task_job=vm.task_job).update(
        status=status,
        task="",
        task_job="",
        task_deadline=None,
        failure_code="deadline_exceeded",
        failure=gettext("The operation did not end in time and was given up."),
    )
    if changed:
        events.emit(
            tenant_id=vm.tenant_id,
            kind="vm.landed",
            resource_kind="vm",
            resource_id=vm.id,
            data={"status": status},
        )
    return bool(changed)
