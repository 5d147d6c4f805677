"""How the layers above hear of what happens in the books.

Billing knows a resource kind and an id, nothing more. The app that owns a kind registers here, in
its ``AppConfig.ready``, what is to be done with its resources. Each hook gets resource ids of that
kind. Whoever brings news to people listens for the notices. Both run inside the transaction of the
change, and must only write rows and enqueue jobs.

What is charged afterwards by the hour has a meter: its owner says what is held at the moment.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from scloud.resources.models import Region
from scloud.tenancy.models import Tenant

Hook = Callable[[Tenant, str], None]


def _nothing(tenant: Tenant, resource_id: str) -> None:
    """The default: the kind need not react."""


@dataclass(frozen=True)
class SubscriptionHooks:
    """What a kind does.

    ``expired``: paid time ran out and was not renewed. ``renewed``: an expired one is paid again.
    ``overdue``: it stayed expired past the grace period and goes to the recycle bin; a kind that is
    not ``binnable`` is gone for good then. ``unbinds`` says that what has expired is taken off what
    it is bound to.
    """

    expired: Hook = _nothing
    renewed: Hook = _nothing
    overdue: Hook = _nothing
    unbinds: bool = False
    binnable: bool = True


_hooks: dict[str, SubscriptionHooks] = {}


def register(resource_kind: str, hooks: SubscriptionHooks) -> None:
    """Say what a kind of resource does; a later registration replaces an earlier one."""
    _hooks[resource_kind] = hooks


def kinds() -> list[str]:
    """The kinds of resources that are paid for, as far as somebody registered for them."""
    return list(_hooks)


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


@dataclass(frozen=True)
class Held:
    """How many units of a meter's SKU a resource holds at the moment; ``quantity`` is above 0."""

    tenant_id: str
    region_id: str
    resource_kind: str
    resource_id: str
    resource_name: str
    quantity: Decimal


@dataclass(frozen=True)
class Meter:
    """A SKU whose use is measured and charged afterwards by the hour.

    ``label`` says what it is, ``words`` what so many units of it are, for order lines. ``read``
    returns what is held on the whole platform; it is called with scopes disabled. A resource is
    held by one meter at a time.
    """

    sku: str
    label: Any
    words: Callable[[Decimal], str]
    read: Callable[[], Iterable[Held]]


_meters: dict[str, Meter] = {}


def register_meter(meter: Meter) -> None:
    """Have a SKU measured; a later registration of the same SKU replaces an earlier one."""
    _meters[meter.sku] = meter


def meters() -> dict[str, Meter]:
    """All meters by their SKU."""
    return dict(_meters)


@dataclass(frozen=True)
class Item:
    """What people call a SKU of price lists: one unit of what is sold by itself.

    ``base`` is the SKU, or what stands before the colon of its variants; ``label`` then has
    ``%(variant)s``, and ``names`` returns what a tenant can buy in a region: the names of the
    variants by what stands after the colon. ``every`` returns those of all variants that
    there are in a region, whoever may buy them. ``order`` is the place in tables of prices.
    """

    base: str
    label: Any
    order: int
    names: Callable[[Tenant, Region], Mapping[str, str]] | None = None
    every: Callable[[Region], Mapping[str, str]] | None = None


_items: dict[str, Item] = {}


def register_item(item: Item) -> None:
    """Have a SKU named; a later registration of the same base replaces an earlier one."""
    _items[item.base] = item


def items() -> dict[str, Item]:
    """All named SKUs by their base, in the order in which tables of prices show them."""
    return {item.base: item for item in sorted(_items.values(), key=lambda item: item.order)}
