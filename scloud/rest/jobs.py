"""Jobs in the API: what is being done in the background."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from scloud.jobs.handlers import quiet_kinds
from scloud.jobs.models import Job
from scloud.rest.shown import ShownSerializer
from scloud.rest.views import ResourceViewSet

#: Known to the schema by the name that the settings give.
STEP_STATES: Final = ["waiting", "running", "done", "failed"]


class StepShape(serializers.Serializer[Any]):
    """A step of a job."""

    name = serializers.CharField()
    state = serializers.ChoiceField(choices=STEP_STATES)
    at = serializers.DateTimeField(required=False, help_text="Since when; not while it waits.")

    def get_fields(self) -> dict[str, Any]:
        # "label" is an attribute of every serializer, so it cannot be declared as a field.
        return {**super().get_fields(), "label": serializers.CharField()}


class JobSerializer(ShownSerializer[Job]):
    """A job: what is being done, how far it is, and how it ended."""

    steps = StepShape(many=True)

    class Meta:
        model = Job
        fields = (
            "id",
            "kind",
            "title",
            "target_kind",
            "target_id",
            "status",
            "progress_percent",
            "step",
            "steps",
            "error_code",
            "error_message",
            "error_remedy",
            "created_by",
            "created_at",
            "started_at",
            "finished_at",
        )


@extend_schema(tags=["Jobs"])
class JobViewSet(ResourceViewSet):
    """Jobs: what is being done in the background."""

    serializer_class = JobSerializer
    view_permission = "jobs.view_job"

    def get_queryset(self) -> QuerySet[Job]:
        """Return the tenant's jobs, the newest first."""
        shown = Job.objects.exclude(kind__in=quiet_kinds())
        rows: QuerySet[Job] = shown.order_by("-created_at", "-id")
        target = self.request.query_params.get("target")
        return rows.filter(target_id=target) if target else rows

    @extend_schema(
        parameters=[OpenApiParameter("target", str, description="Only those of this resource.")]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List jobs."""
        return super().list(request, *args, **kwargs)
