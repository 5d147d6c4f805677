"""The frame of every verb that people invoke: rights, one transaction, the operation log."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.db import models, transaction
from django.utils.translation import gettext as _

from scloud.audit.models import Operation
from scloud.lib.errors import NotFound, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import in_scope_of

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Notes:
    resources: list[dict[str, str]] = field(default_factory=list)
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    detail: str = ""


# Right -> the actions that need it; for those who know a verb by its name only.
_actions: dict[str, list[Callable[..., Any]]] = {}

_notes: ContextVar[_Notes | None] = ContextVar("scloud_operation_notes", default=None)


def describe(resource: models.Model) -> dict[str, str]:
    """Return what the log keeps of a resource: kind, id, name."""
    kind = getattr(resource, "KIND", None) or resource._meta.model_name or ""
    return {"kind": str(kind), "id": str(resource.pk), "name": str(getattr(resource, "name", ""))}


def note(
    resource: models.Model | None = None,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    detail: str = "",
) -> None:
    """Add to the log entry of the action that is running; outside of one it does nothing.

    Tenants read ``before`` and ``after`` in their operation log. What names hosts and other parts
    of the platform belongs into ``detail``, which only operators see.
    """
    notes = _notes.get()
    if notes is None:
        return
    if resource is not None:
        entry = describe(resource)
        if entry not in notes.resources:
            notes.resources.append(entry)
    if before is not None:
        notes.before = {**(notes.before or {}), **before}
    if after is not None:
        notes.after = {**(notes.after or {}), **after}
    if detail:
        notes.detail = detail


def _write(actor: Actor, verb: str, notes: _Notes, error: ScloudError | None) -> None:
    Operation.objects.create(
        tenant=actor.tenant,
        actor=actor.label,
        user_id=actor.user.pk if actor.user else None,
        via=actor.via,
        ip=actor.ip,
        verb=verb,
        resources=notes.resources,
        before=notes.before,
        after=notes.after,
        succeeded=error is None,
        error_code=error.code if error else "",
        # PostgreSQL keeps no NUL, which a refusal may quote from what was sent.
        error_message=error.message.replace("\x00", "") if error else "",
        detail=((error.detail if error else "") or notes.detail).replace("\x00", ""),
        request_id=actor.request_id,
    )


def _refuse_foreign(actor: Actor, values: dict[str, Any], notes: _Notes) -> None:
    """A row of another tenant is as unknown to the caller as one that does not exist."""
    for value in values.values():
        rows = value if isinstance(value, list | tuple) else [value]
        for row in rows:
            if not isinstance(row, models.Model):
                continue
            owner = getattr(row, "tenant_id", None)
            if actor.tenant is not None and owner is not None and owner != actor.tenant.pk:
                raise NotFound(
                    _("There is no %(verbose_name)s %(row)s.")
                    % {"verbose_name": row._meta.verbose_name, "row": row.pk}
                )
            if owner is not None:
                entry = describe(row)
                if entry not in notes.resources:
                    notes.resources.append(entry)


def action(
    permission: str, *, log: bool = True, confirmed: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a keyword-only function ``verb(*, actor, ...)`` an action.

    It checks the caller's right, refuses rows of other tenants as unknown, runs the function in
    one transaction inside the tenant's scope, and writes the operation log: a success within the
    same transaction, a refusal (any ScloudError) in one of its own, because the first is gone.

    With ``confirmed`` people in a browser have to prove first who they are, unless they did so
    lately: ConfirmationNeeded.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            actor = kwargs["actor"]
            if not isinstance(actor, Actor):
                raise TypeError("actor must be an Actor")
            notes = _Notes()
            token = _notes.set(notes)
            try:
                with in_scope_of(actor.tenant):
                    try:
                        with transaction.atomic():
                            _refuse_foreign(actor, kwargs, notes)
                            actor.require(permission)
                            if confirmed:
                                actor.require_confirmed()
                            result = function(*args, **kwargs)
                            if log:
                                _write(actor, permission, notes, None)
                    except ScloudError as error:
                        if log:
                            _write(actor, permission, notes, error)
                        raise
            finally:
                _notes.reset(token)
            return result

        _actions.setdefault(permission, []).append(run)
        run.permission = permission  # type: ignore[attr-defined]  # read by tests and the docs
        run.confirmed = confirmed  # type: ignore[attr-defined]  # read by tests
        return run

    return decorate


def actions_of(permission: str) -> list[Callable[..., Any]]:
    """Return the actions that need a right, of the modules that were imported."""
    return list(_actions.get(permission, ()))


__all__ = ["action", "actions_of", "describe", "note"]
