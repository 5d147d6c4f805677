"""What time does to external IPs: expiry, the bin, stuck tasks, targets that are gone."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import quotas, services
from network.actions import external_ips as actions
from network.models import ExternalIp
from network.rules import targets
from network.rules.external_orders import take_back
from network.states.external_ips import ExternalIpStatus, ExternalIpTask
from network.tasks.external_ips import follow_up
from network.transitions import egress
from network.transitions.external_ips import EXTERNAL_IPS, HELD, LOOSE, give_address_back
from scloud.jobs import service as jobs
from scloud.jobs.handlers import knows
from scloud.jobs.models import Job
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
_expired = Rota("created_at", 100)
_to_destroy = Rota("destroy_at", 100)
_stuck = Rota("task_deadline", 50)
_bound = Rota("bound_at", 200)
_USABLE = (ExternalIpStatus.FREE, ExternalIpStatus.BOUND)


def expired(tenant: Tenant, pk: str) -> None:
    """Cut an external IP off that is not paid; the sweep unbinds it (:func:`unbind_expired`)."""
    with scope(tenant=tenant):
        for row in ExternalIp.objects.filter(pk=pk, status__in=_USABLE, task=""):
            _move(row, "expire_external_ip", ExternalIpStatus.EXPIRED, egress=False)


def renewed(tenant: Tenant, pk: str) -> None:
    """Let an expired external IP through again once it is paid."""
    with scope(tenant=tenant):
        for row in ExternalIp.objects.filter(pk=pk, status=ExternalIpStatus.EXPIRED, task=""):
            status = ExternalIpStatus.BOUND if row.nic_id else ExternalIpStatus.FREE
            _move(row, "reinstate_external_ip", status)


def _move(row: ExternalIp, verb: str, status: str, **columns: Any) -> None:
    try:
        with transaction.atomic():
            if row.nic_id is not None:
                egress.locked_nic(row.nic_id)
            EXTERNAL_IPS.move(row, verb, status, actor=Actor.system(row.tenant), **columns)
            egress.settle(row.target_kind, row.target_id)
            follow_up(row.nic)
    except ScloudError as error:
        # Changed since it was read: what changed it decides where it lands.
        log.info("%s: no %s: %s", row.pk, verb, error.for_operators())


def unbind_expired() -> int:
    """Unbind external IPs that have expired; return how many were begun.

    One that cannot be unbound now stays bound, with nothing passing, and is tried again, more and
    more rarely.
    """
    if freezing.is_frozen():
        return 0
    with scopes_disabled():
        rows = _expired.take(
            ExternalIp.objects.select_related("tenant").filter(
                status=ExternalIpStatus.EXPIRED, task="", nic__isnull=False
            )
        )
    begun: list[str] = []
    each(rows, partial(_unbind, begun=begun), "unbinding an expired external IP")
    return len(begun)


def _unbind(row: ExternalIp, begun: list[str]) -> None:
    with scope(tenant=row.tenant):
        tries = Job.objects.filter(kind="external_ip.unbind_expired", target_id=row.pk)
        if not jobs.is_due_again(tries):
            return
        try:
            EXTERNAL_IPS.begin(
                row, "unbind_expired_external_ip", actor=Actor.system(row.tenant), egress=False
            )
        except ScloudError as error:
            _complain(row, "is not unbound yet", error, logging.INFO)
            return
    begun.append(row.pk)


def overdue(tenant: Tenant, pk: str) -> None:
    """Move an external IP that stayed expired past its grace to the bin, unbound first."""
    with scope(tenant=tenant):
        row = ExternalIp.objects.filter(pk=pk).first()
        gone = (ExternalIpStatus.BINNED, ExternalIpStatus.DESTROYED, ExternalIpStatus.FAILED)
        if row is None or row.status in gone:
            return
        try:
            EXTERNAL_IPS.begin(
                row,
                "retire_external_ip",
                actor=Actor.system(tenant),
                payload={"automatically": True},
                egress=False,
            )
        except ScloudError as error:
            _complain(row, "could not be moved to the bin", error)


def empty_bin() -> int:
    """Give back those that have lain in the bin past their retention; return how many."""
    if not PlatformSettings.load().auto_destroy or freezing.is_frozen():
        return 0
    with scopes_disabled():
        due = _to_destroy.take(
            ExternalIp.objects.select_related("tenant").filter(
                status=ExternalIpStatus.BINNED, task="", destroy_at__lte=timezone.now()
            )
        )
    return len(each(due, _destroy, "emptying the bin"))


def _destroy(row: ExternalIp) -> None:
    try:
        actions.destroy_external_ip(actor=Actor.system(row.tenant), external_ip=row)
    except ScloudError as error:
        _complain(row, "could not be destroyed", error)


def let_go_of_the_gone() -> int:
    """Take external IPs off targets that are no more; return how many were begun.

    Their deletion begins this itself. This finds those whose job failed for good, and gives the
    addresses back that were bought with VMs that never came to be.
    """
    if freezing.is_frozen():
        return 0
    with scopes_disabled():
        rows = _bound.take(
            ExternalIp.objects.select_related("tenant").filter(task="").exclude(target_id="")
        )
    begun: list[str] = []
    each(rows, partial(_let_go, begun=begun), "taking an external IP off what is gone")
    return len(begun)


def _let_go(row: ExternalIp, begun: list[str]) -> None:
    kind = targets.kind_named(row.target_kind)
    with scope(tenant=row.tenant):
        if kind is None or not kind.gone(row.target_id):
            return
        if row.status in (ExternalIpStatus.FAILED, ExternalIpStatus.DESTROYED):
            # Bought with a VM that never came to be, and whose host says so by now.
            with transaction.atomic():
                give_address_back(row)
                ExternalIp.objects.filter(pk=row.pk, task="").update(**LOOSE)
            begun.append(row.pk)
            return
        with transaction.atomic():
            EXTERNAL_IPS.begin(
                row,
                "let_go_external_ip",
                actor=Actor.system(row.tenant),
                payload={"to_bin": False},
                egress=False,
            )
    begun.append(row.pk)


def land_stuck() -> int:
    """Land those whose task outlived its deadline and has no live job; return how many."""
    with scopes_disabled():
        stuck = _stuck.take(
            ExternalIp.objects.select_related("tenant")
            .exclude(task="")
            .filter(task_deadline__lt=timezone.now())
        )
    landed: list[str] = []
    each(stuck, partial(_land, landed=landed), "landing an external IP")
    return len(landed)


def _land(row: ExternalIp, landed: list[str]) -> None:
    with scope(tenant=row.tenant), transaction.atomic():
        job = Job.objects.filter(pk=row.task_job).first()
        if job is not None and (job.is_active or not knows(job.kind)):
            # The sweep of the jobs ends it, and that lands the row; one of a kind that this
            # release does not know is left to a newer one.
            return
        if row.nic_id is not None:
            egress.locked_nic(row.nic_id)
        error = ScloudError(_("The operation timed out."), code="deadline_exceeded")
        status = ExternalIpStatus(row.status)
        columns: dict[str, object] = {}
        if row.status == ExternalIpStatus.NEW:
            # It never came to be, and nobody else gives back what was paid for it.
            services.refund_failed(row.pk, error.message)
            quotas.free(row.pk)
            status, columns = ExternalIpStatus.FAILED, dict(HELD)
        elif row.task == ExternalIpTask.BINDING:
            columns = dict(LOOSE)
        elif row.task == ExternalIpTask.RESIZING and job is not None:
            before = int(job.payload["bandwidth_before_mbps"])
            take_back(row, job, error.message)
            quotas.resize(row.tenant, row.region, {"bandwidth_mbps": before}, row.pk)
            columns = {"bandwidth_mbps": before}
        nic = row.nic
        if EXTERNAL_IPS.land(row, status, error, **columns):
            follow_up(nic)
            egress.settle(row.target_kind, row.target_id)
            landed.append(row.pk)


def _complain(row: ExternalIp, what: str, error: ScloudError, level: int = logging.WARNING) -> None:
    said.say(
        (row.pk, what), error.code, level, "%s %s: %s", row.pk, what,
        error.for_operators(),
    )  # fmt: skip
