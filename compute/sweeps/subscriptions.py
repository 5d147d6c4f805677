"""What subscriptions do to rows: what was busy is caught up with, what disagrees is repaired."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from billing import services
from billing.models import Subscription, SubscriptionStatus
from compute.models import VM, Disk
from compute.sweeps.disks import disk_expired, disk_overdue, disk_renewed
from compute.sweeps.vms import vm_expired, vm_overdue, vm_renewed
from network.models import Eni, ExternalIp
from network.sweeps import enis, external_ips
from scloud.jobs.rows import Rota, each
from scloud.recovery import freezing
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Paid:
    """A kind of resource that has a subscription: its table and what the books' hooks do."""

    kind: str
    table: type[VM] | type[Disk] | type[ExternalIp] | type[Eni]
    expired: Callable[[Tenant, str], None]
    renewed: Callable[[Tenant, str], None]
    overdue: Callable[[Tenant, str], None]

    def rows(self, **conditions: object) -> QuerySet[Any]:
        """Idle rows whose subscription fits the conditions."""
        subscriptions = Subscription.objects.filter(resource_kind=self.kind, **conditions)
        found: QuerySet[Any] = self.table.objects.select_related("tenant").filter(
            task="", pk__in=subscriptions.values("resource_id")
        )
        return found


PAID = (
    _Paid("vm", VM, vm_expired, vm_renewed, vm_overdue),
    _Paid("disk", Disk, disk_expired, disk_renewed, disk_overdue),
    _Paid(
        "external_ip",
        ExternalIp,
        external_ips.expired,
        external_ips.renewed,
        external_ips.overdue,
    ),
    _Paid("eni", Eni, enis.expired, enis.renewed, enis.overdue),
)
_SETTLED = ("running", "stopped", "bound", "unbound", "free")
_GONE = ("binned", "destroyed", "failed")


def catch_up_expired() -> int:
    """Come back to what was busy when its paid time ran out; return how many were caught."""
    if freezing.is_frozen():
        return 0
    caught = 0
    for paid in PAID:
        with scopes_disabled():
            late = _rota("expired", paid).take(
                paid.rows(status=SubscriptionStatus.EXPIRED).filter(status__in=_SETTLED)
            )
        caught += len(each(late, _hook(paid.expired), "an expiry that was late"))
    return caught


def catch_up_overdue() -> int:
    """Come back to what was busy when its grace was over; return how many were caught."""
    if freezing.is_frozen():
        return 0
    caught = 0
    for paid in PAID:
        with scopes_disabled():
            late = _rota("overdue", paid).take(
                paid.rows(status=SubscriptionStatus.EXPIRED, overdue_at__isnull=False).exclude(
                    status__in=_GONE
                )
            )
        caught += len(each(late, _hook(paid.overdue), "the end of a grace that was late"))
    return caught


def agree_with_the_books() -> int:
    """Repair rows that say something else than their subscriptions; return how many.

    Paid but still expired; in the bin but renewing, or out of it and not renewing; gone, or never
    made, but with a subscription that goes on. Each is a landing that was missed.
    """
    repaired = 0
    for paid in PAID:
        for disagreement in _disagreements(paid):
            with scopes_disabled():
                rows = _rota(disagreement.name, paid).take(disagreement.rows)
            repaired += len(each(rows, disagreement.repair, disagreement.name))
    return repaired


@dataclass(frozen=True)
class _Disagreement:
    name: str
    rows: QuerySet[Any]
    repair: Callable[[Any], None]


def _disagreements(paid: _Paid) -> Iterator[_Disagreement]:
    def in_bin(row: Any, wanted: bool) -> None:
        services.set_in_bin(row.pk, wanted)
        log.warning("%s: in the bin is now %s, as its row says", row.pk, wanted)

    def end(row: Any) -> None:
        services.refund_unused(row.pk, getattr(row, "binned_at", None) or row.destroyed_at)
        log.warning("%s is destroyed: its subscription has ended", row.pk)

    def give_back(row: Any) -> None:
        services.refund_failed(row.pk, row.failure or _("It could not be created."))
        log.warning("%s was never made: what it paid was given back", row.pk)

    def renew(row: Any) -> None:
        _hook(paid.renewed)(row)
        log.warning("%s is paid: it is not expired any more", row.pk)

    open_ones = ("active", "expired")
    with scopes_disabled():
        yield _Disagreement(
            "paid but expired", paid.rows(status="active").filter(status="expired"), renew
        )
        yield _Disagreement(
            "renews in the bin",
            paid.rows(in_bin=False, status__in=open_ones).filter(status="binned"),
            partial(in_bin, wanted=True),
        )
        yield _Disagreement(
            "does not renew outside the bin",
            paid.rows(in_bin=True, status__in=open_ones).exclude(status__in=("new", *_GONE)),
            partial(in_bin, wanted=False),
        )
        yield _Disagreement(
            "destroyed but paying", paid.rows(status__in=open_ones).filter(status="destroyed"), end
        )
        yield _Disagreement(
            "never made but paying",
            paid.rows(status__in=open_ones).filter(status="failed"),
            give_back,
        )


def _hook(hook: Callable[[Tenant, str], None]) -> Callable[[Any], None]:
    """Call a hook as the books do: in a transaction that holds the account."""

    def run(row: Any) -> None:
        with transaction.atomic():
            services.status_for_landing(row.tenant, row.pk)
            hook(row.tenant, row.pk)

    return run


_rotas: dict[tuple[str, str], Rota] = {}


def _rota(name: str, paid: _Paid) -> Rota:
    return _rotas.setdefault((name, paid.kind), Rota("created_at", 100))
