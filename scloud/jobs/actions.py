"""What administrators do with jobs."""

from django.utils.translation import gettext

from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service, sweep
from scloud.jobs.handlers import knows
from scloud.jobs.models import Job
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
