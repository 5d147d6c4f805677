"""What time does to ENIs: expiry, stuck tasks, VMs that are gone."""

from __future__ import annotations

import logging
from functools import partial

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import quotas
from network.models import Eni, Nic
from network.rules import targets
from network.rules.external_orders import take_back
from network.states.enis import EniStatus, EniTask
from network.tasks.enis import follow_up
from network.transitions import egress
from network.transitions.enis import ENIS, LOOSE, unplug
from scloud.jobs import service as jobs
from scloud.jobs.handlers import knows
from scloud.jobs.models import Job
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
_expired = Rota("created_at", 100)
_stuck = Rota("task_deadline", 50)
_bound = Rota("created_at", 200)
_USABLE = (EniStatus.FREE, EniStatus.BOUND)


def expired(tenant: Tenant, pk: str) -> None:
    """Cut an external ENI off that is not paid; the sweep unbinds it (:func:`unbind_expired`)."""
    with scope(tenant=tenant):
        for row in Eni.objects.filter(pk=pk, status__in=_USABLE, task=""):
            _move(row, "expire_eni", EniStatus.EXPIRED)


def renewed(tenant: Tenant, pk: str) -> None:
    """Let an expired ENI through again once it is paid."""
    with scope(tenant=tenant):
        for row in Eni.objects.filter(pk=pk, status=EniStatus.EXPIRED, task=""):
            status = EniStatus.BOUND if row.vm_id else EniStatus.FREE
            _move(row, "reinstate_eni", status)


def _move(row: Eni, verb: str, status: str) -> None:
    try:
        with transaction.atomic():
            ENIS.move(row, verb, status, actor=Actor.system(row.tenant))
            if row.nic is not None and status == EniStatus.EXPIRED:
                Nic.objects.filter(pk=row.nic.pk).update(egress=False)
            if row.vm_id:
                egress.settle("vm", row.vm_id)
            follow_up(row.nic)
    except ScloudError as error:
        # Changed since it was read: what changed it decides where it lands.
        log.info("%s: no %s: %s", row.pk, verb, error.for_operators())


def unbind_expired() -> int:
    """Unbind ENIs that have expired from their VMs; return how many were begun.

    One that cannot be unbound now, because its VM is busy or its host is silent, stays in the VM,
    with nothing passing, and is tried again, more and more rarely.
    """
    if freezing.is_frozen():
        return 0
    with scopes_disabled():
        rows = _expired.take(
            Eni.objects.select_related("tenant")
            .filter(status=EniStatus.EXPIRED, task="")
            .exclude(vm_id="")
        )
    begun: list[str] = []
    each(rows, partial(_unbind, begun=begun), "unbinding an expired ENI")
    return len(begun)


def _unbind(row: Eni, begun: list[str]) -> None:
    with scope(tenant=row.tenant):
        tries = Job.objects.filter(kind="eni.unbind_expired", target_id=row.pk)
        if not jobs.is_due_again(tries):
            return
        try:
            ENIS.begin(row, "unbind_expired_eni", actor=Actor.system(row.tenant))
        except ScloudError as error:
            said.say(
                (row.pk, "is not unbound yet"),
                error.code,
                logging.INFO,
                "%s is not unbound yet: %s",
                row.pk,
                error.for_operators(),
            )
            return
    begun.append(row.pk)


def overdue(tenant: Tenant, pk: str) -> None:
    """Delete an external ENI that stayed expired past its grace, off its VM first."""
    with scope(tenant=tenant):
        row = Eni.objects.filter(pk=pk).exclude(status=EniStatus.DESTROYED).first()
        if row is None:
            return
        try:
            ENIS.begin(
                row, "retire_eni", actor=Actor.system(tenant), payload={"automatically": True}
            )
        except ScloudError as error:
            said.say(
                (pk, "could not be deleted"),
                error.code,
                logging.WARNING,
                "%s could not be deleted: %s",
                pk,
                error.for_operators(),
            )


def let_go_of_the_gone() -> int:
    """Take ENIs off VMs that are no more; return how many were begun.

    The deletion of a VM begins this itself. This finds those whose job failed for good.
    """
    if freezing.is_frozen():
        return 0
    with scopes_disabled():
        rows = _bound.take(Eni.objects.select_related("tenant").filter(task="").exclude(vm_id=""))
    begun: list[str] = []
    each(rows, partial(_let_go, begun=begun), "taking an ENI off a VM that is gone")
    return len(begun)


def _let_go(row: Eni, begun: list[str]) -> None:
    kind = targets.kind_named("vm")
    with scope(tenant=row.tenant):
        if kind is None or not kind.gone(row.vm_id):
            return
        with transaction.atomic():
            ENIS.begin(
                row,
                "let_go_eni",
                actor=Actor.system(row.tenant),
                payload={"along": False},
            )
    begun.append(row.pk)


def land_stuck() -> int:
    """Land those whose task outlived its deadline and has no live job; return how many."""
    with scopes_disabled():
        stuck = _stuck.take(
            Eni.objects.select_related("tenant")
            .exclude(task="")
            .filter(task_deadline__lt=timezone.now())
        )
    landed: list[str] = []
    each(stuck, partial(_land, landed=landed), "landing an ENI")
    return len(landed)


def _land(row: Eni, landed: list[str]) -> None:
    with scope(tenant=row.tenant), transaction.atomic():
        job = Job.objects.filter(pk=row.task_job).first()
        if job is not None and (job.is_active or not knows(job.kind)):
            # The sweep of the jobs ends it, and that lands the row; one of a kind that this
            # release does not know is left to a newer one.
            return
        error = ScloudError(_("The operation timed out."), code="deadline_exceeded")
        columns: dict[str, object] = {}
        nic, vm_id = row.nic, row.vm_id
        if row.task == EniTask.BINDING:
            columns = dict(LOOSE)
        elif row.task == EniTask.RESIZING and job is not None and nic is not None:
            before = int(job.payload["bandwidth_before_mbps"])
            take_back(row, job, error.message)
            quotas.resize(row.tenant, row.region, {"bandwidth_mbps": before}, row.pk)
            Nic.objects.filter(pk=nic.pk).update(bandwidth_mbps=before)
        if ENIS.land(row, row.status, error, **columns):
            if columns:
                unplug(nic)
            follow_up(nic)
            if vm_id:
                egress.settle("vm", vm_id)
            landed.append(row.pk)
