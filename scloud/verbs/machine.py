"""How every kind of resource changes its status: begin, complete, fail, move, land.

Each is one atomic compare-and-swap with its event. A kind declares its table of rules, its model
and why it refuses a verb (see ``<app>/transitions/<noun>.py``); nothing here knows a kind.

Kinds with a ``task`` column are in flight by ``task`` and ``task_job``, and stand in ``status``
meanwhile. Kinds without one are in flight by the status that the rule calls ``task``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.audit import events
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, ScloudError
from scloud.tenancy.actor import Actor
from scloud.verbs.catalogue import Catalogue, Verb

Row = TypeVar("Row", bound=models.Model)

# Later than the job's own deadline: the job's end repairs the row, and the sweep of stuck rows
# comes after it.
GRACE_S = 60


class Machine(Generic[Row]):
    """The transitions of one kind.

    ``related`` is read along with a row because the guards look at it; ``compared`` are the
    columns that must not have changed between the guard and the write.
    """

    related: tuple[str, ...] = ()
    compared: tuple[str, ...] = ("status", "task", "task_job")

    def __init__(
        self,
        table: Catalogue[Any],
        model: type[Row],
        refusal: Callable[[Row, str], str | None],
    ) -> None:
        self.table = table
        self.model = model
        self.refusal = refusal
        names = {field.name for field in model._meta.get_fields()}
        self.has_task = "task" in names
        self._cleared: dict[str, Any] = {
            name: "" for name in ("failure_code", "failure", "failure_detail") if name in names
        }
        self._failure_length: int = cast(Any, model._meta.get_field("failure")).max_length

    # --- what kinds differ in

    def standing(self, row: Row) -> str:
        return str(cast(Any, row).status)

    def event_data(self, row: Row) -> dict[str, Any]:
        """Return what every event of a row carries."""
        return {}

    def payload(self, row: Row) -> dict[str, Any]:
        """Return what every job of a row is given."""
        return {self.table.kind: row.pk}

    def target(self, row: Row, columns: Mapping[str, Any]) -> tuple[str, str]:
        """Return kind and id of what the job of a row is exclusive on."""
        return self.table.kind, str(row.pk)

    def landing(self, row: Row, status: str | None) -> str | None:
        """Return where a row lands that its job would land in ``status``; None: where it stands.

        Called within the transaction that lands it.
        """
        return status

    def tell(self, row: Row, kind: str, **data: Any) -> None:
        events.emit(
            tenant_id=cast(Any, row).tenant_id,
            kind=kind,
            resource_kind=self.table.kind,
            resource_id=str(row.pk),
            data={**self.event_data(row), **data},
        )

    # --- reading and refusing

    def fresh(self, row: Row) -> Row:
        """Return the row as it is now, with what the guards look at."""
        return self._rows().select_related(*self.related).get(pk=row.pk)

    def guard(self, row: Row, verb: str) -> None:
        """Raise Conflict (``<kind>_state``) unless the verb is allowed as the row stands."""
        reason = self.refusal(row, verb)
        if reason is None:
            return
        seen = cast(Any, row)
        numbers = {"status": self.standing(row)}
        if self.has_task:
            numbers["task"] = seen.task
        raise Conflict(
            f"{seen.name}: {reason}",
            code=f"{self.table.kind}_state",
            remedy=_("Wait for the current operation to finish, or change the state first."),
            numbers={**numbers, "allowed_from": sorted(self.table.rule(verb).allowed_from)},
        )

    # --- transitions

    def begin(
        self,
        row: Row,
        verb: str,
        *,
        actor: Actor,
        payload: Mapping[str, Any] | None = None,
        job: Job | None = None,
        deadline_s: float | None = None,
        expected: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> Job:
        """Put a row in flight and queue the job that carries the verb out, or join ``job``.

        ``columns`` are set along with it, on ``row`` too. Those ``expected`` have to be what the
        caller decided by. Raises Conflict when the row's state does not allow the verb, also when
        another caller was faster; then nothing is queued.
        """
        rule = self.table.rule(verb)
        with transaction.atomic():
            seen = self.fresh(row)
            self.guard(seen, verb)
            self._push_aside(seen, rule)
            if job is None:
                job = self._enqueue(seen, rule, actor, payload, deadline_s, columns)
            changes = {**self._in_flight(rule, job, deadline_s), **columns}
            if not self._unchanged(seen).filter(**(expected or {})).update(**changes):
                raise self._changed_meanwhile(seen)
            self.tell(seen, f"{self.table.kind}.{rule.task}", job=job.id, by=actor.label)
        for name, value in changes.items():
            setattr(row, name, value)
        return job

    def create(
        self,
        row: Row,
        verb: str,
        *,
        actor: Actor,
        job: Job | None = None,
    ) -> Job:
        """Insert a row that is in flight from the start, and queue its job or join ``job``.

        For kinds without a task; others are inserted as *new* and then begun.
        """
        rule = self.table.rule(verb)
        cast(Any, row).status = rule.task
        with transaction.atomic():
            row.save(force_insert=True)
            if job is None:
                job = self._enqueue(row, rule, actor, None, None, {})
            self.tell(row, f"{self.table.kind}.{rule.task}", job=job.id, by=actor.label)
        return job

    def complete(
        self, row: Row | str, job: Job, verb: str, status: str | None = None, **columns: Any
    ) -> bool:
        """Land a row after its job; without ``status`` it stays where it stands.

        False, and nothing is written, when the job is no longer the row's.
        """
        rule = self.table.rule(verb)
        return self._land(self._of_job(row, rule, job), status, rule.event, columns, job=job.id)

    def fail(
        self,
        row: Row | str,
        job: Job,
        verb: str,
        error: ScloudError,
        status: str | None = None,
        **columns: Any,
    ) -> bool:
        """Land a row where it truly is after a job that failed, with the reason visible."""
        return self._land(
            self._of_job(row, self.table.rule(verb), job),
            status,
            f"{self.table.kind}.{self.table.name(verb)}_failed",
            {**self._failure(error), **columns},
            job=job.id,
            code=error.code,
            message=error.message,
        )

    def move(
        self,
        row: Row,
        verb: str,
        status: str,
        *,
        actor: Actor,
        event: str = "",
        **columns: Any,
    ) -> Row:
        """Carry out a verb that takes effect at once; return the row as it is then.

        Raises Conflict like :meth:`begin`. ``event`` replaces the one of the rule.
        """
        rule = self.table.rule(verb)
        with transaction.atomic():
            seen = self.fresh(row)
            self.guard(seen, verb)
            changes = {**self._cleared, "status": status, **columns}
            if not self._unchanged(seen).update(**changes):
                raise self._changed_meanwhile(seen)
            for name, value in changes.items():
                setattr(row, name, value)
            moved = self.fresh(row)
            self.tell(moved, event or rule.event, by=actor.label)
        return moved

    def land(self, row: Row, status: str | None, error: ScloudError, **columns: Any) -> bool:
        """Land a row whose job is gone; without ``status`` it stays where it stands.

        False when it has changed since ``row`` was read.
        """
        return self._land(
            self._unchanged(row),
            status,
            f"{self.table.kind}.landed",
            {**self._failure(error), **columns},
            status=str(cast(Any, row).status) if status is None else status,
        )

    # --- parts

    def _rows(self) -> models.QuerySet[Row]:
        return cast("models.QuerySet[Row]", cast(Any, self.model).objects.all())

    def _unchanged(self, seen: Row) -> models.QuerySet[Row]:
        return self._rows().filter(
            pk=seen.pk, **{name: getattr(seen, name) for name in self.compared}
        )

    def _of_job(self, row: Row | str, rule: Verb, job: Job) -> models.QuerySet[Row]:
        rows = self._rows().filter(pk=row if isinstance(row, str) else row.pk)
        if self.has_task:
            return rows.filter(task=rule.task, task_job=job.id)
        return rows.filter(status=rule.task)

    def _in_flight(self, rule: Verb, job: Job, deadline_s: float | None) -> dict[str, Any]:
        if not self.has_task:
            return {**self._cleared, "status": rule.task}
        limit_s = (deadline_s or rule.deadline_s) + GRACE_S
        return {
            **self._cleared,
            "task": rule.task,
            "task_job": job.id,
            "task_deadline": timezone.now() + timedelta(seconds=limit_s),
        }

    def _failure(self, error: ScloudError) -> dict[str, Any]:
        found = {
            "failure": error.message[: self._failure_length],
            "failure_detail": error.detail,
        }
        return {**found, "failure_code": error.code[:60]} if self.has_task else found

    def _land(
        self,
        rows: models.QuerySet[Row],
        landing: str | None,
        event: str,
        columns: Mapping[str, Any],
        /,
        **data: Any,
    ) -> bool:
        changes = {**self._cleared, **columns}
        if self.has_task:
            changes.update(task="", task_job="", task_deadline=None)
        with transaction.atomic():
            # Read first: the event also goes to what the row hung on until now.
            before = rows.select_related(*self.related).first()
            if before is None:
                return False
            status = self.landing(before, landing)
            if status is not None:
                changes["status"] = status
            if not rows.update(**changes):
                return False
            self.tell(before, event, **data)
        return True

    def _push_aside(self, seen: Row, rule: Verb) -> None:
        if self.has_task and rule.preempts:
            task, job_id = cast(Any, seen).task, cast(Any, seen).task_job
            if job_id and task in rule.preempts:
                jobs.supersede(job_id, _("Superseded by: %(label)s.") % {"label": rule.label})

    def _enqueue(
        self,
        row: Row,
        rule: Verb,
        actor: Actor,
        payload: Mapping[str, Any] | None,
        deadline_s: float | None,
        columns: Mapping[str, Any],
    ) -> Job:
        target_kind, target_id = self.target(row, columns)
        return jobs.enqueue(
            kind=rule.job,
            tenant=cast(Any, row).tenant,
            title=f"{rule.label} {cast(Any, row).name}",
            target_kind=target_kind,
            target_id=target_id,
            payload={**self.payload(row), **(payload or {})},
            deadline_s=deadline_s or rule.deadline_s,
            actor=actor,
        )

    def _changed_meanwhile(self, row: Row) -> Conflict:
        return Conflict(
            _("%(name)s was modified by another request; reload.") % {"name": cast(Any, row).name},
            code=f"{self.table.kind}_state",
            remedy=_("Check its status and try again."),
        )
