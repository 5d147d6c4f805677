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

from billing.serializers import QuoteShape
from compute.actions import disks as verbs
from compute.actions import snapshots
from compute.actions.disks import DiskOrder
from compute.api.common import QUOTED, REGION, SEARCH, STATUS, job_answer, narrowed
from compute.api.serializers import disks as disk_shapes
from compute.api.serializers import snapshots as snapshot_shapes
from compute.api.serializers import vm_verbs as verb_shapes
from compute.api.serializers.common import DestroyInput, JobAccepted
from compute.models import VM, Disk, DiskType, Snapshot
from compute.queries import catalogue
from compute.queries import disks as disk_queries
from compute.queries import snapshots as snapshot_queries
from compute.queries.vms import UNLISTED
from compute.states.disks import DiskStatus
from scloud.lib.errors import NotFound
from scloud.resources.models import Region
from scloud.rest.inputs import valid
from scloud.rest.views import ResourceViewSet
from scloud.tenancy.models import Tenant

ORDER_EXAMPLE = {
    "region": "box",
    "disk_type": "ssd",
    "size_gib": 100,
    "name": "data",
    "billing_method": "month",
    "periods": 1,
}


def disk_order(tenant: Tenant, data: dict[str, Any]) -> DiskOrder:
    """Turn ids into objects that the tenant may see. Raises InvalidInput naming the field."""
    region = catalogue.pick(
        Region.objects.filter(enabled=True), data["region"], field="region", what="region"
    )
    disk_type = catalogue.pick(
        catalogue.disk_types(tenant, region), data["disk_type"], field="disk_type", what="disk type"
    )
    return _order(region, disk_type, data["size_gib"], data)


def _order(region: Region, disk_type: DiskType, size_gib: int, data: dict[str, Any]) -> DiskOrder:
    return DiskOrder(
        region=region,
        disk_type=disk_type,
        size_gib=size_gib,
        name=data["name"],
        remark=data["remark"],
        tags=data.get("tags", ()),
        method=data["billing_method"],
        periods=data["periods"],
        auto_renew=data["auto_renew"],
    )


def copy_order(source: Disk, data: dict[str, Any]) -> DiskOrder:
    """Return the order of a disk like ``source``."""
    return _order(source.region, source.disk_type, data.get("size_gib", source.size_gib), data)


@extend_schema(tags=["Disks"])
@extend_schema_view(
    list=extend_schema(
        parameters=[
            REGION,
            STATUS,
            SEARCH,
            OpenApiParameter("vm", str, description="Only those of this VM."),
        ]
    )
)
class DiskViewSet(ResourceViewSet):
    """Disks. The system disk of a VM is listed too; it lives and is paid with its VM."""

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

    def _shown(self, disk: Disk) -> dict[str, Any]:
        row = disk_queries.disk(disk.pk, binned=True)
        data: dict[str, Any] = self.get_serializer(row).data
        return data

    @extend_schema(
        request=disk_shapes.DiskQuoteInput,
        responses=QuoteShape,
        examples=[OpenApiExample("A disk", value=ORDER_EXAMPLE, request_only=True)],
    )
    @action(detail=False, methods=["post"])
    def quote(self, request: Request) -> Response:
        """Say what a disk costs; its token buys exactly that within ten minutes."""
        data = valid(disk_shapes.DiskQuoteInput, request)
        order = disk_order(self.tenant, data)
        source: Disk | Snapshot | None = None
        if data.get("snapshot"):
            rows = Snapshot.objects.select_related("disk")
            source = catalogue.pick(rows, data["snapshot"], field="snapshot", what="snapshot")
        elif data.get("disk"):
            source = catalogue.pick(
                disk_queries.disks(binned=True), data["disk"], field="disk", what="disk"
            )
        found = verbs.quote_disk(actor=self.actor, order=order, source=source)
        return Response(found.as_dict())

    @extend_schema(
        request=disk_shapes.DiskPurchaseInput,
        responses={201: disk_shapes.DiskSerializer},
        examples=[
            OpenApiExample(
                "A disk", value={**ORDER_EXAMPLE, "quote_token": QUOTED}, request_only=True
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Buy an empty data disk; it is made in the background."""

        def buy() -> Response:
            data = valid(disk_shapes.DiskPurchaseInput, request)
            disk = verbs.create_disk(
                actor=self.actor,
                order=disk_order(self.tenant, data),
                quote_token=data["quote_token"],
            )
            return Response(self._shown(disk), status=201)

        return self.once(buy)

    @extend_schema(request=disk_shapes.DiskChangesInput, responses=disk_shapes.DiskSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change name, remark or tags."""
        disk = self.get_object()
        verbs.rename_disk(
            actor=self.actor, disk=disk, **valid(disk_shapes.DiskChangesInput, request)
        )
        return Response(self._shown(disk))

    @extend_schema(
        request=disk_shapes.AttachInput,
        responses={202: JobAccepted},
        examples=[OpenApiExample("Attach", value={"vm": "vm-4k2p09xqa"}, request_only=True)],
    )
    @action(detail=True, methods=["post"])
    def attach(self, request: Request, pk: str) -> Response:
        """Attach an unbound disk to a VM of its region, live where the VM runs."""
        disk = self.get_object()

        def answer() -> Response:
            data = valid(disk_shapes.AttachInput, request)
            vms = VM.objects.exclude(status__in=UNLISTED).select_related("cluster")
            vm = catalogue.pick(vms, data["vm"], field="vm", what="VM")
            return job_answer(verbs.attach_disk(actor=self.actor, vm=vm, disk=disk))

        return self.once(answer)

    @extend_schema(request=disk_shapes.DetachInput, responses={202: JobAccepted})
    @action(detail=True, methods=["post"])
    def detach(self, request: Request, pk: str) -> Response:
        """Unmount a data disk in the guest, where it runs, and take it off its VM."""
        disk = self.get_object()

        def answer() -> Response:
            data = valid(disk_shapes.DetachInput, request)
            return job_answer(verbs.detach_disk(actor=self.actor, disk=disk, **data))

        return self.once(answer)

    @extend_schema(
        request=disk_shapes.SizeInput,
        responses=verb_shapes.ChangeQuoteShape,
        examples=[OpenApiExample("To 200 GB", value={"size_gib": 200}, request_only=True)],
    )
    @action(detail=True, methods=["post"], url_path="expand/quote")
    def quote_expansion(self, request: Request, pk: str) -> Response:
        """Say what growing a disk costs now and per period; changes nothing."""
        data = valid(disk_shapes.SizeInput, request)
        disk = self.get_object()
        return Response(verbs.quote_expansion(actor=self.actor, disk=disk, **data).as_dict())

    @extend_schema(
        request=disk_shapes.ExpandInput,
        responses={202: JobAccepted},
        examples=[
            OpenApiExample(
                "To 200 GB", value={"size_gib": 200, "quote_token": QUOTED}, request_only=True
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def expand(self, request: Request, pk: str) -> Response:
        """Grow a disk, live where its VM runs; its file system is grown inside the guest."""
        disk = self.get_object()

        def answer() -> Response:
            data = valid(disk_shapes.ExpandInput, request)
            return job_answer(verbs.expand_disk(actor=self.actor, disk=disk, **data))

        return self.once(answer)

    @extend_schema(
        request=disk_shapes.DiskCopyPurchaseInput,
        responses={201: disk_shapes.DiskSerializer},
        examples=[
            OpenApiExample(
                "Clone", value={"name": "copy", "quote_token": QUOTED}, request_only=True
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def clone(self, request: Request, pk: str) -> Response:
        """Buy a copy of an unbound disk, of its type and at least its size."""
        disk = self.get_object()

        def buy() -> Response:
            data = valid(disk_shapes.DiskCopyPurchaseInput, request)
            new = verbs.clone_disk(
                actor=self.actor,
                disk=disk,
                order=copy_order(disk, data),
                quote_token=data["quote_token"],
            )
            return Response(self._shown(new), status=201)

        return self.once(buy)

    @extend_schema(request=None, responses={202: JobAccepted})
    def destroy(self, request: Request, pk: str) -> Response:
        """Move an unbound disk to the recycle bin; its snapshots are erased."""
        disk = self.get_object()
        return self.once(lambda: job_answer(verbs.delete_disk(actor=self.actor, disk=disk)))

    @extend_schema(request=None, responses=disk_shapes.DiskSerializer)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str) -> Response:
        """Take a disk out of the recycle bin; it comes back unbound."""
        disk = self.get_object()
        return self.once(
            lambda: Response(self._shown(verbs.restore_disk(actor=self.actor, disk=disk)))
        )

    @extend_schema(request=DestroyInput, responses={202: JobAccepted})
    @action(detail=True, methods=["post"], url_path="destroy")
    def destroy_for_good(self, request: Request, pk: str) -> Response:
        """Destroy a binned disk for good."""
        disk = self.get_object()

        def answer() -> Response:
            data = valid(DestroyInput, request)
            return job_answer(verbs.destroy_disk(actor=self.actor, disk=disk, **data))

        return self.once(answer)

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
