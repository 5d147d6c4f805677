"""What was seen of a guest when somebody asked."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.models.vm import VM
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


class LookKind(models.TextChoices):
    FACTS = "facts", _("System")
    SCREEN = "screen", _("Screenshot")
    CONSOLE = "console", _("Console log")


class GuestLook(models.Model):
    """The last look at a guest of one kind, asked for by a person and taken by a job.

    ``asked_at`` says when a look was asked for last, ``seen_at`` when one ended. What it found is
    kept for some minutes only, screens and logs sealed: both may show secrets of the guest.
    """

    vm = models.ForeignKey(VM, models.CASCADE, related_name="looks")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    what = models.CharField(max_length=10, choices=LookKind.choices)
    asked_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True)
    # Why the last look found nothing; empty where it did.
    error_code = models.CharField(max_length=60, blank=True, db_default="")
    facts = models.JSONField(null=True)
    sealed_content = models.BinaryField(default=b"")

    objects = TenantManager()

    class Meta:
        verbose_name = _("look at a guest")
        verbose_name_plural = _("looks at guests")
        constraints = [models.UniqueConstraint(fields=["vm", "what"], name="one_look_of_a_kind")]
        indexes = [models.Index(fields=["asked_at"], name="guest_look_asked")]

    def __str__(self) -> str:
        return f"{self.what} of {self.vm_id}"
