"""What everything that exists in the fabric has in common, and what remains of what was deleted."""

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from network.states.resources import Status
from scloud.resources.models import Region, Resource
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


class Applied(models.Model):
    """A row whose intended state is stored here and applied to the fabric.

    Every change raises ``generation``. A worker that has applied generation N writes N into
    ``applied_generation``. So a change that arrives while an earlier one is being applied is never
    taken for applied, in whatever order the workers end.
    """

    generation = models.PositiveIntegerField(_("generation"), default=1, editable=False)
    applied_generation = models.PositiveIntegerField(
        _("applied generation"), default=0, editable=False
    )
    sync_error = models.CharField(_("error"), max_length=300, blank=True, editable=False)
    # For operators: what the network controller says itself.
    sync_error_detail = models.TextField(_("error detail"), blank=True, db_default="")

    class Meta:
        abstract = True

    #: The name of the kind in events, jobs and the fabric.
    KIND: ClassVar[str] = ""

    @property
    def fabric_kind(self) -> str:
        """What the fabric calls it; a value of its ``Kind``."""
        return self.KIND

    @property
    def fabric_id(self) -> str:
        """By which id the fabric knows it."""
        return str(self.pk)

    @property
    def status(self) -> Status:
        if self.applied_generation >= self.generation:
            return Status.AVAILABLE
        return Status.FAILED if self.sync_error else Status.APPLYING


class FabricResource(Applied, Resource):
    """A tenant's resource that exists in the fabric; see :class:`Applied`."""

    class Meta(Resource.Meta):
        abstract = True


class Tombstone(models.Model):
    """A resource that is gone: the licence to delete what the fabric still holds of it.

    Absence from our tables alone is no such licence, it may as well be a restored backup.
    """

    kind = models.CharField(_("type"), max_length=20)
    target_id = models.CharField(_("target ID"), max_length=40)
    # Null for what belongs to the platform itself.
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, null=True, verbose_name=_("tenant"), related_name="+"
    )
    region = models.ForeignKey(Region, models.PROTECT, verbose_name=_("region"), related_name="+")
    buried_at = models.DateTimeField(_("deleted"), default=timezone.now)
    removed_at = models.DateTimeField(_("removed"), null=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("tombstone")
        verbose_name_plural = _("tombstones")
        constraints = [
            models.UniqueConstraint(fields=["kind", "target_id"], name="network_one_tombstone")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.target_id}"
