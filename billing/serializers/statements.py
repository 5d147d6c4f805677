"""Months in figures, and whom they are for."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.models import (
    ADDRESS_CHARACTERS,
    ADDRESS_LINES,
    BillingAddress,
    Statement,
    StatementLine,
    StatementMove,
)
from billing.serializers.amounts import MinorUnitsField
from scloud.rest.shown import ShownSerializer


class StatementSerializer(ShownSerializer[Statement]):
    """A month of the tenant in figures; ``month`` is such as ``2026-10``.

    ``number`` is null while the month goes on. ``charged`` is what was charged, refunds taken off;
    ``tax`` is in it where ``tax_included``, and ``net`` is the rest. Without ``tax_percent`` no tax
    was set up.
    """

    month = serializers.CharField(source="month_text")
    number = serializers.SerializerMethodField()
    opening_cash = MinorUnitsField(source="opening_cash_minor")
    opening_gift = MinorUnitsField(source="opening_gift_minor")
    closing_cash = MinorUnitsField(source="closing_cash_minor")
    closing_gift = MinorUnitsField(source="closing_gift_minor")
    charged = MinorUnitsField(source="charged_minor")
    net = MinorUnitsField(source="net_minor")
    tax = MinorUnitsField(source="tax_minor")

    class Meta:
        model = Statement
        fields = (
            "month",
            "number",
            "begin",
            "end",
            "currency",
            "opening_cash",
            "opening_gift",
            "closing_cash",
            "closing_gift",
            "charged",
            "net",
            "tax",
            "tax_name",
            "tax_percent",
            "tax_included",
            "buyer",
            "buyer_tax_id",
            "seller",
            "seller_tax_id",
            "created_at",
        )

    @extend_schema_field({"type": "string", "nullable": True})
    def get_number(self, row: Statement) -> str | None:
        """The number of a closed month."""
        return row.number or None


class StatementMoveSerializer(ShownSerializer[StatementMove]):
    """What movements of one kind changed."""

    cash = MinorUnitsField(source="cash_minor")
    gift = MinorUnitsField(source="gift_minor")

    class Meta:
        model = StatementMove
        fields = ("kind", "cash", "gift")


class StatementLineSerializer(ShownSerializer[StatementLine]):
    """``count`` charges of a resource, each of ``unit_price``; ``gift`` is the part from gifts.

    ``order`` is null where they belong to several orders. One of a month whose details have been
    deleted is not there any more.
    """

    order = serializers.CharField(source="order_id", allow_null=True, read_only=True)
    unit_price = MinorUnitsField(source="unit_minor")
    amount = MinorUnitsField(source="amount_minor")
    gift = MinorUnitsField(source="gift_minor")

    class Meta:
        model = StatementLine
        fields = (
            "resource_kind",
            "resource_id",
            "resource_name",
            "order_kind",
            "order",
            "method",
            "begin",
            "end",
            "count",
            "unit_price",
            "amount",
            "gift",
            "tags",
        )


class StatementSumShape(serializers.Serializer[Any]):
    """What is charged under a name: a kind of resource, or a tag."""

    name = serializers.CharField()
    amount = serializers.CharField()


class StatementProjectShape(serializers.Serializer[Any]):
    """What is charged under a project; ``name`` is null for what belongs to none."""

    name = serializers.CharField(allow_null=True)
    amount = serializers.CharField()


class StatementResourceShape(serializers.Serializer[Any]):
    """What is charged for a resource."""

    resource_kind = serializers.CharField(source="kind")
    resource_id = serializers.CharField(source="id")
    resource_name = serializers.CharField(source="name")
    amount = MinorUnitsField(source="amount_minor")


class StatementPaperShape(serializers.Serializer[Any]):
    """A statement with its movements, sums and lines.

    A resource counts under each of its tags, which are those that it had when the month was
    closed; while it goes on, those that it has now. It belongs to one project: the value of its
    tag with the key ``project``, the first in order of several. ``by_project`` adds up to
    ``charged``. ``by_resource`` has the 200 resources that cost most.
    """

    statement = StatementSerializer()
    moves = StatementMoveSerializer(many=True)
    by_kind = StatementSumShape(many=True)
    by_tag = StatementSumShape(many=True)
    by_project = StatementProjectShape(many=True)
    by_resource = StatementResourceShape(many=True)
    lines = StatementLineSerializer(many=True)


class AddressSerializer(ShownSerializer[BillingAddress]):
    """Whom statements are for."""

    class Meta:
        model = BillingAddress
        fields = ("name", "lines", "country", "tax_number", "updated_at")


class AddressInput(serializers.Serializer[Any]):
    """A billing address as a whole."""

    name = serializers.CharField(max_length=ADDRESS_CHARACTERS)
    lines = serializers.ListField(
        child=serializers.CharField(max_length=ADDRESS_CHARACTERS),
        max_length=ADDRESS_LINES,
        default=[],
    )
    country = serializers.CharField(max_length=60, allow_blank=True, default="")
    tax_number = serializers.CharField(max_length=40, allow_blank=True, default="")
