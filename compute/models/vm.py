"""Virtual machines."""

import uuid
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from compute.models.image import Image
from compute.models.placement import PlacementGroup
from compute.models.platform import Cluster, Host
from compute.states.vms import (
    PAUSED,
    FailoverPriority,
    PauseReason,
    PowerState,
    VmStatus,
    VmTask,
    WantedPower,
)
from scloud.lib.ids import new_id
from scloud.resources.models import Binnable, Resource, name_validator
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def vm_id() -> str:
    return new_id("vm")


class VM(Resource, Binnable):
    """A VM. ``status`` is where it stands, ``task`` what is being done, ``power_state`` what the
    hypervisor said at ``observed_at``; what people see is computed in :mod:`compute.states.vms`.
    """

    KIND: ClassVar[str] = "vm"

    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=vm_id, editable=False)
    name = models.CharField(_("name"), max_length=30, validators=[name_validator])
    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    cluster = models.ForeignKey(
        Cluster, models.PROTECT, verbose_name=_("cluster"), related_name="vms"
    )
    host = models.ForeignKey(
        Host, models.PROTECT, verbose_name=_("host"), null=True, blank=True, related_name="vms"
    )
    # Where a live migration is taking it; holds the capacity there until the hypervisor says that
    # it has moved.
    destination = models.ForeignKey(
        Host,
        models.PROTECT,
        verbose_name=_("destination of the migration"),
        null=True,
        blank=True,
        related_name="arriving",
        editable=False,
    )
    image = models.ForeignKey(Image, models.PROTECT, verbose_name=_("image"), related_name="vms")
    vcpus = models.PositiveSmallIntegerField(_("virtual CPUs"), validators=[MinValueValidator(1)])
    memory_mib = models.PositiveIntegerField(_("memory (MB)"), validators=[MinValueValidator(64)])
    # Headroom for hot upgrades; equal to the above where the image does not support them.
    max_vcpus = models.PositiveSmallIntegerField(_("maximum CPUs without restart"), default=0)
    max_memory_mib = models.PositiveIntegerField(
        _("maximum memory without restart (MB)"), default=0
    )
    gpu_count = models.PositiveSmallIntegerField(
        _("GPUs"), default=0, validators=[MaxValueValidator(4)]
    )

    status = models.CharField(
        _("status"), max_length=12, choices=VmStatus.choices, default=VmStatus.NEW, editable=False
    )
    task = models.CharField(
        _("task"), max_length=20, choices=VmTask.choices, blank=True, editable=False
    )
    task_job = models.CharField(_("job"), max_length=20, blank=True, editable=False)
    task_deadline = models.DateTimeField(_("deadline of the task"), null=True, editable=False)
    power_state = models.CharField(
        _("power state"),
        max_length=10,
        choices=PowerState.choices,
        default=PowerState.UNKNOWN,
        editable=False,
    )
    observed_at = models.DateTimeField(_("last observed"), null=True, editable=False)
    # The full name, such as pc-q35-7.2; chosen when it is first defined, and moved up only by an
    # order. Empty in rows of earlier releases until a host has said what the VM has.
    machine_type = models.CharField(
        _("machine type"), max_length=60, blank=True, default="", db_default="", editable=False
    )
    # Empty in rows of earlier releases: then the status tells.
    wanted_power = models.CharField(
        _("intended power state"),
        max_length=3,
        choices=WantedPower.choices,
        blank=True,
        default="",
        db_default="",
        editable=False,
    )
    # Since when it waits to be started again because its host failed.
    failover_since = models.DateTimeField(
        _("waiting for failover since"), null=True, editable=False
    )
    # Operators' choice: who is started again first.
    failover_priority = models.PositiveSmallIntegerField(
        _("priority in a failover"),
        choices=FailoverPriority.choices,
        default=FailoverPriority.NORMAL,
        db_default=FailoverPriority.NORMAL,
        editable=False,
    )
    # The tenant's group, and one of the operators that the tenant does not see. Both count.
    placement_group = models.ForeignKey(
        PlacementGroup,
        models.SET_NULL,
        verbose_name=_("placement group"),
        null=True,
        blank=True,
        related_name="vms",
    )
    operators_group = models.ForeignKey(
        PlacementGroup,
        models.SET_NULL,
        verbose_name=_("operators' placement group"),
        null=True,
        blank=True,
        related_name="placed_vms",
        editable=False,
    )
    # Of a running VM: why its guest stands still, and since when.
    pause_reason = models.CharField(
        _("reason of the pause"),
        max_length=20,
        choices=PauseReason.choices,
        blank=True,
        default="",
        db_default="",
        editable=False,
    )
    paused_at = models.DateTimeField(_("paused"), null=True, editable=False)
    # When the machine was last reset by a restart; empty from the order until then.
    rebooted_at = models.DateTimeField(_("last restart"), null=True, editable=False)
    # Counts the changes of status, task, job, host and destination. A trigger counts, so that no
    # writer can forget it; see ``compute.transitions.vms.observe``.
    revision = models.PositiveBigIntegerField(
        _("revision"), default=0, db_default=0, editable=False
    )
    # Counts the changes of its host, by the same trigger: what was begun at another number must not
    # define or start it any more.
    epoch = models.PositiveBigIntegerField(
        _("placement epoch"), default=0, db_default=0, editable=False
    )
    failure_code = models.CharField(_("error code"), max_length=60, blank=True, editable=False)
    failure = models.CharField(_("error"), max_length=500, blank=True, editable=False)
    # For operators: tenants never see what a driver says itself.
    failure_detail = models.TextField(_("error detail"), blank=True, db_default="")

    admin_account = models.CharField(_("administrator account"), max_length=32, default="root")
    ssh_public_key = models.TextField(_("SSH public key"), blank=True)
    user_data = models.TextField(_("user data"), blank=True)
    deletion_protected = models.BooleanField(_("deletion protection"), default=False)
    internal_security_group = models.CharField(
        _("internal security group"), max_length=20, blank=True
    )
    external_security_group = models.CharField(
        _("external security group"), max_length=20, blank=True
    )
    # The guest's own, given at creation and reinstallation: a rename of the VM leaves it alone.
    hostname = models.CharField(
        _("host name"), max_length=63, blank=True, db_default="", editable=False
    )
    # Cloud-init does its first-boot work anew when this changes (reinstall).
    seed_generation = models.PositiveIntegerField(_("seed generation"), default=1)

    class Meta:
        ordering = ["-created_at", "id"]
        verbose_name = _("VM")
        verbose_name_plural = _("VMs")
        indexes = [
            models.Index(fields=["tenant", "region", "-created_at"], name="vm_tenant_created"),
            models.Index(fields=["host"], name="vm_host"),
            models.Index(fields=["task_deadline"], condition=~Q(task=""), name="vm_in_flight"),
            models.Index(
                fields=["failover_since"],
                condition=Q(failover_since__isnull=False),
                name="vm_waits_for_failover",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(task="") | Q(task_deadline__isnull=False), name="vm_task_has_deadline"
            )
        ]

    @property
    def standing(self) -> str:
        """Where it stands in the table of verbs: its status, or *paused*."""
        return PAUSED if self.is_paused else self.status

    @property
    def is_paused(self) -> bool:
        """Whether it is switched on and stands still."""
        return self.status == VmStatus.RUNNING and self.pause_reason != ""

    @property
    def pause_words(self) -> str:
        """Why it stands still, as a sentence; empty when it does not."""
        return str(PauseReason(self.pause_reason).label) if self.is_paused else ""

    @property
    def wants_power(self) -> bool:
        """Whether it shall be switched on."""
        if not self.wanted_power:
            return self.status == VmStatus.RUNNING
        return self.wanted_power == WantedPower.ON

    @property
    def memory_gib(self) -> float:
        """Memory in GiB."""
        return self.memory_mib / 1024

    @property
    def spec_label(self) -> str:
        """The size as people say it, such as ``2C4G``."""
        return f"{self.vcpus}C{self.memory_gib:g}G"


class GuestLogin(models.Model):
    """The crypt(3) hash that goes into the guest's ``/etc/shadow``, encrypted with the site's key.

    The password itself is not kept anywhere. ``pending`` is the hash of a reset that is under way.
    """

    vm = models.OneToOneField(VM, models.CASCADE, primary_key=True, related_name="login")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    sealed_hash = models.BinaryField(default=b"")
    sealed_pending = models.BinaryField(default=b"")

    objects = TenantManager()

    def __str__(self) -> str:
        return f"login of {self.vm_id}"
