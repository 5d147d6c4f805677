"""Budgets as people make them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from django.utils.translation import gettext as _

from billing import ledger, money
from billing.models import (
    BUDGETS_PER_TENANT,
    MOST_PERCENT,
    STEPS_PER_BUDGET,
    Budget,
)
from scloud.audit.action import action, note
from scloud.audit.events import emit
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.lib.text import composed, is_name, time_zones
from scloud.resources.tags import check_tags
from scloud.tenancy.actor import Actor

MOST: Final = Decimal(10_000_000)


@action("billing.create_budget")
def create_budget(
    *,
    actor: Actor,
    name: str,
    amount: Decimal,
    tag: str = "",
    warn_percents: Sequence[int] = (80, 100),
    block_percent: int | None = None,
    time_zone: str = "",
) -> Budget:
    """Make a budget of ``amount``, in whole currency units, for each month of a time zone.

    The zone is that of billing unless another one is given. Raises InvalidInput
    (``invalid_name``, ``amount_out_of_range``, ``amount_too_exact``, ``tag_invalid``,
    ``percent_out_of_range``, ``too_many_steps``, ``time_zone_invalid``), Conflict
    (``too_many_budgets``).
    """
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    # So that two of them do not both become the last one.
    ledger.lock_account(actor.tenant)
    used = Budget.objects.count()
    if used >= BUDGETS_PER_TENANT:
        raise Conflict(
            _("There are at most %(limit)s of them.") % {"limit": BUDGETS_PER_TENANT},
            code="too_many_budgets",
            remedy=_("Delete one that is not used."),
            numbers={"limit": BUDGETS_PER_TENANT, "used": used},
        )
    budget = Budget(tenant=actor.tenant)
    _set(budget, name, amount, tag, warn_percents, block_percent, time_zone)
    budget.save(force_insert=True)
    note(budget, after=_seen(budget))
    _tell(budget, "created")
    return budget


@action("billing.edit_budget")
def edit_budget(
    *,
    actor: Actor,
    budget: Budget,
    name: str,
    amount: Decimal,
    tag: str,
    warn_percents: Sequence[int],
    block_percent: int | None,
    time_zone: str,
) -> Budget:
    """Change a budget as a whole; what was told this month is not told again.

    Raises as :func:`create_budget`, NotFound.
    """
    fresh = _locked(budget)
    note(before=_seen(fresh))
    _set(fresh, name, amount, tag, warn_percents, block_percent, time_zone)
    fresh.save()
    note(after=_seen(fresh))
    _tell(fresh, "changed")
    return fresh


@action("billing.delete_budget")
def delete_budget(*, actor: Actor, budget: Budget) -> None:
    """Delete a budget. Raises NotFound."""
    fresh = _locked(budget)
    note(before=_seen(fresh))
    _tell(fresh, "deleted")
    fresh.delete()


def _locked(budget: Budget) -> Budget:
    ledger.lock_account(budget.tenant)
    fresh = Budget.objects.filter(pk=budget.pk).first()
    if fresh is None:
        raise NotFound(_("There is no budget %(id)s.") % {"id": budget.pk})
    return fresh


def _set(
    budget: Budget,
    name: str,
    amount: Decimal,
    tag: str,
    warn_percents: Sequence[int],
    block_percent: int | None,
    time_zone: str,
) -> None:
    cleaned = composed(name.strip())
    if not is_name(cleaned):
        raise InvalidInput(
            _("A name has 1 to 30 letters, digits or - _ ."), code="invalid_name", field="name"
        )
    steps = sorted(set(warn_percents))
    if len(steps) > STEPS_PER_BUDGET:
        raise InvalidInput(
            _("At most %(limit)s steps.") % {"limit": STEPS_PER_BUDGET},
            code="too_many_steps",
            field="warn_percents",
            numbers={"max": STEPS_PER_BUDGET, "asked": len(steps)},
        )
    for percent in steps:
        _check_percent(percent, "warn_percents")
    if block_percent is not None:
        _check_percent(block_percent, "block_percent")
    zone = time_zone or str(money.zone())
    if zone not in time_zones():
        raise InvalidInput(
            _("There is no time zone %(zone)s.") % {"zone": zone[:40]},
            code="time_zone_invalid",
            field="time_zone",
        )
    budget.name = cleaned
    budget.amount_minor = money.checked_minor(amount, MOST)
    budget.tag = next(iter(check_tags([tag], field="tag")), "")
    budget.warn_percents = steps
    budget.block_percent = block_percent
    budget.time_zone = zone


def _check_percent(percent: int, field: str) -> None:
    if not 1 <= percent <= MOST_PERCENT:
        raise InvalidInput(
            _("Percent are 1 to %(limit)s.") % {"limit": MOST_PERCENT},
            code="percent_out_of_range",
            field=field,
            numbers={"min": 1, "max": MOST_PERCENT, "asked": percent},
        )


def _seen(budget: Budget) -> dict[str, object]:
    """What the operation log keeps of it."""
    return {
        "name": budget.name,
        "amount": money.show(budget.amount_minor),
        "tag": budget.tag,
        "warn_percents": budget.warn_percents,
        "block_percent": budget.block_percent,
        "time_zone": budget.time_zone,
    }


def _tell(budget: Budget, verb: str) -> None:
    emit(
        tenant_id=budget.tenant_id,
        kind=f"{Budget.KIND}.{verb}",
        resource_kind=Budget.KIND,
        resource_id=budget.pk,
        data={"name": budget.name},
    )
