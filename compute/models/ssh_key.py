"""SSH public keys that a tenant keeps to choose from."""

from typing import ClassVar, Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.lib.ids import new_id
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager

SSH_KEYS_PER_TENANT: Final = 100


def ssh_key_id() -> str:
    return new_id("sshkey")


class SshKey(models.Model):
    """A public key under a name. VMs are given its text, so deleting it changes none of them.

    ``fingerprint`` is what OpenSSH shows (``SHA256:…``), one row for each in a tenant.
    """

    KIND: ClassVar[str] = "ssh_key"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=ssh_key_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="ssh_keys"
    )
    name = models.CharField(_("name"), max_length=30)
    public_key = models.TextField(_("public key"))
    key_type = models.CharField(_("type"), max_length=50)
    fingerprint = models.CharField(_("fingerprint"), max_length=60)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["SshKey"]] = TenantManager()

    class Meta:
        verbose_name = _("SSH key")
        verbose_name_plural = _("SSH keys")
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "fingerprint"], name="ssh_key_once"),
        ]

    def __str__(self) -> str:
        return self.name
