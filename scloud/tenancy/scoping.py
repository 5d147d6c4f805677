"""Every query of a tenant's rows happens inside a scope; without one it raises ScopeError."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from django.db import models
from django_scopes import scope, scopes_disabled
from django_scopes.manager import DisabledQuerySet
from django_scopes.state import get_scope

__all__ = ["TenantManager", "in_scope_of", "scope", "scopes_disabled"]

M = TypeVar("M", bound=models.Model)


class TenantManager(models.Manager[M]):
    """Answers only for the tenant of the open scope.

    The same rules as the manager that django-scopes makes, written as a class so that the type
    checker can follow it: without a scope everything but ``create`` and ``none`` raises.
    """

    def get_queryset(self) -> models.QuerySet[M]:
        """Return the tenant's rows, all rows in a disabled scope, else a set that raises."""
        opened: dict[str, Any] = get_scope()
        if not opened.get("_enabled", True):
            return super().get_queryset()
        if "tenant" not in opened:
            refusing: models.QuerySet[M] = DisabledQuerySet(
                self.model, using=self._db, missing_scopes={"tenant"}
            )
            return refusing
        return super().get_queryset().filter(tenant=opened["tenant"])

    def all(self) -> models.QuerySet[M]:
        """Return the rows; unlike Django's it raises at once without a scope."""
        rows = self.get_queryset()
        if isinstance(rows, DisabledQuerySet):
            rows.all()
        # Not a clone: related managers find their prefetched rows in this very object.
        return rows


@contextmanager
def in_scope_of(tenant: Any | None) -> Iterator[None]:
    """Open the scope of a tenant; ``None`` means the platform itself, which sees all."""
    opened: AbstractContextManager[Any] = (
        scopes_disabled() if tenant is None else scope(tenant=tenant)
    )
    with opened:
        yield
