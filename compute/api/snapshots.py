"""Snapshots in the API."""

from __future__ import annotations

from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_view,
)
from rest_framework.request import Request
from rest_framework.response import Response

from compute.actions import snapshots
from compute.api.common import REGION, SEARCH, narrowed
from compute.api.serializers import snapshots as snapshot_shapes
from compute.models import Snapshot
from compute.queries import disks as disk_queries
from compute.queries import snapshots as snapshot_queries
from compute.states.snapshots import SnapshotStatus
from scloud.rest.inputs import valid
from scloud.rest.openapi import status_of
from scloud.rest.verbs import VerbViewSet, show
from scloud.verbs.inputs import pick


@extend_schema_view(
    list=extend_schema(
        parameters=[
            REGION,
            status_of(SnapshotStatus),
            SEARCH,
            OpenApiParameter("disk", str, description="Only those of this disk."),
            OpenApiParameter("vm", str, description="Only those of this VM's disks."),
        ]
    )
)
class SnapshotViewSet(VerbViewSet):
    """Snapshots of system and data disks."""

    kind = "snapshot"
    tag = "Snapshots"
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
        data = valid(snapshot_shapes.SnapshotInput, request)
        disk = pick(disk_queries.disks(), data.pop("disk"), field="disk", what="disk")
        new = snapshots.create_snapshot(actor=self.actor, disk=disk, **data)
        return Response(self.shown("snapshot", new.pk), status=201)


show(
    "snapshot",
    snapshot_shapes.SnapshotSerializer,
    lambda actor, pk: snapshot_queries.snapshot(pk),
)
