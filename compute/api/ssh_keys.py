"""SSH keys in the API."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from compute.actions import ssh_keys as actions
from compute.api.serializers import ssh_keys as shapes
from compute.models import SshKey
from compute.queries import ssh_keys as queries
from scloud.lib import search
from scloud.rest.inputs import valid
from scloud.rest.verbs import VerbViewSet, show


class SshKeyViewSet(VerbViewSet):
    """SSH keys."""

    kind = "ssh_key"
    tag = "SSH keys"
    serializer_class = shapes.SshKeySerializer
    view_permission = "compute.view_ssh_key"

    def get_queryset(self) -> QuerySet[SshKey]:
        """Return the tenant's keys."""
        rows = queries.ssh_keys()
        if self.action == "list":
            found = search.containing(SshKey, ("id", "name", "fingerprint"))
            rows = search.narrow(rows, self.request.query_params.get("search", ""), found)
        return rows

    @extend_schema(
        parameters=[OpenApiParameter("search", str, description="In name, fingerprint and id.")]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List the SSH keys that can be chosen for VMs, by name."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=shapes.SshKeyInput,
        responses={201: shapes.SshKeySerializer},
        examples=[
            OpenApiExample(
                "A laptop's",
                value={
                    "name": "laptop",
                    "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA... you@laptop",
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Keep an SSH public key; each is kept once."""
        made = actions.create_ssh_key(actor=self.actor, **valid(shapes.SshKeyInput, request))
        return Response(self.shown(self.kind, made.pk), status=201)


show("ssh_key", shapes.SshKeySerializer, lambda actor, pk: queries.ssh_key(pk))
