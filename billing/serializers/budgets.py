"""Budgets."""

from typing import Any

from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing import budgets
from billing.models import MOST_PERCENT, STEPS_PER_BUDGET, Budget
from billing.serializers.amounts import AMOUNT, MinorUnitsField
from scloud.rest.fields import PlainDecimal, WholeNumber
from scloud.rest.shown import ShownSerializer
from scloud.tenancy.models import Tenant
from scloud.verbs import refusals


class BudgetSerializer(ShownSerializer[Budget]):
    """A budget and what is spent of it in the month of its time zone.

    ``tag`` is null for one of all resources. ``percent`` is how much of ``amount`` is spent,
    ``forecast`` what the month will have cost with the renewals that are still due.
    ``block_percent`` is from where on it stops purchases and larger sizes, null for never.
    """

    amount = MinorUnitsField(source="amount_minor")
    spent = serializers.SerializerMethodField()
    forecast = serializers.SerializerMethodField()
    percent = serializers.SerializerMethodField()
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = Budget
        fields = (
            "id",
            "name",
            "tag",
            "amount",
            "time_zone",
            "warn_percents",
            "block_percent",
            "spent",
            "forecast",
            "percent",
            "created_at",
            "allowed_actions",
        )

    @cached_property
    def _standings(self) -> dict[str, budgets.Standing]:
        """Read once for all rows of a list."""
        tenant: Tenant = self.context["view"].tenant
        rows = list(Budget.objects.filter(tenant=tenant))
        return {one.budget.pk: one for one in budgets.standings(tenant, rows, timezone.now())}

    def _standing(self, row: Budget) -> budgets.Standing:
        """That of a row; one that was deleted since the list was read is read by itself."""
        found = self._standings.get(row.pk)
        return found or budgets.standings(row.tenant, [row], timezone.now())[0]

    @extend_schema_field(AMOUNT)
    def get_spent(self, row: Budget) -> str:
        """What was charged, refunds taken off."""
        return str(self._standing(row).spent)

    @extend_schema_field(AMOUNT)
    def get_forecast(self, row: Budget) -> str:
        """The same with what still renews."""
        return str(self._standing(row).forecast)

    def get_percent(self, row: Budget) -> int:
        """How much is spent."""
        return self._standing(row).percent

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_allowed_actions(self, row: Budget) -> list[str]:
        """The verbs that nothing is known against."""
        found = refusals.allowed_actions(self.context["view"].actor, Budget.KIND, row)
        return [verb for verb, reason in found if not reason]


class BudgetInput(serializers.Serializer[Any]):
    """A budget as a whole; ``amount`` is for a month, in whole currency units."""

    name = serializers.CharField(max_length=60)
    amount = PlainDecimal(max_digits=20, decimal_places=6)
    tag = serializers.CharField(max_length=120, allow_blank=True, default="")
    warn_percents = serializers.ListField(
        child=WholeNumber(min_value=1, max_value=MOST_PERCENT),
        max_length=STEPS_PER_BUDGET,
        default=[80, 100],
    )
    block_percent = WholeNumber(min_value=1, max_value=MOST_PERCENT, allow_null=True, default=None)
    time_zone = serializers.CharField(max_length=60, allow_blank=True, default="")
