"""Region, and what every tenant's resource has in common."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.lib.text import is_name
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def name_validator(name: str) -> None:
    """Raise ValidationError unless the name is 1 to 30 letters of any script, digits, - _ ."""
    if not is_name(name):
        raise ValidationError(
            _("1 to 30 letters, digits or - _ . are allowed."), code="invalid_name"
        )


slug_validator = RegexValidator(
    r"\A[a-z0-9][a-z0-9-]{0,29}\Z", _("Lower-case letters, digits and - are allowed.")
)


class Region(models.Model):
    """A data centre: its network controller and its resources."""

    id = models.CharField(_("ID"), primary_key=True, max_length=30, validators=[slug_validator])
    name = models.CharField(_("name"), max_length=60)
    enabled = models.BooleanField(_("enabled"), default=True)
    position = models.PositiveSmallIntegerField(_("position in the list"), default=0)
    ovn_nb = models.CharField(
        _("OVN northbound database"),
        max_length=200,
        blank=True,
        help_text=_("tcp:ADDRESS:6641 or unix:PATH"),
    )
    ovn_sb = models.CharField(
        _("OVN southbound database"),
        max_length=200,
        blank=True,
        db_default="",
        help_text=_("tcp:ADDRESS:6642 or unix:PATH; read for packet traces only"),
    )
    underlay_mtu_bytes = models.PositiveIntegerField(
        _("MTU between hosts"),
        default=1500,
        db_default=1500,
        validators=[MinValueValidator(1400), MaxValueValidator(9216)],
        help_text=_(
            "In bytes, as every host and switch between them carries it. VPCs have 58 bytes less."
        ),
    )

    class Meta:
        verbose_name = _("region")
        verbose_name_plural = _("regions")
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.name


class AnnouncementLevel(models.IntegerChoices):
    """How much an announcement stands out; the highest comes first."""

    NEWS = 1, _("News")
    MAINTENANCE = 2, _("Maintenance")
    TROUBLE = 3, _("Trouble")


class Announcement(models.Model):
    """What everybody in the console is told for a while."""

    KIND: ClassVar[str] = "announcement"

    text = models.CharField(_("text"), max_length=300)
    level = models.PositiveSmallIntegerField(
        _("type"), choices=AnnouncementLevel.choices, default=AnnouncementLevel.NEWS
    )
    region = models.ForeignKey(
        Region,
        models.CASCADE,
        verbose_name=_("region"),
        null=True,
        blank=True,
        related_name="announcements",
        help_text=_("Empty: in all regions."),
    )
    shown_from = models.DateTimeField(_("shown from"), default=timezone.now)
    shown_until = models.DateTimeField(_("shown until"))
    work_begins = models.DateTimeField(
        _("work begins"),
        null=True,
        blank=True,
        help_text=_("Of planned work. Everybody sees it in their own time zone."),
    )
    work_ends = models.DateTimeField(_("work ends"), null=True, blank=True)
    dismissible = models.BooleanField(
        _("can be closed"), default=True, help_text=_("By each reader, in their browser.")
    )

    class Meta:
        verbose_name = _("announcement")
        verbose_name_plural = _("announcements")
        ordering = ["-shown_from", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(shown_until__gt=models.F("shown_from")),
                name="announcement_ends_after_it_begins",
            )
        ]
        indexes = [models.Index(fields=["shown_until"], name="announcement_shown_until")]

    def __str__(self) -> str:
        return self.text


class Resource(models.Model):
    """A tenant's resource. Subclasses add ``id`` with their prefix and set KIND."""

    KIND: ClassVar[str] = ""

    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    region = models.ForeignKey(Region, models.PROTECT, verbose_name=_("region"), related_name="+")
    name = models.CharField(_("name"), max_length=60)
    remark = models.CharField(_("remark"), max_length=200, blank=True)
    tags = ArrayField(
        models.CharField(max_length=60), verbose_name=_("tags"), default=list, blank=True
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.name} ({self.pk})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, after the guard that no related row belongs to another tenant."""
        self._guard_tenant(kwargs.get("update_fields"))
        super().save(*args, **kwargs)

    def _guard_tenant(self, update_fields: Iterable[str] | None) -> None:
        wanted = None if update_fields is None else set(update_fields)
        for field in self._meta.concrete_fields:
            if not isinstance(field, models.ForeignKey) or field.name == "tenant":
                continue
            if wanted is not None and field.name not in wanted and field.attname not in wanted:
                continue
            if getattr(self, field.attname) is None:
                continue
            model = field.related_model
            if not any(f.name == "tenant" for f in model._meta.concrete_fields):
                continue
            related = getattr(self, field.name)
            owner = related.tenant_id
            # Platform rows (base images, shared segments) have no tenant and serve all.
            if owner is not None and owner != self.tenant_id:
                raise ValueError(
                    f"{self.KIND} {self.pk}: {field.name} {related.pk} is of another tenant"
                )


class Binnable(models.Model):
    """Columns of a resource that goes to the recycle bin when it is deleted."""

    binned_at = models.DateTimeField(_("moved to the recycle bin"), null=True, editable=False)
    destroy_at = models.DateTimeField(_("to be destroyed"), null=True, editable=False)
    binned_automatically = models.BooleanField(
        _("moved to the recycle bin by the platform"), default=False, editable=False
    )
    destroyed_at = models.DateTimeField(_("destroyed"), null=True, editable=False)

    class Meta:
        abstract = True
