"""What every tenant starts with; apps that give something register in ``AppConfig.ready``."""

from collections.abc import Callable

from scloud.tenancy.models import Tenant

_givers: list[Callable[[Tenant], None]] = []


def register(give: Callable[[Tenant], None]) -> None:
    """Have ``give`` called for a new tenant, and for every tenant when there is a new region.

    It runs in the transaction of what is new, any number of times for the same tenant.
    """
    if give not in _givers:
        _givers.append(give)


def welcome(tenant: Tenant) -> None:
    """Give a tenant what it starts with, where it has not got it yet. Raises ScloudError."""
    for give in _givers:
        give(tenant)
