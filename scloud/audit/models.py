"""What people did (operations) and what happened (events). Both are append-only."""

from django.db import models
from django.utils import timezone

from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


class Operation(models.Model):
    """One thing that somebody did or tried, with its result."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, null=True, related_name="+")
    actor = models.CharField(max_length=320)
    user_id = models.BigIntegerField(null=True)
    via = models.CharField(max_length=10)
    ip = models.GenericIPAddressField(null=True)
    verb = models.CharField(max_length=60)
    # [{"kind": "vm", "id": "vm-...", "name": "web-1"}, ...]
    resources = models.JSONField(default=list)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    succeeded = models.BooleanField()
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    request_id = models.CharField(max_length=20, blank=True)
    at = models.DateTimeField(default=timezone.now)

    objects = TenantManager()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["tenant", "-at"], name="operation_tenant_at")]

    def __str__(self) -> str:
        return f"{self.verb} by {self.actor}"


class Event(models.Model):
    """One thing that happened to a resource; the pages hear of it by NOTIFY."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, null=True, related_name="+")
    kind = models.CharField(max_length=60)
    resource_kind = models.CharField(max_length=30)
    resource_id = models.CharField(max_length=40)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now)

    objects = TenantManager()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["resource_id", "-at"], name="event_resource_at"),
            models.Index(fields=["tenant", "-at"], name="event_tenant_at"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.resource_id}"
