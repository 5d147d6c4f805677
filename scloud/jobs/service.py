"""Putting jobs in the queue, taking them out again, and waking workers up."""

from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from scloud.audit import events
from scloud.jobs.handlers import handler_for
from scloud.jobs.lanes import Lane
from scloud.jobs.models import ACTIVE, UNSEEN, Job, JobStatus
from scloud.lib import tracing
from scloud.lib.errors import Conflict, NotFound
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

# As the queue names it, and as the workers of earlier releases know it.
WAKE_UP = "scloud.jobs.bell.ring"
# How long a copy may wait for its turn. Its own time begins when it does.
QUEUES = timedelta(days=1)


def wake_up(job_id: str) -> None:
    """Wake a worker for a job. The broker is the same database, so a rollback takes it along."""
    async_task(WAKE_UP, job_id, task_name=job_id)


def tell(job: Job) -> None:
    """Push the state of a job to the open pages."""
    events.notify(
        tenant_id=job.tenant_id,
        kind=f"job.{job.status}",
        resource_kind="job",
        resource_id=job.id,
    )


def enqueue(
    *,
    kind: str,
    tenant: Tenant | None,
    title: str,
    target_kind: str,
    target_id: str,
    payload: dict[str, Any] | None = None,
    deadline_s: float = 600,
    actor: Actor | None = None,
    exclusive: bool = True,
    delay_s: float = 0,
) -> Job:
    """Create a job and wake a worker up for it, inside the caller's transaction.

    Raises Conflict (``target_busy``) when an exclusive job of the target is still active.
    ``payload`` holds ids and plain settings, never a secret.
    """
    handler = handler_for(kind)
    now = timezone.now()
    lane = handler.lane_of(payload or {})
    long = lane == Lane.LONG
    job = Job(
        tenant=tenant,
        kind=kind,
        title=title[:200],
        target_kind=target_kind,
        target_id=target_id,
        payload=payload or {},
        exclusive=exclusive,
        max_attempts=handler.max_attempts,
        deadline=now + timedelta(seconds=deadline_s) + (QUEUES if long else timedelta()),
        lane=lane,
        limit_s=int(deadline_s) if long else None,
        created_by=actor.label if actor else "SCloud",
        trace=tracing.to_pass_on(),
        steps=[
            {"name": step.name, "label": step.label, "state": "waiting"}
            for step in handler.steps(
                Job(kind=kind, target_id=target_id, target_kind=target_kind, payload=payload or {})
            )
        ],
    )
    # By the database's clock, as the workers look: one that is woken at once finds it due.
    job.not_before = Now() + timedelta(seconds=delay_s)
    job.rung_at = Now()
    try:
        with transaction.atomic():
            job.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(
            _("Another operation on %(target_id)s is still running.") % {"target_id": target_id},
            code="target_busy",
            remedy=_("Wait until it finishes and try again."),
        ) from error
    job.not_before, job.rung_at = now + timedelta(seconds=delay_s), now
    wake_up(job.id)
    tell(job)
    return job


def is_due_again(tries: QuerySet[Job], *, first_s: float = 30, ceiling_s: float = 900) -> bool:
    """Tell whether what the jobs ``tries`` have tried may be tried once more.

    The wait after the last of them doubles with each, from ``first_s`` to ``ceiling_s`` seconds.
    """
    times = list(tries.order_by("-created_at").values_list("created_at", flat=True)[:20])
    if not times:
        return True
    wait_s = min(ceiling_s, first_s * 2.0 ** (len(times) - 1))
    return timezone.now() - times[0] >= timedelta(seconds=wait_s)


def supersede(job_id: str, reason: str) -> bool:
    """Cancel an active job because another one takes its place; return whether it was active.

    The attempt number goes up, so the worker that holds it can write nothing more.
    """
    with scopes_disabled():
        changed = Job.objects.filter(id=job_id, status__in=ACTIVE).update(
            status=JobStatus.CANCELLED,
            attempt=F("attempt") + 1,
            error_code="superseded",
            error_message=reason,
            finished_at=timezone.now(),
            lease_until=None,
        )
        if changed:
            tell(Job.objects.get(id=job_id))
    return bool(changed)


def retry(job_id: str) -> Job:
    """Queue a failed job again, for an administrator.

    Raises NotFound, and Conflict when it did not fail, its target is busy with another one, or its
    end has given back what it had taken.
    """
    with scopes_disabled():
        job = Job.objects.filter(id=job_id).first()
        if job is None:
            raise NotFound(_("There is no job %(job_id)s.") % {"job_id": job_id})
        if not handler_for(job.kind).repeatable:
            raise Conflict(
                _("What this job had reserved was released when it ended."),
                code="job_not_repeatable",
                remedy=_("Repeat the operation on the resource."),
            )
        now = timezone.now()
        if Job.objects.filter(
            target_kind=job.target_kind, target_id=job.target_id, status__in=ACTIVE, exclusive=True
        ).exists():
            raise Conflict(_("The target has another active job."), code="target_busy")
        changed = Job.objects.filter(
            Q(status=JobStatus.FAILED) | Q(status=JobStatus.CANCELLED), id=job_id
        ).update(
            status=JobStatus.QUEUED,
            not_before=Now(),
            rung_at=Now(),
            deadline=now + (job.deadline - job.created_at),
            created_at=now,
            max_attempts=F("attempt") + handler_for(job.kind).max_attempts,
            error_code="",
            error_message="",
            error_detail="",
            finished_at=None,
            lease_until=None,
            parked=None,
            **UNSEEN,
        )
        if not changed:
            raise Conflict(
                _("Only a failed or cancelled job can be retried."), code="job_not_failed"
            )
        wake_up(job_id)
        fresh: Job = Job.objects.get(id=job_id)
        tell(fresh)
    return fresh
