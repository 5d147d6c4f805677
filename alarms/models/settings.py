"""How long measurements are kept."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class MetricSettings(models.Model):
    """The administrator's settings of monitoring; one row."""

    id = models.PositiveSmallIntegerField(_("ID"), primary_key=True, default=1, editable=False)
    # Not less than a day: what comes late is rolled up again from the samples.
    samples_keep_h = models.PositiveIntegerField(
        _("samples of 30 seconds are kept for (h)"),
        default=48,
        validators=[MinValueValidator(24), MaxValueValidator(24 * 90)],
    )
    five_minutes_keep_days = models.PositiveIntegerField(
        _("values of 5 minutes are kept for (days)"),
        default=30,
        validators=[MinValueValidator(2), MaxValueValidator(3650)],
    )
    hours_keep_days = models.PositiveIntegerField(
        _("values of 1 hour are kept for (days)"),
        default=400,
        validators=[MinValueValidator(2), MaxValueValidator(3650)],
        help_text=_("VictoriaMetrics keeps all values for the retention that it was started with."),
    )

    class Meta:
        verbose_name = _("monitoring settings")
        verbose_name_plural = _("monitoring settings")
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="one_metric_settings_row")
        ]

    def __str__(self) -> str:
        return gettext("Monitoring settings")

    @classmethod
    def load(cls) -> MetricSettings:
        """Return the one row, or the defaults while it does not exist."""
        return cls.objects.filter(pk=1).first() or cls()
