"""What administrators do with jobs."""

from django.db.models.functions import Now
from django.utils.translation import gettext

from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service, sweep
from scloud.jobs.handlers import knows
from scloud.jobs.models import Job, JobStatus
from scloud.lib.errors import Conflict, ScloudError
from scloud.tenancy.actor import Actor


@action("platform.retry_job")
def retry_job(*, actor: Actor, job: Job) -> Job:
    """Queue a failed or cancelled job again. Raises Conflict when it is neither."""
    audit.note(job, before={"status": job.status})
    fresh = service.retry(job.pk)
    audit.note(after={"status": fresh.status})
    return fresh


@action("platform.cancel_job")
def cancel_job(*, actor: Actor, job: Job) -> None:
    """End an active job; its worker stops at the next look at its lease.

    What the job had taken is given back, and its target lands where it truly is, as after a
    deadline. Raises Conflict when the job has ended already.
    """
    audit.note(job, before={"status": job.status})
    if not knows(job.kind):
        raise Conflict(
            gettext("This release does not support jobs of kind %(kind)s.") % {"kind": job.kind},
            code="job_kind_unknown",
            remedy=gettext("Cancel it with the release that queued it."),
        )
    error = ScloudError(
        gettext("Cancelled by %(label)s.") % {"label": actor.label}, code="cancelled"
    )
    if not sweep.end_now(job, error):
        raise Conflict(gettext("This job has already ended."), code="job_not_active")
    # Who ends it knows of it.
    _acknowledge(actor, job)


@action("platform.acknowledge_job")
def acknowledge_job(*, actor: Actor, job: Job) -> Job:
    """Say that somebody takes care of a failed job, which operators then see as such no more.

    Raises Conflict (``job_not_failed``, ``job_acknowledged``).
    """
    audit.note(job)
    changed = _acknowledge(actor, job)
    job.refresh_from_db()
    if changed:
        return job
    if job.status != JobStatus.FAILED:
        raise Conflict(
            gettext("Only a failed job can be acknowledged."),
            code="job_not_failed",
            numbers={"status": job.status},
        )
    raise Conflict(
        gettext("%(who)s has acknowledged it already.") % {"who": job.acknowledged_by},
        code="job_acknowledged",
    )


def _acknowledge(actor: Actor, job: Job) -> bool:
    """Write it down; return whether the job had failed and nobody had done so before."""
    unseen = Job.objects.filter(pk=job.pk, status=JobStatus.FAILED, acknowledged_at__isnull=True)
    return bool(unseen.update(acknowledged_at=Now(), acknowledged_by=actor.label))
