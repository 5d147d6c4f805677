"""How the layers above hear of what happens in the books.

Billing knows a resource kind and an id, nothing more. The app that owns a kind registers here, in
its ``AppConfig.ready``, what is to be done with its resources. Each hook gets resource ids of that
kind. Whoever brings news to people listens for the notices. Both run inside the transaction of the
change, and must only write rows and enqueue jobs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from scloud.tenancy.models import Tenant

Hook = Callable[[Tenant, str], None]


def _nothing(tenant: Tenant, resource_id: str) -> None:
    """The default: the kind need not react."""


@dataclass(frozen=True)
class SubscriptionHooks:
    """What a kind does.

    ``expired``: paid time ran out and was not renewed. ``renewed``: an expired one is paid again.
    ``overdue``: it stayed expired past the grace period and goes to the recycle bin. ``unbinds``
    says that what has expired is taken off what it is bound to.
    """

    expired: Hook = _nothing
    renewed: Hook = _nothing
    overdue: Hook = _nothing
    unbinds: bool = False


_hooks: dict[str, SubscriptionHooks] = {}


def register(resource_kind: str, hooks: SubscriptionHooks) -> None:
    """Say what a kind of resource does; a later registration replaces an earlier one."""
    _hooks[resource_kind] = hooks


def of(resource_kind: str) -> SubscriptionHooks:
    """The hooks of a kind; kinds nobody registered do nothing."""
    return _hooks.get(resource_kind, SubscriptionHooks())


@dataclass(frozen=True)
class Notice:
    """A fact that people are told of, each once.

    ``kind`` is that of the event with the same news. Without a ``tenant`` it is for the platform's
    administrators. ``data`` holds the figures: money as text in whole currency units, instants in
    ISO 8601.
    """

    kind: str
    at: datetime
    tenant: Tenant | None = None
    resource_kind: str = ""
    resource_id: str = ""
    resource_name: str = ""
    data: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Notice], None]
_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Have ``listener`` called with every notice; once, however often it is given."""
    if listener not in _listeners:
        _listeners.append(listener)


def tell(notice: Notice) -> None:
    """Tell all listeners. What one raises undoes the change, which the next round repeats."""
    for listener in _listeners:
        listener(notice)
