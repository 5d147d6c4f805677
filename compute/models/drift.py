"""What the hosts show that the rows do not say, and the other way round."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Drift(models.Model):
    """One difference between intended and observed, until it is gone."""

    kind = models.CharField(_("type"), max_length=40)
    place = models.CharField(_("host or pool"), max_length=60)
    resource_id = models.CharField(_("resource ID"), max_length=60)
    detail = models.CharField(_("detail"), max_length=500)
    first_seen_at = models.DateTimeField(_("first seen"), default=timezone.now)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now)
    repaired_at = models.DateTimeField(_("repaired"), null=True)

    class Meta:
        ordering = ["-last_seen_at"]
        verbose_name = _("drift")
        verbose_name_plural = _("drift report")
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "place", "resource_id"],
                condition=models.Q(repaired_at__isnull=True),
                name="open_drift_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.resource_id} on {self.place}"
