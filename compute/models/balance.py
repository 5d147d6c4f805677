"""Moves of VMs between hosts, and what load balancing proposed or ordered."""

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from compute.models.platform import Cluster, Host
from compute.models.vm import VM

LONGEST_PROPOSAL = 500


class VmMove(models.Model):
    """One change of a VM's host, whoever ordered it.

    Without ``source`` it was on none, as after its host was emptied for maintenance. A trigger on
    the VM's row writes it, so that no writer can forget it. Nothing is locked for it: rows of hosts
    are locked before those of VMs.
    """

    vm = models.ForeignKey(
        VM, models.CASCADE, verbose_name=_("VM"), related_name="moves", db_constraint=False
    )
    source = models.ForeignKey(
        Host,
        models.CASCADE,
        verbose_name=_("from"),
        related_name="+",
        db_constraint=False,
        null=True,
    )
    destination = models.ForeignKey(
        Host, models.CASCADE, verbose_name=_("to"), related_name="+", db_constraint=False
    )
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("move of a VM")
        verbose_name_plural = _("moves of VMs")
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["at"], name="vm_move_at")]

    def __str__(self) -> str:
        return f"{self.vm_id}: {self.source_id or '-'} → {self.destination_id}"


class BalanceProposal(models.Model):
    """A move that load balancing ordered, or in a dry run would have.

    A dry run that proposes the same again keeps its row: ``times`` counts, ``last_at`` is the last.
    """

    cluster = models.ForeignKey(
        Cluster, models.CASCADE, verbose_name=_("cluster"), related_name="proposals"
    )
    vm = models.ForeignKey(VM, models.CASCADE, verbose_name=_("VM"), related_name="+")
    source = models.ForeignKey(Host, models.CASCADE, verbose_name=_("from"), related_name="+")
    destination = models.ForeignKey(Host, models.CASCADE, verbose_name=_("to"), related_name="+")
    reason = models.CharField(_("reason"), max_length=LONGEST_PROPOSAL)
    at = models.DateTimeField(_("at"), default=timezone.now)
    last_at = models.DateTimeField(_("last proposed"), default=timezone.now)
    times = models.PositiveIntegerField(_("times"), default=1)
    # Of the migration that was ordered; empty in a dry run.
    job = models.CharField(_("job"), max_length=20, blank=True, default="")

    class Meta:
        verbose_name = _("move because of load")
        verbose_name_plural = _("moves because of load")
        ordering = ["-last_at", "-id"]
        indexes = [
            models.Index(fields=["cluster", "-last_at"], name="balance_proposal_cluster"),
            models.Index(fields=["last_at"], condition=~Q(job=""), name="balance_proposal_ordered"),
        ]

    def __str__(self) -> str:
        return f"{self.vm_id}: {self.source_id} → {self.destination_id}"
