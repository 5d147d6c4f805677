"""Orders and transactions."""

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import explain, money, queries
from billing.models import (
    LedgerTransaction,
    MethodChoice,
    Order,
    OrderKind,
    TransactionKind,
)
from billing.views.common import (
    amount,
    signed,
    tenant_of,
)
from scloud.lib.errors import NotFound
from scloud.web import ui
from scloud.web.activity import resource_link
from scloud.web.lists import (
    Column,
    EmptyState,
    Filter,
    ListView,
)
from scloud.web.views import ConsoleView


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
    kind = "order"
    permission = "billing.view"
    title = gettext_lazy("Orders")
    text = gettext_lazy("Purchases, renewals, upgrades, usage and refunds.")
    search_fields = ("id", "note", "actor", "charges__resource_id", "charges__resource_name")
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
        gettext_lazy("Purchases, renewals, upgrades, usage and refunds appear here."),
        icon="file-invoice",
    )

    def get_queryset(self) -> QuerySet[Order]:
        return queries.orders(tenant_of(self))


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
            raise NotFound(_("There is no order %(order_id)s.") % {"order_id": order_id})
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


class ChargeView(ConsoleView):
    """One charge of an order in words."""

    permission = "billing.view"

    def get(self, request: HttpRequest, order_id: str, number: int) -> HttpResponse:
        found = explain.explain(tenant_of(self), order_id, number)
        charge = found.charge
        context = {
            "found": found,
            "crumbs": [
                (_("Orders"), reverse("orders")),
                (order_id, reverse("order-detail", args=[order_id])),
                (_("Charge %(number)s") % {"number": number}, ""),
            ],
            "amount": amount(charge.amount_minor),
            "link": resource_link(charge.resource_kind, charge.resource_id, charge.resource_name),
        }
        return self.render("billing/charge.html", context)


class TransactionsView(ListView):
    """Every movement of money with the balances after it."""

    kind = "transaction"
    permission = "billing.view"
    title = gettext_lazy("Transactions")
    text = gettext_lazy("All account transactions. Entries are never changed or removed.")
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
        gettext_lazy("Top-ups, payments and refunds appear here with the balance after each."),
        icon="arrows-exchange",
    )

    def get_queryset(self) -> QuerySet[LedgerTransaction]:
        return LedgerTransaction.objects.filter(tenant=tenant_of(self))
