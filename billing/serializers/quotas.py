"""Quotas, and asking for more."""

from typing import Any

from rest_framework import serializers

from billing import quotas
from billing.models import QuotaItem, QuotaRequest
from scloud.rest.fields import Lines, WholeNumber
from scloud.rest.shown import ShownSerializer


class QuotaShape(serializers.Serializer[Any]):
    """One quota of the tenant in a region."""

    item = serializers.ChoiceField(choices=QuotaItem.choices)
    used = serializers.IntegerField()
    limit = serializers.IntegerField()
    left = serializers.IntegerField()
    limit_afterwards = serializers.IntegerField(
        help_text="The limit after `expires_at`; the same as `limit` where nothing expires."
    )
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text="Until when a raise is in force, if one is."
    )
    limit_source = serializers.ChoiceField(
        choices=quotas.Source.choices, source="source", help_text="Where the limit comes from."
    )


class QuotaRequestSerializer(ShownSerializer[QuotaRequest]):
    """A request for a higher limit and its answer."""

    class Meta:
        model = QuotaRequest
        fields = (
            "id",
            "region",
            "item",
            "limit_before",
            "limit_wanted",
            "reason",
            "status",
            "answer",
            "decided_at",
            "expires_at",
            "created_at",
        )


class QuotaRequestInput(serializers.Serializer[Any]):
    """Which quota in which region, and how much."""

    region = serializers.CharField(max_length=30)
    item = serializers.ChoiceField(choices=QuotaItem.choices)
    limit_wanted = WholeNumber(min_value=1, max_value=10**9)
    reason = Lines(max_length=1000, required=False, allow_blank=True, default="")
