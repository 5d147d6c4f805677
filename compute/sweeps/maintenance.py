"""Hosts that enter maintenance: their VMs are taken off them, until nothing runs there any more.

Asks no host. What is to be done follows from the rows in each round, so that a sweeper that dies
leaves the next one to go on. While the sweeps are frozen after a restore nothing happens.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.actions.maintenance import abort_maintenance, advance_roll
from compute.actions.vms.migrate import migrate_vm
from compute.actions.vms.vacate import evacuate_vm, rehome_vm
from compute.hosts import placement
from compute.hypervisor.base import PowerState as Power
from compute.models import VM, ClusterRoll, Disk, Host, HostMaintenance
from compute.queries.maintenance import (
    cannot_move,
    jobs_that_may_return_to,
    obstacle,
    standing,
    vms_on,
)
from compute.states.hosts import IN_MAINTENANCE, IN_SERVICE, HostMove, HostState
from compute.states.maintenance import DepartureState, Way
from compute.states.vms import VmStatus, VmTask
from compute.sweeps.hosts import HostAnswer
from compute.transitions import maintenance as transitions
from compute.transitions.hosts import move
from scloud.jobs import service as jobs
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.jobs.rows import each
from scloud.lib.errors import Conflict, NoCapacity, ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

log = logging.getLogger(__name__)

#: Until something that failed is tried again; doubled each time.
AGAIN_S: Final = 20.0
CEILING_S: Final = 600.0
#: A VM whose moves have failed so often cannot be moved while it runs.
TRIES: Final = 3
#: For so long no host has to have room for a VM until that counts: one may be silent for a moment.
PATIENCE: Final = timedelta(seconds=60)
#: Stopped VMs take no bandwidth: so many leave a host at a time.
REHOMED_AT_ONCE: Final = 20
KEEP: Final = timedelta(days=365)

_MOVES: Final = ("vm.migrate", "vm.rehome", "vm.evacuate")
_STATE = DepartureState


def look_after_maintenance() -> None:
    """Take VMs off the hosts that enter maintenance, and go on with clusters."""
    with scopes_disabled():
        if freezing.is_frozen():
            return
        rows = HostMaintenance.objects.filter(ended_at=None).select_related("host__cluster")
        each(list(rows), _look_after, "emptying a host for maintenance")
        ordered = HostMaintenance.objects.filter(host=OuterRef("pk"), ended_at=None)
        lost = Host.objects.filter(~Exists(ordered), state=HostState.ENTERING_MAINTENANCE)
        each(list(lost), _take_back, "taking a host back to service")
        rolls = ClusterRoll.objects.filter(ended_at=None, going_on=True)
        each(list(rolls.select_related("cluster")), _go_on, "a rolling maintenance")


def _look_after(maintenance: HostMaintenance) -> None:
    host = maintenance.host
    if host.state in IN_SERVICE:
        transitions.forget(maintenance)
    elif host.state == HostState.MAINTENANCE and not VM.objects.filter(host=host).exists():
        return
    elif host.state not in IN_MAINTENANCE:
        words = _("The host is %(state)s: what follows on that goes first.")
        transitions.note(maintenance, words % {"state": host.get_state_display()})
    elif host.unreachable_since is not None:
        transitions.note(maintenance, _("The host does not answer."))
    else:
        _Emptying(maintenance).go_round()


def _take_back(host: Host) -> None:
    """Let a host be used again that enters maintenance by nobody's order.

    A process of an earlier release may have cleared it while its maintenance was aborted.
    """
    try:
        move(host, HostMove.ABORT, reason=_("No maintenance of it is ordered."))
    except Conflict as error:
        log.info("%s was changed meanwhile: %s", host.name, error.message)
    else:
        log.warning("%s is used again: no maintenance of it is ordered", host.name)


class _Emptying:
    """One round over the VMs of a host that enters maintenance."""

    def __init__(self, maintenance: HostMaintenance) -> None:
        self.maintenance = maintenance
        self.host: Host = maintenance.host
        self.most = self.host.cluster.moves_per_host
        rows = VM.objects.filter(host=self.host)
        self.vms = list(
            rows.select_related("tenant", "cluster", "host").order_by("created_at", "pk")
        )
        active = Job.objects.filter(
            kind__in=_MOVES, status__in=ACTIVE, target_id__in=[vm.pk for vm in self.vms]
        )
        self.moving = dict(active.values_list("target_id", "kind"))
        kinds = Counter(self.moving.values())
        self.rehoming = kinds.pop("vm.rehome", 0)
        self.leaving = sum(kinds.values())
        arriving = VM.objects.filter(task=VmTask.MIGRATING).exclude(destination=None)
        self.arriving = Counter(arriving.values_list("destination", flat=True))
        self.busy = set(
            Disk.objects.filter(vm__in=self.vms).exclude(task="").values_list("vm", flat=True)
        )
        self.aborted = False

    def go_round(self) -> None:
        """Let go what may go, and write down of the others why they do not."""

        def step(vm: VM) -> None:
            if not self.aborted:
                with in_scope_of(vm.tenant):
                    self.step(vm)

        each(self.vms, step, "taking a VM off a host")
        if not self.aborted:
            transitions.note_gone(self.maintenance, [vm.pk for vm in self.vms])

    def step(self, vm: VM) -> None:
        """Begin what takes a VM off the host, or write down why that waits."""
        if vm.pk in self.moving:
            self.say(vm, _STATE.MOVING)
        elif vm.task:
            self.say(vm, _STATE.WAITING, _("It is busy, and goes when that has ended."))
        elif vm.destination_id is not None:
            words = _("A migration of it did not complete. SCloud is checking where it runs.")
            self.say(vm, _STATE.WAITING, words)
        elif vm.pk in self.busy:
            self.say(vm, _STATE.WAITING, _("An operation on one of its disks has to end first."))
        elif vm.status in (VmStatus.STOPPED, VmStatus.EXPIRED):
            self.rehome(vm)
        elif vm.status != VmStatus.RUNNING:
            words = _("What is left of it on the host is being removed.")
            self.say(vm, _STATE.WAITING, words)
        else:
            self.move(vm)

    def say(self, vm: VM, state: DepartureState, words: str = "") -> None:
        transitions.depart(self.maintenance, vm, state, words)

    def tries(self, vm: VM, kind: str) -> list[Job]:
        """Return the attempts of this maintenance that have failed, the newest first."""
        rows = Job.objects.filter(
            kind=kind,
            target_id=vm.pk,
            status=JobStatus.FAILED,
            created_at__gte=self.maintenance.started_at,
        )
        return list(rows.order_by("-created_at"))

    def is_due(self, vm: VM, kind: str, failed: list[Job]) -> bool:
        """Whether a VM is tried now; if not, write down what the last attempt ended with."""
        rows = Job.objects.filter(pk__in=[job.pk for job in failed])
        if jobs.is_due_again(rows, first_s=AGAIN_S, ceiling_s=CEILING_S):
            return True
        words = _("It failed, and is tried again: %(reason)s")
        self.say(vm, _STATE.WAITING, words % {"reason": failed[0].error_message})
        return False

    def rehome(self, vm: VM) -> None:
        """Take a stopped VM off the host."""
        if self.rehoming >= REHOMED_AT_ONCE:
            self.say(vm, _STATE.WAITING, _("Others go first."))
        elif self.is_due(vm, "vm.rehome", self.tries(vm, "vm.rehome")):
            try:
                rehome_vm(actor=Actor.system(vm.tenant), vm=vm)
            except Conflict as error:
                self.changed(vm, error)
            else:
                self.rehoming += 1
                self.say(vm, _STATE.MOVING)

    def move(self, vm: VM) -> None:
        """Move a running VM to another host."""
        words = cannot_move(vm)
        if words:
            self.cannot(vm, words)
            return
        failed = self.tries(vm, "vm.migrate")
        if len(failed) >= TRIES and self.maintenance.way != Way.WAIT:
            words = _("Its moves have failed: %(reason)s")
            self.cannot(vm, words % {"reason": failed[0].error_message})
        elif self.leaving >= self.most:
            self.say(vm, _STATE.WAITING, _("Others go first."))
        elif self.is_due(vm, "vm.migrate", failed):
            self.migrate(vm)

    def migrate(self, vm: VM) -> None:
        """Move it if there is room, without asking for what would be refused."""
        demand = placement.demand_of(vm)
        others = [
            one
            for one in placement.candidates(vm.cluster, vm.tenant)
            if one.host.pk != self.host.pk
        ]
        fitting = {one.host.pk for one in others if one.refusal(demand) is None}
        full = frozenset(pk for pk, number in self.arriving.items() if number >= self.most)
        if not fitting:
            refused: ScloudError = placement.refuse(vm.cluster, others, demand)
            words = _("No other host has room for it.")
            self.cannot(vm, f"{words} {refused.detail}", lasting=False)
            return
        if fitting <= full:
            self.say(vm, _STATE.WAITING, _("Others go first."))
            return
        try:
            migrate_vm(actor=Actor.system(vm.tenant), vm=vm, excluded=full)
        except (Conflict, NoCapacity) as error:
            self.changed(vm, error)
        else:
            self.leaving += 1
            self.arriving[vm.destination_id or ""] += 1
            self.say(vm, _STATE.MOVING)

    def cannot(self, vm: VM, words: str, *, lasting: bool = True) -> None:
        """Deal with a VM that cannot be moved while it runs, in the way that was chosen.

        What is not ``lasting`` by itself has to last for a while first.
        """
        now = timezone.now()
        since = now if lasting else transitions.cannot_since(self.maintenance, vm)
        waits = not lasting and (since is None or now - since < PATIENCE)
        if self.maintenance.way == Way.WAIT or waits:
            self.say(vm, _STATE.CANNOT, words)
        elif self.maintenance.way == Way.ABORT:
            self.abort(vm, words)
        elif vm.is_paused:
            self.say(vm, _STATE.CANNOT, words)
        elif self.leaving >= self.most:
            if lasting:
                self.say(vm, _STATE.WAITING, _("Others go first."))
        elif self.is_due(vm, "vm.evacuate", self.tries(vm, "vm.evacuate")):
            try:
                evacuate_vm(
                    actor=Actor.system(vm.tenant),
                    vm=vm,
                    maintenance=self.maintenance,
                    reason=words,
                )
            except Conflict as error:
                self.changed(vm, error)
            else:
                self.leaving += 1

    def abort(self, vm: VM, words: str) -> None:
        self.say(vm, _STATE.CANNOT, words)
        reason = _("%(vm)s (%(id)s) cannot be moved: %(reason)s")
        reason %= {"vm": vm.name, "id": vm.pk, "reason": words}
        self.aborted = True
        try:
            abort_maintenance(actor=Actor.system(None), host=self.host, reason=reason)
        except Conflict as error:
            log.info("%s was changed meanwhile: %s", self.host.name, error.message)
        else:
            log.warning("maintenance of %s was aborted: %s", self.host.name, reason)

    def changed(self, vm: VM, error: ScloudError) -> None:
        """Leave a VM that has changed since it was read to the next round."""
        log.info("%s stays for now: %s", vm.pk, error.for_operators())
        self.say(vm, _STATE.WAITING, _("It is busy, and goes when that has ended."))


# -- empty ---------------------------------------------------------------------------------------


def finish_entering(answers: Iterable[HostAnswer]) -> None:
    """Let hosts be in maintenance that say that nothing runs on them, and that no row names.

    By the host's own word too: what no row knows is not taken off by itself.
    """
    found = [one for one in answers if one.host.state == HostState.ENTERING_MAINTENANCE]
    if not found or freezing.is_frozen():
        return

    def finish(host: Host) -> None:
        answer = next(one for one in found if one.host.pk == host.pk)
        _finish(answer)

    each([one.host for one in found], finish, "ending the way into maintenance")


def _finish(answer: HostAnswer) -> None:
    with transaction.atomic():
        # What is placed on a host locks it first.
        rows = Host.objects.select_for_update().filter(
            pk=answer.host.pk, state=answer.host.state, state_since=answer.host.state_since
        )
        host = rows.first()
        maintenance = None if host is None else transitions.open_of(host)
        if host is None or maintenance is None:
            # Asked before it entered, it says nothing of now.
            return
        if vms_on(host) or jobs_that_may_return_to(host).exists():
            transitions.note(maintenance, "")
            return
        off = (Power.STOPPED, Power.CRASHED, Power.ABSENT)
        running = [one.name for one in answer.domains if one.power_state not in off]
        if running:
            words = _("On the host runs what no VM's row names: %(names)s. See the drift report.")
            transitions.note(maintenance, words % {"names": ", ".join(running[:5])})
            return
        transitions.emptied(maintenance, host, reason=_("Nothing runs on it any more."))
    log.warning("%s is in maintenance", answer.host.name)


# -- clusters, host by host ----------------------------------------------------------------------


def _go_on(roll: ClusterRoll) -> None:
    """Let the next host enter, or write down what that waits for."""
    left = standing(roll).left
    words = obstacle(left[0]) if left else ""
    if not words:
        words = advance_roll(actor=Actor.system(None), roll=roll)
    transitions.note_roll(roll, words)


def forget_old() -> int:
    """Delete what became of hosts in maintenances that ended a year ago; return of how many."""
    before = timezone.now() - KEEP
    HostMaintenance.objects.filter(ended_at__lt=before).delete()
    old = ClusterRoll.objects.filter(Q(ended_at__lt=before)).delete()
    return int(old[0])
