"""Telling people how far the budgets of the month are spent: each step once a month."""

from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from billing import budgets, hooks, money
from billing.budgets import Standing
from billing.models import Budget, BudgetMark
from scloud.audit.events import emit
from scloud.jobs.rows import Rota, each
from scloud.recovery import freezing
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

BATCH: Final = 200
_tenants = Rota("created_at", BATCH)


def run(now: datetime | None = None) -> list[tuple[str, int]]:
    """Look at the budgets of up to 200 tenants; return what was told: budget and percent."""
    at = now or timezone.now()
    if freezing.is_frozen():
        return []
    told: list[tuple[str, int]] = []
    with scopes_disabled():
        rows = _tenants.take(
            Tenant.objects.filter(Exists(Budget.objects.filter(tenant=OuterRef("pk"))))
        )

    def look(tenant: Tenant) -> None:
        with scope(tenant=tenant):
            told.extend(_look(tenant, at))

    each(rows, look, "looking at budgets")
    return told


def _look(tenant: Tenant, at: datetime) -> list[tuple[str, int]]:
    rows = list(Budget.objects.filter(tenant=tenant))
    known = set(
        BudgetMark.objects.filter(budget__in=rows).values_list("budget", "month", "percent")
    )

    def news(standing: Standing) -> list[int]:
        return [
            percent
            for percent in standing.budget.warn_percents
            if standing.has_reached(percent)
            and (standing.budget.pk, standing.first_day, percent) not in known
        ]

    behind = budgets.standings(tenant, rows, at, forecast=False)
    wanted = [standing.budget for standing in behind if news(standing)]
    return [
        (standing.budget.pk, percent)
        for standing in budgets.standings(tenant, wanted, at)
        for percent in news(standing)
        if _tell(standing, percent, at)
    ]


@transaction.atomic
def _tell(standing: Standing, percent: int, at: datetime) -> bool:
    budget = standing.budget
    # Of several sweepers one writes the mark, and tells.
    _mark, made = BudgetMark.objects.get_or_create(
        budget=budget,
        tenant=budget.tenant,
        month=standing.first_day,
        percent=percent,
        defaults={"created_at": at},
    )
    if not made:
        return False
    data = {
        "name": budget.name,
        "tag": budget.tag,
        "percent": percent,
        "month": f"{standing.first_day:%Y-%m}",
        "amount": str(standing.amount),
        "spent": str(standing.spent),
        "forecast": str(standing.forecast),
        "currency": money.currency(),
        "stops_purchases": budget.block_percent is not None
        and standing.has_reached(budget.block_percent),
    }
    emit(
        tenant_id=budget.tenant_id,
        kind="billing.budget",
        resource_kind=Budget.KIND,
        resource_id=budget.pk,
        data=data,
    )
    hooks.tell(
        hooks.Notice(
            kind="billing.budget",
            at=at,
            tenant=budget.tenant,
            resource_kind=Budget.KIND,
            resource_id=budget.pk,
            resource_name=budget.name,
            data=data,
        )
    )
    return True
