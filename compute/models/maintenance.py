"""Hosts in maintenance, what becomes of their VMs, and clusters gone through host by host."""

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from compute.models.hosts import LONGEST_REASON
from compute.models.platform import Cluster, Host
from compute.models.vm import VM
from compute.states.maintenance import DepartureState, MaintenanceEnd, RollEnd, Way


class ClusterRoll(models.Model):
    """One way through the hosts of a cluster, which enter maintenance one after the other."""

    cluster = models.ForeignKey(
        Cluster, models.CASCADE, verbose_name=_("cluster"), related_name="rolls"
    )
    way = models.CharField(_("VMs that cannot be moved"), max_length=10, choices=Way.choices)
    #: Ids of the hosts, in their order.
    hosts = models.JSONField(_("hosts"), default=list)
    # The next host enters as soon as it may; else an operator is waited for.
    going_on = models.BooleanField(_("goes on"), default=True)
    note = models.CharField(_("waits for"), max_length=LONGEST_REASON, blank=True)
    by = models.CharField(_("by"), max_length=320)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)
    end = models.CharField(_("end"), max_length=10, choices=RollEnd.choices, blank=True)

    class Meta:
        verbose_name = _("rolling maintenance")
        verbose_name_plural = _("rolling maintenances")
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["cluster"], condition=Q(ended_at__isnull=True), name="one_roll_per_cluster"
            )
        ]

    def __str__(self) -> str:
        return f"{self.cluster} {self.started_at:%Y-%m-%d %H:%M}"


class HostMaintenance(models.Model):
    """One maintenance of a host, from the order until the host is used again.

    While it has not ended the host goes back to it, whatever becomes of it meanwhile.
    """

    host = models.ForeignKey(
        Host, models.CASCADE, verbose_name=_("host"), related_name="maintenances"
    )
    roll = models.ForeignKey(
        ClusterRoll, models.SET_NULL, null=True, verbose_name=_("rolling maintenance"),
        related_name="maintenances",
    )  # fmt: skip
    way = models.CharField(_("VMs that cannot be moved"), max_length=10, choices=Way.choices)
    note = models.CharField(_("waits for"), max_length=LONGEST_REASON, blank=True)
    by = models.CharField(_("by"), max_length=320)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    emptied_at = models.DateTimeField(_("empty since"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)
    end = models.CharField(_("end"), max_length=10, choices=MaintenanceEnd.choices, blank=True)

    class Meta:
        verbose_name = _("maintenance of a host")
        verbose_name_plural = _("maintenances of hosts")
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["host"], condition=Q(ended_at__isnull=True), name="one_maintenance_per_host"
            )
        ]

    def __str__(self) -> str:
        return f"{self.host} {self.started_at:%Y-%m-%d %H:%M}"


class Departure(models.Model):
    """A VM that leaves its host for maintenance."""

    maintenance = models.ForeignKey(HostMaintenance, models.CASCADE, related_name="departures")
    vm = models.ForeignKey(VM, models.CASCADE, related_name="departures")
    state = models.CharField(_("state"), max_length=10, choices=DepartureState.choices)
    # For operators: why it waits, or cannot be moved.
    note = models.CharField(_("reason"), max_length=LONGEST_REASON, blank=True)
    # Of one that was shut down: the VM's ``failover_since`` for which it is started again, whether
    # or not its cluster has failover.
    waits_since = models.DateTimeField(_("to be started since"), null=True)
    # When its guest, which went on to run, was last asked to shut down: it may do so yet.
    asked_at = models.DateTimeField(_("asked to shut down"), null=True)
    changed_at = models.DateTimeField(_("changed"), default=timezone.now)

    class Meta:
        verbose_name = _("VM that leaves its host")
        verbose_name_plural = _("VMs that leave their hosts")
        ordering = ["maintenance", "vm"]
        constraints = [
            models.UniqueConstraint(fields=["maintenance", "vm"], name="one_departure_per_vm")
        ]

    def __str__(self) -> str:
        return f"{self.vm_id}: {self.get_state_display()}"
