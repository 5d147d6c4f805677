"""What the nightly replays of the books found."""

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


class ReplayRun(models.Model):
    """A replay of all charges made in [``begin``, ``end``), tenant by tenant.

    ``done_upto`` is the id of the last tenant whose charges were computed again: whoever goes on
    begins after it. Without ``finished_at`` it is still running.
    """

    begin = models.DateTimeField(_("from"))
    end = models.DateTimeField(_("until"), unique=True)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    done_upto = models.CharField(_("done up to tenant"), max_length=20, blank=True)
    tenants = models.PositiveIntegerField(_("tenants"), default=0)
    charges = models.PositiveBigIntegerField(_("charges"), default=0)
    differences = models.PositiveBigIntegerField(_("differences"), default=0)

    # Not scoped: a run goes through all tenants and belongs to none.
    objects: ClassVar[models.Manager["ReplayRun"]] = models.Manager()

    class Meta:
        verbose_name = _("replay of charges")
        verbose_name_plural = _("replays of charges")
        ordering = ["-end"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(end__gt=models.F("begin")), name="replay_span"
            ),
        ]
        indexes = [
            models.Index(
                fields=["end"],
                condition=models.Q(finished_at__isnull=True),
                name="replay_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.begin:%F %T} to {self.end:%F %T}"


class ReplayDifference(models.Model):
    """One figure of the books that is not what its inputs say."""

    run = models.ForeignKey(
        ReplayRun, models.CASCADE, verbose_name=_("replay"), related_name="found"
    )
    tenant = models.ForeignKey(Tenant, models.CASCADE, verbose_name=_("tenant"), related_name="+")
    place = models.CharField(_("where"), max_length=200)
    what = models.CharField(_("figure"), max_length=60)
    stored = models.TextField(_("stored"))
    computed = models.TextField(_("computed"))

    objects: ClassVar[models.Manager["ReplayDifference"]] = TenantManager()

    class Meta:
        verbose_name = _("difference")
        verbose_name_plural = _("differences")
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"
