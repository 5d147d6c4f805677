"""What the fabric holds that the rows do not say, and the other way round."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.resources.models import Region


class DriftProblem(models.TextChoices):
    MISSING = "missing", _("Missing in the fabric")
    DIFFERS = "differs", _("Different in the fabric")
    LEFT_OVER = "left_over", _("Still in the fabric after its deletion")
    UNKNOWN = "unknown", _("Marked as managed by SCloud, but unknown")
    FOREIGN = "foreign", _("Created by another system")


class NetworkDrift(models.Model):
    """One difference, from when it was first seen until it is gone."""

    region = models.ForeignKey(Region, models.CASCADE, verbose_name=_("region"), related_name="+")
    problem = models.CharField(_("problem"), max_length=10, choices=DriftProblem.choices)
    kind = models.CharField(_("type"), max_length=40)
    target_id = models.CharField(_("target ID"), max_length=100)
    detail = models.CharField(_("detail"), max_length=500, blank=True)
    first_seen_at = models.DateTimeField(_("first seen"), default=timezone.now)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now)
    resolved_at = models.DateTimeField(_("resolved"), null=True)

    class Meta:
        ordering = ["-last_seen_at", "-pk"]
        verbose_name = _("network drift")
        verbose_name_plural = _("network drift report")
        constraints = [
            models.UniqueConstraint(
                fields=["region", "problem", "kind", "target_id"],
                condition=models.Q(resolved_at__isnull=True),
                name="network_open_drift_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.problem} {self.kind} {self.target_id}"
