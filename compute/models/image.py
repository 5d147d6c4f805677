"""Images: the platform's base images and the tenants' own."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from compute.models.platform import Architecture, StoragePool
from compute.states.images import ImageStatus
from scloud.lib.ids import new_id
from scloud.resources.models import Binnable, Region
from scloud.tenancy.models import Tenant


def image_id() -> str:
    return new_id("image")


class OsFamily(models.TextChoices):
    """Operating system families; a VM is reinstalled within its own."""

    LINUX = "linux", "Linux"
    WINDOWS = "windows", "Windows"


class Image(Binnable):
    """A template of a system disk. Without a tenant it is a base image, which all see.

    Because base images have no tenant, the strict manager does not fit: read images through
    :func:`compute.queries.images.images_of` only.
    """

    KIND: ClassVar[str] = "image"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=image_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), null=True, blank=True, related_name="+"
    )
    region = models.ForeignKey(Region, models.PROTECT, verbose_name=_("region"), related_name="+")
    pool = models.ForeignKey(
        StoragePool, models.PROTECT, verbose_name=_("storage pool"), related_name="images"
    )
    name = models.CharField(_("name"), max_length=60)
    remark = models.CharField(_("description"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    os_family = models.CharField(
        _("family"), max_length=10, choices=OsFamily.choices, default=OsFamily.LINUX
    )
    distribution = models.CharField(
        _("distribution"), max_length=30, help_text=_("debian, ubuntu, centos, windows, ...")
    )
    version = models.CharField(_("version"), max_length=30, blank=True)
    architecture = models.CharField(
        _("architecture"), max_length=10, choices=Architecture.choices, default=Architecture.X86_64
    )
    admin_account = models.CharField(_("administrator account"), max_length=32, default="root")
    min_disk_gib = models.PositiveIntegerField(_("minimum system disk (GB)"), default=1)
    size_bytes = models.BigIntegerField(_("size (bytes)"), default=0, editable=False)
    sha256 = models.CharField(_("SHA-256"), max_length=64, blank=True, editable=False)
    supports_hot_upgrade = models.BooleanField(_("supports hot upgrade"), default=False)
    # What the system inside does with the seed of its first boot.
    accepts_user_data = models.BooleanField(
        _("supports user data (cloud-init)"), default=True, db_default=True
    )
    accepts_ssh_keys = models.BooleanField(
        _("supports SSH public keys"), default=True, db_default=True
    )
    # A device that resets the machine when the guest stops feeding it.
    watchdog = models.BooleanField(
        _("watchdog"),
        default=False,
        db_default=False,
        help_text=_("VMs have it from their next start."),
    )
    # Of a base image: since when it is not offered any more. What was made of it goes on.
    withdrawn_at = models.DateTimeField(_("withdrawn"), null=True, editable=False)
    base_image = models.ForeignKey(
        "self",
        models.SET_NULL,
        verbose_name=_("derived from"),
        null=True,
        blank=True,
        related_name="derived",
    )
    status = models.CharField(
        _("status"), max_length=12, choices=ImageStatus.choices, default=ImageStatus.AVAILABLE
    )
    failure = models.CharField(_("error"), max_length=300, blank=True, editable=False)
    # For operators: tenants never see what a driver says itself.
    failure_detail = models.TextField(_("error detail"), blank=True, db_default="")
    # A path of the platform's own, or the URL that a tenant gave; emptied after the import.
    import_source = models.CharField(
        _("imported from"), max_length=1000, blank=True, editable=False
    )
    import_sha256 = models.CharField(
        _("expected SHA-256"), max_length=64, blank=True, editable=False
    )
    position = models.PositiveSmallIntegerField(_("position in the list"), default=0)

    class Meta:
        verbose_name = _("image")
        verbose_name_plural = _("images")
        ordering = ["position", "name"]
        indexes = [models.Index(fields=["tenant", "status"], name="image_tenant_status")]
        constraints = [
            models.CheckConstraint(condition=Q(min_disk_gib__gte=1), name="image_min_disk_positive")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_base(self) -> bool:
        """True for the platform's images."""
        return self.tenant_id is None
