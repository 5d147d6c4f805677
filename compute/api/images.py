"""Images in the API: import, download, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from compute.actions import images as verbs
from compute.actions.images import ImageFacts
from compute.api.common import REGION, SEARCH, narrowed
from compute.api.serializers import images as image_shapes
from compute.models import Image
from compute.queries import images as image_queries
from compute.states.images import ImageStatus
from compute.transfer import uploads
from scloud.lib.errors import Forbidden, InvalidInput
from scloud.resources.models import Region
from scloud.rest.inputs import valid
from scloud.rest.openapi import status_of
from scloud.rest.verbs import VerbViewSet, show
from scloud.tenancy.actor import Actor
from scloud.verbs.inputs import pick

FACTS = (
    "name",
    "remark",
    "os_family",
    "distribution",
    "version",
    "architecture",
    "admin_account",
    "min_disk_gib",
    "supports_hot_upgrade",
    "watchdog",
)


class RawParser(BaseParser):
    """Leaves the body unread: it may be many GB."""

    media_type = "application/octet-stream"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the stream itself."""
        return {"stream": stream}


@extend_schema_view(list=extend_schema(parameters=[REGION, status_of(ImageStatus), SEARCH]))
class ImageViewSet(VerbViewSet):
    """Images: base images and the tenant's own."""

    kind = "image"
    tag = "Images"
    serializer_class = image_shapes.ImageSerializer
    view_permission = "compute.view_image"

    def get_queryset(self) -> QuerySet[Image]:
        """Return what the tenant may see; the bin too where one is asked for by its id."""
        params = self.request.query_params
        wanted = params.get("status", "") if self.action == "list" else ""
        binned = self.action != "list" or wanted == ImageStatus.BINNED
        rows = image_queries.images(self.tenant, binned=binned)
        if self.action == "list":
            rows = narrowed(rows, params)
            if wanted:
                rows = rows.filter(status=wanted)
        return rows.order_by("position", "name", "id")

    def get_object(self) -> Image:
        """Return the image of the address; own ones only where something is changed."""
        image: Image = super().get_object()
        if image.is_base and self.request.method not in ("GET", "HEAD"):
            raise Forbidden(
                _("Base images are managed by the platform."),
                code="base_image",
                remedy=_("Create your own image from a VM."),
            )
        return image

    @extend_schema(
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={201: image_shapes.UploadShape},
    )
    @action(detail=False, methods=["post"], parser_classes=[RawParser])
    def upload(self, request: Request) -> Response:
        """Send the bytes of a QCOW2 or raw file; then import it with the token, within a day."""
        self.actor.require("compute.import_image")
        kind = (request.content_type or "").split(";")[0].strip().lower()
        if kind not in {"", RawParser.media_type}:
            raise UnsupportedMediaType(kind)
        # Not request.data: that takes a body without a length for none.
        done = uploads.receive(self.tenant, uploads.read_all(request._request))
        answer = {"upload": done.token, "size_bytes": done.size_bytes, "sha256": done.sha256}
        return Response(answer, status=201)

    upload.keeps_answer = False  # type: ignore[attr-defined]  # read by scloud.rest.idempotency
    upload.body_rule = uploads.of_api()  # type: ignore[attr-defined]  # read by scloud.lib.bodies

    @extend_schema(
        request=image_shapes.ImportInput,
        responses={201: image_shapes.ImageSerializer},
        examples=[
            OpenApiExample(
                "From a URL",
                value={
                    "region": "box",
                    "url": "https://images.example.com/debian-12.qcow2",
                    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "name": "Debian 12 of ours",
                    "distribution": "debian",
                    "version": "12",
                    "min_disk_gib": 10,
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Import an image from a URL or from an upload; the platform looks at it by itself."""
        tenant = self.tenant
        data = valid(image_shapes.ImportInput, request)
        if bool(data.get("url")) == bool(data.get("upload")):
            raise InvalidInput(
                _("Give either a URL or an upload."), code="source_ambiguous", field="url"
            )
        regions = Region.objects.filter(enabled=True)
        region = pick(regions, data["region"], field="region", what="region")
        facts = ImageFacts(
            region=region,
            pool=uploads.pool_for(tenant, region, data["disk_type"]),
            **{name: data[name] for name in FACTS},
        )
        sha256 = data.get("sha256")
        if data.get("url"):
            image = verbs.import_image_url(
                actor=self.actor, facts=facts, url=data["url"], sha256=sha256
            )
        else:
            path = uploads.path_of(tenant, data["upload"])
            image = verbs.import_image_file(actor=self.actor, facts=facts, path=path, sha256=sha256)
        return Response(self.shown("image", image.pk), status=201)

    @extend_schema(
        responses={
            (200, "application/octet-stream"): OpenApiResponse(
                OpenApiTypes.BINARY, description="The QCOW2 file."
            )
        }
    )
    @action(detail=True, methods=["get"])
    def file(self, request: Request, pk: str) -> HttpResponseBase:
        """Download an own image that was prepared."""
        self.actor.require("compute.download_image")
        image = self.get_object()
        if image.is_base:
            raise Forbidden(_("Base images are managed by the platform."), code="base_image")
        below = getattr(request, "_request", request)
        return uploads.file_response(image, asynchronous=isinstance(below, ASGIRequest))


def _read(actor: Actor, pk: str) -> Image:
    assert actor.tenant is not None
    return image_queries.image(actor.tenant, pk, binned=True)


show("image", image_shapes.ImageSerializer, _read)
