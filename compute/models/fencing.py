"""The devices that hold the power of hosts; no workflow."""

import re
from ipaddress import ip_address
from typing import ClassVar

from cryptography import x509
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.models.platform import Host
from scloud.lib.ids import new_id


class FenceAgent(models.TextChoices):
    """How a device is spoken to."""

    REDFISH = "redfish", _("Redfish")
    IPMI = "ipmi", _("IPMI 2.0")
    VIRSH = "virsh", _("virsh over SSH")
    FAKE = "fake", _("simulated")


def fence_device_id() -> str:
    return new_id("fence")


# No control characters: an agent reads its options line by line.
printable = RegexValidator(
    r"[\x00-\x1f\x7f]", _("Control characters are not allowed."), inverse_match=True
)
# Of users and domains that an agent puts into command lines of ssh and of a shell.
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def validate_address(value: str) -> None:
    """Refuse what is neither an IP address nor a host name, such as one with a port."""
    try:
        ip_address(value)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", value):
            raise ValidationError(
                _("Enter an IP address or a host name."), code="address_invalid"
            ) from None


class FenceDevice(models.Model):
    """The controller that switches a host off and on from outside."""

    KIND: ClassVar[str] = "fence_device"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=fence_device_id, editable=False
    )
    host = models.OneToOneField(
        Host, models.CASCADE, verbose_name=_("host"), related_name="fence_device"
    )
    agent = models.CharField(
        _("type"), max_length=10, choices=FenceAgent.choices, default=FenceAgent.REDFISH
    )
    address = models.CharField(_("address"), max_length=253, validators=[validate_address])
    port = models.PositiveIntegerField(
        _("port"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text=_("Leave empty for the usual one."),
    )
    user = models.CharField(_("user"), max_length=100, validators=[printable])
    sealed_password = models.TextField(_("sealed password"), default="", editable=False)
    system = models.CharField(
        _("system"),
        max_length=200,
        blank=True,
        validators=[printable],
        help_text=_(
            "Redfish: the path of the system, such as /redfish/v1/Systems/1. virsh: the name of "
            "the domain. IPMI: empty."
        ),
    )
    verify_certificate = models.BooleanField(
        _("verify the certificate"),
        default=True,
        help_text=_(
            "Redfish only. Without it whoever sits between the workers and the device reads the "
            "password and can say that a running host is off."
        ),
    )
    certificate = models.TextField(
        _("trusted certificate"),
        blank=True,
        help_text=_(
            "PEM: the device's own certificate or its authority. Leave empty to trust the "
            "authorities of the workers' system."
        ),
    )
    # What the device said last, and when; empty and the reason when it said nothing.
    tested_at = models.DateTimeField(_("last test"), null=True, editable=False)
    tested_power = models.CharField(
        _("power at the last test"), max_length=3, blank=True, editable=False
    )
    test_error = models.CharField(
        _("error of the last test"), max_length=300, blank=True, editable=False
    )

    class Meta:
        verbose_name = _("fence device")
        verbose_name_plural = _("fence devices")
        ordering = ["host__name"]

    def __str__(self) -> str:
        return f"{self.host} ({self.get_agent_display()})"

    @property
    def name(self) -> str:
        """The host's: a device has none of its own."""
        return self.host.name

    def clean(self) -> None:
        """Refuse what the agent of the type would misunderstand."""
        wrong: dict[str, ValidationError] = {}
        if self.agent == FenceAgent.REDFISH and not self.system.startswith("/"):
            # Without a path the agent takes the last system of the controller, whichever it is.
            wrong["system"] = ValidationError(
                _("Enter the path of the system."), code="system_missing"
            )
        if self.agent == FenceAgent.VIRSH:
            if not PLAIN.fullmatch(self.system):
                wrong["system"] = ValidationError(
                    _("Enter the name of the domain."), code="system_missing"
                )
            if not PLAIN.fullmatch(self.user):
                wrong["user"] = ValidationError(
                    _("Letters, digits and . _ + - are allowed here."), code="user_invalid"
                )
        if self.certificate and not _is_pem(self.certificate):
            wrong["certificate"] = ValidationError(
                _("This is not a certificate in PEM form."), code="certificate_invalid"
            )
        if wrong:
            raise ValidationError(wrong)


def _is_pem(text: str) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False
