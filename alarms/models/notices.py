"""Who is notified of alarms, by what, and what was sent.

Rows without a tenant are the platform's: its operators are notified by the same means.
"""

from __future__ import annotations

from typing import ClassVar, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from alarms.models.alarms import Alarm
from alarms.models.templates import AlarmTemplate
from alarms.states.notices import DeliveryState, NoticeState, WebhookFormat
from scloud.lib.ids import new_id
from scloud.resources.models import name_validator
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager

CONTACTS_PER_TENANT: Final = 100
GROUPS_PER_TENANT: Final = 50
WEBHOOKS_PER_GROUP: Final = 10


def contact_id() -> str:
    return new_id("contact")


def group_id() -> str:
    return new_id("group")


def webhook_id() -> str:
    return new_id("webhook")


def silence_id() -> str:
    return new_id("silence")


def delivery_id() -> str:
    return new_id("delivery")


def default_zone() -> str:
    """The zone in which quiet hours are meant unless something else is said."""
    zone: str = settings.SCLOUD_GUEST_TIME_ZONE
    return zone


class Contact(models.Model):
    """An e-mail address. Nothing is sent to it, apart from the code, before it is verified.

    Those of operators count as verified: administrators alone enter them.
    """

    KIND: ClassVar[str] = "contact"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=contact_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), null=True, blank=True, related_name="+"
    )
    name = models.CharField(_("name"), max_length=30, validators=[name_validator])
    email = models.EmailField(_("e-mail"))
    verified_at = models.DateTimeField(_("verified"), null=True, editable=False)
    code_digest = models.CharField(
        _("digest of the code"), max_length=64, blank=True, editable=False
    )
    code_sent_at = models.DateTimeField(_("code sent"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "email"], name="one_contact_of_an_email"),
            models.UniqueConstraint(
                fields=["email"],
                condition=Q(tenant__isnull=True),
                name="one_operator_contact_of_an_email",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class NotificationGroup(models.Model):
    """Contacts and webhooks that are told of the alarms of some templates.

    In quiet hours messages wait until the hours are over, those of critical alarms where
    ``quiet_critical`` says so too. The times are meant in ``time_zone``, over midnight where the
    first is later.
    """

    KIND: ClassVar[str] = "notification_group"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=group_id, editable=False
    )
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    name = models.CharField(_("name"), max_length=30, validators=[name_validator])
    remark = models.CharField(_("remark"), max_length=200, blank=True)
    contacts = models.ManyToManyField(Contact, verbose_name=_("contacts"), related_name="groups")
    quiet_from = models.TimeField(_("quiet from"), null=True, blank=True)
    quiet_until = models.TimeField(_("quiet until"), null=True, blank=True)
    quiet_critical = models.BooleanField(_("quiet for critical alarms too"), default=False)
    time_zone = models.CharField(_("time zone"), max_length=40, default=default_zone)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("notification group")
        verbose_name_plural = _("notification groups")
        ordering = ["-created_at", "id"]
        constraints = [
            models.CheckConstraint(
                name="quiet_hours_have_two_ends",
                condition=Q(quiet_from__isnull=True, quiet_until__isnull=True)
                | Q(quiet_from__isnull=False, quiet_until__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.pk})"


class Webhook(models.Model):
    """A URL that a group's messages are posted to. The secret signs them, and is kept sealed.

    Those of operators belong to no group.
    """

    KIND: ClassVar[str] = "webhook"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=webhook_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), null=True, blank=True, related_name="+"
    )
    group = models.ForeignKey(
        NotificationGroup,
        models.CASCADE,
        verbose_name=_("group"),
        null=True,
        blank=True,
        related_name="webhooks",
    )
    name = models.CharField(_("name"), max_length=30, validators=[name_validator])
    # The URLs of chat services are secrets themselves, and only their host is shown.
    sealed_url = models.TextField(_("sealed URL"), editable=False)
    host = models.CharField(_("host"), max_length=255)
    format = models.CharField(
        _("format"), max_length=10, choices=WebhookFormat.choices, default=WebhookFormat.SCLOUD
    )
    sealed_secret = models.TextField(_("sealed secret"), blank=True, default="", editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        ordering = ["created_at", "id"]
        constraints = [
            models.CheckConstraint(
                name="a_tenants_webhook_has_a_group",
                condition=Q(tenant__isnull=False, group__isnull=False)
                | Q(tenant__isnull=True, group__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.host})"

    @staticmethod
    def host_of(url: str) -> str:
        """What is shown of a URL."""
        return urlsplit(url).hostname or ""


class Silence(models.Model):
    """A time of planned work in which alarms open and end, and nobody is told.

    ``resource_id`` names one resource, ``template`` those that use it; without both it is for all.
    """

    KIND: ClassVar[str] = "silence"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=silence_id, editable=False
    )
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    reason = models.CharField(_("reason"), max_length=200)
    resource_id = models.CharField(_("resource ID"), max_length=20, blank=True)
    template = models.ForeignKey(
        AlarmTemplate,
        models.CASCADE,
        verbose_name=_("alarm template"),
        null=True,
        blank=True,
        related_name="silences",
    )
    starts_at = models.DateTimeField(_("begins"))
    ends_at = models.DateTimeField(_("ends"))
    created_by = models.CharField(_("created by"), max_length=320)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("silence")
        verbose_name_plural = _("silences")
        ordering = ["-starts_at", "id"]
        indexes = [models.Index(fields=["tenant", "ends_at"], name="silence_tenant_ends")]
        constraints = [
            models.CheckConstraint(
                name="a_silence_has_a_length", condition=Q(ends_at__gt=models.F("starts_at"))
            )
        ]

    def __str__(self) -> str:
        return self.reason

    @property
    def name(self) -> str:
        """What lists and the operation log call it."""
        return self.reason


class Delivery(models.Model):
    """One message to one contact or webhook, with its tries."""

    KIND: ClassVar[str] = "delivery"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=delivery_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), null=True, blank=True, related_name="+"
    )
    contact = models.ForeignKey(
        Contact, models.SET_NULL, verbose_name=_("contact"), null=True, related_name="+"
    )
    webhook = models.ForeignKey(
        Webhook, models.SET_NULL, verbose_name=_("webhook"), null=True, related_name="+"
    )
    # The address or the host, which stay when the row above is gone.
    to = models.CharField(_("to"), max_length=300)
    subject = models.CharField(_("message"), max_length=200, blank=True)
    notices = models.PositiveIntegerField(_("alarms"), default=0)
    is_test = models.BooleanField(_("test"), default=False)
    state = models.CharField(
        _("state"), max_length=10, choices=DeliveryState.choices, default=DeliveryState.SENDING
    )
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    http_status = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    error = models.CharField(_("error"), max_length=300, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["-created_at", "id"]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="delivery_tenant_created")]

    def __str__(self) -> str:
        return f"{self.to}: {self.subject}"

    @property
    def name(self) -> str:
        """What lists call it."""
        return self.subject


class Notice(models.Model):
    """Something that one contact or webhook shall be told; written with what happened.

    What it tells is of that moment: the alarm may have ended since. What is no alarm of a tenant is
    in ``about``, the fields of a :class:`~alarms.rules.messages.Fact`.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, related_name="+")
    contact = models.ForeignKey(Contact, models.CASCADE, null=True, related_name="+")
    webhook = models.ForeignKey(Webhook, models.CASCADE, null=True, related_name="+")
    alarm = models.ForeignKey(Alarm, models.CASCADE, null=True, related_name="+")
    about = models.JSONField(null=True)
    what = models.CharField(max_length=10)
    value = models.FloatField(null=True)
    at = models.DateTimeField()
    not_before = models.DateTimeField()
    state = models.CharField(
        max_length=10, choices=NoticeState.choices, default=NoticeState.WAITING
    )
    delivery = models.ForeignKey(Delivery, models.SET_NULL, null=True, related_name="+")

    objects = TenantManager()

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        ordering = ["id"]
        indexes = [
            models.Index(fields=["not_before"], condition=Q(state="waiting"), name="notice_waiting")
        ]
        constraints = [
            models.CheckConstraint(
                name="a_notice_has_one_target",
                condition=Q(contact__isnull=False, webhook__isnull=True)
                | Q(contact__isnull=True, webhook__isnull=False),
            ),
            models.CheckConstraint(
                name="a_notice_is_about_one_thing",
                condition=Q(alarm__isnull=False, about__isnull=True)
                | Q(alarm__isnull=True, about__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.what} {self.alarm_id or self.about}"
