"""ENIs: network interfaces of their own that tenants plug into VMs and pull out again."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from network.models.nic import Nic, NicNetwork
from network.states.enis import EniStatus, EniTask
from scloud.lib.ids import new_id
from scloud.resources.models import Resource


def eni_id() -> str:
    """Return a fresh ENI's id."""
    return new_id("eni")


class Eni(Resource):
    """An interface with one address of a subnet or of an external segment, for as long as it lives.

    Its ``nic`` holds the address, the port and the group; ``vm_id`` names the VM that it is bound
    to, from the order to bind it until it is off again. An external one is paid by its bandwidth.
    """

    KIND: ClassVar[str] = "eni"

    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=eni_id, editable=False)
    network = models.CharField(_("network"), max_length=8, choices=NicNetwork.choices)
    # Null for one that is destroyed.
    nic = models.OneToOneField(
        Nic,
        models.SET_NULL,
        verbose_name=_("network interface"),
        null=True,
        blank=True,
        related_name="eni",
        editable=False,
    )
    address = models.GenericIPAddressField(_("address"))
    vm_id = models.CharField(_("VM ID"), max_length=20, blank=True, editable=False)
    status = models.CharField(
        _("status"), max_length=12, choices=EniStatus.choices, default=EniStatus.NEW, editable=False
    )
    task = models.CharField(
        _("task"), max_length=20, choices=EniTask.choices, blank=True, editable=False
    )
    task_job = models.CharField(_("job"), max_length=20, blank=True, editable=False)
    task_deadline = models.DateTimeField(_("deadline of the task"), null=True, editable=False)
    failure_code = models.CharField(_("error code"), max_length=60, blank=True, editable=False)
    failure = models.CharField(_("error"), max_length=500, blank=True, editable=False)
    # For operators: tenants never see what a driver says itself.
    failure_detail = models.TextField(_("error detail"), blank=True, db_default="")
    # The VM has the interface, and its guest configures it when it boots next.
    at_next_boot = models.BooleanField(_("applies at the next boot"), default=False, editable=False)
    destroyed_at = models.DateTimeField(_("destroyed"), null=True, editable=False)

    class Meta:
        ordering = ["-created_at", "id"]
        verbose_name = _("ENI")
        verbose_name_plural = _("ENIs")
        indexes = [
            models.Index(fields=["tenant", "region", "-created_at"], name="eni_tenant_created"),
            models.Index(fields=["vm_id"], condition=~Q(vm_id=""), name="eni_bound_to"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(task="") | Q(task_deadline__isnull=False), name="eni_task_has_deadline"
            ),
            models.CheckConstraint(
                condition=Q(vm_id="") | ~Q(task="") | Q(status__in=["bound", "expired"]),
                name="eni_idle_with_vm_is_bound",
            ),
        ]

    @property
    def is_carried(self) -> bool:
        """Whether the network shall let its address through."""
        if self.task:
            return self.task != EniTask.UNBINDING and self.vm_id != ""
        return self.status == EniStatus.BOUND
