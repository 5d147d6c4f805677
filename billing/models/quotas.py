"""Quotas: limits, what is claimed, and requests for more."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.lib.ids import new_id
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def quota_request_id() -> str:
    return new_id("quota")


class QuotaItem(models.TextChoices):
    VMS = "vms", _("VMs")
    VCPU = "vcpu", _("vCPU")
    MEMORY_GIB = "memory_gib", _("Memory (GB)")
    GPUS = "gpus", _("GPUs")
    DISKS = "disks", _("Disks")
    DISK_GIB = "disk_gib", _("Disk space (GB)")
    SNAPSHOTS = "snapshots", _("Snapshots")
    IMAGES = "images", _("Images")
    IMAGE_GIB = "image_gib", _("Image storage (GB)")
    BIN_GIB = "bin_gib", _("Recycle bin (GB)")
    EIPS = "eips", _("External IPs")
    BANDWIDTH_MBPS = "bandwidth_mbps", _("Bandwidth (Mb/s)")
    VPCS = "vpcs", _("VPCs")
    SUBNETS = "subnets", _("Subnets")
    ENIS = "enis", _("ENIs")
    SECURITY_GROUPS = "security_groups", _("Security groups")


DEFAULT_LIMITS: dict[str, int] = {
    QuotaItem.VMS: 50,
    QuotaItem.VCPU: 200,
    QuotaItem.MEMORY_GIB: 400,
    QuotaItem.GPUS: 8,
    QuotaItem.DISKS: 100,
    QuotaItem.DISK_GIB: 20_000,
    QuotaItem.SNAPSHOTS: 200,
    QuotaItem.IMAGES: 50,
    QuotaItem.IMAGE_GIB: 2_000,
    QuotaItem.BIN_GIB: 5_000,
    QuotaItem.EIPS: 50,
    QuotaItem.BANDWIDTH_MBPS: 5_000,
    QuotaItem.VPCS: 20,
    QuotaItem.SUBNETS: 100,
    QuotaItem.ENIS: 100,
    QuotaItem.SECURITY_GROUPS: 50,
}
"""What a tenant may have in a region where no administrator said otherwise."""


class QuotaLimit(models.Model):
    """A limit. Without a tenant it is the platform's default; without a region it holds in all.

    The most exact one counts: tenant and region, tenant, the tenant's template, region, default,
    then the shipped figure.
    """

    tenant = models.ForeignKey(
        Tenant,
        models.CASCADE,
        verbose_name=_("tenant"),
        null=True,
        blank=True,
        related_name="quota_limits",
    )
    region = models.ForeignKey(
        Region, models.CASCADE, verbose_name=_("region"), null=True, blank=True, related_name="+"
    )
    item = models.CharField(_("quota"), max_length=20, choices=QuotaItem.choices)
    limit = models.BigIntegerField(_("limit"), validators=[MinValueValidator(0)])

    # Not scoped: the platform's rows belong to nobody, and every tenant needs them.
    objects: ClassVar[models.Manager["QuotaLimit"]] = models.Manager()

    class Meta:
        verbose_name = _("quota limit")
        verbose_name_plural = _("quota limits")
        ordering = ["tenant", "region", "item"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "region", "item"],
                name="quota_limit_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(limit__gte=0), name="quota_limit_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.item}: {self.limit}"


class QuotaTemplate(models.Model):
    """A named set of limits for tenants of a kind; a change counts for all who use it."""

    name = models.CharField(_("name"), max_length=60, unique=True)
    note = models.CharField(_("note"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("quota template")
        verbose_name_plural = _("quota templates")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class QuotaTemplateLimit(models.Model):
    """A limit of a template; without a region it holds in all."""

    template = models.ForeignKey(
        QuotaTemplate, models.CASCADE, verbose_name=_("template"), related_name="limits"
    )
    region = models.ForeignKey(
        Region, models.CASCADE, verbose_name=_("region"), null=True, blank=True, related_name="+"
    )
    item = models.CharField(_("quota"), max_length=20, choices=QuotaItem.choices)
    limit = models.BigIntegerField(_("limit"), validators=[MinValueValidator(0)])

    class Meta:
        verbose_name = _("limit of a template")
        verbose_name_plural = _("limits of a template")
        ordering = ["region", "item"]
        constraints = [
            models.UniqueConstraint(
                fields=["template", "region", "item"],
                name="quota_template_limit_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(limit__gte=0), name="quota_template_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.item}: {self.limit}"


class QuotaTemplateUse(models.Model):
    """Which template's limits a tenant has where no limit of its own says otherwise."""

    tenant = models.OneToOneField(
        Tenant, models.CASCADE, verbose_name=_("tenant"), related_name="quota_template_use"
    )
    template = models.ForeignKey(
        QuotaTemplate, models.PROTECT, verbose_name=_("quota template"), related_name="uses"
    )
    applied_at = models.DateTimeField(_("applied"), default=timezone.now, editable=False)

    # Not scoped: administrators alone apply templates.
    objects: ClassVar[models.Manager["QuotaTemplateUse"]] = models.Manager()

    class Meta:
        verbose_name = _("use of a quota template")
        verbose_name_plural = _("uses of quota templates")
        ordering = ["tenant"]

    def __str__(self) -> str:
        return f"{self.template_id} for {self.tenant_id}"


class QuotaAnchor(models.Model):
    """The row that is locked while claims of a tenant in a region are checked and taken."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    region = models.ForeignKey(Region, models.CASCADE, related_name="+")

    objects: ClassVar[models.Manager["QuotaAnchor"]] = TenantManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "region"], name="quota_anchor_once")
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} in {self.region_id}"


class QuotaClaim(models.Model):
    """What a resource takes of a quota. What is used is the sum of the claims."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    region = models.ForeignKey(Region, models.PROTECT, related_name="+")
    item = models.CharField(max_length=20, choices=QuotaItem.choices)
    amount = models.BigIntegerField()
    resource_id = models.CharField(max_length=40)

    objects: ClassVar[models.Manager["QuotaClaim"]] = TenantManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["resource_id", "item"], name="quota_claim_once"),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="quota_claim_positive"),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "region", "item"], include=["amount"], name="quota_claim_sum"
            )
        ]

    def __str__(self) -> str:
        return f"{self.resource_id}: {self.amount} {self.item}"


class QuotaApprovalLimit(models.Model):
    """Up to what limit one administrator alone may approve a request; one row for an item."""

    item = models.CharField(_("quota"), max_length=20, choices=QuotaItem.choices, unique=True)
    above = models.BigIntegerField(
        _("second administrator above"),
        validators=[MinValueValidator(0)],
        help_text=_("A request for more than this needs the approval of two administrators."),
    )

    class Meta:
        verbose_name = _("approval limit of quotas")
        verbose_name_plural = _("approval limits of quotas")
        ordering = ["item"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(above__gte=0), name="quota_approval_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.item}: {self.above}"


class QuotaRequestStatus(models.TextChoices):
    PENDING = "pending", _("Pending")
    APPROVED = "approved", _("Approved")
    REJECTED = "rejected", _("Rejected")


class QuotaRequest(models.Model):
    """A tenant's request for a higher limit, decided by an administrator, or by two.

    ``first_approved_by`` is the first of two; the request is still pending then. An approved one
    with ``expires_at`` raises the limit until that instant, and no row of limits is written:
    afterwards the limit is what it is without it. ``told_days`` is how many days before it the
    tenant was told last.
    """

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=quota_request_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, verbose_name=_("tenant"), related_name="quota_requests"
    )
    region = models.ForeignKey(Region, models.PROTECT, verbose_name=_("region"), related_name="+")
    item = models.CharField(_("quota"), max_length=20, choices=QuotaItem.choices)
    limit_wanted = models.BigIntegerField(_("requested limit"), validators=[MinValueValidator(1)])
    limit_before = models.BigIntegerField(_("limit at request"))
    reason = models.TextField(_("reason"), max_length=1000, blank=True)
    status = models.CharField(
        _("status"),
        max_length=8,
        choices=QuotaRequestStatus.choices,
        default=QuotaRequestStatus.PENDING,
    )
    answer = models.CharField(_("answer"), max_length=300, blank=True)
    requested_by = models.CharField(_("requested by"), max_length=320)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("decided by"),
        null=True,
        related_name="+",
    )
    decided_at = models.DateTimeField(_("decided"), null=True)
    first_approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("first approved by"),
        null=True,
        related_name="+",
    )
    first_approved_at = models.DateTimeField(_("first approved"), null=True)
    expires_at = models.DateTimeField(_("holds until"), null=True)
    told_days = models.PositiveSmallIntegerField(_("told days before"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[models.Manager["QuotaRequest"]] = TenantManager()

    class Meta:
        verbose_name = _("quota request")
        verbose_name_plural = _("quota requests")
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "region", "item"],
                condition=models.Q(status="pending"),
                name="quota_request_one_pending",
            )
        ]
        indexes = [
            models.Index(
                fields=["tenant", "region", "expires_at"],
                condition=models.Q(status="approved", expires_at__isnull=False),
                name="quota_raise",
            )
        ]

    def __str__(self) -> str:
        return f"{self.item} to {self.limit_wanted}"
