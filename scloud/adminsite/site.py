"""The admin site."""

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _


class ScloudAdminSite(AdminSite):
    """Only platform administrators get in; a tenant's user never does."""

    site_header = _("SCloud operations")
    site_title = _("SCloud operations")
    index_title = _("Platform")

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return bool(user.is_active and getattr(user, "is_staff", False)) and (
            getattr(user, "tenant_id", None) is None
        )
