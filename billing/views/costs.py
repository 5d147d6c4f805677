"""Balance, month so far, forecast, and what each resource costs."""

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import money, paying, queries
from billing.models import (
    MethodChoice,
    Subscription,
    SubscriptionStatus,
)
from billing.views import history
from billing.views.common import (
    amount,
    may_recharge_self,
    subscription_status,
    tenant_of,
)
from billing.views.dialogs import RENEW_TOGETHER
from scloud.web import ui
from scloud.web.activity import resource_link
from scloud.web.lists import (
    Column,
    EmptyState,
    Filter,
    ListView,
    RowAction,
)


class OverviewView(ListView):
    """Balance, month so far, forecast, and what each resource costs."""

    kind = "subscription"
    permission = "billing.view"
    title = gettext_lazy("Costs")
    page_template = "billing/overview.html"
    search_fields = ("resource_id", "resource_name")
    default_sort = "-cost"
    has_row_menu = True
    batch_actions = (RENEW_TOGETHER,)
    columns = (
        Column(
            "resource",
            gettext_lazy("Resource"),
            value=lambda s: ui.two(
                resource_link(s.resource_kind, s.resource_id, s.resource_name),
                s.resource_id if s.resource_name else "",
            ),
            sort=("resource_name", "resource_id"),
            export="resource_name",
            main=True,
        ),
        Column("id", gettext_lazy("ID"), value="resource_id", render=ui.ident, default=False),
        Column(
            "type",
            gettext_lazy("Type"),
            value=lambda s: queries.kind_label(s.resource_kind),
            sort="resource_kind",
        ),
        Column(
            "method",
            gettext_lazy("Billing"),
            value="get_method_display",
            sort="method",
            nowrap=True,
        ),
        Column(
            "cost",
            gettext_lazy("This month"),
            value=lambda s: amount(s.month_minor),
            sort="month_minor",
            export=lambda s: money.from_minor(s.month_minor),
            align="end",
        ),
        Column("status", gettext_lazy("Status"), value=subscription_status, sort="status"),
        Column(
            "paid_until",
            gettext_lazy("Paid until"),
            value=lambda s: None if s.status == "ended" else s.paid_until,
            sort="paid_until",
        ),
        Column(
            "auto_renew",
            gettext_lazy("Auto-renew"),
            value=lambda s: _("On") if s.auto_renew else _("Off"),
            sort="auto_renew",
        ),
        Column(
            "since", gettext_lazy("Since"), value="created_at", sort="created_at", default=False
        ),
    )
    filters = (
        Filter("status", gettext_lazy("Status"), choices=SubscriptionStatus.choices),
        Filter("method", gettext_lazy("Billing"), choices=MethodChoice.choices),
        Filter(
            "auto_renew",
            gettext_lazy("Auto-renew"),
            choices=(("yes", gettext_lazy("On")), ("no", gettext_lazy("Off"))),
            apply=lambda rows, values: rows.filter(auto_renew__in=[v == "yes" for v in values]),
        ),
    )
    empty = EmptyState(
        gettext_lazy("No active subscriptions"),
        gettext_lazy("Resources that you buy appear here with their cost and paid period."),
        icon="receipt",
    )

    def get_queryset(self) -> QuerySet[Subscription]:
        return queries.subscriptions(tenant_of(self))

    def page_context(self) -> dict[str, Any]:
        return {
            "overview": queries.overview(tenant_of(self)),
            "expiring": queries.expiring_soon(tenant_of(self)),
            "may_recharge": may_recharge_self(self),
            "may_pay": paying.is_offered() and self.actor.allows("billing.start_payment"),
            "history": history.offered(),
            "may_set_low": self.actor.allows("billing.set_low_balance"),
            "may_set_default": self.actor.allows("billing.set_default_auto_renew"),
        }

    def row_actions(self, obj: Subscription) -> list[RowAction]:
        ended = _("It was deleted.") if obj.status == "ended" else ""
        wanted, label = ("off", _("Turn off auto-renew"))
        if not obj.auto_renew:
            wanted, label = ("on", _("Turn on auto-renew"))
        return [
            RowAction(
                _("Renew"),
                reverse("billing-renew", args=[obj.resource_id]),
                icon="calendar-plus",
                reason=ended or self._refusal("billing.renew_resource"),
            ),
            RowAction(
                label,
                reverse("billing-auto-renew", args=[obj.resource_id, wanted]),
                icon="refresh",
                how="post",
                reason=ended or self._refusal("billing.set_auto_renew"),
            ),
        ]

    def _refusal(self, permission: str) -> str:
        return "" if self.actor.allows(permission) else _("Your role does not include it.")
