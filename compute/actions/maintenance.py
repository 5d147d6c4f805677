"""Maintenance of hosts, of clusters host by host, and the removal of hosts."""

from __future__ import annotations

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hosts import gpu
from compute.hosts.admission import that_served
from compute.models import (
    VM,
    Cluster,
    ClusterRoll,
    Departure,
    Drift,
    FenceDevice,
    GpuDevice,
    Host,
    HostTransition,
)
from compute.queries.hosts import sightings_of
from compute.queries.maintenance import (
    jobs_that_may_return_to,
    obstacle,
    silent_witnesses,
    standing,
    vms_on,
)
from compute.rules.fencing import check_typed
from compute.rules.host_tests import waits_for_test
from compute.states.hosts import IN_SERVICE, HostState
from compute.states.maintenance import RollEnd, Way
from compute.states.vms import VmStatus
from compute.transitions import maintenance as transitions
from compute.transitions.hosts import check_state
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs.models import ACTIVE, Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.actor import Actor


def _check_way(way: str) -> None:
    if way not in Way.values:
        raise InvalidInput(_("This is not a choice."), code="way_unknown", field="way")


@action("platform.enter_maintenance")
def enter_maintenance(
    *, actor: Actor, host: Host, way: str, roll: ClusterRoll | None = None
) -> Host:
    """Let a host take no VMs, and have its own taken off it.

    ``way`` says what is done about those that cannot be moved while they run. Raises InvalidInput
    (``way_unknown``), Conflict (``host_state``).
    """
    audit.note(host, before={"state": host.state})
    _check_way(way)
    transitions.begin(host, actor=actor, way=way, roll=roll)
    audit.note(after={"state": host.state, "way": way})
    return host


@action("platform.abort_maintenance")
def abort_maintenance(*, actor: Actor, host: Host, reason: str = "") -> Host:
    """Take a host that is entering maintenance back to what it was; moves under way go on.

    Raises Conflict (``host_state``).
    """
    audit.note(host, before={"state": host.state})
    maintenance = transitions.open_of(host)
    if maintenance is None:
        raise transitions.not_entering(host)
    reason = reason or _("Its maintenance was aborted.")
    transitions.abort(maintenance, host, actor=actor, reason=reason)
    audit.note(after={"state": host.state}, detail=reason)
    return host


@action("platform.leave_maintenance")
def leave_maintenance(*, actor: Actor, host: Host) -> Host:
    """Take a host back that was in maintenance: it is compared, and then used as before.

    Raises Conflict (``host_state``, and ``host_silent`` unless each of its witnesses answers).
    """
    return _leave(actor, host)


def _leave(actor: Actor, host: Host) -> Host:
    audit.note(host, before={"state": host.state})
    check_state(host, frozenset({HostState.MAINTENANCE}))
    silent = silent_witnesses(sightings_of([host]).get(host.pk, ()), timezone.now())
    if silent or host.unreachable_since is not None:
        names = ", ".join(str(one.label) for one in silent)
        raise Conflict(
            _("%(name)s does not answer: %(witnesses)s.")
            % {"name": host.name, "witnesses": names or host.last_error},
            code="host_silent",
            remedy=_("Switch it on, and wait until it has been heard."),
        )
    transitions.leave(host, actor=actor)
    audit.note(after={"state": host.state})
    return host


@action("platform.remove_host")
def remove_host(*, actor: Actor, host: Host, typed: str) -> None:
    """Forget a host on which nothing is, with its fence device; its history stays.

    It is in maintenance, known to be off, or was never in service; of one that is off the stopped
    VMs are placed anew at their next start. ``typed`` is the host's name, as the operator has typed
    it. Raises InvalidInput (``name_differs``), Conflict (``host_state``, ``host_in_use``).
    """
    audit.note(host)
    check_typed(host, typed)
    # Nothing is placed there, nor does it come back to service, until this has ended.
    locked = Host.objects.select_for_update().filter(pk=host.pk).first()
    if locked is None:
        raise Conflict(_("%(name)s was removed.") % {"name": host.name}, code="host_state")
    if not locked.is_off and not waits_for_test(locked):
        check_state(locked, frozenset({HostState.MAINTENANCE}))
    devices = FenceDevice.objects.filter(host=locked)
    busy = Job.objects.filter(
        target_kind=FenceDevice.KIND, target_id__in=devices.values("pk"), status__in=ACTIVE
    )
    # The order to start them again would go with the host.
    waiting = Departure.objects.filter(
        maintenance__host=locked, waits_since=F("vm__failover_since"), vm__status=VmStatus.STOPPED
    )
    chips = GpuDevice.objects.filter(host=locked).exclude(vm=None)
    if locked.is_off:
        _let_go(locked)
    vms = vms_on(locked)
    jobs = busy.count() + jobs_that_may_return_to(locked).count()
    if waiting.exists():
        raise Conflict(
            _("VMs that were shut down for maintenance of %(name)s wait for room.")
            % {"name": host.name},
            code="host_in_use",
            remedy=_("Let them start on other hosts, or delete them."),
            numbers={"vms": waiting.count()},
        )
    if vms or chips.exists() or jobs:
        raise Conflict(
            _("%(name)s is still in use.") % {"name": host.name},
            code="host_in_use",
            remedy=_("Take its VMs off it, and let their jobs and those of its fence device end."),
            numbers={"vms": len(vms), "gpus": chips.count(), "jobs": jobs},
        )
    audit.note(
        before={
            "cluster": locked.cluster_id,
            "uri": locked.uri,
            "address": locked.address,
            "fence_devices": [device.address for device in devices],
        }
    )
    HostTransition.objects.filter(host=locked).update(host_name=locked.name)
    Drift.objects.filter(place=locked.name, repaired_at=None).update(repaired_at=timezone.now())
    locked.delete()


def _let_go(host: Host) -> None:
    """Take stopped VMs off a host that is known to be off: nothing of them is there."""
    rows = VM.objects.filter(
        host=host, destination=None, task="", status__in=(VmStatus.STOPPED, VmStatus.EXPIRED)
    )
    for vm in rows.select_for_update():
        gpu.release(vm)
        VM.objects.filter(pk=vm.pk).update(host=None)


# -- clusters, host by host --------------------------------------------------------------------


@action("platform.start_roll")
def start_roll(*, actor: Actor, cluster: Cluster, way: str) -> ClusterRoll:
    """Have all hosts of a cluster in service enter maintenance, one at a time.

    The first enters as soon as all hosts are in service and the others have room for its VMs; the
    roll then waits for an operator. Raises InvalidInput (``way_unknown``), Conflict
    (``roll_open``, ``roll_empty``).
    """
    audit.note(cluster)
    _check_way(way)
    rows = that_served(cluster).filter(state__in=IN_SERVICE).order_by("name")
    hosts = list(rows.values_list("pk", flat=True))
    if not hosts:
        raise Conflict(
            _("No host of %(name)s is in service.") % {"name": cluster.alias}, code="roll_empty"
        )
    roll = transitions.begin_roll(cluster, actor=actor, way=way, hosts=hosts)
    audit.note(after={"way": way, "hosts": hosts})
    return roll


@action("platform.continue_roll")
def continue_roll(*, actor: Actor, roll: ClusterRoll) -> ClusterRoll:
    """Take the present host of a roll back to service, and go on with the next one.

    Raises Conflict (``roll_busy`` while the host is not empty, ``host_silent``, ``roll_ended``).
    """
    audit.note(roll.cluster)
    locked = ClusterRoll.objects.select_for_update().select_related("cluster").get(pk=roll.pk)
    current = standing(locked).current
    if current is not None:
        if current.state != HostState.MAINTENANCE:
            raise Conflict(
                _("%(name)s is not in maintenance yet.") % {"name": current.name},
                code="roll_busy",
                remedy=_("Wait until it is empty, or abort its maintenance."),
            )
        _leave(actor, current)
    if not transitions.go_on(locked):
        raise Conflict(_("This rolling maintenance has ended."), code="roll_ended")
    return locked


@action("platform.stop_roll")
def stop_roll(*, actor: Actor, roll: ClusterRoll) -> None:
    """End a roll; the host that is in maintenance stays there. Raises Conflict (``roll_ended``)."""
    audit.note(roll.cluster)
    if not transitions.end_roll(roll, RollEnd.STOPPED):
        raise Conflict(_("This rolling maintenance has ended."), code="roll_ended")


@action("platform.advance_roll")
def advance_roll(*, actor: Actor, roll: ClusterRoll) -> str:
    """Let the next host of a roll enter maintenance, or end the roll when none is left.

    Returns what is waited for; empty when something was done, or somebody else was first.
    """
    audit.note(roll.cluster)
    rows = ClusterRoll.objects.select_for_update(of=("self",)).select_related("cluster")
    locked = rows.filter(pk=roll.pk, ended_at=None, going_on=True).first()
    if locked is None:
        return ""
    now = standing(locked)
    if now.current is not None:
        transitions.pause_roll(locked)
        return ""
    if not now.left:
        transitions.end_roll(locked, RollEnd.FINISHED)
        return ""
    host = now.left[0]
    # None of them enters by another's hand, and nothing is placed on them, until this has ended.
    # Whoever calls this has looked before without a lock, and what is asked below is short.
    rows_of_cluster = Host.objects.filter(cluster=locked.cluster_id).order_by("pk")
    list(rows_of_cluster.select_for_update().values_list("pk"))
    words = obstacle(host)
    if words:
        return words
    transitions.begin(host, actor=actor, way=locked.way, roll=locked)
    transitions.pause_roll(locked)
    audit.note(host, after={"state": host.state, "way": locked.way})
    return ""
