"""What administrators do with jobs."""

from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
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

    The sweep then brings the target back to what the hypervisor says. Raises Conflict when the
    job has ended already.
    """
    audit.note(job, before={"status": job.status})
    if not service.supersede(job.pk, f"Cancelled by {actor.label}."):
        raise Conflict("This job has ended already.", code="job_not_active")
