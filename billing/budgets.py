"""What budgets say: what was spent of them, what the month will cost, whether they stop a purchase.

A resource counts for a tag while it has it, with all that it cost in the month: one that loses the
tag leaves the budget, and one that is gone keeps the tags that it had.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from billing import money, queries, usage
from billing.models import Budget
from billing.queries import Month
from scloud.lib.errors import Conflict
from scloud.tenancy.models import Tenant


@dataclass(frozen=True)
class Standing:
    """A budget in the month of an instant; ``forecast_minor`` with what will be charged in it.

    That is what still renews and, unless the budget is for a tag, what is charged afterwards.
    """

    budget: Budget
    month: Month
    spent_minor: int
    forecast_minor: int

    @property
    def first_day(self) -> date:
        """The first day of the month, in the budget's time zone."""
        return self.month.begin.astimezone(self.budget.zone).date()

    @property
    def percent(self) -> int:
        """How much of the amount is spent, rounded down; 0 where more came back than was paid."""
        return max(self.spent_minor * 100 // self.budget.amount_minor, 0)

    @property
    def amount(self) -> Decimal:
        return money.from_minor(self.budget.amount_minor)

    @property
    def spent(self) -> Decimal:
        return money.from_minor(self.spent_minor)

    @property
    def forecast(self) -> Decimal:
        return money.from_minor(self.forecast_minor)

    def has_reached(self, percent: int, added_minor: int = 0) -> bool:
        """True if so much is spent, to the cent."""
        return (self.spent_minor + added_minor) * 100 >= self.budget.amount_minor * percent


def standings(
    tenant: Tenant, budgets: Sequence[Budget], now: datetime, *, forecast: bool = True
) -> list[Standing]:
    """Where budgets of a tenant stand; the number of queries does not depend on how many.

    Without ``forecast`` it is what was spent.
    """
    months = {row.time_zone: queries.month_of(now, row.zone) for row in budgets}
    # Zones that agree on the month are read once.
    spent = {month: queries.spent_by_resource(tenant, month) for month in set(months.values())}
    renewing: list[queries.Renewal] = []
    if forecast and months:
        renewing = queries.renewals(tenant, max(month.end for month in months.values()), now)
    used = usage.Standing(0)
    if forecast and any(not row.tag for row in budgets):
        used = usage.standing(tenant, now)
    tags: dict[str, frozenset[str]] = {}
    if any(row.tag for row in budgets):
        seen = {key for found in spent.values() for key in found}
        seen |= {(one.subscription.resource_kind, one.subscription.resource_id) for one in renewing}
        tags = queries.tags_of(seen)

    def counts(budget: Budget, resource_id: str) -> bool:
        return not budget.tag or budget.tag in tags.get(resource_id, frozenset())

    out = []
    for budget in budgets:
        month = months[budget.time_zone]
        paid = sum(amount for (_kind, pk), amount in spent[month].items() if counts(budget, pk))
        due = queries.due_of(
            (one for one in renewing if counts(budget, one.subscription.resource_id)), month.end
        )
        if not budget.tag:
            due += used.due_before(month.end, now)
        out.append(Standing(budget, month, paid, paid + money.to_minor(due)))
    return out


@dataclass(frozen=True)
class Wanted:
    """``amount_minor`` that a resource with ``tags`` is about to cost now."""

    amount_minor: int
    tags: Iterable[str] = ()


def require(tenant: Tenant, wanted: Sequence[Wanted], now: datetime) -> None:
    """Raise Conflict ``budget_exceeded`` if a budget stops a purchase or a larger size.

    Exactly the amount at which it stops may be reached. Where the caller holds the account, nobody
    else can spend the same rest before it commits.
    """
    asked: dict[str, int] = {}
    stopping = []
    for budget in Budget.objects.filter(tenant=tenant, block_percent__isnull=False):
        amount = sum(one.amount_minor for one in wanted if not budget.tag or budget.tag in one.tags)
        if amount > 0:
            asked[budget.pk] = amount
            stopping.append(budget)
    if not stopping:
        return
    for standing in standings(tenant, stopping, now, forecast=False):
        budget = standing.budget
        assert budget.block_percent is not None
        added = asked[budget.pk]
        if (standing.spent_minor + added) * 100 > budget.amount_minor * budget.block_percent:
            raise _exceeded(standing, added)


def _exceeded(standing: Standing, added: int) -> Conflict:
    budget = standing.budget
    limit = budget.amount_minor * (budget.block_percent or 0) // 100
    figures = {
        "asked": money.show(added),
        "spent": money.show(standing.spent_minor),
        "limit": money.show(limit),
        "currency": money.currency(),
    }
    return Conflict(
        _(
            "The budget %(name)s stops purchases at %(limit)s %(currency)s a month: %(spent)s are "
            "spent and this costs %(asked)s."
        )
        % {"name": budget.name, **figures},
        code="budget_exceeded",
        remedy=_("Raise the budget, or wait until its next month begins."),
        numbers={
            "budget": budget.pk,
            "tag": budget.tag or None,
            **figures,
            "next_month": standing.month.end.isoformat(),
        },
    )
