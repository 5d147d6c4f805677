"""The console's billing pages. They parse, call an action or a query, and render."""

from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import actions, money, queries, quotas, services
from billing.models import (
    Charge,
    LedgerTransaction,
    MethodChoice,
    Order,
    OrderKind,
    QuotaItem,
    QuotaRequest,
    QuotaRequestStatus,
    Subscription,
    SubscriptionStatus,
    TransactionKind,
)
from billing.pricing import DURATIONS, Method
from scloud.lib.errors import InvalidInput, NotFound
from scloud.resources import kinds
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.web import ui
from scloud.web.activity import resource_link
from scloud.web.lists import (
    Column,
    EmptyState,
    Filter,
    ListView,
    PageAction,
    RowAction,
    State,
)
from scloud.web.status import StatusView, Tone
from scloud.web.views import ActionView, ConsoleView, PostView

_SUBSCRIPTION_TONES: dict[str, Tone] = {
    SubscriptionStatus.ACTIVE: "ok",
    SubscriptionStatus.EXPIRED: "warn",
    SubscriptionStatus.ENDED: "off",
}
_REQUEST_TONES: dict[str, Tone] = {
    QuotaRequestStatus.PENDING: "busy",
    QuotaRequestStatus.APPROVED: "ok",
    QuotaRequestStatus.REJECTED: "error",
}


def tenant_of(view: ConsoleView) -> Tenant:
    """The tenant of the signed-in user; the base view lets nobody else through."""
    tenant = view.actor.tenant
    assert tenant is not None
    return tenant


def amount(minor: int) -> str:
    """Minor units as the console shows money."""
    return ui.money(money.from_minor(minor))


def signed(minor: int) -> str:
    """The same with a plus sign for money that came in."""
    return f"+{amount(minor)}" if minor > 0 else amount(minor)


def subscription_status(row: Subscription) -> StatusView:
    """How a subscription's status is shown."""
    detail = _("Renew it to use the resource again.") if row.status == "expired" else ""
    return StatusView(row.get_status_display(), _SUBSCRIPTION_TONES[row.status], detail)


def kind_label(kind: str) -> str:
    """What people call a kind of resource."""
    try:
        return str(kinds.get(kind).label)
    except KeyError:
        return kind.capitalize()


def may_recharge_self(view: ConsoleView) -> bool:
    """Whether the page offers a recharge: on demonstration installations only."""
    return bool(settings.SCLOUD_DEMO) and view.actor.allows("billing.recharge")


class OverviewView(ListView):
    """Balance, month so far, forecast, and what each resource costs."""

    kind = "subscription"
    permission = "billing.view"
    title = gettext_lazy("Costs")
    page_template = "billing/overview.html"
    search_fields = ("resource_id", "resource_name")
    default_sort = "-cost"
    has_row_menu = True
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
            value=lambda s: kind_label(s.resource_kind),
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
        gettext_lazy("Nothing is being paid for"),
        gettext_lazy("As soon as you buy a resource, you see here what it costs and until when."),
        icon="receipt",
    )

    def get_queryset(self) -> QuerySet[Subscription]:
        return queries.subscriptions(tenant_of(self))

    def page_context(self) -> dict[str, Any]:
        return {
            "overview": queries.overview(tenant_of(self)),
            "expiring": queries.expiring_soon(tenant_of(self)),
            "may_recharge": may_recharge_self(self),
        }

    def row_actions(self, obj: Subscription) -> list[RowAction]:
        ended = _("It was deleted.") if obj.status == "ended" else ""
        wanted, label = ("off", _("Switch auto-renew off"))
        if not obj.auto_renew:
            wanted, label = ("on", _("Switch auto-renew on"))
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


# --- renewing


def periods_label(method: Method, periods: int) -> str:
    """``3 months`` in the user's language."""
    words = {
        Method.HOUR: _("%(n)d h"),
        Method.MONTH: _("%(n)d month") if periods == 1 else _("%(n)d months"),
        Method.YEAR: _("%(n)d year") if periods == 1 else _("%(n)d years"),
    }
    return words[method] % {"n": periods}


class RenewForm(forms.Form):
    """How long to renew. Changing it asks the server for a new quote."""

    periods = forms.TypedChoiceField(label=gettext_lazy("Renew for"), coerce=int)
    quote_token = forms.CharField(widget=forms.HiddenInput, max_length=2000)

    def __init__(self, *args: Any, method: Method, url: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["periods"]
        assert isinstance(field, forms.TypedChoiceField)
        field.choices = [(n, periods_label(method, n)) for n in DURATIONS[method]]
        field.widget.attrs.update(
            {
                "hx-get": url,
                "hx-target": "#dialog-slot",
                "hx-trigger": "change",
                # Else it inherits the form's, which looks for the button inside this element.
                "hx-disabled-elt": "this",
            }
        )


class RenewView(ActionView):
    """The dialog that renews one resource, with the price of what is chosen."""

    title = gettext_lazy("Renew")
    verb = gettext_lazy("Pay and renew")
    permission = "billing.renew_resource"
    template_name = "billing/renew.html"
    live_kind = "subscription"

    def get_object(self) -> Subscription:
        return services.subscription_of(tenant_of(self), self.kwargs["resource_id"])

    def get_form(self, obj: Subscription, data: Any = None, files: Any = None) -> RenewForm:
        method = Method(obj.method)
        initial = self.request.GET.get("periods", "1")
        return RenewForm(data, method=method, url=self.request.path, initial={"periods": initial})

    def show(
        self, obj: Subscription, form: forms.Form | None, *, status: int = 200, **context: Any
    ) -> HttpResponse:
        asked = form["periods"].value() if form is not None else "1"
        periods = int(asked) if str(asked).isdecimal() else 1
        if periods not in DURATIONS[Method(obj.method)]:
            periods = 1
        quoted = services.quote_renewal(
            tenant=tenant_of(self), resource_id=obj.resource_id, periods=periods
        )
        return super().show(obj, form, status=status, quote=quoted, **context)

    def get_dialog_context(self, obj: Subscription) -> dict[str, Any]:
        return {
            "lines": [
                (_("Resource"), obj.resource_name or obj.resource_id),
                (_("Billing"), obj.get_method_display()),
                (_("Paid until"), ui.moment(obj.paid_until)),
            ]
        }

    def perform(self, obj: Subscription, data: dict[str, Any]) -> Order:
        return actions.renew_resource(
            actor=self.actor,
            resource_id=obj.resource_id,
            periods=data["periods"],
            quote_token=data["quote_token"],
        )

    def get_success_text(self, obj: Subscription, result: Any) -> str:
        return _("%(name)s was renewed for %(amount)s.") % {
            "name": obj.resource_name or obj.resource_id,
            "amount": amount(result.total_minor),
        }


class AutoRenewView(PostView):
    """Switches automatic renewal of one resource on or off."""

    live_kind = "subscription"

    def get_object(self) -> Subscription:
        if self.kwargs["wanted"] not in {"on", "off"}:
            raise NotFound(_("There is no such page."))
        return services.subscription_of(tenant_of(self), self.kwargs["resource_id"])

    def perform(self, obj: Subscription) -> None:
        actions.set_auto_renew(
            actor=self.actor,
            resource_id=obj.resource_id,
            auto_renew=self.kwargs["wanted"] == "on",
        )

    @property
    def success_text(self) -> str:  # type: ignore[override]  # depends on the URL
        """The toast."""
        if self.kwargs["wanted"] == "on":
            return _("Auto-renew is on.")
        return _("Auto-renew is off.")


class RechargeForm(forms.Form):
    """An amount. ``key`` keeps a form that is sent twice from recharging twice."""

    amount = forms.DecimalField(label=gettext_lazy("Amount"), initial=Decimal(1000))
    key = forms.CharField(widget=forms.HiddenInput, max_length=40)


class RechargeView(ActionView):
    """The demonstration's recharge."""

    title = gettext_lazy("Recharge")
    text = gettext_lazy("This is a demonstration: the money is not real.")
    verb = gettext_lazy("Recharge")
    permission = "billing.view"
    form_class = RechargeForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        return {"initial": {"key": str(uuid4())}}

    def perform(self, obj: Any, data: dict[str, Any]) -> LedgerTransaction:
        return actions.recharge(
            actor=self.actor,
            amount=data["amount"],
            remark=_("Demonstration"),
            key=data["key"],
        )

    def get_success_text(self, obj: Any, result: Any) -> str:
        return _("%(amount)s were added.") % {"amount": amount(result.amount_minor)}

    def success_url(self, obj: Any) -> str:
        return "billing"


# --- orders


def _resources_of(order: Order) -> str:
    charges = {charge.resource_id: charge for charge in order.charges.all()}
    links = [
        (resource_link(c.resource_kind, c.resource_id, c.resource_name),)
        for c in list(charges.values())[:3]
    ]
    more = len(charges) - len(links)
    shown = format_html_join(", ", "{}", links)
    return format_html("{} +{}", shown, more) if more else shown


class OrdersView(ListView):
    """All orders."""

    kind = "order"
    permission = "billing.view"
    title = gettext_lazy("Orders")
    text = gettext_lazy("What was bought, renewed, upgraded and refunded.")
    search_fields = ("id", "note", "actor")
    search_placeholder = gettext_lazy("Search by order, resource or person")
    default_sort = "-created"
    columns = (
        Column(
            "id",
            gettext_lazy("Order"),
            value=lambda o: ui.link(o.pk, reverse("order-detail", args=[o.pk])),
            export="pk",
            main=True,
        ),
        Column("kind", gettext_lazy("Type"), value="get_kind_display", sort="kind"),
        Column(
            "resources",
            gettext_lazy("Resources"),
            value=_resources_of,
            export=lambda o: [c.resource_id for c in o.charges.all()],
        ),
        Column("method", gettext_lazy("Billing"), value="get_method_display", sort="method"),
        Column(
            "total",
            gettext_lazy("Amount"),
            value=lambda o: amount(o.total_minor),
            sort="total_minor",
            export=lambda o: money.from_minor(o.total_minor),
            align="end",
        ),
        Column(
            "gift",
            gettext_lazy("From gift"),
            value=lambda o: amount(o.gift_minor),
            export=lambda o: money.from_minor(o.gift_minor),
            align="end",
            default=False,
        ),
        Column("created", gettext_lazy("Date"), value="created_at", sort="created_at"),
        Column("actor", gettext_lazy("By"), sort="actor"),
        Column("note", gettext_lazy("Note"), default=False),
    )
    filters = (
        Filter("kind", gettext_lazy("Type"), choices=OrderKind.choices),
        Filter("method", gettext_lazy("Billing"), choices=MethodChoice.choices),
        Filter("since", gettext_lazy("From day"), kind="date", lookup="created_at__date__gte"),
        Filter("until", gettext_lazy("To day"), kind="date", lookup="created_at__date__lte"),
    )
    empty = EmptyState(
        gettext_lazy("No orders yet"),
        gettext_lazy("Every purchase, renewal, upgrade and refund leaves an order here."),
        icon="file-invoice",
    )

    def get_queryset(self) -> QuerySet[Order]:
        return queries.orders(tenant_of(self))

    def narrowed(self, state: State) -> QuerySet[Order]:
        """Search the charged resources too, without a join that repeats orders."""
        rows: QuerySet[Order] = super().narrowed(replace(state, search=""))
        for word in state.search.split():
            charged = Charge.objects.filter(order=OuterRef("pk")).filter(
                Q(resource_id__icontains=word) | Q(resource_name__icontains=word)
            )
            rows = rows.filter(
                Q(pk__icontains=word)
                | Q(actor__icontains=word)
                | Q(note__icontains=word)
                | Exists(charged)
            )
        return rows


class OrderDetailView(ConsoleView):
    """One order with every line and the figures that explain it. Prints on one sheet."""

    permission = "billing.view"

    def get(self, request: HttpRequest, order_id: str) -> HttpResponse:
        tenant = tenant_of(self)
        order = (
            Order.objects.filter(tenant=tenant, pk=order_id)
            .select_related("region", "tenant")
            .prefetch_related("charges__lines", "charges__price_list", "transactions")
            .first()
        )
        if order is None:
            raise NotFound(f"There is no order {order_id}.")
        charges = [
            {
                "charge": charge,
                "link": resource_link(
                    charge.resource_kind, charge.resource_id, charge.resource_name
                ),
                "amount": amount(charge.amount_minor),
                "lines": [
                    {
                        "line": line,
                        "quantity": f"{line.quantity.normalize():f}",
                        "unit_price": ui.price(line.unit_price),
                        "periods": f"{line.periods.normalize():f}",
                        "discount": f"{(line.discount * 100).normalize():f} %"
                        if line.discount
                        else "",
                        "amount": amount(line.amount_minor),
                    }
                    for line in charge.lines.all()
                ],
            }
            for charge in order.charges.all()
        ]
        moved = [(row.pk, signed(row.amount_minor)) for row in order.transactions.all()]
        context = {
            "order": order,
            "crumbs": [(_("Orders"), reverse("orders")), (order.pk, "")],
            "charges": charges,
            "total": amount(order.total_minor),
            "gift": amount(order.gift_minor) if order.gift_minor else "",
            "cash": amount(order.total_minor - order.gift_minor),
            "facts": [
                (_("Order"), ui.ident(order.pk)),
                (_("Account"), order.tenant.name),
                (_("Type"), order.get_kind_display()),
                (_("Region"), order.region.name),
                (_("Billing"), order.get_method_display()),
                (_("Date"), ui.moment(order.created_at)),
                (_("By"), order.actor),
                (_("Note"), order.note),
                (_("Transaction"), ui.idents([pk for pk, _amount in moved])),
            ],
        }
        return self.render("billing/order.html", context)


# --- transactions


class TransactionsView(ListView):
    """Every movement of money with the balances after it."""

    kind = "transaction"
    permission = "billing.view"
    title = gettext_lazy("Transactions")
    text = gettext_lazy("Every movement on the account. Nothing here is ever changed or removed.")
    search_fields = ("id", "order__id", "note", "actor")
    search_placeholder = gettext_lazy("Search by transaction, order or note")
    default_sort = "-created"
    columns = (
        Column("id", gettext_lazy("Transaction"), value="pk", render=ui.ident, main=True),
        Column("kind", gettext_lazy("Type"), value="get_kind_display", sort="kind"),
        Column(
            "amount",
            gettext_lazy("Amount"),
            value=lambda t: signed(t.amount_minor),
            sort="amount_minor",
            export=lambda t: money.from_minor(t.amount_minor),
            align="end",
        ),
        Column(
            "cash",
            gettext_lazy("Cash after"),
            value=lambda t: amount(t.cash_after_minor),
            export=lambda t: money.from_minor(t.cash_after_minor),
            align="end",
        ),
        Column(
            "gift",
            gettext_lazy("Gift after"),
            value=lambda t: amount(t.gift_after_minor),
            export=lambda t: money.from_minor(t.gift_after_minor),
            align="end",
        ),
        Column(
            "order",
            gettext_lazy("Order"),
            value=lambda t: resource_link("order", t.order_id) if t.order_id else None,
            export="order_id",
        ),
        Column("note", gettext_lazy("Note")),
        Column("actor", gettext_lazy("By"), sort="actor"),
        Column("created", gettext_lazy("Date"), value="created_at", sort="created_at"),
    )
    filters = (
        Filter("kind", gettext_lazy("Type"), choices=TransactionKind.choices),
        Filter("since", gettext_lazy("From day"), kind="date", lookup="created_at__date__gte"),
        Filter("until", gettext_lazy("To day"), kind="date", lookup="created_at__date__lte"),
    )
    empty = EmptyState(
        gettext_lazy("No transactions yet"),
        gettext_lazy("Recharges, payments and refunds appear here with the balance after each."),
        icon="arrows-exchange",
    )

    def get_queryset(self) -> QuerySet[LedgerTransaction]:
        return LedgerTransaction.objects.filter(tenant=tenant_of(self))


# --- quotas


class QuotasView(ListView):
    """What is used of each quota in the region, and the requests for more."""

    kind = "quota_request"
    permission = "billing.view_quota"
    title = gettext_lazy("Quotas")
    page_template = "billing/quotas.html"
    search_fields = ("id", "reason", "answer")
    default_sort = "-created"
    columns = (
        Column("item", gettext_lazy("Quota"), value="get_item_display", sort="item", main=True),
        Column("id", gettext_lazy("ID"), value="pk", render=ui.ident, default=False),
        Column("region", gettext_lazy("Region"), value="region.name"),
        Column("before", gettext_lazy("Limit then"), value="limit_before", align="end"),
        Column("wanted", gettext_lazy("Limit wanted"), value="limit_wanted", align="end"),
        Column(
            "status",
            gettext_lazy("Status"),
            value=lambda r: StatusView(r.get_status_display(), _REQUEST_TONES[r.status], r.answer),
            sort="status",
            export="get_status_display",
        ),
        Column("reason", gettext_lazy("Reason")),
        Column("answer", gettext_lazy("Answer")),
        Column("created", gettext_lazy("Asked"), value="created_at", sort="created_at"),
    )
    filters = (Filter("status", gettext_lazy("Status"), choices=QuotaRequestStatus.choices),)
    page_actions = (
        PageAction(
            gettext_lazy("Request more"),
            "quota-request",
            icon="arrow-up",
            dialog=True,
            permission="billing.request_quota",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No requests"),
        gettext_lazy("If a limit is too low, ask for a higher one; an administrator decides."),
        icon="gauge",
    )

    def get_queryset(self) -> QuerySet[QuotaRequest]:
        return QuotaRequest.objects.filter(tenant=tenant_of(self)).select_related("region")

    def page_context(self) -> dict[str, Any]:
        region = self.request.region
        used = list(quotas.usage(tenant_of(self), region).values()) if region else []
        return {
            "usages": used,
            "region_name": region.name if region else "",
            "may_request": self.actor.allows("billing.request_quota"),
        }


class QuotaRequestForm(forms.Form):
    """Which quota, how much, why."""

    item = forms.ChoiceField(label=gettext_lazy("Quota"), choices=QuotaItem.choices)
    limit_wanted = forms.IntegerField(label=gettext_lazy("Limit wanted"), min_value=1)
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class QuotaRequestView(ActionView):
    """The dialog that asks for a higher limit."""

    title = gettext_lazy("Request more quota")
    text = gettext_lazy("An administrator decides. You see the answer on this page.")
    verb = gettext_lazy("Send request")
    permission = "billing.request_quota"
    form_class = QuotaRequestForm
    success_text = gettext_lazy("The request was sent.")

    def get_object(self) -> Region:
        region = self.request.region
        if region is None:
            raise InvalidInput(_("There is no region yet."), code="no_region")
        return region

    def get_form_kwargs(self, obj: Region) -> dict[str, Any]:
        item = self.request.GET.get("item", "")
        return {"initial": {"item": item}} if item in QuotaItem.values else {}

    def perform(self, obj: Region, data: dict[str, Any]) -> QuotaRequest:
        return actions.request_quota(actor=self.actor, region=obj, **data)

    def success_url(self, obj: Region) -> str:
        return "quotas"
