"""EVS disks: a VM's system disk, and data disks that live on their own."""

from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from compute.models.image import Image
from compute.models.platform import DiskType, StoragePool
from compute.models.vm import VM
from compute.states.disks import DAMAGED, Damage, DiskStatus, DiskTask
from scloud.lib.ids import new_id
from scloud.resources.models import Binnable, Resource


def disk_id() -> str:
    return new_id("disk")


class Disk(Resource, Binnable):
    """A volume of a pool. The system disk is paid and binned with its VM."""

    KIND: ClassVar[str] = "disk"

    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=disk_id, editable=False)
    disk_type = models.ForeignKey(
        DiskType, models.PROTECT, verbose_name=_("disk type"), related_name="disks"
    )
    pool = models.ForeignKey(
        StoragePool, models.PROTECT, verbose_name=_("storage pool"), related_name="disks"
    )
    size_gib = models.PositiveIntegerField(_("size (GB)"), validators=[MinValueValidator(1)])
    is_system = models.BooleanField(_("system disk"), default=False)
    image = models.ForeignKey(
        Image, models.PROTECT, verbose_name=_("image"), null=True, blank=True, related_name="disks"
    )
    vm = models.ForeignKey(
        VM, models.PROTECT, verbose_name=_("VM"), null=True, blank=True, related_name="disks"
    )
    target = models.CharField(_("mount point"), max_length=8, blank=True)
    # What the guest itself calls it, as its agent said last; empty while nobody said. The target is
    # what the platform asks for: a guest counts its disks by its own rules.
    guest_device = models.CharField(
        _("device in the guest"), max_length=60, blank=True, db_default="", editable=False
    )
    # What its volume was seen to take in the pool; while a copy is made, what that may take.
    stored_bytes = models.BigIntegerField(_("stored (bytes)"), null=True, editable=False)
    # Formatted and mounted at /data by the guest's first boot.
    format_at_boot = models.BooleanField(_("format at first boot"), default=False)
    status = models.CharField(
        _("status"),
        max_length=12,
        choices=DiskStatus.choices,
        default=DiskStatus.NEW,
        editable=False,
    )
    task = models.CharField(
        _("task"), max_length=20, choices=DiskTask.choices, blank=True, editable=False
    )
    task_job = models.CharField(_("job"), max_length=20, blank=True, editable=False)
    task_deadline = models.DateTimeField(_("deadline of the task"), null=True, editable=False)
    failure_code = models.CharField(_("error code"), max_length=60, blank=True, editable=False)
    failure = models.CharField(_("error"), max_length=500, blank=True, editable=False)
    # For operators: tenants never see what a driver says itself.
    failure_detail = models.TextField(_("error detail"), blank=True, db_default="")
    # Set while the disk may not be used, whatever its status; since when, why, and how many errors
    # the last check found.
    damaged_since = models.DateTimeField(_("damaged since"), null=True, editable=False)
    damage = models.CharField(
        _("damage"),
        max_length=20,
        choices=Damage.choices,
        blank=True,
        db_default="",
        editable=False,
    )
    damage_errors = models.PositiveIntegerField(_("errors found"), null=True, editable=False)

    class Meta:
        verbose_name = _("disk")
        verbose_name_plural = _("disks")
        ordering = ["-created_at", "id"]
        indexes = [
            models.Index(fields=["tenant", "region", "-created_at"], name="disk_tenant_created"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["vm", "target"],
                condition=Q(vm__isnull=False) & ~Q(target=""),
                name="disk_target_once",
            ),
            models.UniqueConstraint(
                fields=["vm"],
                condition=Q(is_system=True, vm__isnull=False),
                name="one_system_disk",
            ),
            models.CheckConstraint(
                condition=Q(task="") | Q(task_deadline__isnull=False), name="disk_task_has_deadline"
            ),
        ]

    @property
    def is_damaged(self) -> bool:
        """Whether nothing may use the disk until a check finds it sound."""
        return self.damaged_since is not None

    @property
    def standing(self) -> str:
        """Its status, or *damaged*."""
        return DAMAGED if self.is_damaged else self.status

    @property
    def damage_words(self) -> str:
        """Why it is damaged, with the number of errors; empty where it is not."""
        if not self.is_damaged:
            return ""
        if self.damage_errors:
            return gettext("A check found errors in its data: %(count)d.") % {
                "count": self.damage_errors
            }
        return str(Damage(self.damage).label) if self.damage in Damage.values else ""

    @property
    def device(self) -> str:
        """The name to show: the guest's own, else the one that the platform asked for."""
        said = self.guest_device if self.vm_id else ""
        return (said or self.target).removeprefix("/dev/")
