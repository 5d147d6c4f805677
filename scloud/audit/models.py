"""What people did (operations) and what happened (events). Both are only added to, and forgotten
when they are old.

Triggers in the database guard the operations, their seals and the record of what was pruned,
whatever code or person writes to them (migration 0002; see docs/adr, number 7).
"""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


class Operation(models.Model):
    """One thing that somebody did or tried, with its result."""

    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), null=True, related_name="+"
    )
    actor = models.CharField(_("performed by"), max_length=320)
    user_id = models.BigIntegerField(_("user ID"), null=True)
    via = models.CharField(_("through"), max_length=10)
    ip = models.GenericIPAddressField(_("IP address"), null=True)
    verb = models.CharField(_("verb"), max_length=60)
    # [{"kind": "vm", "id": "vm-...", "name": "web-1"}, ...]
    resources = models.JSONField(_("resources"), default=list)
    before = models.JSONField(_("before"), null=True)
    after = models.JSONField(_("after"), null=True)
    succeeded = models.BooleanField(_("succeeded"))
    error_code = models.CharField(_("error code"), max_length=60, blank=True)
    error_message = models.TextField(_("error message"), blank=True)
    # For operators: what the tenant, whose log this is as well, must not read.
    detail = models.TextField(_("error detail"), blank=True, db_default="")
    request_id = models.CharField(_("request ID"), max_length=20, blank=True)
    at = models.DateTimeField(_("time"), default=timezone.now)
    # The number of the seal that holds it; written once, by the sweep.
    batch = models.BigIntegerField(_("seal"), null=True, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["tenant", "-at"], name="operation_tenant_at"),
            models.Index(fields=["batch"], name="operation_batch"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} by {self.actor}"


class Seal(models.Model):
    """One batch of the operation log: a hash over its entries and over the batch before."""

    number = models.BigIntegerField(primary_key=True)
    count = models.PositiveIntegerField()
    # Of the entries; what may be pruned is decided by the youngest.
    last_at = models.DateTimeField()
    # How the hash is computed (scloud/audit/sealing.py), so that it may change later.
    form = models.PositiveSmallIntegerField()
    previous_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)
    sealed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"batch {self.number}"


class Pruning(models.Model):
    """The record that the entries of a batch were deleted at the end of their retention."""

    seal = models.OneToOneField(Seal, models.PROTECT, primary_key=True, related_name="pruning")
    pruned_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"pruning of batch {self.seal_id}"


class Event(models.Model):
    """One thing that happened to a resource; the pages hear of it by NOTIFY.

    The platform's settings say how long they are kept (see events.forget_old).
    """

    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), null=True, related_name="+"
    )
    kind = models.CharField(_("type"), max_length=60)
    resource_kind = models.CharField(_("resource type"), max_length=30)
    resource_id = models.CharField(_("resource ID"), max_length=40)
    data = models.JSONField(_("data"), default=dict)
    at = models.DateTimeField(_("time"), default=timezone.now)

    objects = TenantManager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["resource_id", "-at"], name="event_resource_at"),
            models.Index(fields=["tenant", "-at"], name="event_tenant_at"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.resource_id}"
