"""Every tenant's SSH keys in Django admin."""

from __future__ import annotations

from django.contrib import admin

from compute.models import SshKey
from scloud.tenancy.admintools import ReadOnlyAdmin


@admin.register(SshKey)
class SshKeyAdmin(ReadOnlyAdmin):
    """Keys of all tenants; their own people change them."""

    list_display = ("name", "id", "tenant", "key_type", "fingerprint", "created_at")
    list_filter = ("key_type", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("name", "id", "fingerprint", "tenant__name")
