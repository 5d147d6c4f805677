"""Observed against intended: the domains that hosts show, and what the rows of VMs say.

Absence is an alarm and never a reason to delete a row. What lies around on hosts is removed only
when a row says that it is really gone; what no row knows is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext

from compute.hosts import machines
from compute.hypervisor.base import STARTING, DomainObservation, HypervisorError
from compute.hypervisor.base import PowerState as Power
from compute.models import VM, Disk, Host
from compute.rules.host_tests import waits_for_test
from compute.states.disks import DiskStatus, DiskTask
from compute.states.hosts import CONFIRMED_OFF, HostMove, HostState, Witness
from compute.states.vms import VmStatus
from compute.storage.base import StorageError
from compute.sweeps import maintenance, witnesses
from compute.sweeps.drift import FROZEN, close_drift, drift, note_repair
from compute.sweeps.hosts import HostAnswer, ask_in_thread, record_host
from compute.sweeps.leftovers import GONE, let_go
from compute.sweeps.sizes import KIND as OTHER_SIZE
from compute.sweeps.sizes import compare_size
from compute.tasks.base import source_of
from compute.tasks.build import attachment
from compute.tasks.drivers import hypervisor_of, keep_secrets
from compute.transitions.hosts import move
from compute.transitions.vms import forget_waiting, lose, observe
from scloud.jobs.models import ACTIVE, Job
from scloud.jobs.rows import each
from scloud.lib.backoff import Said
from scloud.lib.errors import Conflict, ScloudError
from scloud.recovery import freezing
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
MISSING_DISK = "missing_disk"
ADDED = "the host was never in service"


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
            revisions = dict(compared().values_list("pk", "revision"))
            for pk in free:
                self._asked[pk] = self._threads.submit(ask_in_thread, wanted[pk], revisions)
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
        heard = [answer for answer in answers if answer.capacity is not None]
        alive = {answer.host.pk for answer in heard}
        # Who does not answer in time says as little as who answers with an error.
        witnesses.note(Witness.LIBVIRT, {host.pk: host.pk in alive for host in hosts})
        witnesses.judge_hosts()
        known, left = compare_those_returning(heard, hosts)
        off = frozenset(host.pk for host in hosts if host.is_off and host.pk not in alive)
        reconcile_domains(known, off, left)
        maintenance.finish_entering(known)
    # Of a host that answered with an error nothing is known.
    if len(known) == len(hosts):
        freezing.reported("hosts")


@dataclass(frozen=True)
class Place:
    """A domain on a host that answered."""

    answer: HostAnswer
    domain: DomainObservation

    @property
    def host(self) -> Host:
        return self.answer.host


def compare_those_returning(
    heard: list[HostAnswer], hosts: list[Host]
) -> tuple[list[HostAnswer], list[tuple[str, str, str]]]:
    """Compare hosts that return; return the answers without what belongs elsewhere by now.

    Those of hosts that could not be compared are left out: they may show a second copy. Returns
    what stays different, too.
    """
    known = {answer.host.pk: answer for answer in heard}
    returning = [one for one in hosts if one.state == HostState.RETURNING and one.pk in known]
    left: list[tuple[str, str, str]] = []

    def compare(host: Host) -> None:
        known[host.pk], stays = compare_returning(known[host.pk], host)
        left.extend(stays)

    done = {host.pk for host in each(returning, compare, "comparing a host that returns")}
    for host in returning:
        if host.pk not in done:
            del known[host.pk]
    return list(known.values()), left


def compare_returning(
    answer: HostAnswer, host: Host
) -> tuple[HostAnswer, list[tuple[str, str, str]]]:
    """Take off a returning host what belongs elsewhere by now; return the answer without it.

    Running or not: while it was off, its VMs may have been started on other hosts. A round that
    finds nothing to take off ends the comparison. What no row knows is left alone. Returns what
    stays different, too.
    """
    rows = VM.objects.filter(uuid__in=[domain.uuid for domain in answer.domains])
    at_home = {str(vm.uuid): host.pk in (vm.host_id, vm.destination_id) for vm in rows}
    left = [domain for domain in answer.domains if not at_home.get(domain.uuid, True)]
    stays: list[tuple[str, str, str]] = []
    for domain in left:
        stays += remove_leftover(host, domain, f"{domain.name} is not on {host.name} any more")
    # Asked before it returned, a host says nothing of what it is now.
    if not left and answer.host.state_since == host.state_since:
        reason = gettext("It was compared: nothing is left on it that belongs elsewhere.")
        try:
            move(host, HostMove.COMPARED, reason=reason)
        except Conflict as error:
            log.info("%s was changed meanwhile: %s", host.name, error.message)
        else:
            log.warning("%s has returned and is %s", host.name, host.state)
            if not host.cluster.failover:
                forget_waiting(host)
    kept = tuple(domain for domain in answer.domains if domain not in left)
    return replace(answer, domains=kept), stays


def reconcile_domains(
    answers: list[HostAnswer],
    off: frozenset[str] = frozenset(),
    left: Iterable[tuple[str, str, str]] = (),
) -> None:
    """Compare the domains of the hosts that answered with the VMs that should be there.

    ``off`` are ids of hosts on which nothing is, because they are known to be off. ``left`` is
    what was found to stay different before.
    """
    seen: dict[str, list[Place]] = {}
    for answer in answers:
        for domain in answer.domains:
            seen.setdefault(domain.uuid, []).append(Place(answer, domain))
    answered = {answer.host.pk: answer for answer in answers}
    vms = list(compared().select_related("tenant", "host", "destination"))
    gone = {
        str(uuid)
        for uuid in VM.objects.filter(
            status=VmStatus.DESTROYED, host=None, uuid__in=list(seen)
        ).values_list("uuid", flat=True)
    }
    open_drift = list(left)
    busy = set(
        Job.objects.filter(status__in=ACTIVE, target_kind="vm").values_list("target_id", flat=True)
    )
    idle = []
    at: dict[str, list[Place]] = {}
    for vm in vms:
        at[vm.pk] = seen.pop(str(vm.uuid), [])
        if not vm.task and vm.id not in busy and speak_of(vm, at[vm.pk], answered):
            idle.append(vm)
    learned = each(
        idle,
        lambda vm: open_drift.extend(reconcile_vm(vm, at[vm.pk], answered.keys(), off)),
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
            MISSING_DISK,
            OTHER_SIZE,
        ),
        open_drift,
        places=[answer.host.name for answer in answers],
        # Nothing was learned of these: what was reported of them stays.
        unknown={vm.pk for vm in vms} - {vm.pk for vm in learned},
    )


def compared() -> QuerySet[VM]:
    """Return the VMs that hosts are asked about: all but those that are known to be gone."""
    return VM.objects.exclude(status=VmStatus.DESTROYED, host=None)


def speak_of(vm: VM, places: list[Place], answered: Mapping[str, HostAnswer]) -> bool:
    """Whether all that was said of a VM was asked after the VM's last change."""
    asked = [place.answer for place in places]
    ends = {vm.host_id, vm.destination_id}
    asked += [answer for pk, answer in answered.items() if pk in ends]
    return all(answer.speaks_of(vm) for answer in asked)


def reconcile_vm(
    vm: VM, places: list[Place], answered: Collection[str], off: frozenset[str] = frozenset()
) -> list[tuple[str, str, str]]:
    """Bring one idle VM in line with what the hosts say of it; return what stays different.

    ``answered`` and ``off`` are ids of hosts: of both it is known what is on them.
    """
    known = off.union(answered)
    with in_scope_of(vm.tenant):
        home = [place.domain for place in places if place.host.pk == vm.host_id]
        elsewhere = [place for place in places if place.host.pk != vm.host_id]
        left = []
        if vm.status in GONE:
            for place in places:
                left += remove_leftover(place.host, place.domain, f"{vm.name} is {vm.status}")
            if not home and vm.host_id in known:
                let_go(vm)
            return left
        for place in elsewhere:
            host, domain = place.host, place.domain
            if place.host.pk == vm.destination_id:
                # Looked at below, with its source.
                continue
            if domain.power_state == Power.RUNNING:
                # Never switched off by ourselves: somebody must look which copy is the true one.
                left.append(
                    drift("second_domain", host.name, vm.id, f"{vm.name} runs where it should not")
                )
            else:
                left += remove_leftover(host, domain, f"{vm.name} is not on {host.name}")
        if {vm.destination_id, vm.host_id or vm.destination_id} <= known:
            left += end_migration(vm, bool(home), elsewhere, off)
        if home:
            # Whatever its status: one that is unpaid is started again, perhaps after its restore.
            note_machine(vm, home[0])
        if vm.status not in (VmStatus.RUNNING, VmStatus.STOPPED):
            for domain in home:
                if vm.host is not None and vm.status != VmStatus.EXPIRED:
                    left += remove_leftover(vm.host, domain, f"{vm.name} is {vm.status}")
            return left
        if vm.host_id is None or vm.host_id not in known:
            return left
        if not home and vm.destination is not None and vm.destination_id not in known:
            # It may be there.
            return left
        runs_at = [one for one in elsewhere if one.domain.power_state == Power.RUNNING]
        # What a host had running that was given up is compared when it returns.
        given_up = any(one.host.state in CONFIRMED_OFF for one in runs_at)
        if not home and len(elsewhere) == len(runs_at) == 1 and not given_up:
            # It runs in one place, and where the row looks for it the host does not know it: a
            # migration ended while nobody could see it.
            return [*left, *follow(vm, elsewhere[0])]
        if vm.host_id in off:
            # It stopped with its host: see compute.sweeps.failover.
            return left
        if home:
            left += take_off_surplus(vm, home[0])
            if not stopped_with_its_host(vm, home[0].power_state):
                observe(
                    vm,
                    str(home[0].power_state.value),
                    revision=vm.revision,
                    reason=home[0].reason,
                    pause=home[0].pause or "",
                )
            left += missing_disks(vm, home[0])
            left += compare_size(vm, home[0])
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
            if not stopped_with_its_host(vm, Power.ABSENT):
                observe(
                    vm,
                    Power.ABSENT.value,
                    revision=vm.revision,
                    reason=gettext(
                        "The VM was not found on its host. Start it to set it up again."
                    ),
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


def stopped_with_its_host(vm: VM, power: Power) -> bool:
    """Write down that a VM stopped with its host, where that has answered before it was seen off.

    Such a host was confirmed to be off, and was on again before all witnesses had been asked: what
    does not run there was switched off with it, by nobody's order.
    """
    if vm.status != VmStatus.RUNNING or power not in (Power.STOPPED, Power.ABSENT):
        return False
    was_off = CONFIRMED_OFF | {HostState.RETURNING}
    return vm.host is not None and vm.host.state in was_off and lose(vm)


def follow(vm: VM, place: Place) -> list[tuple[str, str, str]]:
    """Let the row of an idle VM follow to the only host on which it is."""
    with transaction.atomic():
        moved = VM.objects.filter(pk=vm.pk, host=vm.host_id, revision=vm.revision, task="").update(
            host=place.host, destination=None
        )
        if moved:
            note_repair("moved_domain", place.host.name, vm.id, f"{vm.name} was found running here")
            observe(
                vm,
                str(place.domain.power_state.value),
                # Its own change of the host, in this very transaction.
                revision=vm.revision + 1,
                reason=place.domain.reason,
                pause=place.domain.pause or "",
            )
    return []


def end_migration(
    vm: VM, at_home: bool, elsewhere: list[Place], off: frozenset[str] = frozenset()
) -> list[tuple[str, str, str]]:
    """Look at the end of a migration whose hosts were silent; both have answered now, or are off.

    Frees the capacity on the destination unless the VM is there. Returns what stays different.
    """
    there = [place for place in elsewhere if place.host.pk == vm.destination_id]
    if there and there[0].domain.power_state in (Power.RUNNING, Power.PAUSED):
        if not at_home and vm.status in (VmStatus.RUNNING, VmStatus.STOPPED):
            return []  # The row follows it.
        place = there[0].host.name
        return [drift("second_domain", place, vm.id, f"{vm.name} runs where it should not")]
    if there:
        return remove_leftover(there[0].host, there[0].domain, f"{vm.name} is not there")
    # The trigger counts this change: what was asked before it says nothing any more, so the rest
    # of this round is left to the next one.
    ends: dict[str, str | None] = {"destination": None}
    if not at_home and vm.destination_id in off and vm.host_id not in off:
        # It had arrived, and stopped with its new host.
        ends["host"] = vm.destination_id
    VM.objects.filter(pk=vm.pk, revision=vm.revision, task="").update(**ends)
    return []


def note_machine(vm: VM, domain: DomainObservation) -> None:
    """Write down which machine type a VM of an earlier release has, so that it keeps it."""
    if vm.machine_type or not machines.version_of(domain.machine_type):
        return
    VM.objects.filter(pk=vm.pk, revision=vm.revision, machine_type="").update(
        machine_type=domain.machine_type
    )


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
        # No lock is held while the host is asked: a request for this disk would wait for it.
        disk = Disk.objects.filter(pk=surplus, task="").first()
        if disk is None or disk.vm_id == vm.pk or vm.host is None:
            continue
        try:
            hypervisor_of(vm.host).detach_disk(str(vm.uuid), surplus)
            put_back_if_wanted(vm, vm.host, surplus)
        except (HypervisorError, ScloudError, StorageError) as error:
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


def put_back_if_wanted(vm: VM, host: Host, disk_id: str) -> None:
    """Attach a disk again that was attached to this VM while it was being taken off.

    The job that attaches it found it there and may have ended already.
    """
    disk = Disk.objects.select_related("disk_type", "pool").filter(pk=disk_id, vm=vm).first()
    if disk is not None and disk.task != DiskTask.DETACHING and not disk.is_damaged:
        driver = hypervisor_of(host)
        keep_secrets(driver, [disk])
        driver.attach_disk(str(vm.uuid), attachment(disk, source_of(disk)))


def missing_disks(vm: VM, domain: DomainObservation) -> list[tuple[str, str, str]]:
    """Report disks that hang on a VM after the rows and not on its running domain.

    Nothing is attached by itself: a guest may have started without the disk on purpose.
    """
    if vm.host is None or domain.power_state not in (Power.RUNNING, Power.PAUSED):
        return []
    there = {disk.id for disk in domain.disks}
    rows = Disk.objects.filter(vm=vm, task="", status=DiskStatus.BOUND).exclude(pk__in=there)
    return [
        drift(
            MISSING_DISK,
            vm.host.name,
            disk.pk,
            f"it does not hang on {vm.name}; the next start of the VM attaches it",
        )
        for disk in rows
    ]


def remove_leftover(host: Host, domain: DomainObservation, why: str) -> list[tuple[str, str, str]]:
    """Take a domain off a host where no row wants it any more.

    Returns what stays different, because the sweeps are frozen or the host was never in service:
    one that was added with another's address shows what is at home there.
    """
    if waits_for_test(host):
        return [drift("leftover_domain", host.name, domain.name, f"{why}; not removed: {ADDED}")]
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
