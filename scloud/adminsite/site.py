"""The admin site."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from scloud.adminsite import panels


class ScloudAdminSite(AdminSite):
    """Only platform administrators get in; a tenant's user never does."""

    site_header = _("SCloud operations")
    site_title = _("SCloud operations")
    index_title = _("Platform")
    index_template = "admin/scloud/index.html"

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return bool(user.is_active and getattr(user, "is_staff", False)) and (
            getattr(user, "tenant_id", None) is None
        )

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """The front page, with the panels that apps have registered."""
        return super().index(request, {**(extra_context or {}), "panels": panels.shown()})
