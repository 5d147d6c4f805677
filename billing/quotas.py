"""Taking and freeing quota. Runs inside the transaction that makes or destroys the resource.

What is used is the sum of the claims, so nothing can drift: a claim exists exactly as long as its
resource. Taking locks one row per tenant and region (after the account, before addresses);
freeing takes no lock.

Some items are metered instead: what is used is counted anew from the rows that hold it, which
live in other apps (see :func:`register_meter`). Whoever adds to such rows calls :func:`require`
first in the same transaction.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import models
from django.db.models import Case, DateTimeField, F, Q, Sum, Value, When
from django.db.models.functions import Cast
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext as _

from billing.models import (
    DEFAULT_LIMITS,
    QuotaAnchor,
    QuotaClaim,
    QuotaItem,
    QuotaLimit,
    QuotaRequest,
    QuotaRequestStatus,
    QuotaTemplateLimit,
)
from scloud.lib.errors import InvalidInput, QuotaExceeded
from scloud.resources.models import Region
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import scopes_disabled

Meter = Callable[[Tenant, Region], int]
_meters: dict[str, Meter] = {}


def register_meter(item: str, meter: Meter) -> None:
    """Count what is used of an item by a function of tenant and region instead of by claims.

    It is called with scopes disabled.
    """
    _meters[str(item)] = meter


@dataclass(frozen=True)
class Usage:
    """What is used of an item. ``expires_at`` is the end of a raise that is in force, and
    ``limit_afterwards`` the limit from then on."""

    item: str
    label: str
    used: int
    limit: int
    limit_afterwards: int
    expires_at: datetime | None
    source: str

    @property
    def left(self) -> int:
        """What can still be taken; 0 where an administrator set the limit below the use."""
        return max(self.limit - self.used, 0)

    @property
    def percent(self) -> int:
        """How full it is, 0 to 100."""
        if self.limit == 0:
            return 100 if self.used else 0
        return min(100 * self.used // self.limit, 100)


class Source(models.TextChoices):
    """Where a limit comes from."""

    PLATFORM = "platform", gettext_lazy("Platform")
    TEMPLATE = "template", gettext_lazy("Template")
    TENANT = "tenant", gettext_lazy("Tenant")
    RAISE = "raise", gettext_lazy("Raised until a day")


@dataclass(frozen=True)
class Limit:
    """What holds for an item now.

    ``lasting`` is the limit without raises that expire. While one is in force, ``expires_at`` is
    its end and ``afterwards`` what the limit is then; else it is the same as ``now``. ``source``
    says where ``now`` comes from.
    """

    now: int
    lasting: int
    afterwards: int
    expires_at: datetime | None
    source: Source


# The most exact row counts; among those of a source the one of the region.
_OF_ALL: Final = 0
_OF_TEMPLATE: Final = 2
_OF_TENANT: Final = 4
_RAISE: Final = 6
_IN_REGION: Final = 1
_SOURCES: Final = {
    _OF_ALL: Source.PLATFORM,
    _OF_TEMPLATE: Source.TEMPLATE,
    _OF_TENANT: Source.TENANT,
}
# Typed, because the database matches the types of a union in pairs.
_NEVER: Final = Cast(Value(None), DateTimeField(null=True))


def _exactness(source: int) -> Case:
    return Case(When(region=None, then=Value(source)), default=Value(source + _IN_REGION))


def limits_of(tenant: Tenant, region: Region) -> dict[str, Limit]:
    """The limit of every item, with the raises that are in force; one query."""
    here = Q(region=region) | Q(region__isnull=True)
    of_all, of_tenant = (
        QuotaLimit.objects.filter(here, tenant=owner)
        .order_by()
        .values_list("item", "limit", _exactness(source), _NEVER)
        for owner, source in ((None, _OF_ALL), (tenant, _OF_TENANT))
    )
    of_template = (
        QuotaTemplateLimit.objects.filter(here, template__uses__tenant=tenant)
        .order_by()
        .values_list("item", "limit", _exactness(_OF_TEMPLATE), _NEVER)
    )
    with scopes_disabled():
        raises = (
            QuotaRequest.objects.filter(
                tenant=tenant,
                region=region,
                status=QuotaRequestStatus.APPROVED,
                expires_at__gt=timezone.now(),
            )
            .order_by()
            .values_list("item", "limit_wanted", Value(_RAISE), "expires_at")
        )
        rows = of_all.union(of_template, of_tenant, raises, all=True)
        found = sorted(rows, key=lambda row: row[2])
    lasting = {str(item): (limit, Source.PLATFORM) for item, limit in DEFAULT_LIMITS.items()}
    raised: dict[str, list[tuple[int, datetime]]] = {}
    for item, limit, exactness, expires_at in found:
        if exactness == _RAISE:
            raised.setdefault(item, []).append((limit, expires_at))
        else:
            lasting[item] = limit, _SOURCES[exactness - exactness % 2]
    return {
        item: _limit(limit, source, raised.get(item, ()))
        for item, (limit, source) in lasting.items()
    }


def _limit(lasting: int, source: Source, raised: Iterable[tuple[int, datetime]]) -> Limit:
    """The largest raise counts, as long as it is more than what holds without it."""
    more = [one for one in raised if one[0] > lasting]
    if not more:
        return Limit(lasting, lasting, lasting, None, source)
    now, ends = max(more)
    afterwards = max((limit for limit, end in more if end > ends), default=lasting)
    return Limit(now, lasting, afterwards, ends, Source.RAISE)


def limits(tenant: Tenant, region: Region) -> dict[str, int]:
    """The limit of every item now."""
    return {item: limit.now for item, limit in limits_of(tenant, region).items()}


def usage(tenant: Tenant, region: Region) -> dict[str, Usage]:
    """Used and limit of every item, in the order in which people read them."""
    used = _used(tenant, region, QuotaItem.values)
    allowed = limits_of(tenant, region)
    return {
        item.value: Usage(
            item.value,
            str(item.label),
            used.get(item.value, 0),
            allowed[item.value].now,
            allowed[item.value].afterwards,
            allowed[item.value].expires_at,
            allowed[item.value].source,
        )
        for item in QuotaItem
    }


def take(tenant: Tenant, region: Region, amounts: Mapping[str, int], resource_id: str) -> None:
    """Claim ``amounts`` (item -> how much) for a resource; see :func:`take_many`."""
    take_many(tenant, region, [(resource_id, amounts)])


def take_many(
    tenant: Tenant, region: Region, claims: Sequence[tuple[str, Mapping[str, int]]]
) -> None:
    """Claim for several resources at once: all or none.

    A claim of a resource that already has one for the item adds to it (a growing disk). Raises
    QuotaExceeded naming the item, the limit, what is used and what was asked; the anchor row stays
    locked until the transaction ends, so two callers cannot both take the last of something.
    """
    asked: dict[str, int] = {}
    for _resource_id, amounts in claims:
        for item, amount in amounts.items():
            if item not in DEFAULT_LIMITS or item in _meters or amount < 0:
                raise InvalidInput(
                    gettext("%(item)s: %(amount)s is not a valid quota claim.")
                    % {"item": item, "amount": amount},
                    code="quota_invalid",
                )
            asked[item] = asked.get(item, 0) + amount
    with scopes_disabled():
        _lock(tenant, region)
        if PlatformSettings.load().quota_enabled:
            check(tenant, region, asked)
        known = {
            (row.resource_id, row.item): row
            for row in QuotaClaim.objects.filter(
                tenant=tenant, resource_id__in=[resource_id for resource_id, _ in claims]
            )
        }
        fresh: dict[tuple[str, str], QuotaClaim] = {}
        for resource_id, amounts in claims:
            for item, amount in amounts.items():
                if amount == 0:
                    continue
                key = (resource_id, item)
                if key in known:
                    QuotaClaim.objects.filter(pk=known[key].pk).update(amount=F("amount") + amount)
                elif key in fresh:
                    fresh[key].amount += amount
                else:
                    fresh[key] = QuotaClaim(
                        tenant=tenant,
                        region=region,
                        item=item,
                        amount=amount,
                        resource_id=resource_id,
                    )
        QuotaClaim.objects.bulk_create(fresh.values())


def require(tenant: Tenant, region: Region, asked: Mapping[str, int]) -> None:
    """Raise QuotaExceeded unless so much is left; nobody else gets it before the commit.

    For metered items, of which nothing is claimed: until the transaction ends the anchor row
    stays locked, and afterwards the caller's rows count.
    """
    with scopes_disabled():
        _lock(tenant, region)
        if PlatformSettings.load().quota_enabled:
            check(tenant, region, asked)


def check(tenant: Tenant, region: Region, asked: Mapping[str, int]) -> None:
    """Raise QuotaExceeded for the first item of which more is asked than is left."""
    used = _used(tenant, region, asked)
    allowed = limits(tenant, region)
    for item, amount in asked.items():
        if amount > 0 and used.get(item, 0) + amount > allowed[item]:
            label = QuotaItem(item).label
            raise QuotaExceeded(
                gettext(
                    "The quota of %(label)s is %(item)s: %(get)s are used and %(amount)s more "
                    "were asked for."
                )
                % {
                    "label": label,
                    "item": allowed[item],
                    "get": used.get(item, 0),
                    "amount": amount,
                },
                field=item,
                remedy=_remedy(item),
                numbers={
                    "quota": item,
                    "limit": allowed[item],
                    "used": used.get(item, 0),
                    "asked": amount,
                    "request_url": reverse("quota-request") + f"?item={item}",
                },
            )


def check_wanted(tenant: Tenant, region: Region, asked: Mapping[str, int]) -> None:
    """Raise QuotaExceeded as :func:`take` would now; takes no lock, guarantees nothing."""
    if PlatformSettings.load().quota_enabled:
        check(tenant, region, asked)


def check_growth(
    tenant: Tenant, region: Region, amounts: Mapping[str, int], resource_id: str
) -> None:
    """Raise QuotaExceeded as :func:`resize` would now; takes no lock, guarantees nothing."""
    with scopes_disabled():
        held = dict(
            QuotaClaim.objects.filter(tenant=tenant, resource_id=resource_id).values_list(
                "item", "amount"
            )
        )
    grown = {item: amount - held.get(item, 0) for item, amount in amounts.items()}
    check_wanted(tenant, region, grown)


def free(resource_id: str, items: Sequence[str] | None = None) -> None:
    """Give back the claims of a resource (all, or only those of ``items``). Takes no lock."""
    with scopes_disabled():
        rows = QuotaClaim.objects.filter(resource_id=resource_id)
        if items is not None:
            rows = rows.filter(item__in=items)
        rows.delete()


def resize(tenant: Tenant, region: Region, amounts: Mapping[str, int], resource_id: str) -> None:
    """Set the claims of a resource for the items named to ``amounts``.

    Only what grows is checked. Raises QuotaExceeded; nothing has changed then.
    """
    with scopes_disabled():
        _lock(tenant, region)
        held = {
            row.item: row.amount
            for row in QuotaClaim.objects.filter(tenant=tenant, resource_id=resource_id)
        }
        grown = {
            item: amount - held.get(item, 0)
            for item, amount in amounts.items()
            if amount > held.get(item, 0)
        }
        take_many(tenant, region, [(resource_id, grown)])
        for item, amount in amounts.items():
            if amount < held.get(item, 0):
                rows = QuotaClaim.objects.filter(resource_id=resource_id, item=item)
                if amount > 0:
                    rows.update(amount=amount)
                else:
                    rows.delete()


def _remedy(item: str) -> str:
    if item == QuotaItem.BIN_GIB:
        return _("Destroy something in the recycle bin first, or request a higher quota.")
    return _(
        "Delete unused resources, request fewer, or request a higher quota on the quotas page."
    )


def _used(tenant: Tenant, region: Region, items: Iterable[str]) -> dict[str, int]:
    with scopes_disabled():
        claimed = dict(
            QuotaClaim.objects.filter(tenant=tenant, region=region)
            .values_list("item")
            .annotate(Sum("amount"))
        )
        # Meters ask the database each: only those that somebody wants to know.
        metered = {item: _meters[item](tenant, region) for item in items if item in _meters}
    return {**claimed, **metered}


def _lock(tenant: Tenant, region: Region) -> None:
    QuotaAnchor.objects.bulk_create(
        [QuotaAnchor(tenant=tenant, region=region)], ignore_conflicts=True
    )
    QuotaAnchor.objects.select_for_update(no_key=True).get(tenant=tenant, region=region)
