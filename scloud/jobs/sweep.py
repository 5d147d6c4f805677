"""The sweep: wakes workers again for jobs that nobody runs, and ends those past their deadline."""

import logging
import os
import signal
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext

from scloud.jobs import runner, workers
from scloud.jobs.handlers import (
    UNKNOWN_KIND,
    Context,
    LeaseLostError,
    handler_for,
    knows,
    registered_kinds,
)
from scloud.jobs.models import ACTIVE, UNSEEN, Job, JobStatus
from scloud.jobs.rows import Rota, each
from scloud.jobs.service import tell, wake_up
from scloud.lib import lease, tracing
from scloud.lib.errors import ScloudError
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

log = logging.getLogger(__name__)
_overdue = Rota("deadline", 100)

WAKE_AGAIN_S = 60
# Longer than a wake-up that was lost takes to be repeated.
SILENT_S = 75
KEEP_FINISHED = timedelta(days=90)
# How long it is looked for jobs that a release without their handler has failed.
REVIVE_FOR = timedelta(days=1)


def wake_forgotten() -> int:
    """Wake a worker for what has come due, and again for what nobody took; return how many.

    What comes due (a retry, the end of a wait, a lease that ran out) is told at once. What was
    told and not taken waits for its turn, or the wake-up was lost: it is repeated once a minute,
    or a slow queue would fill with wake-ups.
    """
    now = Now()
    due = Q(status=JobStatus.QUEUED, not_before__lte=now) | Q(
        status=JobStatus.RUNNING, lease_until__lt=now
    )
    untold = Q(status=JobStatus.QUEUED, rung_at__lt=F("not_before")) | Q(
        status=JobStatus.RUNNING, rung_at__lt=F("lease_until")
    )
    with scopes_disabled():
        waiting = list(
            Job.objects.filter(due, deadline__gt=now, kind__in=registered_kinds())
            .filter(untold | Q(rung_at__lt=now - timedelta(seconds=WAKE_AGAIN_S)))
            .order_by("not_before")
            .only("id")[:500]
        )
        each(waiting, _wake_again, "waking a worker")
    return len(waiting)


def _wake_again(job: Job) -> None:
    with transaction.atomic():
        Job.objects.filter(id=job.id).update(rung_at=Now())
        wake_up(job.id)


def end_overdue() -> int:
    """Fail jobs past their deadline and let their handlers put things right.

    A kind that this release does not know is left to one that does: only its handler can give
    back what the job had taken.
    """
    with scopes_disabled():
        overdue = _overdue.take(
            Job.objects.select_related("tenant").filter(
                status__in=ACTIVE, deadline__lt=Now(), kind__in=registered_kinds()
            )
        )
    each(overdue, _end_overdue, "ending an overdue job")
    return len(overdue)


def _end_overdue(job: Job) -> None:
    end_now(
        job,
        ScloudError(
            gettext("%(title)s timed out.") % {"title": job.title},
            code="deadline_exceeded",
            remedy=gettext("Check the status of the resource and try again."),
        ),
    )


def end_now(job: Job, error: ScloudError) -> bool:
    """Fail an active job from outside of its worker.

    False when it ended meanwhile, or when this release does not know its kind.
    """
    if not knows(job.kind):
        return False
    with tracing.job(job.id, job.trace), in_scope_of(job.tenant):
        # Taking the fencing token first stops the worker, if one is left, from writing.
        taken = Job.objects.filter(id=job.id, attempt=job.attempt, status__in=ACTIVE).update(
            attempt=F("attempt") + 1,
            status=JobStatus.RUNNING,
            lease_owner="sweep",
            lease_until=Now() + timedelta(seconds=settings.SCLOUD_JOB_LEASE_S * 2),
        )
        if not taken:
            return False
        job.refresh_from_db()
        handler = handler_for(job.kind)

        def mine() -> bool:
            row = Job.objects.filter(id=job.id, attempt=job.attempt, status=JobStatus.RUNNING)
            if connection.in_atomic_block:
                # No lock on the row while a host is asked: a request may need it.
                return bool(row.exists())
            # A long clean-up keeps the job, or a worker would begin it in the middle.
            return bool(
                row.update(lease_until=Now() + timedelta(seconds=settings.SCLOUD_JOB_LEASE_S * 2))
            )

        context = Context(job, still_mine=mine, report=lambda fraction, words: None)
        try:
            with lease.held(context.guard):
                runner.give_up(context, handler, error)
        except LeaseLostError:
            return False
        with transaction.atomic():
            ended = Job.objects.filter(
                id=job.id, attempt=job.attempt, status=JobStatus.RUNNING
            ).update(
                status=JobStatus.FAILED,
                error_code=error.code,
                error_message=error.message,
                error_remedy=error.remedy or "",
                error_detail=error.detail,
                finished_at=timezone.now(),
                lease_until=None,
                parked=None,
                **UNSEEN,
            )
            if not ended:
                return False
            handler.on_failure(context, error)
            job.status = JobStatus.FAILED
            tell(job)
    return True


def revive_unknown() -> int:
    """Queue again what a release without the handler has failed; return how many.

    Such a job was never begun and nothing was given back for it. Where its target has another
    job by now, its own handler ends it properly.
    """
    revived = 0
    with scopes_disabled():
        failed = list(
            Job.objects.select_related("tenant").filter(
                status=JobStatus.FAILED,
                error_code=UNKNOWN_KIND,
                kind__in=registered_kinds(),
                finished_at__gt=timezone.now() - REVIVE_FOR,
            )[:100]
        )
        for job in failed:
            row = Job.objects.filter(pk=job.pk, attempt=job.attempt, status=JobStatus.FAILED)
            back = {
                "error_code": "",
                "error_message": "",
                "error_detail": "",
                "finished_at": None,
            }
            deadline = timezone.now() + max(timedelta(minutes=5), job.deadline - job.created_at)
            try:
                with transaction.atomic():
                    if not row.update(
                        status=JobStatus.QUEUED, not_before=Now(), deadline=deadline, **back
                    ):
                        continue
                    wake_up(job.pk)
            except IntegrityError:
                continue
            revived += 1
    return revived


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
                status=JobStatus.QUEUED,
                not_before__lt=now - timedelta(seconds=SILENT_S),
                # What its workers do not know is not what they are silent about.
                kind__in=workers.kinds_here(),
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
