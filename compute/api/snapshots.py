"""Snapshots in the API."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_view,
)
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from compute.actions import disks as verbs
from compute.actions import snapshots
from compute.api.common import QUOTED, REGION, SEARCH, STATUS, job_answer, narrowed
from compute.api.disks import copy_order
from compute.api.serializers import common as common_shapes
from compute.api.serializers import disks as disk_shapes
from compute.api.serializers import snapshots as snapshot_shapes
from compute.api.serializers.common import JobAccepted
from compute.models import Snapshot
from compute.queries import catalogue
from compute.queries import disks as disk_queries
from compute.queries import snapshots as snapshot_queries
from scloud.rest.inputs import valid
from scloud.rest.views import ResourceViewSet


@extend_schema(tags=["Snapshots"])
@extend_schema_view(
    list=extend_schema(
        parameters=[
            REGION,
            STATUS,
            SEARCH,
            OpenApiParameter("disk", str, description="Only those of this disk."),
            OpenApiParameter("vm", str, description="Only those of this VM's disks."),
        ]
    )
)
class SnapshotViewSet(ResourceViewSet):
    """Snapshots of system and data disks."""

    serializer_class = snapshot_shapes.SnapshotSerializer
    view_permission = "compute.view_snapshot"

    def get_queryset(self) -> QuerySet[Snapshot]:
        """Return the tenant's snapshots, the newest first."""
        rows = snapshot_queries.snapshots()
        if self.action == "list":
            params = self.request.query_params
            rows = narrowed(rows, params)
            for name, lookup in (("status", "status"), ("disk", "disk_id"), ("vm", "disk__vm_id")):
                if params.get(name):
                    rows = rows.filter(**{lookup: params[name]})
        return rows.order_by("-created_at", "id")

    def _shown(self, snapshot: Snapshot) -> dict[str, Any]:
        data: dict[str, Any] = self.get_serializer(snapshot_queries.snapshot(snapshot.pk)).data
        return data

    @extend_schema(
        request=snapshot_shapes.SnapshotInput,
        responses={201: snapshot_shapes.SnapshotSerializer},
        examples=[
            OpenApiExample(
                "Before an update",
                value={"disk": "disk-4k2p09xqa", "name": "before-update"},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Keep a disk's present content; its VM goes on running."""

        def take() -> Response:
            data = valid(snapshot_shapes.SnapshotInput, request)
            disk = catalogue.pick(disk_queries.disks(), data.pop("disk"), field="disk", what="disk")
            new = snapshots.create_snapshot(actor=self.actor, disk=disk, **data)
            return Response(self._shown(new), status=201)

        return self.once(take)

    @extend_schema(request=common_shapes.TextsInput, responses=snapshot_shapes.SnapshotSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change name or remark."""
        snapshot = self.get_object()
        snapshots.rename_snapshot(
            actor=self.actor, snapshot=snapshot, **valid(common_shapes.TextsInput, request)
        )
        return Response(self._shown(snapshot))

    @extend_schema(request=None, responses={202: JobAccepted})
    @action(detail=True, methods=["post"], url_path="roll-back")
    def roll_back(self, request: Request, pk: str) -> Response:
        """Set the disk's content back; it must be unbound or its VM stopped."""
        snapshot = self.get_object()
        return self.once(
            lambda: job_answer(snapshots.roll_back_snapshot(actor=self.actor, snapshot=snapshot))
        )

    @extend_schema(
        request=disk_shapes.DiskCopyPurchaseInput,
        responses={201: disk_shapes.DiskSerializer},
        examples=[
            OpenApiExample(
                "A disk", value={"name": "copy", "quote_token": QUOTED}, request_only=True
            )
        ],
    )
    @action(detail=True, methods=["post"], url_path="create-disk")
    def create_disk(self, request: Request, pk: str) -> Response:
        """Buy a data disk with the snapshot's content, of its disk's type."""
        snapshot = self.get_object()

        def buy() -> Response:
            data = valid(disk_shapes.DiskCopyPurchaseInput, request)
            new = verbs.create_disk_from_snapshot(
                actor=self.actor,
                snapshot=snapshot,
                order=copy_order(snapshot.disk, data),
                quote_token=data["quote_token"],
            )
            shown = disk_shapes.DiskSerializer(
                disk_queries.disk(new.pk), context=self.get_serializer_context()
            )
            return Response(shown.data, status=201)

        return self.once(buy)

    @extend_schema(request=None, responses={202: JobAccepted})
    def destroy(self, request: Request, pk: str) -> Response:
        """Forget a snapshot for good."""
        snapshot = self.get_object()
        return self.once(
            lambda: job_answer(snapshots.delete_snapshot(actor=self.actor, snapshot=snapshot))
        )
