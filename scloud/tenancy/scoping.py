"""Every query of a tenant's rows happens inside a scope; without one it raises ScopeError."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import models
from django_scopes import ScopedManager, scope, scopes_disabled

__all__ = ["TenantManager", "in_scope_of", "scope", "scopes_disabled"]


def TenantManager(path: str = "tenant") -> Any:  # noqa: N802 (it stands where a manager class would)
    """Return a manager that answers only for the tenant of the open scope."""
    return ScopedManager(_manager_class=models.Manager, tenant=path)


@contextmanager
def in_scope_of(tenant: Any | None) -> Iterator[None]:
    """Open the scope of a tenant; ``None`` means the platform itself, which sees all."""
    opened: AbstractContextManager[Any] = (
        scopes_disabled() if tenant is None else scope(tenant=tenant)
    )
    with opened:
        yield
