"""Only callers that act for a tenant come in; what they may do is decided in the actions."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from scloud.tenancy.actor import Actor


class HasActor(BasePermission):
    """The caller is a tenant's user or key."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, Actor)
