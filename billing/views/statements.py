"""Statements: the closed months, one month as a sheet, and its charges one by one."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import addressing, money, pdf, printing, queries, statements
from billing.models import BillingAddress, Charge, OrderKind, Statement, month_text
from billing.views.common import amount, tenant_of
from scloud.web import ui
from scloud.web.activity import resource_link
from scloud.web.forms import LinesField
from scloud.web.lists import Column, EmptyState, Filter, ListView
from scloud.web.views import ActionView, ConsoleView


def _link(row: Statement) -> str:
    return ui.link(row.number, reverse("statement-detail", args=[row.month_text]))


class StatementsView(ListView):
    """The statements of the tenant, one for each closed month."""

    kind = "statement"
    permission = "billing.view"
    title = gettext_lazy("Statements")
    text = gettext_lazy("Balances, charges and tax of each month. A closed month never changes.")
    page_template = "billing/statements.html"
    search_fields = ("month",)
    search_placeholder = gettext_lazy("Search by month")
    default_sort = "-month"
    columns = (
        Column("number", gettext_lazy("Number"), value=_link, export="number", main=True),
        Column("month", gettext_lazy("Month"), value="month_text", sort="month"),
        Column(
            "opening",
            gettext_lazy("Opening balance"),
            value=lambda s: amount(s.opening_minor),
            export=lambda s: money.from_minor(s.opening_minor),
            align="end",
        ),
        Column(
            "charged",
            gettext_lazy("Charges less refunds"),
            value=lambda s: amount(s.charged_minor),
            sort="charged_minor",
            export=lambda s: money.from_minor(s.charged_minor),
            align="end",
        ),
        Column(
            "tax",
            gettext_lazy("Tax in it"),
            value=lambda s: None if s.tax_percent is None else amount(s.tax_minor),
            export=lambda s: None if s.tax_percent is None else money.from_minor(s.tax_minor),
            align="end",
        ),
        Column(
            "closing",
            gettext_lazy("Closing balance"),
            value=lambda s: amount(s.closing_minor),
            export=lambda s: money.from_minor(s.closing_minor),
            align="end",
        ),
        Column("created", gettext_lazy("Closed"), value="created_at", sort="created_at"),
    )
    empty = EmptyState(
        gettext_lazy("No closed month yet"),
        gettext_lazy("A statement is made in the first hour after the end of each month."),
        icon="file-invoice",
    )

    def get_queryset(self) -> QuerySet[Statement]:
        return Statement.objects.filter(tenant=tenant_of(self))

    def page_context(self) -> dict[str, Any]:
        present = statements.this_month(timezone.now())
        address = addressing.address_of(tenant_of(self))
        return {
            "present": month_text(present),
            "address": address,
            "may_set_address": self.actor.allows("billing.set_address"),
        }


class AddressForm(forms.Form):
    """A billing address."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)
    lines = LinesField(
        label=gettext_lazy("Address"),
        required=False,
        max_length=700,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy("At most 6 lines."),
    )
    country = forms.CharField(label=gettext_lazy("Country"), max_length=60, required=False)
    tax_number = forms.CharField(label=gettext_lazy("Tax number"), max_length=40, required=False)

    def clean_lines(self) -> list[str]:
        """Turn the text into lines."""
        found: str = self.cleaned_data["lines"] or ""
        return found.split("\n")


class AddressView(ActionView):
    """The dialog that says whom statements are for."""

    title = gettext_lazy("Billing address")
    text = gettext_lazy("Months that are closed from now on have it. Closed ones stay as they are.")
    verb = gettext_lazy("Save")
    permission = "billing.set_address"
    form_class = AddressForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        said = addressing.address_of(tenant_of(self))
        return {
            "initial": {
                "name": said.name,
                "lines": "\n".join(said.lines),
                "country": said.country,
                "tax_number": said.tax_number,
            }
        }

    def perform(self, obj: Any, data: dict[str, Any]) -> BillingAddress:
        return addressing.set_address(actor=self.actor, **data)

    def success_url(self, obj: Any) -> str:
        return "statements"


class StatementView(ConsoleView):
    """A month as a sheet; that of the present one says how it stands so far."""

    permission = "billing.view"

    def get(self, request: HttpRequest, month: str) -> HttpResponse:
        paper = statements.find(tenant_of(self), month, timezone.now())
        context = {
            **printing.shown(paper),
            "title": _("Statement of %(month)s") % {"month": month},
            "crumbs": [(_("Statements"), reverse("statements")), (month, "")],
            "charges_url": reverse("statement-charges", args=[month]),
            "pdf_url": reverse("statement-pdf", args=[month]),
        }
        return self.render("billing/statement.html", context)


class StatementPdfView(ConsoleView):
    """The same sheet as PDF."""

    permission = "billing.view"

    def get(self, request: HttpRequest, month: str) -> HttpResponse:
        paper = statements.find(tenant_of(self), month, timezone.now())
        response = HttpResponse(pdf.drawn(paper), content_type=pdf.CONTENT_TYPE)
        response["Content-Disposition"] = f'attachment; filename="{pdf.file_name(paper)}"'
        response["Cache-Control"] = "private, no-store"
        return response


class StatementChargesView(ListView):
    """Every charge of a month; as a workbook, what a statement has too many lines for."""

    kind = "charge"
    permission = "billing.view"
    title = gettext_lazy("Charges of the month")
    page_template = "billing/statement_charges.html"
    search_fields = ("order__id", "resource_id", "resource_name")
    search_placeholder = gettext_lazy("Search by order or resource")
    default_sort = "date"
    columns = (
        Column(
            "order",
            gettext_lazy("Order"),
            value=lambda c: ui.link(c.order_id, reverse("order-detail", args=[c.order_id])),
            sort="order",
            export="order_id",
            main=True,
        ),
        Column(
            "resource",
            gettext_lazy("Resource"),
            value=lambda c: ui.two(
                resource_link(c.resource_kind, c.resource_id, c.resource_name),
                c.resource_id if c.resource_name else "",
            ),
            sort=("resource_name", "resource_id"),
            export="resource_name",
        ),
        Column("id", gettext_lazy("ID"), value="resource_id", render=ui.ident, default=False),
        Column(
            "type",
            gettext_lazy("Type"),
            value=lambda c: queries.kind_label(c.resource_kind),
            sort="resource_kind",
        ),
        Column("kind", gettext_lazy("Order type"), value="order.get_kind_display"),
        Column("method", gettext_lazy("Billing"), value="get_method_display", sort="method"),
        Column("begin", gettext_lazy("From"), value="begin", render=ui.moment, sort="begin"),
        Column("end", gettext_lazy("Until"), value="end", render=ui.moment, sort="end"),
        Column(
            "amount",
            gettext_lazy("Amount"),
            value=lambda c: amount(c.amount_minor),
            sort="amount_minor",
            export=lambda c: money.from_minor(c.amount_minor),
            align="end",
        ),
        Column(
            "gift",
            gettext_lazy("From gift"),
            value=lambda c: amount(c.gift_minor),
            export=lambda c: money.from_minor(c.gift_minor),
            align="end",
            default=False,
        ),
        Column("date", gettext_lazy("Date"), value="created_at", sort="created_at"),
    )
    filters = (
        Filter(
            "kind", gettext_lazy("Order type"), choices=OrderKind.choices, lookup="order__kind__in"
        ),
    )
    empty = EmptyState(
        gettext_lazy("Nothing was charged"),
        gettext_lazy("Charges and refunds of the month appear here."),
        icon="receipt",
    )

    @cached_property
    def statement(self) -> Statement:
        """The month; raise NotFound where there is none."""
        return statements.head(tenant_of(self), self.kwargs["month"], timezone.now())

    def get_queryset(self) -> QuerySet[Charge]:
        month = self.statement
        rows = statements.charges(tenant_of(self), month.begin, month.end)
        return rows.select_related("order")

    def page_context(self) -> dict[str, Any]:
        month = self.statement.month_text
        return {
            "crumbs": [
                (_("Statements"), reverse("statements")),
                (month, reverse("statement-detail", args=[month])),
                (_("Charges"), ""),
            ],
            "is_pruned": self.statement.is_pruned,
        }
