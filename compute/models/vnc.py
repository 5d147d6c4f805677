"""Who may open which screen: tickets for browsers, leases for VNC clients."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.lib.ids import new_id
from scloud.tenancy.models import ApiKey, Tenant, User
from scloud.tenancy.scoping import TenantManager


def vnc_lease_id() -> str:
    return new_id("vnc")


class VncTicket(models.Model):
    """The right to open one websocket to one screen, once and soon.

    Only a digest of the token is kept. The ticket is bound to the user, to the browser session
    that asked for it and to the VM; a used one stays as the record of the session.
    """

    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+")
    vm = models.ForeignKey("compute.VM", models.CASCADE, related_name="+")
    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    session_digest = models.CharField(max_length=64, editable=False)
    ip = models.GenericIPAddressField(null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    close_code = models.PositiveSmallIntegerField(null=True)

    objects = TenantManager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = _("VNC ticket")
        verbose_name_plural = _("VNC tickets")
        indexes = [models.Index(fields=["expires_at"], name="vnc_ticket_expires")]

    def __str__(self) -> str:
        return f"screen of {self.vm_id} for {self.user}"


class VncLeaseState(models.TextChoices):
    REQUESTED = "requested", _("Opening")
    LISTENING = "listening", _("Waiting for a client")
    CONNECTED = "connected", _("Connected")
    CLOSED = "closed", _("Closed")


class VncLease(models.Model):
    """A port and a password that let one VNC client see one screen for a while.

    The client may come again with them until ``expires_at``. The password is kept encrypted, and
    only as long as it is good; the port belongs to the lease as long as the password is kept. A
    trigger takes both away when the VM stops, moves to another host or changes hands.
    """

    KIND: ClassVar[str] = "vnc_lease"

    id = models.CharField(primary_key=True, max_length=20, default=vnc_lease_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+")
    vm = models.ForeignKey("compute.VM", models.CASCADE, related_name="+")
    # Empty when the user is gone since: then nobody may use it any more.
    user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    # The key of the API that asked for it; empty when the console did.
    api_key = models.ForeignKey(ApiKey, models.CASCADE, null=True, related_name="+")
    address = models.CharField(max_length=45)
    port = models.PositiveIntegerField()
    password_box = models.TextField(blank=True, editable=False)
    state = models.CharField(
        max_length=10, choices=VncLeaseState.choices, default=VncLeaseState.REQUESTED
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    connected_at = models.DateTimeField(null=True)
    client_ip = models.GenericIPAddressField(null=True)
    closed_at = models.DateTimeField(null=True)
    close_reason = models.CharField(max_length=120, blank=True)

    objects = TenantManager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = _("VNC lease")
        verbose_name_plural = _("VNC leases")
        constraints = [
            models.UniqueConstraint(
                fields=["port"],
                condition=~Q(password_box=""),
                name="vnc_lease_port_once",
            ),
            models.CheckConstraint(
                condition=~Q(state="closed") | Q(password_box=""), name="vnc_lease_closed_forgets"
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=~Q(state="closed"), name="vnc_lease_open")
        ]

    def __str__(self) -> str:
        return f"{self.address}:{self.port} for {self.vm_id}"
