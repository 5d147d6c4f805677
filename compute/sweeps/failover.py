"""Hosts that are given up: fenced, seen to be off, and what ran on them started again elsewhere.

Asks no host, so that nothing holds it up. Each step follows from what is in the rows: a sweeper
that dies leaves the next one to go on. While the sweeps are frozen after a restore nothing happens,
and no host counts as off.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.actions import fencing
from compute.actions.vms.lifecycle import fail_over_vm
from compute.hosts import placement
from compute.hosts.admission import that_served
from compute.hosts.fencing import refusal
from compute.hosts.witnesses import FRESH, Sighting, Since, since_off
from compute.models import VM, Disk, FenceDevice, Host, HostSighting
from compute.queries.hosts import sightings_of, situation_of
from compute.rules.fencing import FENCE
from compute.states.hosts import CONFIRMED_OFF, IN_SERVICE, HostMove, HostState, Witness
from compute.states.vms import VmStatus, VmTask, WantedPower
from compute.sweeps.witnesses import observer
from compute.transitions.hosts import doubt_off, move, note_failover, note_off
from compute.transitions.maintenance import shut_down_for_it
from compute.transitions.vms import lose, note_wait
from scloud.jobs import service as jobs
from scloud.jobs.models import ACTIVE, Job
from scloud.jobs.rows import each
from scloud.lib.errors import Conflict, ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

log = logging.getLogger(__name__)

#: Until a fencing that failed, or a start elsewhere, is tried again; doubled each time.
FENCE_AGAIN_S: Final = 30.0
START_AGAIN_S: Final = 10.0
CEILING_S: Final = 600.0
#: When operators are told that witnesses cannot be asked since a host was confirmed to be off.
UNHEARD: Final = timedelta(seconds=60)

NO_ROOM: Final = "no_host_has_room"
WAITS: Final = "failover_waits"


def look_after_failures(now: datetime | None = None) -> None:
    """Fence what is suspect, look after what is off, and start again what waits for it."""
    with scopes_disabled():
        if freezing.is_frozen():
            doubt_off()
            return
        now = now or timezone.now()
        fence_suspects(now)
        watch_off(now)
        fail_over()


# -- fencing -----------------------------------------------------------------------------------


def fence_suspects(now: datetime) -> None:
    """Have suspect hosts of clusters with failover switched off, where the rules allow it."""
    rows = that_served().filter(state=HostState.SUSPECT, cluster__failover=True)

    def fence(host: Host) -> None:
        words = refusal(situation_of(host, others_alive=_hears_others(host, now)))
        if words:
            note_failover(host, words)
            return
        device = FenceDevice.objects.get(host=host)
        jobs_of = Job.objects.filter(target_kind=FenceDevice.KIND, target_id=device.pk)
        if jobs_of.filter(status__in=ACTIVE).exists():
            return
        tries = jobs_of.filter(kind=FENCE, created_at__gte=host.state_since or now)
        if not tries.exists():
            # What kept it from being fenced is over.
            note_failover(host, "")
        if jobs.is_due_again(tries, first_s=FENCE_AGAIN_S, ceiling_s=CEILING_S):
            fencing.fence_suspect_host(actor=Actor.system(None), host=host)
            log.warning("%s is to be fenced: %s", host.name, host.state_reason)

    each(list(rows.select_related("cluster")), fence, "fencing a host")


def _hears_others(host: Host, now: datetime) -> bool:
    """Whether another host of its region has just answered this very machine.

    One of another region says nothing of the way to this one, nor does one that was never in
    service: it may be anywhere.
    """
    rows = HostSighting.objects.filter(
        witness=Witness.LIBVIRT,
        observer=observer(),
        asked_at__gt=now - FRESH,
        host__in=that_served().filter(cluster__region=host.cluster.region_id),
    ).exclude(host=host)
    return any(row.alive_at is not None and row.alive_at >= row.asked_at for row in rows)


# -- hosts that were confirmed to be off -------------------------------------------------------


def watch_off(now: datetime) -> None:
    """See whether hosts that were confirmed to be off are, and take back those that return."""
    hosts = list(Host.objects.filter(state__in=CONFIRMED_OFF))
    seen = sightings_of(hosts) if hosts else {}

    def watch(host: Host) -> None:
        sightings = seen.get(host.pk, [])
        if host.off_seen_at is None:
            _look_for_signs(host, sightings, now)
        if not host.is_off:
            return
        lose_vms(host)
        signs = [one.alive_at for one in sightings if one.alive_at is not None]
        if host.off_seen_at is not None and any(at > host.off_seen_at for at in signs):
            move(host, HostMove.RETURN, reason=_("It gives signs of life again."))
            log.warning("%s returns and is compared", host.name)

    each(hosts, watch, "watching a host that is off")


def _look_for_signs(host: Host, sightings: list[Sighting], now: datetime) -> None:
    """Note that a host is off, or why that cannot be believed."""
    off_at = host.state_since or now
    found = since_off(sightings, off_at, now)
    if found is Since.SILENT:
        note_off(host, now)
    elif found is Since.ALIVE:
        latest = max(
            (one for one in sightings if one.alive_at is not None),
            key=lambda one: one.alive_at or off_at,
        )
        note_failover(
            host,
            _(
                "It was confirmed to be off, and %(witness)s answered at %(at)s (UTC). Nothing of "
                "it starts elsewhere: switch it off and confirm it, or return it to service."
            )
            % {"witness": latest.witness.label, "at": f"{latest.alive_at:%Y-%m-%d %H:%M:%S}"},
        )
    elif now - off_at > UNHEARD:
        note_failover(
            host,
            _(
                "Not all of its witnesses could be asked since it was confirmed to be off. Its VMs "
                "wait for that."
            ),
        )


def lose_vms(host: Host) -> None:
    """Write down what stopped with a host that is off; what shall run waits for its failover.

    What is in flight ends first: its job fails at the host, and lands the VM. The ends of a
    migration are looked at by the reconciler.
    """
    rows = VM.objects.filter(host=host, destination=None, task="")
    stopped_with_it = rows.filter(status=VmStatus.RUNNING)
    # Their start was lost with the host.
    to_be_started = rows.filter(
        status=VmStatus.STOPPED, wanted_power=WantedPower.ON, failover_since=None
    )

    def write(vm: VM) -> None:
        with in_scope_of(vm.tenant):
            lose(vm)

    found = [*stopped_with_it.select_related("tenant"), *to_be_started.select_related("tenant")]
    each(found, write, "writing down what stopped with its host")


# -- starting again ----------------------------------------------------------------------------


def fail_over() -> int:
    """Start VMs that stopped with their hosts by priority, the oldest first; return how many.

    Those for which there is no room, or no turn yet, go on waiting and say so.
    """
    waiting = list(
        VM.objects.filter(
            status=VmStatus.STOPPED,
            task="",
            failover_since__isnull=False,
            destination=None,
        )
        # Of a host in maintenance they are started again also where hosts are not failed over.
        .filter(Q(cluster__failover=True) | shut_down_for_it())
        .select_related("tenant", "host", "cluster")
        .order_by("failover_priority", "created_at", "pk")
    )
    if not waiting:
        return 0
    queue = _Queue(waiting)
    started: list[str] = []

    def start(vm: VM) -> None:
        with in_scope_of(vm.tenant):
            if queue.start(vm):
                started.append(vm.pk)

    each(waiting, start, "starting a VM again")
    return len(started)


class _Queue:
    """One round: which hosts take no VMs now, and which VMs wait for something else."""

    def __init__(self, waiting: list[VM]) -> None:
        starting = VM.objects.filter(task=VmTask.FAILING_OVER).exclude(host=None)
        self.starting = Counter(starting.values_list("host", flat=True))
        self.silent = set(Host.objects.exclude(unreachable_since=None).values_list("pk", flat=True))
        busy = Disk.objects.filter(vm__in=waiting).exclude(task="")
        self.busy = set(busy.values_list("vm", flat=True))
        damaged = Disk.objects.filter(vm__in=waiting, damaged_since__isnull=False)
        self.damaged = dict(damaged.values_list("vm", "name"))

    def full(self, vm: VM) -> frozenset[str]:
        """Hosts on which as many VMs start as may start at once."""
        most = vm.cluster.failover_per_host
        return frozenset(host for host, number in self.starting.items() if number >= most)

    def start(self, vm: VM) -> bool:
        """Begin to start a VM, or write down why it waits."""
        tries = Job.objects.filter(
            kind="vm.fail_over", target_id=vm.pk, created_at__gte=vm.failover_since
        )
        if not jobs.is_due_again(tries, first_s=START_AGAIN_S, ceiling_s=CEILING_S):
            return False
        excluded = self.full(vm) | self.silent
        code, words, detail = self.obstacle(vm, excluded)
        if code:
            note_wait(vm, code, words, detail)
            return False
        try:
            fail_over_vm(actor=Actor.system(vm.tenant), vm=vm, excluded=excluded)
        except Conflict as error:
            # Something has changed since: looked at again in the next round.
            log.info("%s is not started yet: %s", vm.pk, error.for_operators())
            return False
        if vm.host_id is not None:
            self.starting[vm.host_id] += 1
        return True

    def obstacle(self, vm: VM, excluded: frozenset[str]) -> tuple[str, str, str]:
        """Return code, words and detail of what a VM waits for; empty if it is for nothing."""
        if vm.pk in self.busy:
            return WAITS, _("It starts again when the operation on its disk has ended."), ""
        if vm.pk in self.damaged:
            words = _("Its disk %(name)s is damaged. It starts again when the disk is sound.")
            return WAITS, words % {"name": self.damaged[vm.pk]}, ""
        host = vm.host
        if host is not None and not host.is_off:
            if host.state not in IN_SERVICE or host.pk in self.silent:
                words = _("It starts again when its host is known to be off, or has returned.")
                return WAITS, words, f"{host.name} is {host.state}."
            broken = placement.rule_broken(vm, host)
            if broken and vm.gpu_count:
                # In no words of the group: it may be one of the operators.
                return WAITS, _("It starts again when its host may take it."), broken
            if not broken and host.pk in excluded:
                return WAITS, _("It starts again when others have started."), ""
            if not broken:
                return "", "", ""
        of_cluster = placement.candidates(vm.cluster, vm.tenant)
        usable = [one for one in of_cluster if one.host.pk not in self.silent]
        demand = placement.demand_of(vm)
        if all(one.refusal(demand) is not None for one in usable):
            refused: ScloudError = placement.refuse(vm.cluster, usable, demand)
            return NO_ROOM, _("No host has room for it. It starts when there is."), refused.detail
        if all(one.refusal(demand) is not None for one in usable if one.host.pk not in excluded):
            return WAITS, _("It starts again when others have started."), ""
        return "", "", ""
