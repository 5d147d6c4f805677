"""Which database this is, and the times in which nothing may be destroyed."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class DatabaseLife(models.Model):
    """The marker by which a restored database is recognised; one row.

    ``cluster``, ``database``, ``relation`` and ``timeline`` are what PostgreSQL said of itself the
    last time: a restore makes some of them anew. ``beat`` only grows, and every machine that runs
    the sweeps keeps the last one in its state directory.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    cluster = models.BigIntegerField()
    database = models.BigIntegerField()
    relation = models.BigIntegerField()
    timeline = models.BigIntegerField()
    beat = models.BigIntegerField(default=0)
    beaten_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_database_life")]

    def __str__(self) -> str:
        return f"beat {self.beat}"


class SweepFreeze(models.Model):
    """A time in which no sweep destroys, switches off or removes anything.

    ``reports`` holds when each kind of drift report was complete for the first time since then.
    """

    began_at = models.DateTimeField(_("since"), default=timezone.now)
    reason = models.CharField(_("reason"), max_length=300)
    reports = models.JSONField(_("drift reports"), default=dict)
    released_at = models.DateTimeField(_("released"), null=True)
    released_by = models.CharField(_("released by"), max_length=320, blank=True)

    class Meta:
        ordering = ["-began_at"]
        verbose_name = _("freeze of destructive sweeps")
        verbose_name_plural = _("freezes of destructive sweeps")
        indexes = [
            models.Index(
                fields=["began_at"],
                condition=models.Q(released_at__isnull=True),
                name="freeze_open",
            )
        ]

    def __str__(self) -> str:
        return f"since {self.began_at:%F %T}"
