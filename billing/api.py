"""Billing in the API: the same verbs as in the console."""

from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import (
    actions,
    addressing,
    budgeting,
    catalog,
    explain,
    ledger,
    money,
    paying,
    pdf,
    printing,
    queries,
    quotas,
    services,
    statements,
)
from billing import serializers as shapes
from billing.models import (
    Budget,
    LedgerTransaction,
    Order,
    OrderKind,
    Payment,
    QuotaRequest,
    Statement,
    Subscription,
    SubscriptionStatus,
)
from scloud.lib.errors import NotFound
from scloud.rest.inputs import region_named, valid
from scloud.rest.negotiation import WhateverIsAccepted
from scloud.rest.verbs import VerbViewSet, show
from scloud.rest.views import ActorMixin, ResourceViewSet

_MONTH = OpenApiParameter("month", str, OpenApiParameter.PATH, description="Such as `2026-10`.")
REGION = OpenApiParameter("region", str, required=True, description="The region's id.")


@extend_schema(tags=["Billing"])
class AccountView(ActorMixin, APIView):
    """The account."""

    view_permission = "billing.view"

    @extend_schema(responses=shapes.AccountSerializer)
    def get(self, request: Request) -> Response:
        """Show the balances."""
        return Response(shapes.AccountSerializer(ledger.account_of(self.tenant)).data)


@extend_schema(tags=["Billing"])
class AccountAutoRenewView(ActorMixin, APIView):
    """The default of auto-renew."""

    @extend_schema(
        request=shapes.DefaultAutoRenewInput,
        responses=shapes.AccountSerializer,
        examples=[OpenApiExample("Off", value={"auto_renew": False}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Say whether what is bought from now on renews by itself."""
        data = valid(shapes.DefaultAutoRenewInput, request)
        account = actions.set_default_auto_renew(actor=self.actor, **data)
        return Response(shapes.AccountSerializer(account).data)


@extend_schema(tags=["Billing"])
class AccountLowBalanceView(ActorMixin, APIView):
    """Below what balance people are warned."""

    @extend_schema(
        request=shapes.LowBalanceInput,
        responses=shapes.AccountSerializer,
        examples=[OpenApiExample("Below 500", value={"below": "500.00"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Say below what balance the tenant is warned."""
        data = valid(shapes.LowBalanceInput, request)
        below = data["below"]
        account = actions.set_low_balance(
            # Trailing zeros are no decimals: 10.000000 is an amount in whole units.
            actor=self.actor,
            below=None if below is None else Decimal(below).normalize(),
        )
        return Response(shapes.AccountSerializer(account).data)


@extend_schema(tags=["Billing"])
class AddressView(ActorMixin, APIView):
    """Whom statements are for."""

    view_permission = "billing.view"

    @extend_schema(responses=shapes.AddressSerializer)
    def get(self, request: Request) -> Response:
        """Show the billing address; the tenant's name where it has said none."""
        return Response(shapes.AddressSerializer(addressing.address_of(self.tenant)).data)

    @extend_schema(
        request=shapes.AddressInput,
        responses=shapes.AddressSerializer,
        examples=[
            OpenApiExample(
                "A company",
                value={
                    "name": "Acme Ltd.",
                    "lines": ["1 Cloud Street", "Springfield 12345"],
                    "country": "United Kingdom",
                    "tax_number": "GB123456789",
                },
                request_only=True,
            )
        ],
    )
    def put(self, request: Request) -> Response:
        """Say whom statements are for from now on; closed ones stay as they are."""
        data = valid(shapes.AddressInput, request)
        address = addressing.set_address(actor=self.actor, **data)
        return Response(shapes.AddressSerializer(address).data)


@extend_schema(tags=["Billing"])
class RechargeView(ActorMixin, APIView):
    """Recharging on a demonstration installation."""

    @extend_schema(
        request=shapes.RechargeInput,
        responses={201: shapes.TransactionSerializer},
        examples=[OpenApiExample("A recharge", value={"amount": "100.00"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Recharge the account (demonstration installations only)."""
        data = valid(shapes.RechargeInput, request)
        moved = actions.recharge(
            # Trailing zeros are no decimals: 10.000000 is an amount in whole units.
            actor=self.actor,
            amount=Decimal(data["amount"]).normalize(),
        )
        return Response(shapes.TransactionSerializer(moved).data, status=201)


@extend_schema(tags=["Billing"])
class PricesView(ActorMixin, APIView):
    """The price list in force."""

    view_permission = "billing.quote"

    @extend_schema(parameters=[REGION], responses=shapes.PriceListShape)
    def get(self, request: Request) -> Response:
        """Show a region's prices and the tenant's discounts."""
        region, now = region_named(request.query_params.get("region")), timezone.now()
        price_list = catalog.price_list_at(region, now)
        rows = list(price_list.prices.all())
        discounts = catalog.discounts_at(self.tenant, [row.sku for row in rows], now)
        shown = {
            "region": region.pk,
            "version": price_list.version,
            "effective_from": price_list.effective_from,
            "currency": money.currency(),
            "prices": [
                {
                    "sku": row.sku,
                    "method": row.method,
                    "above": row.above,
                    "unit_price": row.unit_price,
                    "discount": discounts.get(row.sku, Decimal(0)),
                }
                for row in rows
            ],
        }
        return Response(shapes.PriceListShape(shown).data)


@extend_schema(tags=["Billing"])
class OrderViewSet(ResourceViewSet):
    """Orders."""

    serializer_class = shapes.OrderSerializer
    view_permission = "billing.view"

    def get_queryset(self) -> QuerySet[Order]:
        """Return the tenant's orders, or those of one kind or resource."""
        rows = queries.orders(self.tenant).prefetch_related("charges__lines", "charges__price_list")
        kind = self.request.query_params.get("kind")
        resource = self.request.query_params.get("resource")
        if kind:
            rows = rows.filter(kind=kind)
        if resource:
            rows = rows.filter(charges__resource_id=resource).distinct()
        return rows

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "kind", str, enum=OrderKind.values, description="Only those of this kind."
            ),
            OpenApiParameter("resource", str, description="Only those that charged this id."),
        ]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List orders, newest first."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "number",
                int,
                OpenApiParameter.PATH,
                description="Which charge of the order, counted from 1.",
            )
        ],
        responses=shapes.ExplanationShape,
    )
    @action(detail=True, url_path="charges/(?P<number>[1-9][0-9]{0,5})")
    def charges(self, request: Request, pk: str, number: str) -> Response:
        """Explain one charge of an order in words."""
        found = explain.explain(self.tenant, pk, int(number))
        shown = {
            "order": found.charge.order_id,
            "number": found.number,
            "currency": found.charge.order.currency,
            "charge": found.charge,
            "steps": found.steps,
            "adds_up": found.adds_up,
        }
        return Response(shapes.ExplanationShape(shown).data)


@extend_schema(tags=["Billing"])
class TransactionViewSet(ResourceViewSet):
    """Movements of money."""

    serializer_class = shapes.TransactionSerializer
    view_permission = "billing.view"

    def get_queryset(self) -> QuerySet[LedgerTransaction]:
        """Return the tenant's transactions, newest first."""
        return LedgerTransaction.objects.filter(tenant=self.tenant)


@extend_schema(tags=["Billing"])
class StatementViewSet(ResourceViewSet):
    """Statements; the id in the URL is the month."""

    serializer_class = shapes.StatementSerializer
    view_permission = "billing.view"
    lookup_url_kwarg = "month"
    lookup_value_regex = "[0-9]{4}-[0-9]{2}"

    def get_queryset(self) -> QuerySet[Statement]:
        """Return the statements of the tenant's closed months, newest first."""
        return Statement.objects.filter(tenant=self.tenant)

    @extend_schema(
        parameters=[_MONTH],
        responses=shapes.StatementPaperShape,
    )
    def retrieve(self, request: Request, month: str) -> Response:
        """Show the statement of a month with its lines; one that goes on, so far."""
        paper = statements.find(self.tenant, month, timezone.now())
        shown = {
            "statement": paper.statement,
            "moves": paper.moves,
            "by_kind": _sums(paper.by_kind()),
            "by_tag": _sums(paper.by_tag()),
            "by_project": [
                {"name": name or None, "amount": money.show(amount)}
                for name, amount in paper.by_project()
            ],
            "by_resource": paper.by_resource()[: printing.RESOURCES_SHOWN],
            "lines": paper.lines,
        }
        return Response(shapes.StatementPaperShape(shown).data)

    @extend_schema(parameters=[_MONTH], responses={(200, pdf.CONTENT_TYPE): OpenApiTypes.BINARY})
    @action(
        detail=True,
        url_path="pdf",
        url_name="pdf",
        content_negotiation_class=WhateverIsAccepted,
        pagination_class=None,
        filter_backends=[],
    )
    def as_pdf(self, request: Request, month: str) -> HttpResponse:
        """Return the statement of a month as PDF, with the first 200 lines and all sums."""
        paper = statements.find(self.tenant, month, timezone.now())
        response = HttpResponse(pdf.drawn(paper), content_type=pdf.CONTENT_TYPE)
        response["Content-Disposition"] = f'attachment; filename="{pdf.file_name(paper)}"'
        return response


def _sums(rows: list[tuple[str, int]]) -> list[dict[str, str]]:
    return [{"name": name, "amount": money.show(amount)} for name, amount in rows]


@extend_schema(tags=["Billing"])
class PaymentViewSet(ResourceViewSet):
    """Payments through the provider."""

    serializer_class = shapes.PaymentSerializer
    view_permission = "billing.view"

    def get_queryset(self) -> QuerySet[Payment]:
        """Return the tenant's payments, newest first."""
        return Payment.objects.filter(tenant=self.tenant)

    @extend_schema(
        request=shapes.PaymentInput,
        responses={201: shapes.PaymentSerializer},
        examples=[OpenApiExample("A top-up", value={"amount": "500.00"}, request_only=True)],
    )
    def create(self, request: Request) -> Response:
        """Start a payment; somebody makes it on the page at `page_url`."""
        data = valid(shapes.PaymentInput, request)
        started = paying.start_payment(
            # Trailing zeros are no decimals: 10.000000 is an amount in whole units.
            actor=self.actor,
            amount=Decimal(data["amount"]).normalize(),
        )
        opened = paying.open_page(started)
        return Response(self.get_serializer(opened).data, status=201)


@extend_schema(tags=["Billing"])
class SubscriptionViewSet(ResourceViewSet):
    """What is paid for; the id in the URL is the resource's."""

    serializer_class = shapes.SubscriptionSerializer
    view_permission = "billing.view"
    lookup_field = "resource_id"

    def get_queryset(self) -> QuerySet[Subscription]:
        """Return the tenant's subscriptions with the cost of this month."""
        rows = queries.subscriptions(self.tenant).order_by("paid_until", "pk")
        status = self.request.query_params.get("status")
        return rows.filter(status=status) if status else rows

    def get_object(self) -> Any:
        found = self.get_queryset().filter(resource_id=self.kwargs["resource_id"]).first()
        if found is None:
            raise NotFound(
                _("%(resource)s has no subscription.") % {"resource": self.kwargs["resource_id"]}
            )
        return found

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "status",
                str,
                enum=SubscriptionStatus.values,
                description="Only those in this status.",
            )
        ]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List subscriptions, the first to run out first."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=shapes.RenewalQuoteInput,
        responses=shapes.QuoteShape,
        examples=[OpenApiExample("Three more", value={"periods": 3}, request_only=True)],
    )
    @action(detail=True, methods=["post"], url_path="renewal-quote")
    def renewal_quote(self, request: Request, resource_id: str) -> Response:
        """Price a renewal; nothing is charged."""
        self.actor.require("billing.quote")
        data = valid(shapes.RenewalQuoteInput, request)
        quoted = services.quote_renewal(
            tenant=self.tenant, resource_id=resource_id, periods=data["periods"]
        )
        return Response(quoted.as_dict())

    @extend_schema(
        request=shapes.RenewInput,
        responses={201: shapes.OrderSerializer},
        examples=[
            OpenApiExample(
                "Renew as quoted",
                value={"periods": 3, "quote_token": "eyJ0ZW5hbnQiOi..."},
                request_only=True,
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def renew(self, request: Request, resource_id: str) -> Response:
        """Renew a resource at exactly the quoted price."""
        data = valid(shapes.RenewInput, request)
        order = actions.renew_resource(actor=self.actor, resource_id=resource_id, **data)
        return Response(shapes.OrderSerializer(order).data, status=201)

    @extend_schema(
        request=shapes.TogetherQuoteInput,
        responses=shapes.TogetherQuoteShape,
        examples=[
            OpenApiExample(
                "Until one date",
                value={"resources": ["vm-k3m9x2p7q", "disk-a8b7c6d5e"], "until": "2027-01-01"},
                request_only=True,
            )
        ],
    )
    @action(detail=False, methods=["post"], url_path="renewal-quotes")
    def renewal_quotes(self, request: Request) -> Response:
        """Price the renewal of several resources; nothing is charged."""
        self.actor.require("billing.quote")
        data = valid(shapes.TogetherQuoteInput, request)
        quoted = services.quote_renewals(
            tenant=self.tenant,
            resource_ids=data["resources"],
            extent=services.Extent(data["periods"], data["until"]),
        )
        return Response(shapes.TogetherQuoteShape(quoted.as_dict()).data)

    @extend_schema(
        request=shapes.TogetherInput,
        responses={201: shapes.OrderSerializer(many=True)},
        examples=[
            OpenApiExample(
                "As quoted",
                value={
                    "resources": ["vm-k3m9x2p7q", "disk-a8b7c6d5e"],
                    "until": "2027-01-01",
                    "quote_token": "eyJ0ZW5hbnQiOi...",
                },
                request_only=True,
            )
        ],
    )
    @action(detail=False, methods=["post"], url_path="renewals")
    def renew_together(self, request: Request) -> Response:
        """Renew several resources at exactly the quoted price: all of them, or none."""
        data = valid(shapes.TogetherInput, request)
        orders = actions.renew_resources(
            actor=self.actor,
            resource_ids=data["resources"],
            extent=services.Extent(data["periods"], data["until"]),
            quote_token=data["quote_token"],
        )
        return Response(shapes.OrderSerializer(orders, many=True).data, status=201)

    @extend_schema(request=None, responses=shapes.EndQuoteShape)
    @action(detail=True, methods=["post"], url_path="end-quote")
    def end_quote(self, request: Request, resource_id: str) -> Response:
        """Say what destroying a resource gives back and charges; changes nothing."""
        self.actor.require("billing.quote")
        found = services.quote_end(
            tenant=self.tenant, resource_id=resource_id, at=queries.binned_at(self.get_object())
        )
        shown = {"currency": money.currency(), "refund": found.refund, "due": found.due}
        return Response(shapes.EndQuoteShape(shown).data)

    @extend_schema(
        request=shapes.AutoRenewInput,
        responses=shapes.SubscriptionSerializer,
        examples=[OpenApiExample("Off", value={"auto_renew": False}, request_only=True)],
    )
    @action(detail=True, methods=["post"], url_path="set-auto-renew")
    def set_auto_renew(self, request: Request, resource_id: str) -> Response:
        """Switch automatic renewal on or off."""
        data = valid(shapes.AutoRenewInput, request)
        actions.set_auto_renew(actor=self.actor, resource_id=resource_id, **data)
        return Response(self.get_serializer(self.get_object()).data)


class BudgetViewSet(VerbViewSet):
    """Budgets."""

    kind = "budget"
    tag = "Billing"
    serializer_class = shapes.BudgetSerializer
    view_permission = "billing.view"

    def get_queryset(self) -> QuerySet[Budget]:
        """Return the tenant's budgets."""
        return Budget.objects.filter(tenant=self.tenant)

    @extend_schema(
        request=shapes.BudgetInput,
        responses={201: shapes.BudgetSerializer},
        examples=[
            OpenApiExample(
                "Of a tag",
                value={
                    "name": "web",
                    "tag": "env=production",
                    "amount": "5000.00",
                    "warn_percents": [50, 80, 100],
                    "block_percent": 120,
                    "time_zone": "Europe/Berlin",
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a budget for each month, of all resources or of a tag's."""
        made = budgeting.create_budget(actor=self.actor, **_budget(request))
        return Response(self.shown(self.kind, made.pk), status=201)

    @extend_schema(request=shapes.BudgetInput, responses=shapes.BudgetSerializer)
    def update(self, request: Request, pk: str) -> Response:
        """Change a budget as a whole."""
        budget = self.get_object()
        budgeting.edit_budget(actor=self.actor, budget=budget, **_budget(request))
        return Response(self.shown(self.kind, budget.pk))


def _budget(request: Request) -> dict[str, Any]:
    data = valid(shapes.BudgetInput, request)
    # Trailing zeros are no decimals: 10.000000 is an amount in whole units.
    return {**data, "amount": Decimal(data["amount"]).normalize()}


show("budget", shapes.BudgetSerializer, lambda actor, pk: Budget.objects.get(pk=pk))


@extend_schema(tags=["Quotas"])
class QuotasView(ActorMixin, APIView):
    """Limits and use."""

    view_permission = "billing.view_quota"

    @extend_schema(parameters=[REGION], responses=shapes.QuotaShape(many=True))
    def get(self, request: Request) -> Response:
        """Show every quota of a region with what is used of it."""
        region = region_named(request.query_params.get("region"))
        used = quotas.usage(self.tenant, region).values()
        return Response(shapes.QuotaShape(used, many=True).data)


@extend_schema(tags=["Quotas"])
class QuotaRequestViewSet(ResourceViewSet):
    """Requests for higher limits."""

    serializer_class = shapes.QuotaRequestSerializer
    view_permission = "billing.view_quota"

    def get_queryset(self) -> QuerySet[QuotaRequest]:
        """Return the tenant's requests, newest first."""
        return QuotaRequest.objects.filter(tenant=self.tenant)

    @extend_schema(
        request=shapes.QuotaRequestInput,
        responses={201: shapes.QuotaRequestSerializer},
        examples=[
            OpenApiExample(
                "More VMs",
                value={"region": "box", "item": "vms", "limit_wanted": 80, "reason": "Launch"},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Ask for a higher limit."""
        data = valid(shapes.QuotaRequestInput, request)
        region = region_named(data.pop("region"))
        row = actions.request_quota(actor=self.actor, region=region, **data)
        return Response(self.get_serializer(row).data, status=201)
