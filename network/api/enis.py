"""ENIs in the API."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
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
from network.actions import enis as verbs
from network.api.common import REGION, NetworkViewSet
from network.models import Eni, SecurityGroup, Subnet
from network.queries import enis as queries
from network.rules.eni_orders import EniOrder
from network.rules.external_orders import segments_for
from network.verbs.enis import ENIS
from network.verbs.inputs import QUOTED
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Region
from scloud.rest.fields import WholeNumber
from scloud.rest.inputs import valid
from scloud.rest.shown import ShownSerializer
from scloud.rest.verbs import AllowedAction, allowed_actions, show
from scloud.tenancy.models import Tenant
from scloud.verbs.inputs import pick

METHODS = ["hour", "month", "year"]
INSIDE = {"region": "box", "subnet": "subnet-9hw31kz0c", "name": "database"}
OUTSIDE = {
    "region": "box",
    "segment": "seg-4k2p09xqa",
    "bandwidth_mbps": 10,
    "billing_method": "month",
    "periods": 1,
}


class EniSerializer(ShownSerializer[Eni]):
    """An ENI. ``state`` is what people see; an internal one has no billing."""

    state = serializers.SerializerMethodField()
    mac = serializers.CharField(source="nic.mac", default=None, allow_null=True)
    ipv6_address = serializers.IPAddressField(
        protocol="IPv6",
        source="nic.ipv6",
        default=None,
        allow_null=True,
        help_text="Of an internal one whose subnet has IPv6.",
    )
    device = serializers.CharField(source="nic.device", default=None, allow_null=True)
    subnet_id = serializers.CharField(source="nic.subnet_id", default=None, allow_null=True)
    segment_id = serializers.CharField(source="nic.segment_id", default=None, allow_null=True)
    security_group_id = serializers.CharField(
        source="nic.security_group_id", default=None, allow_null=True
    )
    bandwidth_mbps = serializers.IntegerField(
        source="nic.bandwidth_mbps", default=None, allow_null=True
    )
    bound_at = serializers.DateTimeField(source="nic.bound_at", default=None, allow_null=True)
    egress = serializers.BooleanField(source="nic.egress", default=False)
    billing_method = serializers.CharField(read_only=True, allow_null=True)
    paid_until = serializers.DateTimeField(read_only=True, allow_null=True)
    job_id = serializers.CharField(source="task_job", read_only=True)
    allowed_actions = serializers.SerializerMethodField()

    class Meta:
        model = Eni
        fields = (
            "id",
            "region_id",
            "name",
            "remark",
            "tags",
            "network",
            "address",
            "ipv6_address",
            "mac",
            "device",
            "subnet_id",
            "segment_id",
            "security_group_id",
            "bandwidth_mbps",
            "vm_id",
            "bound_at",
            "egress",
            "at_next_boot",
            "status",
            "task",
            "state",
            "failure_code",
            "failure",
            "job_id",
            "billing_method",
            "paid_until",
            "created_at",
            "allowed_actions",
        )
        read_only_fields = fields

    def get_state(self, row: Eni) -> str:
        """Return the state in words."""
        return ENIS.label(row.status, row.task)

    @extend_schema_field(AllowedAction(many=True))
    def get_allowed_actions(self, row: Eni) -> list[dict[str, Any]]:
        """Return every verb with the reason why it is not allowed, if it is not."""
        return allowed_actions(self.context["request"].auth, "eni", row)


class EniOrderInput(serializers.Serializer[Any]):
    """An ENI: inside with a ``subnet``, outside with a ``segment`` and a bandwidth."""

    region = serializers.CharField(max_length=30)
    subnet = serializers.CharField(max_length=20, required=False)
    segment = serializers.CharField(max_length=20, required=False)
    bandwidth_mbps = WholeNumber(min_value=1, max_value=100_000, required=False)
    address = serializers.CharField(
        max_length=45, default="", allow_blank=True, help_text="Empty: an automatic one."
    )
    security_group = serializers.CharField(
        max_length=20,
        required=False,
        allow_null=True,
        help_text="Left out: the default group. null: none, and the NIC is not filtered.",
    )
    name = serializers.CharField(max_length=200, default="eni")
    remark = serializers.CharField(max_length=1000, default="", allow_blank=True)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50
    )
    billing_method = serializers.ChoiceField(choices=METHODS, default="hour")
    periods = WholeNumber(min_value=1, max_value=1000, default=1)
    auto_renew = serializers.BooleanField(required=False, allow_null=True, default=None)


class EniPurchaseInput(EniOrderInput):
    """An ENI; an external one at exactly the quoted price."""

    quote_token = serializers.CharField(
        max_length=2000, default="", allow_blank=True, help_text="From POST /enis/quote."
    )


def order_of(tenant: Tenant, data: dict[str, Any]) -> EniOrder:
    """Turn ids into objects that the tenant may see. Raises InvalidInput naming the field."""
    region = pick(
        Region.objects.filter(enabled=True), data["region"], field="region", what="region"
    )
    groups = SecurityGroup.objects.filter(region=region)
    if "security_group" not in data:
        # Without a group a NIC is not filtered, so nobody gets that without asking for it.
        group = groups.filter(is_default=True).first()
    elif data["security_group"] is None:
        group = None
    else:
        group = pick(groups, data["security_group"], field="security_group", what="security group")
    subnets = Subnet.objects.filter(region=region)
    subnet, segment = data.get("subnet"), data.get("segment")
    return EniOrder(
        region=region,
        subnet=pick(subnets, subnet, field="subnet", what="subnet") if subnet else None,
        segment=pick(
            segments_for(tenant, region), segment, field="segment", what="external segment"
        )
        if segment
        else None,
        bandwidth_mbps=data.get("bandwidth_mbps", 0),
        address=data["address"],
        group=group,
        name=data["name"],
        remark=data["remark"],
        tags=data.get("tags", ()),
        method=data["billing_method"],
        periods=data["periods"],
        auto_renew=data["auto_renew"],
    )


class EniViewSet(NetworkViewSet):
    """ENIs."""

    kind = "eni"
    tag = "ENIs"
    quote_shape = ChangeQuoteShape
    serializer_class = EniSerializer
    view_permission = "network.view_eni"

    def get_queryset(self) -> QuerySet[Eni]:
        """Return the tenant's ENIs, or those of one VM."""
        rows = queries.enis()
        if self.action == "list":
            rows = self.in_region(rows)
            vm = self.request.query_params.get("vm")
            if vm:
                rows = rows.filter(vm_id=vm)
        return rows

    @extend_schema(
        parameters=[REGION, OpenApiParameter("vm", str, description="Only those of this VM.")]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List ENIs."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=EniOrderInput,
        responses=QuoteShape,
        examples=[OpenApiExample("Outside", value=OUTSIDE, request_only=True)],
    )
    @action(detail=False, methods=["post"])
    def quote(self, request: Request) -> Response:
        """Say what an external ENI costs; the token buys exactly that within ten minutes."""
        data = valid(EniOrderInput, request)
        found = verbs.quote_eni(actor=self.actor, order=order_of(self.tenant, data))
        if found is None:
            raise InvalidInput(
                verbs.free_of_charge(),
                code="nothing_to_price",
                field="subnet",
            )
        return Response(found.as_dict())

    @extend_schema(
        request=EniPurchaseInput,
        responses={201: EniSerializer},
        examples=[
            OpenApiExample("Inside", value=INSIDE, request_only=True),
            OpenApiExample("Outside", value={**OUTSIDE, "quote_token": QUOTED}, request_only=True),
        ],
    )
    def create(self, request: Request) -> Response:
        """Make an ENI; an external one is bought."""
        data = valid(EniPurchaseInput, request)
        made = verbs.create_eni(
            actor=self.actor,
            order=order_of(self.tenant, data),
            quote_token=data["quote_token"],
        )
        return Response(self.shown(self.kind, made.pk), status=201)


show("eni", EniSerializer, lambda actor, pk: queries.eni(pk))
