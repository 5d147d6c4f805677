"""Claiming and running one job: compare-and-swap claim, lease with heartbeat, steps, end."""

import logging
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest, Now
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.jobs import choosing, faults, leases
from scloud.jobs.handlers import (
    Context,
    Handler,
    LeaseLostError,
    Parked,
    Step,
    handler_for,
    registered_kinds,
)
from scloud.jobs.models import UNSEEN, Job, JobStatus
from scloud.jobs.service import tell
from scloud.lib import lease, tracing
from scloud.lib.backoff import Said, delay_s
from scloud.lib.errors import InternalError, ScloudError
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

FIRST_RETRY_S = 1.0
# Of the text of an unforeseen error, which may quote whole documents.
DETAIL_LENGTH = 2000
LAST_RETRY_S = 60.0
# How often a copy that moves says so to the database, which moves its deadline.
SIGN_OF_LIFE_S = 5.0
BUSY_AGAIN_S = 5.0
BUSY_PATIENCE_S = 300.0


def worker_name() -> str:
    return f"{choosing.machine()}:{os.getpid()}"


def claim(job_id: str) -> Job | None:
    """Take a due job, or one whose lease ran out; None when there is nothing to take."""
    due = Q(status=JobStatus.QUEUED, not_before__lte=timezone.now()) | Q(
        status=JobStatus.RUNNING, lease_until__lt=Now()
    )
    with scopes_disabled():
        taken = Job.objects.filter(due, id=job_id, kind__in=registered_kinds()).update(
            status=JobStatus.RUNNING,
            attempt=F("attempt") + 1,
            lease_owner=worker_name(),
            lease_until=Now() + leases.length(),
        )
        if not taken:
            return None
        job: Job = Job.objects.select_related("tenant").get(id=job_id)
        if job.started_at is None:
            begun: dict[str, Any] = {"started_at": timezone.now()}
            if job.limit_s is not None:
                # What waited for its turn has its whole time all the same.
                begun["deadline"] = begun["started_at"] + timedelta(seconds=job.limit_s)
            Job.objects.filter(id=job_id, attempt=job.attempt).update(**begun)
            for name, value in begun.items():
                setattr(job, name, value)
    return job


def claim_next() -> Job | None:
    """Choose the job that has the next turn and take it; None when there is nothing to do."""
    with transaction.atomic():
        job_id = choosing.next_due()
        return None if job_id is None else claim(job_id)


class _Run:
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
        self.moved_at = 0.0
        self.context = Context(
            job, still_mine=self.still_mine, report=self.report, confirm=self.confirm
        )

    def still_mine(self) -> bool:
        return leases.leases.believed(self.job.id, self.attempt)

    def confirm(self) -> bool:
        """Ask the database; a worker that gets no answer stops believing that the job is its."""
        try:
            return leases.leases.confirm(self.job.id, self.attempt)
        except (DatabaseError, InterfaceError) as error:
            log.warning("%s: cannot confirm the lease (%s)", self.job.id, type(error).__name__)
            connection.close()
            return False

    def moving(self, done: int, total: int | None) -> None:
        """Take a copy's sign of life: stop it when the job is lost, move the deadline on."""
        self.context.check()
        if leases.clock() - self.moved_at < SIGN_OF_LIFE_S:
            return
        self.moved_at = leases.clock()
        if total:
            self.report(min(1.0, done / total), "")
        elif self.handler.stall_s is not None:
            self.write(**self.later())

    def later(self) -> dict[str, Any]:
        """Return the column that moves the deadline of what makes progress."""
        if self.handler.stall_s is None:
            return {}
        stall = timedelta(seconds=self.handler.stall_s)
        return {"deadline": Greatest(F("deadline"), Now() + stall)}

    def write(self, *, notify: bool = True, **values: Any) -> None:
        """Write to the row under the fencing token, and push it to the pages if `notify`."""
        with transaction.atomic():
            changed = Job.objects.filter(
                id=self.job.id, attempt=self.attempt, status=JobStatus.RUNNING
            ).update(**values)
            if not changed:
                raise LeaseLostError(self.job.id)
            if notify:
                tell(self.job)

    def report(self, fraction: float, words: str) -> None:
        weight = self.current.weight if self.current else 0
        percent = int(100 * (self.done + weight * fraction) / self.total)
        self.write(
            progress_percent=percent,
            step=words[:120] or (self.current.label[:120] if self.current else self.job.step),
            **self.later(),
        )

    def run_steps(self) -> None:
        """Run the steps in order; what gave its slot back goes on at the step that waits."""
        parked = self.job.parked or {}
        names = [step.name for step in self.steps]
        at = names.index(parked["step"]) if parked.get("step") in names else 0
        with lease.held(self.context.guard, self.moving):
            for index, step in enumerate(self.steps):
                self.current = step
                if index < at:
                    self.states[index].update(state="done")
                    self.done += step.weight
                    continue
                self.context.memory = dict(parked["memory"]) if parked and index == at else {}
                self.states[index].update(state="running", at=timezone.now().isoformat())
                self.write(
                    # A look at what is waited for is no news for the pages.
                    notify=not parked or index != at,
                    step=step.label[:120],
                    steps=self.states,
                    progress_percent=int(100 * self.done / self.total),
                    parked=None,
                    **self.later(),
                )
                faults.reach(f"{self.job.kind}:{step.name}:before")
                self.context.parkable = True
                try:
                    step.run(self.context)
                finally:
                    self.context.parkable = False
                faults.reach(f"{self.job.kind}:{step.name}:after")
                self.context.check()
                self.states[index].update(state="done", at=timezone.now().isoformat())
                self.done += step.weight

    def park(self, wake_s: float) -> None:
        """Give the slot back; the attempt that this took is given back too."""
        if self.current is None:
            raise AssertionError("only a step can wait")
        self.write(
            notify=False,
            status=JobStatus.QUEUED,
            not_before=Now() + timedelta(seconds=wake_s),
            lease_until=None,
            lease_owner="",
            max_attempts=F("max_attempts") + 1,
            parked={"step": self.current.name, "memory": self.context.memory},
            result=self.context.result,
            steps=self.states,
        )

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
    asked_at = leases.clock()
    job = claim(job_id)
    return "not due" if job is None else run_claimed(job, asked_at)


def serve() -> str:
    """Run what has its turn until nothing may begin; return what became of the last job.

    One wake-up serves for all that is due: a lost one, or a hundred of one tenant, change nothing.
    """
    outcome = "not due"
    while True:
        asked_at = leases.clock()
        job = claim_next()
        if job is None:
            return outcome
        outcome = run_claimed(job, asked_at)


def run_claimed(job: Job, asked_at: float) -> str:
    """Run one attempt at a job that this worker has claimed.

    ``asked_at`` is the lease's clock before the claim was sent.
    """
    with tracing.job(job.id, job.trace):
        return _run_traced(job, asked_at)


def _run_traced(job: Job, asked_at: float) -> str:
    leases.leases.hold(job.id, job.attempt, asked_at)
    try:
        with in_scope_of(job.tenant):
            return _run_attempt(_Run(job, handler_for(job.kind)))
    except LeaseLostError:
        log.warning("%s: taken over by another worker, leaving it", job.id)
        return "lost"
    except (DatabaseError, InterfaceError) as error:
        # Nothing can be written now; the lease runs out and the job is claimed again.
        said.say("database", "away", logging.ERROR, "the database did not answer: %s", error)
        connection.close()
        return "database away"
    finally:
        leases.leases.drop(job.id, job.attempt)


def _run_attempt(run: _Run) -> str:
    job = run.job
    try:
        if job.attempt > job.max_attempts:
            raise ScloudError(
                _("Gave up after %(attempts)s attempts.") % {"attempts": run.handler.max_attempts},
                code="too_many_attempts",
                numbers={"attempts": run.handler.max_attempts},
            )
        run.run_steps()
        run.end(
            JobStatus.SUCCEEDED,
            lambda: run.handler.on_success(run.context),
            progress_percent=100,
            step="",
        )
        said.over("database")
    except (LeaseLostError, DatabaseError, InterfaceError):
        raise
    except Parked as wait:
        run.park(wait.wake_s)
        return "waiting"
    except ScloudError as error:
        return _failed(run, error)
    except Exception as error:
        log.exception("%s: unexpected error in step %s", job.id, run.current)
        return _failed(
            run,
            InternalError(
                _("An internal error occurred."),
                remedy=_("If it happens again, contact support."),
                detail=f"{type(error).__name__}: {error}"[:DETAIL_LENGTH],
            ),
        )
    return "succeeded"


def tries_of(job: Job, handler: Handler) -> int:
    """Return which try this attempt is, from one; waits without a slot count not."""
    return max(1, job.attempt - max(0, job.max_attempts - handler.max_attempts))


def _failed(run: _Run, error: ScloudError) -> str:
    """Try again later if that may help, else end the job and compensate."""
    job = run.job
    for state in run.states:
        if state["state"] == "running":
            state.update(state="failed", at=timezone.now().isoformat())
    told: dict[str, Any] = {
        "error_code": error.code,
        "error_message": error.message,
        "error_remedy": error.remedy or "",
        "error_detail": error.detail,
    }
    tries = tries_of(job, run.handler)
    wait_s = delay_s(tries, first_s=FIRST_RETRY_S, ceiling_s=LAST_RETRY_S)
    busy = error.code in run.handler.waits_for and not _waited_s(job) > BUSY_PATIENCE_S
    if busy:
        wait_s = BUSY_AGAIN_S
    again_at = timezone.now() + timedelta(seconds=wait_s)
    left = job.attempt < job.max_attempts or busy
    if error.retryable and left and again_at < _deadline_of(job):
        run.write(
            status=JobStatus.QUEUED,
            not_before=again_at,
            lease_until=None,
            parked=None,
            steps=run.states,
            max_attempts=F("max_attempts") + int(busy),
            **told,
        )
        return "will retry"
    with lease.held(run.context.guard, run.moving):
        give_up(run.context, run.handler, error)
    run.end(JobStatus.FAILED, lambda: run.handler.on_failure(run.context, error), **told, **UNSEEN)
    return "failed"


def _waited_s(job: Job) -> float:
    """Return for how long the job has been at it, in seconds."""
    began = job.started_at or timezone.now()
    return (timezone.now() - began).total_seconds()


def _deadline_of(job: Job) -> datetime:
    """Return the deadline as it is now: progress moves it."""
    with scopes_disabled():
        found: datetime = Job.objects.values_list("deadline", flat=True).get(pk=job.pk)
    return found


def give_up(context: Context, handler: Handler, error: ScloudError) -> None:
    """Let the handler clean up on hosts; what it cannot do now the reconciler does later.

    A defect in the clean-up keeps no job from ending: its row would be in flight for ever.
    """
    try:
        handler.before_failure(context, error)
    except ScloudError as second:
        log.warning("%s: clean-up failed: %s", context.job.id, second.for_operators())
    except (LeaseLostError, DatabaseError, InterfaceError):
        raise
    except Exception:
        log.exception("%s: unexpected error in the clean-up", context.job.id)
