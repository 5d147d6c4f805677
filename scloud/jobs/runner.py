"""Claiming and running one job: compare-and-swap claim, lease with heartbeat, steps, end."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from scloud.jobs import faults
from scloud.jobs.handlers import Context, Handler, LeaseLostError, Step, handler_for
from scloud.jobs.models import Job, JobStatus
from scloud.jobs.service import tell
from scloud.lib.errors import InternalError, ScloudError
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

log = logging.getLogger(__name__)

BACKOFF_S = (1, 2, 5, 10, 30)


def worker_name() -> str:
    """Return this worker's name in leases."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _lease() -> timedelta:
    return timedelta(seconds=settings.SCLOUD_JOB_LEASE_S)


def claim(job_id: str) -> Job | None:
    """Take a due job, or one whose lease ran out; None when there is nothing to take."""
    now = timezone.now()
    due = Q(status=JobStatus.QUEUED, not_before__lte=now) | Q(
        status=JobStatus.RUNNING, lease_until__lt=now
    )
    with scopes_disabled():
        taken = Job.objects.filter(due, id=job_id).update(
            status=JobStatus.RUNNING,
            attempt=F("attempt") + 1,
            lease_owner=worker_name(),
            lease_until=now + _lease(),
        )
        if not taken:
            return None
        Job.objects.filter(id=job_id, started_at=None).update(started_at=now)
        job: Job | None = Job.objects.select_related("tenant").filter(id=job_id).first()
    return job


class _Heartbeats:
    """One thread per process that keeps the leases of its running jobs alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        self._lost: set[tuple[str, int]] = set()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def hold(self, job_id: str, attempt: int) -> None:
        with self._lock:
            self._held[job_id] = attempt
            # A forked child inherits the object but not the thread.
            if self._thread is None or self._pid != os.getpid() or not self._thread.is_alive():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()

    def drop(self, job_id: str, attempt: int) -> None:
        with self._lock:
            if self._held.get(job_id) == attempt:
                del self._held[job_id]
            self._lost.discard((job_id, attempt))

    def lost(self, job_id: str, attempt: int) -> bool:
        with self._lock:
            return (job_id, attempt) in self._lost

    def _run(self) -> None:
        while True:
            time.sleep(settings.SCLOUD_JOB_LEASE_S / 3)
            with self._lock:
                held = dict(self._held)
            if not held:
                with self._lock:
                    if not self._held:
                        # Ends instead of idling, so that it keeps no database connection.
                        self._thread = None
                        connection.close()
                        return
            for job_id, attempt in held.items():
                self._beat(job_id, attempt)

    def _beat(self, job_id: str, attempt: int) -> None:
        try:
            with scopes_disabled():
                alive = Job.objects.filter(
                    id=job_id, attempt=attempt, status=JobStatus.RUNNING
                ).update(lease_until=timezone.now() + _lease())
        except (DatabaseError, InterfaceError):
            # The database is away for a moment; the lease runs out if it stays away.
            connection.close()
            return
        if not alive:
            with self._lock:
                # One that ended between the look at what is held and the beat is nobody's loss.
                if self._held.get(job_id) == attempt:
                    self._lost.add((job_id, attempt))


_heartbeats = _Heartbeats()


class _Run:
    """One attempt at one job."""

    def __init__(self, job: Job, handler: Handler) -> None:
        self.job = job
        self.handler = handler
        self.attempt = job.attempt
        self.steps = list(handler.steps(job))
        self.total = sum(step.weight for step in self.steps) or 1
        self.done = 0
        self.current: Step | None = None
        self.states: list[dict[str, Any]] = [
            {"name": step.name, "label": step.label, "state": "waiting"} for step in self.steps
        ]
        self.context = Context(job, still_mine=self.still_mine, report=self.report)

    def still_mine(self) -> bool:
        return not _heartbeats.lost(self.job.id, self.attempt)

    def write(self, **values: Any) -> None:
        """Write to the row under the fencing token, and push it to the pages."""
        with transaction.atomic():
            changed = Job.objects.filter(
                id=self.job.id, attempt=self.attempt, status=JobStatus.RUNNING
            ).update(**values)
            if not changed:
                raise LeaseLostError(self.job.id)
            tell(self.job)

    def report(self, fraction: float, words: str) -> None:
        weight = self.current.weight if self.current else 0
        percent = int(100 * (self.done + weight * fraction) / self.total)
        self.write(progress_percent=percent, step=words[:120] or self.job.step)

    def run_steps(self) -> None:
        for index, step in enumerate(self.steps):
            self.current = step
            self.states[index].update(state="running", at=timezone.now().isoformat())
            self.write(
                step=step.label[:120],
                steps=self.states,
                progress_percent=int(100 * self.done / self.total),
            )
            faults.reach(f"{self.job.kind}:{step.name}:before")
            step.run(self.context)
            faults.reach(f"{self.job.kind}:{step.name}:after")
            self.context.check()
            self.states[index].update(state="done", at=timezone.now().isoformat())
            self.done += step.weight

    def end(self, status: JobStatus, after: Callable[[], None], **values: Any) -> None:
        """End the job and do what follows from it, in one transaction under the token."""
        with transaction.atomic():
            changed = Job.objects.filter(
                id=self.job.id, attempt=self.attempt, status=JobStatus.RUNNING
            ).update(
                status=status,
                steps=self.states,
                result=self.context.result,
                finished_at=timezone.now(),
                lease_until=None,
                **values,
            )
            if not changed:
                raise LeaseLostError(self.job.id)
            after()
            self.job.status = status
            tell(self.job)


def run(job_id: str) -> str:
    """Run a job if it is due; return what became of it (for logs and tests)."""
    job = claim(job_id)
    if job is None:
        return "not due"
    with in_scope_of(job.tenant):
        try:
            handler = handler_for(job.kind)
        except ScloudError as error:
            log.error("%s: %s", job.id, error.message)
            Job.objects.filter(id=job.id, attempt=job.attempt).update(
                status=JobStatus.FAILED,
                error_code=error.code,
                error_message=error.message,
                finished_at=timezone.now(),
                lease_until=None,
            )
            return "failed"
        _heartbeats.hold(job.id, job.attempt)
        try:
            return _run_attempt(_Run(job, handler))
        except LeaseLostError:
            log.warning("%s: taken over by another worker, leaving it", job.id)
            return "lost"
        finally:
            _heartbeats.drop(job.id, job.attempt)


def _run_attempt(run: _Run) -> str:
    job = run.job
    try:
        if job.attempt > job.max_attempts:
            raise ScloudError(
                f"Gave up after {job.max_attempts} attempts.", code="too_many_attempts"
            )
        run.run_steps()
        run.end(
            JobStatus.SUCCEEDED,
            lambda: run.handler.on_success(run.context),
            progress_percent=100,
            step="",
        )
    except LeaseLostError:
        raise
    except ScloudError as error:
        return _failed(run, error)
    except (DatabaseError, InterfaceError):
        # Nothing can be written now; the lease runs out and the sweep rings again.
        log.exception("%s: the database did not answer", job.id)
        connection.close()
        return "database away"
    except Exception as error:
        log.exception("%s: unexpected error in step %s", job.id, run.current)
        return _failed(
            run,
            InternalError(
                f"Internal error ({type(error).__name__}).",
                remedy="The platform's operators see the details in the log.",
            ),
        )
    return "succeeded"


def _failed(run: _Run, error: ScloudError) -> str:
    """Try again later if that may help, else end the job and compensate."""
    job = run.job
    for state in run.states:
        if state["state"] == "running":
            state.update(state="failed", at=timezone.now().isoformat())
    told = {
        "error_code": error.code,
        "error_message": error.message,
        "error_remedy": error.remedy or "",
    }
    wait_s = BACKOFF_S[min(job.attempt, len(BACKOFF_S)) - 1]
    again_at = timezone.now() + timedelta(seconds=wait_s)
    if error.retryable and job.attempt < job.max_attempts and again_at < job.deadline:
        run.write(
            status=JobStatus.QUEUED, not_before=again_at, lease_until=None, steps=run.states, **told
        )
        return "will retry"
    give_up(run.context, run.handler, error)
    run.end(JobStatus.FAILED, lambda: run.handler.on_failure(run.context, error), **told)
    return "failed"


def give_up(context: Context, handler: Handler, error: ScloudError) -> None:
    """Let the handler clean up on hosts; what it cannot do now the reconciler does later."""
    try:
        handler.before_failure(context, error)
    except ScloudError as second:
        log.warning("%s: clean-up failed: %s", context.job.id, second.message)
