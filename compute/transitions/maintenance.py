"""Maintenance of hosts: the only code that begins and ends it, and says how far its VMs are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.models import VM, Cluster, ClusterRoll, Departure, Host, HostMaintenance
from compute.models.hosts import LONGEST_REASON
from compute.states.hosts import HostMove, HostState
from compute.states.maintenance import DepartureState, MaintenanceEnd, RollEnd
from compute.states.vms import WantedPower
from compute.transitions.hosts import move
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor

#: For so long after it was asked last a guest that goes off does so because it was asked.
LATE: Final = timedelta(minutes=15)


def open_of(host: Host) -> HostMaintenance | None:
    """Return the maintenance of a host that has not ended."""
    found: HostMaintenance | None = host.maintenances.filter(ended_at=None).first()
    return found


def begin(
    host: Host, *, actor: Actor, way: str, roll: ClusterRoll | None = None
) -> HostMaintenance:
    """Let a host enter maintenance. Raises Conflict (``host_state``)."""
    with transaction.atomic():
        reason = _("Rolling maintenance of its cluster.") if roll else ""
        move(host, HostMove.ENTER, actor=actor, reason=reason)
        # Of a process of an earlier release that took the host back to service.
        host.maintenances.filter(ended_at=None).update(
            ended_at=timezone.now(), end=MaintenanceEnd.ABORTED
        )
        made: HostMaintenance = HostMaintenance.objects.create(
            host=host, way=way, roll=roll, by=actor.label
        )
        return made


def abort(maintenance: HostMaintenance, host: Host, *, actor: Actor, reason: str) -> None:
    """End a maintenance before the host was empty; what moves goes on to its end.

    A host that is silent or off is watched on, and is used again afterwards. Raises Conflict
    (``host_state``) when it is in maintenance by now, or was changed.
    """
    with transaction.atomic():
        # As by whoever ends the way into maintenance, the host is locked first.
        locked = Host.objects.select_for_update().filter(pk=host.pk, state=host.state)
        if host.state == HostState.MAINTENANCE or not locked.exists():
            raise not_entering(host)
        if not _end(maintenance, MaintenanceEnd.ABORTED, reason):
            raise not_entering(host)
        if host.state == HostState.ENTERING_MAINTENANCE:
            move(host, HostMove.ABORT, actor=actor, reason=reason)


def emptied(maintenance: HostMaintenance, host: Host, *, reason: str) -> None:
    """Write down that nothing runs on a host any more. Raises Conflict (``host_state``)."""
    with transaction.atomic():
        move(host, HostMove.EMPTIED, reason=reason)
        rows = HostMaintenance.objects.filter(pk=maintenance.pk)
        rows.update(emptied_at=timezone.now(), note="")
        note_gone(maintenance, ())


def leave(host: Host, *, actor: Actor) -> None:
    """Let a host that was in maintenance be compared, and then used.

    Raises Conflict (``host_state``).
    """
    with transaction.atomic():
        move(host, HostMove.LEAVE, actor=actor, reason=_("Its maintenance is over."))
        maintenance = open_of(host)
        if maintenance is not None:
            _end(maintenance, MaintenanceEnd.LEFT, "")


def forget(maintenance: HostMaintenance) -> None:
    """End a maintenance whose host is in service: a process of an earlier release did that."""
    _end(maintenance, MaintenanceEnd.ABORTED, _("The host is in service again."))


def _end(maintenance: HostMaintenance, end: MaintenanceEnd, note: str) -> bool:
    rows = HostMaintenance.objects.filter(pk=maintenance.pk, ended_at=None)
    return bool(rows.update(ended_at=timezone.now(), end=end, note=note[:LONGEST_REASON]))


def not_entering(host: Host) -> Conflict:
    """Return that there is nothing to abort."""
    return Conflict(
        _("%(name)s is not entering maintenance.") % {"name": host.name},
        code="host_state",
        remedy=_("Check its status and try again."),
        numbers={"state": host.state},
    )


def note(maintenance: HostMaintenance, words: str) -> None:
    """Write down, for operators, what a maintenance waits for."""
    words = words[:LONGEST_REASON]
    if maintenance.note != words:
        HostMaintenance.objects.filter(pk=maintenance.pk, ended_at=None).update(note=words)
        maintenance.note = words


# -- its VMs -----------------------------------------------------------------------------------


def cannot_since(maintenance: HostMaintenance, vm: VM) -> datetime | None:
    """Return since when a VM is known to be one that cannot be moved."""
    rows = maintenance.departures.filter(vm=vm, state=DepartureState.CANNOT)
    found: datetime | None = rows.values_list("changed_at", flat=True).first()
    return found


def depart(maintenance: HostMaintenance, vm: VM, state: DepartureState, words: str = "") -> None:
    """Write down how far a VM is, and why; nothing is written when nothing has changed."""
    now: dict[str, Any] = {"state": state, "note": words[:LONGEST_REASON]}
    row, made = Departure.objects.get_or_create(maintenance=maintenance, vm=vm, defaults=now)
    if made or (row.state, row.note) == (now["state"], now["note"]):
        return
    if row.state != state:
        now["changed_at"] = timezone.now()
    Departure.objects.filter(pk=row.pk).update(**now)


def note_gone(maintenance: HostMaintenance, still_there: Sequence[str]) -> int:
    """Write down of all VMs but those that they have left the host; return of how many."""
    rows = maintenance.departures.exclude(vm__in=still_there).exclude(state=DepartureState.MOVED)
    return int(rows.update(state=DepartureState.MOVED, note="", changed_at=timezone.now()))


def to_be_started(maintenance_id: int, vm: VM, since: datetime) -> None:
    """Write down that a VM was shut down for maintenance, and is to be started again."""
    _write(maintenance_id, vm, waits_since=since, asked_at=None, changed_at=timezone.now())


def waiting_columns(since: datetime) -> dict[str, Any]:
    """Return the columns of a VM that :func:`to_be_started` tells of."""
    return {
        "wanted_power": WantedPower.ON,
        "failover_since": since,
        "failure_code": "host_maintenance",
        "failure": _("Its host is under maintenance. It starts on another host."),
    }


def note_asked(maintenance_id: int, vm: VM) -> None:
    """Write down that a guest was asked to shut down and was not seen to be off: it may be yet."""
    _write(maintenance_id, vm, asked_at=timezone.now())


def forget_asked(vm: VM) -> None:
    """Forget that a guest was asked: what becomes of the VM from now on is by another order."""
    Departure.objects.filter(vm=vm).exclude(asked_at=None).update(asked_at=None)


def asked_by(vm: VM) -> int | None:
    """Return by which maintenance a guest was asked to shut down, if it does so late.

    It is asked again and again while the VM is on a host that enters maintenance. Otherwise what it
    does long afterwards is its own doing.
    """
    recently = Q(asked_at__gt=timezone.now() - LATE)
    still = Q(maintenance__ended_at=None, maintenance__host=vm.host_id)
    rows = Departure.objects.filter(recently | still, vm=vm).exclude(asked_at=None)
    found: int | None = rows.order_by("-asked_at").values_list("maintenance", flat=True).first()
    return found


def _write(maintenance_id: int, vm: VM, **columns: Any) -> None:
    rows = Departure.objects.filter(maintenance=maintenance_id, vm=vm)
    if rows.update(**columns):
        return
    # A process of an earlier release began it, and died before it wrote the row.
    maintenance = HostMaintenance.objects.filter(pk=maintenance_id).first()
    if maintenance is not None:
        depart(maintenance, vm, DepartureState.MOVING)
        rows.update(**columns)


def shut_down_for_it() -> Exists:
    """Return the condition of VMs that were shut down for maintenance and still wait for a start.

    Those of hosts that were removed, or whose maintenance was forgotten, are not among them.
    """
    return Exists(
        Departure.objects.filter(vm=OuterRef("pk"), waits_since=OuterRef("failover_since"))
    )


# -- clusters, host by host --------------------------------------------------------------------


def begin_roll(cluster: Cluster, *, actor: Actor, way: str, hosts: Sequence[str]) -> ClusterRoll:
    """Begin to go through the hosts of a cluster. Raises Conflict (``roll_open``)."""
    # Waits for another one that begins at this moment.
    Cluster.objects.select_for_update().get(pk=cluster.pk)
    if cluster.rolls.filter(ended_at=None).exists():
        raise Conflict(
            _("%(name)s is in a rolling maintenance.") % {"name": cluster.alias},
            code="roll_open",
            remedy=_("Stop it first."),
        )
    made: ClusterRoll = ClusterRoll.objects.create(
        cluster=cluster, way=way, hosts=list(hosts), by=actor.label
    )
    return made


def go_on(roll: ClusterRoll) -> bool:
    """Let the next host enter as soon as it may; False when the roll has ended."""
    rows = ClusterRoll.objects.filter(pk=roll.pk, ended_at=None)
    return bool(rows.update(going_on=True, note=""))


def pause_roll(roll: ClusterRoll) -> None:
    """Wait for an operator from now on."""
    ClusterRoll.objects.filter(pk=roll.pk).update(going_on=False, note="")


def end_roll(roll: ClusterRoll, end: RollEnd) -> bool:
    """End a rolling maintenance; False when it has ended already."""
    rows = ClusterRoll.objects.filter(pk=roll.pk, ended_at=None)
    return bool(rows.update(ended_at=timezone.now(), end=end, going_on=False, note=""))


def note_roll(roll: ClusterRoll, words: str) -> None:
    """Write down, for operators, what the next host waits for."""
    words = words[:LONGEST_REASON]
    if roll.note != words:
        ClusterRoll.objects.filter(pk=roll.pk, ended_at=None, going_on=True).update(note=words)
        roll.note = words
