"""How the layers above hear of what happens to their resources' subscriptions.

Billing knows a resource kind and an id, nothing more. The app that owns a kind registers here, in
its ``AppConfig.ready``, what is to be done. Each hook gets resource ids of that kind, runs inside
the transaction of the change, and must only write rows and enqueue jobs.
"""

from collections.abc import Callable
from dataclasses import dataclass

from scloud.tenancy.models import Tenant

Hook = Callable[[Tenant, str], None]


def _nothing(tenant: Tenant, resource_id: str) -> None:
    """The default: the kind need not react."""


@dataclass(frozen=True)
class SubscriptionHooks:
    """What a kind does.

    ``expired``: paid time ran out and was not renewed. ``renewed``: an expired one is paid again.
    ``overdue``: it stayed expired past the grace period and goes to the recycle bin.
    """

    expired: Hook = _nothing
    renewed: Hook = _nothing
    overdue: Hook = _nothing


_hooks: dict[str, SubscriptionHooks] = {}


def register(resource_kind: str, hooks: SubscriptionHooks) -> None:
    """Say what a kind of resource does; a later registration replaces an earlier one."""
    _hooks[resource_kind] = hooks


def of(resource_kind: str) -> SubscriptionHooks:
    """The hooks of a kind; kinds nobody registered do nothing."""
    return _hooks.get(resource_kind, SubscriptionHooks())
