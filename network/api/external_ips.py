"""External IPs and the segments that they are bought of, in the API."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
)
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from billing.serializers import ChangeQuoteShape, QuoteShape
from network.actions import external_addresses
from network.actions import external_ips as verbs
from network.api.common import REGION, NetworkViewSet
from network.models import ExternalIp, ExternalSegment
from network.queries import external_ips as queries
from network.rules.external_orders import MOST_AT_ONCE, ExternalIpOrder, segments_for
from network.states.external_ips import ExternalIpStatus
from network.verbs.external_ips import EXTERNAL_IPS
from network.verbs.inputs import QUOTED
from scloud.lib.errors import NotFound
from scloud.resources.models import Region
from scloud.rest.fields import WholeNumber
from scloud.rest.inputs import valid
from scloud.rest.openapi import status_of
from scloud.rest.shown import ShownSerializer
from scloud.rest.verbs import AllowedAction, allowed_actions, show
from scloud.rest.views import ActorMixin
from scloud.tenancy.models import Tenant
from scloud.verbs.inputs import pick

METHODS = ["hour", "month", "year"]
ORDER_EXAMPLE = {
    "region": "box",
    "segment": "seg-4k2p09xqa",
    "bandwidth_mbps": 10,
    "count": 2,
    "billing_method": "month",
    "periods": 1,
}


class SegmentSerializer(ShownSerializer[ExternalSegment]):
    """An external segment of which addresses can be bought."""

    region_id = serializers.CharField()
    free_addresses = serializers.SerializerMethodField()

    class Meta:
        model = ExternalSegment
        fields = (
            "id",
            "region_id",
            "name",
            "description",
            "ip_version",
            "cidr",
            "gateway",
            "route_policy",
            "destinations",
            "bandwidth_min_mbps",
            "bandwidth_max_mbps",
            "mtu_bytes",
            "free_addresses",
        )
        read_only_fields = fields

    @extend_schema_field(
        serializers.IntegerField(help_text="How many can be had; of IPv6 at most 2^53.")
    )
    def get_free_addresses(self, segment: ExternalSegment) -> int:
        """Return how many addresses are free; no more than every JSON reader can count."""
        free: int = self.context["free"][segment.pk]
        return min(free, 2**53)


@extend_schema(tags=["External IPs"], parameters=[REGION])
class SegmentView(ActorMixin):
    """External segments."""

    view_permission = "network.view_external_ip"

    @extend_schema(responses=SegmentSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the segments of which external IPs can be bought."""
        tenant = self.actor.tenant
        if tenant is None:
            raise NotFound(_("There is no tenant."))
        rows = segments_for(tenant)
        wanted = request.query_params.get("region")
        if wanted:
            rows = rows.filter(region_id=wanted)
        found = list(rows)
        free = external_addresses.free_counts(found)
        return Response(SegmentSerializer(found, many=True, context={"free": free}).data)


class ExternalIpSerializer(ShownSerializer[ExternalIp]):
    """An external IP. ``state`` is what people see."""

    segment_id = serializers.CharField(allow_null=True)
    segment_name = serializers.CharField(source="segment.name", default=None, allow_null=True)
    route_policy = serializers.CharField(
        source="segment.route_policy", default=None, allow_null=True
    )
    state = serializers.SerializerMethodField()
    nic_id = serializers.CharField(allow_null=True)
    billing_method = serializers.CharField(read_only=True, allow_null=True)
    paid_until = serializers.DateTimeField(read_only=True, allow_null=True)
    job_id = serializers.CharField(source="task_job", read_only=True)
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = ExternalIp
        fields = (
            "id",
            "region_id",
            "name",
            "remark",
            "tags",
            "segment_id",
            "segment_name",
            "route_policy",
            "ip_version",
            "address",
            "bandwidth_mbps",
            "status",
            "task",
            "state",
            "failure_code",
            "failure",
            "job_id",
            "target_kind",
            "target_id",
            "nic_id",
            "bound_at",
            "egress",
            "at_next_boot",
            "billing_method",
            "paid_until",
            "created_at",
            "binned_at",
            "destroy_at",
            "allowed_actions",
        )
        read_only_fields = fields

    def get_state(self, row: ExternalIp) -> str:
        """Return the state in words."""
        return EXTERNAL_IPS.label(row.status, row.task)

    @extend_schema_field(AllowedAction(many=True))
    def get_allowed_actions(self, row: ExternalIp) -> list[dict[str, Any]]:
        """Return every verb with the reason why it is not allowed, if it is not."""
        return allowed_actions(self.context["request"].auth, "external_ip", row)


class ExternalIpOrderInput(serializers.Serializer[Any]):
    """External IPs that are to be bought."""

    region = serializers.CharField(max_length=30)
    segment = serializers.CharField(max_length=20)
    bandwidth_mbps = WholeNumber(min_value=1, max_value=100_000)
    count = WholeNumber(min_value=1, max_value=MOST_AT_ONCE, default=1)
    addresses = serializers.ListField(
        child=serializers.CharField(max_length=45, allow_blank=True),
        required=False,
        max_length=MOST_AT_ONCE,
        help_text="One per external IP; empty text means automatic.",
    )
    name = serializers.CharField(max_length=200, default="eip")
    remark = serializers.CharField(max_length=1000, default="", allow_blank=True)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50
    )
    billing_method = serializers.ChoiceField(choices=METHODS, default="hour")
    periods = WholeNumber(min_value=1, max_value=1000, default=1)
    auto_renew = serializers.BooleanField(required=False, allow_null=True, default=None)


class ExternalIpPurchaseInput(ExternalIpOrderInput):
    """External IPs that are bought at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From POST /external-ips/quote.")


def order_of(tenant: Tenant, data: dict[str, Any]) -> ExternalIpOrder:
    """Turn ids into objects that the tenant may see. Raises InvalidInput naming the field."""
    region = pick(
        Region.objects.filter(enabled=True), data["region"], field="region", what="region"
    )
    segment = pick(
        segments_for(tenant, region), data["segment"], field="segment", what="external segment"
    )
    return ExternalIpOrder(
        region=region,
        segment=segment,
        bandwidth_mbps=data["bandwidth_mbps"],
        count=data["count"],
        addresses=data.get("addresses", ()),
        name=data["name"],
        remark=data["remark"],
        tags=data.get("tags", ()),
        method=data["billing_method"],
        periods=data["periods"],
        auto_renew=data["auto_renew"],
    )


class ExternalIpViewSet(NetworkViewSet):
    """External IPs."""

    kind = "external_ip"
    tag = "External IPs"
    quote_shape = ChangeQuoteShape
    serializer_class = ExternalIpSerializer
    view_permission = "network.view_external_ip"

    def get_queryset(self) -> QuerySet[ExternalIp]:
        """Return the tenant's; those in the bin too where one is asked for by its id."""
        params = self.request.query_params
        wanted = params.get("status", "") if self.action == "list" else ""
        binned = self.action != "list" or wanted == ExternalIpStatus.BINNED
        rows = queries.external_ips(binned=binned)
        if self.action == "list":
            rows = self.in_region(rows)
            if wanted:
                rows = rows.filter(status=wanted)
            if params.get("target"):
                rows = rows.filter(target_id=params["target"])
        return rows

    @extend_schema(
        parameters=[
            REGION,
            status_of(ExternalIpStatus),
            OpenApiParameter("target", str, description="Only those bound to this id."),
        ]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List external IPs."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=ExternalIpOrderInput,
        responses=QuoteShape,
        examples=[OpenApiExample("Two", value=ORDER_EXAMPLE, request_only=True)],
    )
    @action(detail=False, methods=["post"])
    def quote(self, request: Request) -> Response:
        """Say what external IPs cost; the token buys exactly that within ten minutes."""
        data = valid(ExternalIpOrderInput, request)
        order = order_of(self.tenant, data)
        return Response(verbs.quote_external_ips(actor=self.actor, order=order).as_dict())

    @extend_schema(
        request=ExternalIpPurchaseInput,
        responses={201: ExternalIpSerializer(many=True)},
        examples=[
            OpenApiExample("Two", value={**ORDER_EXAMPLE, "quote_token": QUOTED}, request_only=True)
        ],
    )
    def create(self, request: Request) -> Response:
        """Buy external IPs: all of them or none."""
        data = valid(ExternalIpPurchaseInput, request)
        rows = verbs.create_external_ips(
            actor=self.actor,
            order=order_of(self.tenant, data),
            quote_token=data["quote_token"],
        )
        return Response([self.shown(self.kind, row.pk) for row in rows], status=201)


show("external_ip", ExternalIpSerializer, lambda actor, pk: queries.external_ip(pk, binned=True))
