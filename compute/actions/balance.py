"""Moving a VM because of load, by the platform itself."""

from __future__ import annotations

from datetime import datetime

from django.db.models import F
from django.utils import timezone

from compute.actions.vms.migrate import migrate_vm
from compute.hosts.balance import Figures, Move
from compute.models import VM, BalanceProposal, Cluster, Host
from compute.models.balance import LONGEST_PROPOSAL
from compute.queries.balance import look_again
from compute.states.balance import BalanceMode
from compute.transitions.vms import VMS
from scloud.audit.action import action
from scloud.jobs.models import Job
from scloud.recovery.models import SweepFreeze
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import in_scope_of, scopes_disabled


# The operation log has the migration, with its reason; what is only looked at is not told.
@action("platform.balance_cluster", log=False)
def balance_cluster(
    *, actor: Actor, cluster: Cluster, move: Move, figures: Figures, now: datetime | None = None
) -> BalanceProposal | None:
    """Order a move that was planned, or in a dry run write it down.

    None, and nothing is done, when the move would not be made any more: it is looked at once more
    while the cluster and its hosts are locked, so that two who plan the same order it once. Raises
    Conflict, NoCapacity when the VM has changed at this moment.
    """
    # Purchases, which lock hosts first, only look at the cluster's key.
    rows = Cluster.objects.select_for_update(no_key=True)
    locked = rows.filter(pk=cluster.pk).exclude(balance_mode=BalanceMode.OFF).first()
    if locked is None or SweepFreeze.objects.filter(released_at=None).exists():
        return None
    now = now or timezone.now()
    found = look_again(locked, move, figures, now).move
    if found is None or (found.vm, found.destination) != (move.vm, move.destination):
        return None
    with scopes_disabled():
        vm = VM.objects.select_related("tenant", "cluster", "host").get(pk=found.vm)
        host = Host.objects.select_related("cluster").get(pk=found.destination)
    if locked.balance_mode == BalanceMode.DRY_RUN:
        return _propose(locked, found, now)
    job = _order(vm, host, found)
    return _write(locked, found, now, job.pk)


def _order(vm: VM, host: Host, move: Move) -> Job:
    with in_scope_of(vm.tenant):
        job = migrate_vm(actor=Actor.system(vm.tenant), vm=vm, host=host, reason=move.reason)
        # Tenants read it, so it names no host.
        VMS.tell(vm, "vm.relieved", job=job.pk)
    return job


def _propose(cluster: Cluster, move: Move, now: datetime) -> BalanceProposal:
    """Write down what a dry run would have moved; the same as the last time is counted."""
    last: BalanceProposal | None = BalanceProposal.objects.filter(cluster=cluster).first()
    ends = (move.vm, move.source, move.destination, "")
    if last is None or (last.vm_id, last.source_id, last.destination_id, last.job) != ends:
        return _write(cluster, move, now, "")
    rows = BalanceProposal.objects.filter(pk=last.pk)
    rows.update(last_at=now, times=F("times") + 1, reason=move.reason[:LONGEST_PROPOSAL])
    last.refresh_from_db()
    return last


def _write(cluster: Cluster, move: Move, now: datetime, job: str) -> BalanceProposal:
    made: BalanceProposal = BalanceProposal.objects.create(
        cluster=cluster,
        vm_id=move.vm,
        source_id=move.source,
        destination_id=move.destination,
        reason=move.reason[:LONGEST_PROPOSAL],
        at=now,
        last_at=now,
        job=job,
    )
    return made
