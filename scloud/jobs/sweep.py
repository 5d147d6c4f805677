"""The sweep: rings again for jobs that nobody runs, and ends those past their deadline."""

import logging
import os
import signal
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from scloud.jobs import runner
from scloud.jobs.handlers import Context, handler_for
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.jobs.service import ring, tell
from scloud.lib.errors import ScloudError
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

log = logging.getLogger(__name__)

RING_AGAIN_S = 5
SILENT_S = 30
KEEP_FINISHED = timedelta(days=90)


def ring_forgotten() -> int:
    """Ring for due jobs that nobody claimed and for running ones whose lease ran out."""
    now = timezone.now()
    forgotten = Q(status=JobStatus.QUEUED, not_before__lte=now) | Q(
        status=JobStatus.RUNNING, lease_until__lt=now
    )
    with scopes_disabled():
        waiting = list(
            Job.objects.filter(forgotten, deadline__gt=now)
            .filter(
                # A retry that has just come due is rung at once; one that was rung and not
                # taken is rung again only after a while, or a slow queue would fill with bells.
                Q(rung_at__lt=now - timedelta(seconds=RING_AGAIN_S))
                | Q(rung_at__lt=F("not_before"))
            )
            .values_list("id", flat=True)[:500]
        )
        for job_id in waiting:
            with transaction.atomic():
                Job.objects.filter(id=job_id).update(rung_at=now)
                ring(job_id)
    return len(waiting)


def end_overdue() -> int:
    """Fail jobs past their deadline and let their handlers put things right."""
    now = timezone.now()
    with scopes_disabled():
        overdue = list(
            Job.objects.select_related("tenant").filter(status__in=ACTIVE, deadline__lt=now)[:100]
        )
    for job in overdue:
        end_now(
            job,
            ScloudError(
                f"{job.title} did not end in time.",
                code="deadline_exceeded",
                remedy="Look at the state of the resource and try again.",
            ),
        )
    return len(overdue)


def end_now(job: Job, error: ScloudError) -> bool:
    """Fail an active job from outside of its worker; False when it ended meanwhile."""
    with in_scope_of(job.tenant):
        # Taking the fencing token first stops the worker, if one is left, from writing.
        taken = Job.objects.filter(id=job.id, attempt=job.attempt, status__in=ACTIVE).update(
            attempt=F("attempt") + 1,
            status=JobStatus.RUNNING,
            lease_owner="sweep",
            lease_until=timezone.now() + timedelta(seconds=settings.SCLOUD_JOB_LEASE_S * 2),
        )
        if not taken:
            return False
        job.refresh_from_db()
        handler = handler_for(job.kind)
        context = Context(job, still_mine=lambda: True, report=lambda fraction, words: None)
        runner.give_up(context, handler, error)
        with transaction.atomic():
            ended = Job.objects.filter(
                id=job.id, attempt=job.attempt, status=JobStatus.RUNNING
            ).update(
                status=JobStatus.FAILED,
                error_code=error.code,
                error_message=error.message,
                error_remedy=error.remedy or "",
                finished_at=timezone.now(),
                lease_until=None,
            )
            if not ended:
                return False
            handler.on_failure(context, error)
            job.status = JobStatus.FAILED
            tell(job)
    return True


def forget_finished() -> int:
    """Delete ended jobs after three months; the operation log keeps what was done."""
    with scopes_disabled():
        deleted, _ = (
            Job.objects.filter(finished_at__lt=timezone.now() - KEEP_FINISHED)
            .exclude(status__in=ACTIVE)
            .delete()
        )
    return int(deleted)


def worker_pid_file() -> Path:
    """Return where the worker process writes its pid."""
    return Path(settings.SCLOUD_STATE_DIR) / "run" / "worker.pid"


def restart_silent_workers() -> bool:
    """End the worker process when due jobs wait and nothing runs; its supervisor starts a new one.

    django-q2 can fall silent without ending (an idle worker killed at the wrong moment leaves the
    queue's lock held), so its being alive proves nothing.
    """
    now = timezone.now()
    with scopes_disabled():
        oldest = (
            Job.objects.filter(
                status=JobStatus.QUEUED, not_before__lt=now - timedelta(seconds=SILENT_S)
            )
            .order_by("not_before")
            .first()
        )
        running = Job.objects.filter(status=JobStatus.RUNNING, lease_until__gt=now).exists()
    if oldest is None or running:
        return False
    path = worker_pid_file()
    try:
        pid = int(path.read_text())
        if "worker" not in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"):
            return False
        if now.timestamp() - path.stat().st_mtime < SILENT_S:
            return False
        os.killpg(os.getpgid(pid), signal.SIGKILL)
    except (OSError, ValueError):
        return False
    log.error("the workers were silent for %s s and were restarted", SILENT_S)
    return True
