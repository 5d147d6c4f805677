"""What renews, and renewing it."""

from typing import Any

from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing import queries
from billing.models import Subscription
from billing.serializers.amounts import MinorUnitsField
from scloud.rest.fields import WholeNumber
from scloud.rest.shown import ShownSerializer
from scloud.tenancy.models import PlatformSettings


class SubscriptionLineShape(serializers.Serializer[Any]):
    """What the next period costs for one SKU."""

    sku = serializers.CharField()
    quantity = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        # "label" is an attribute of every serializer, so it cannot be declared as a field.
        return {**super().get_fields(), "label": serializers.CharField()}


class UpcomingShape(serializers.Serializer[Any]):
    """What will happen to a resource by itself, and when.

    ``unbinding`` is that a disk, an external IP or an ENI is taken off the VM that it is bound to.
    """

    kind = serializers.ChoiceField(
        choices=["renewal", "reminder", "expiry", "unbinding", "bin", "destruction"]
    )
    at = serializers.DateTimeField()


class SubscriptionSerializer(ShownSerializer[Subscription]):
    """What a resource pays for and until when; ``month_cost`` is what it cost this month.

    ``upcoming`` is what will happen by itself if nobody does anything, the next first.
    """

    month_cost = MinorUnitsField(source="month_minor")
    lines = SubscriptionLineShape(many=True)
    upcoming = serializers.SerializerMethodField()

    class Meta:
        model = Subscription
        fields = (
            "resource_kind",
            "resource_id",
            "resource_name",
            "region",
            "method",
            "status",
            "auto_renew",
            "period_start",
            "paid_until",
            "month_cost",
            "lines",
            "upcoming",
        )

    @cached_property
    def _platform(self) -> PlatformSettings:
        """Read once for all rows of a list."""
        return PlatformSettings.load()

    @extend_schema_field(UpcomingShape(many=True))
    def get_upcoming(self, row: Subscription) -> Any:
        """What will happen by itself."""
        found = queries.upcoming(row, self._platform, timezone.now())
        return UpcomingShape(found, many=True).data


class RenewalQuoteInput(serializers.Serializer[Any]):
    """How many periods: 1-24 hours, 1-11 months or 1-5 years, as the resource is billed."""

    periods = WholeNumber(min_value=1, max_value=24)


class RenewInput(RenewalQuoteInput):
    """The periods and the token of the quote that was accepted."""

    quote_token = serializers.CharField(max_length=2000)


class AutoRenewInput(serializers.Serializer[Any]):
    """On or off."""

    auto_renew = serializers.BooleanField()


class TogetherQuoteInput(serializers.Serializer[Any]):
    """Which resources, and either ``periods`` or ``until``.

    With ``until``, a date, all are paid until the beginning of that day in the billing time zone.
    """

    resources = serializers.ListField(
        child=serializers.CharField(max_length=40), min_length=1, max_length=100
    )
    periods = WholeNumber(min_value=1, max_value=24, required=False, allow_null=True, default=None)
    until = serializers.DateField(required=False, allow_null=True, default=None)


class TogetherInput(TogetherQuoteInput):
    """The same, and the token of the quote that was accepted."""

    quote_token = serializers.CharField(max_length=2000)


class TogetherPartShape(serializers.Serializer[Any]):
    """What one of the resources pays, and until when it is paid then."""

    resource_kind = serializers.CharField()
    resource_id = serializers.CharField()
    resource_name = serializers.CharField(allow_blank=True)
    billing_method = serializers.CharField()
    paid_until = serializers.DateTimeField()
    total = serializers.CharField()


class TogetherQuoteShape(serializers.Serializer[Any]):
    """What renewing all of them costs. ``token`` renews at this price for ten minutes, once."""

    currency = serializers.CharField()
    resources = TogetherPartShape(many=True)
    total = serializers.CharField()
    balance = serializers.CharField()
    balance_after = serializers.CharField()
    affordable = serializers.BooleanField()
    expires_at = serializers.DateTimeField()
    token = serializers.CharField()
