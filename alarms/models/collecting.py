"""Who collects from which hosts, and how far it has come."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.models import Host


class Collector(models.Model):
    """A collector process that lives, or did a moment ago."""

    # A new one with each start, so that a process never takes another one's hosts for its own.
    id = models.CharField(_("ID"), primary_key=True, max_length=80, editable=False)
    started_at = models.DateTimeField(_("started"))
    seen_at = models.DateTimeField(_("last seen"), db_index=True)

    class Meta:
        verbose_name = _("collector")
        verbose_name_plural = _("collectors")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.id


class HostCollection(models.Model):
    """The lease on collecting from a host, and what came of it.

    ``stored_at`` is the time of the newest sample in the store; what lies between it and now is the
    lag.
    """

    host = models.OneToOneField(
        Host,
        models.CASCADE,
        primary_key=True,
        verbose_name=_("host"),
        related_name="collection",
    )
    collector = models.CharField(_("collector"), max_length=80, blank=True, default="")
    lease_until = models.DateTimeField(_("leased until"), null=True)
    answered_at = models.DateTimeField(_("last answer"), null=True)
    stored_at = models.DateTimeField(_("last stored"), null=True)
    vms = models.PositiveIntegerField(_("VMs"), default=0)
    silent_agents = models.PositiveIntegerField(_("silent guest agents"), default=0)
    last_error = models.CharField(_("last error"), max_length=300, blank=True, default="")

    class Meta:
        verbose_name = _("collection from a host")
        verbose_name_plural = _("collection from hosts")
        ordering = ["host__name"]
        indexes = [models.Index(fields=["collector"], name="host_collection_collector")]

    def __str__(self) -> str:
        return self.host_id
