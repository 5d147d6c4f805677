"""External IPs: addresses that tenants buy and bind to what shall be reached from outside."""

from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from network.models.nic import Nic
from network.models.segment import ExternalSegment, IpVersion
from network.states.external_ips import ExternalIpStatus, ExternalIpTask
from scloud.lib.ids import new_id
from scloud.resources.models import Binnable, Resource


def external_ip_id() -> str:
    """Return a fresh external IP's id."""
    return new_id("eip")


class ExternalIp(Resource, Binnable):
    """An external address with its bandwidth, and what it is bound to.

    ``target_kind`` and ``target_id`` name what it is bound to, ``nic`` the interface that has it;
    they are set from the order to bind it until it is off again. ``egress`` marks the address by
    which its target reaches what is outside, one for each IP version.
    """

    KIND: ClassVar[str] = "external_ip"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=external_ip_id, editable=False
    )
    # Null for one that is destroyed, when its segment is no more either.
    segment = models.ForeignKey(
        ExternalSegment,
        models.SET_NULL,
        verbose_name=_("external segment"),
        null=True,
        blank=True,
        related_name="external_ips",
    )
    ip_version = models.PositiveSmallIntegerField(_("IP version"), choices=IpVersion.choices)
    address = models.GenericIPAddressField(_("address"))
    bandwidth_mbps = models.PositiveIntegerField(
        _("bandwidth in Mb/s"), validators=[MinValueValidator(1)]
    )
    status = models.CharField(
        _("status"),
        max_length=12,
        choices=ExternalIpStatus.choices,
        default=ExternalIpStatus.NEW,
        editable=False,
    )
    task = models.CharField(
        _("task"), max_length=20, choices=ExternalIpTask.choices, blank=True, editable=False
    )
    task_job = models.CharField(_("job"), max_length=20, blank=True, editable=False)
    task_deadline = models.DateTimeField(_("deadline of the task"), null=True, editable=False)
    failure_code = models.CharField(_("error code"), max_length=60, blank=True, editable=False)
    failure = models.CharField(_("error"), max_length=500, blank=True, editable=False)
    # For operators: tenants never see what the network controller says itself.
    failure_detail = models.TextField(_("error detail"), blank=True, db_default="")

    target_kind = models.CharField(_("target type"), max_length=20, blank=True, editable=False)
    target_id = models.CharField(_("target ID"), max_length=20, blank=True, editable=False)
    nic = models.ForeignKey(
        Nic,
        models.SET_NULL,
        verbose_name=_("network interface"),
        null=True,
        blank=True,
        related_name="external_ips",
        editable=False,
    )
    bound_at = models.DateTimeField(_("bound since"), null=True, editable=False)
    egress = models.BooleanField(_("default egress"), default=False, editable=False)
    # The platform lets the address through, and the guest configures it when it boots next.
    at_next_boot = models.BooleanField(_("applies at the next boot"), default=False, editable=False)

    class Meta:
        ordering = ["-created_at", "id"]
        verbose_name = _("external IP")
        verbose_name_plural = _("external IPs")
        indexes = [
            models.Index(fields=["tenant", "region", "-created_at"], name="eip_tenant_created"),
            models.Index(fields=["target_id"], condition=~Q(target_id=""), name="eip_bound_to"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(task="") | Q(task_deadline__isnull=False), name="eip_task_has_deadline"
            ),
            models.UniqueConstraint(
                fields=["target_kind", "target_id", "ip_version"],
                condition=Q(egress=True),
                name="eip_one_egress",
            ),
            models.CheckConstraint(
                condition=Q(nic__isnull=True) | ~Q(task="") | Q(status__in=["bound", "expired"]),
                name="eip_idle_with_nic_is_bound",
            ),
        ]

    @property
    def is_carried(self) -> bool:
        """Whether the network shall let the address through to its NIC."""
        if self.task:
            return self.task != ExternalIpTask.UNBINDING and self.nic_id is not None
        return self.status == ExternalIpStatus.BOUND
