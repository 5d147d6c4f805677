"""What is wrong with the platform itself, and the operators who are told of it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from alarms.models.notices import Contact, Webhook
from alarms.rules.operators import TITLES, Condition, Finding
from alarms.states.alarms import Severity
from scloud.lib.ids import new_id

LONGEST_SUBJECT: Final = 200
LONGEST_TEXT: Final = 400
#: What the constraints of "at most one" look at.
UNDER_WAY: Final = Q(recovered_at__isnull=True)


def platform_alarm_id() -> str:
    return new_id("palarm")


class PlatformAlarm(models.Model):
    """One of the operators' conditions, of one subject, from when it was found to its recovery.

    Without ``opened_at`` it has not held for long enough yet: operators neither see it nor are
    they told.
    """

    KIND: ClassVar[str] = "platform_alarm"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=platform_alarm_id, editable=False
    )
    condition = models.CharField(
        _("condition"), max_length=40, choices=[(one.value, TITLES[one]) for one in Condition]
    )
    subject = models.CharField(_("subject"), max_length=LONGEST_SUBJECT, blank=True)
    severity = models.CharField(_("severity"), max_length=10, choices=Severity.choices)
    text = models.CharField(_("message"), max_length=LONGEST_TEXT)
    first_seen_at = models.DateTimeField(_("first seen"))
    last_seen_at = models.DateTimeField(_("last seen"))
    opened_at = models.DateTimeField(_("opened"), null=True)
    recovered_at = models.DateTimeField(_("recovered"), null=True)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True)
    acknowledged_by = models.CharField(_("acknowledged by"), max_length=320, blank=True)

    # Not scoped: it belongs to no tenant.
    objects: ClassVar[models.Manager[PlatformAlarm]] = models.Manager()

    class Meta:
        verbose_name = _("alarm of the platform")
        verbose_name_plural = _("alarms of the platform")
        ordering = ["-opened_at", "id"]
        indexes = [
            models.Index(fields=["-opened_at"], name="platform_alarm_opened"),
            models.Index(fields=["recovered_at"], name="platform_alarm_recovered"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["condition", "subject"],
                condition=UNDER_WAY,
                name="one_open_platform_alarm",
            )
        ]

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """What the operation log calls it."""
        return self.text

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others that are open."""
        return (self.condition, self.subject)

    def found_again(self, finding: Finding, at: datetime) -> None:
        """Take over how it stands at a moment."""
        self.severity, self.text = finding.severity.value, finding.words[:LONGEST_TEXT]
        self.last_seen_at = at


class OperatorContact(Contact):
    """An e-mail address of the platform's operators."""

    class Meta:
        proxy = True
        verbose_name = _("operators' e-mail address")
        verbose_name_plural = _("operators' e-mail addresses")


class OperatorWebhook(Webhook):
    """A webhook of the platform's operators."""

    class Meta:
        proxy = True
        verbose_name = _("operators' webhook")
        verbose_name_plural = _("operators' webhooks")
