"""Disks in the API: the same verbs as in the console."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_view,
)
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from billing.serializers import ChangeQuoteShape, QuoteShape
from compute.actions import disks as verbs
from compute.actions import snapshots
from compute.api.common import REGION, SEARCH, narrowed
from compute.api.serializers import disks as disk_shapes
from compute.api.serializers import snapshots as snapshot_shapes
from compute.models import Disk, Snapshot
from compute.queries import catalogue
from compute.queries import disks as disk_queries
from compute.queries import snapshots as snapshot_queries
from compute.rules.orders import DiskOrder, disk_order
from compute.states.disks import DiskStatus
from compute.verbs import inputs
from scloud.lib.errors import NotFound
from scloud.resources.models import Region
from scloud.rest.inputs import valid
from scloud.rest.openapi import status_of
from scloud.rest.verbs import VerbViewSet, show
from scloud.tenancy.models import Tenant
from scloud.verbs.inputs import pick

ORDER_EXAMPLE = {
    "region": "box",
    "disk_type": "ssd",
    "size_gib": 100,
    "name": "data",
    "billing_method": "month",
    "periods": 1,
}


def order_of(tenant: Tenant, data: dict[str, Any]) -> DiskOrder:
    """Turn ids into objects that the tenant may see. Raises InvalidInput naming the field."""
    region = pick(
        Region.objects.filter(enabled=True), data["region"], field="region", what="region"
    )
    types = catalogue.disk_types(tenant, region)
    chosen = pick(types, data["disk_type"], field="disk_type", what="disk type")
    return disk_order(region, chosen, data)


@extend_schema_view(
    list=extend_schema(
        parameters=[
            REGION,
            status_of(DiskStatus),
            SEARCH,
            OpenApiParameter("vm", str, description="Only those of this VM."),
        ]
    )
)
class DiskViewSet(VerbViewSet):
    """Disks. The system disk of a VM is listed too; it belongs to its VM and is paid with it."""

    kind = "disk"
    tag = "Disks"
    quote_shape = ChangeQuoteShape
    serializer_class = disk_shapes.DiskSerializer
    view_permission = "compute.view_disk"

    def get_queryset(self) -> QuerySet[Disk]:
        """Return the tenant's disks; those in the bin too where one is asked for by its id."""
        params = self.request.query_params
        wanted = params.get("status", "") if self.action == "list" else ""
        binned = self.action != "list" or wanted == DiskStatus.BINNED
        rows = disk_queries.disks(binned=binned)
        if self.action == "list":
            rows = narrowed(rows, params)
            if wanted:
                rows = rows.filter(status=wanted)
            if params.get("vm"):
                rows = rows.filter(vm_id=params["vm"])
        return rows.order_by("-created_at", "id")

    @extend_schema(
        request=disk_shapes.DiskQuoteInput,
        responses=QuoteShape,
        examples=[OpenApiExample("A disk", value=ORDER_EXAMPLE, request_only=True)],
    )
    @action(detail=False, methods=["post"])
    def quote(self, request: Request) -> Response:
        """Say what a disk costs; its token buys exactly that within ten minutes."""
        data = valid(disk_shapes.DiskQuoteInput, request)
        order = order_of(self.tenant, data)
        source: Disk | Snapshot | None = None
        if data.get("snapshot"):
            rows = Snapshot.objects.select_related("disk")
            source = pick(rows, data["snapshot"], field="snapshot", what="snapshot")
        elif data.get("disk"):
            source = pick(disk_queries.disks(binned=True), data["disk"], field="disk", what="disk")
        found = verbs.quote_disk(actor=self.actor, order=order, source=source)
        return Response(found.as_dict())

    @extend_schema(
        request=disk_shapes.DiskPurchaseInput,
        responses={201: disk_shapes.DiskSerializer},
        examples=[
            OpenApiExample(
                "A disk", value={**ORDER_EXAMPLE, "quote_token": inputs.QUOTED}, request_only=True
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Buy an empty data disk; it is made in the background."""
        data = valid(disk_shapes.DiskPurchaseInput, request)
        disk = verbs.create_disk(
            actor=self.actor,
            order=order_of(self.tenant, data),
            quote_token=data["quote_token"],
        )
        return Response(self.shown("disk", disk.pk), status=201)

    @extend_schema(methods=["get"], responses=snapshot_shapes.ScheduleSerializer)
    @extend_schema(
        methods=["put"],
        request=snapshot_shapes.ScheduleInput,
        responses=snapshot_shapes.ScheduleSerializer,
        examples=[
            OpenApiExample(
                "Every night, a week long",
                value={
                    "hours": [3],
                    "weekdays": [0, 1, 2, 3, 4, 5, 6],
                    "time_zone": "Asia/Shanghai",
                    "keep_count": 7,
                },
                request_only=True,
            )
        ],
    )
    @extend_schema(methods=["delete"], request=None, responses={204: None})
    @action(detail=True, methods=["get", "put", "delete"])
    def schedule(self, request: Request, pk: str) -> Response:
        """The schedule that takes snapshots of the disk by itself."""
        disk = self.get_object()
        if request.method == "PUT":
            data = valid(snapshot_shapes.ScheduleInput, request)
            made = snapshots.set_snapshot_schedule(actor=self.actor, disk=disk, **data)
            return Response(snapshot_shapes.ScheduleSerializer(made).data)
        found = snapshot_queries.schedule_of(disk)
        if found is None:
            raise NotFound(
                _("%(name)s has no schedule.") % {"name": disk.name}, code="schedule_not_found"
            )
        if request.method == "DELETE":
            snapshots.delete_snapshot_schedule(actor=self.actor, schedule=found)
            return Response(status=204)
        return Response(snapshot_shapes.ScheduleSerializer(found).data)


show("disk", disk_shapes.DiskSerializer, lambda actor, pk: disk_queries.disk(pk, binned=True))
