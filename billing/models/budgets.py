"""Budgets: how much a tenant, or one of its tags, is meant to cost in a month."""

from typing import ClassVar, Final
from zoneinfo import ZoneInfo

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.lib.ids import new_id
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager

BUDGETS_PER_TENANT: Final = 50
# Of the amount; more than once the whole of it can be meant.
MOST_PERCENT: Final = 1000
STEPS_PER_BUDGET: Final = 10


def budget_id() -> str:
    return new_id("budget")


class Budget(models.Model):
    """An amount for each calendar month of a time zone.

    ``tag`` narrows it to the resources that have the tag now; empty means all. People are told when
    so many percent of the amount are spent (``warn_percents``, ascending). From ``block_percent``
    on nothing is bought and nothing made larger, renewals go on; empty means never.
    """

    KIND: ClassVar[str] = "budget"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=budget_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="budgets"
    )
    name = models.CharField(_("name"), max_length=30)
    tag = models.CharField(_("tag"), max_length=60, blank=True)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    time_zone = models.CharField(_("time zone"), max_length=40)
    warn_percents = ArrayField(
        models.PositiveSmallIntegerField(), verbose_name=_("warn at percent"), default=list
    )
    block_percent = models.PositiveSmallIntegerField(
        _("stop purchases at percent"), null=True, blank=True
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Budget"]] = TenantManager()

    class Meta:
        verbose_name = _("budget")
        verbose_name_plural = _("budgets")
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(amount_minor__gt=0), name="budget_positive"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class BudgetMark(models.Model):
    """That people were told of a step of a budget in a month, by its first day; once each."""

    budget = models.ForeignKey(
        Budget, models.CASCADE, verbose_name=_("budget"), related_name="marks"
    )
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    month = models.DateField(_("month"))
    percent = models.PositiveSmallIntegerField(_("percent"))
    created_at = models.DateTimeField(_("told"), default=timezone.now)

    objects: ClassVar[models.Manager["BudgetMark"]] = TenantManager()

    class Meta:
        verbose_name = _("mark of a budget")
        verbose_name_plural = _("marks of budgets")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["budget", "month", "percent"], name="budget_told_once"),
        ]

    def __str__(self) -> str:
        return f"{self.percent} % in {self.month:%Y-%m}"
