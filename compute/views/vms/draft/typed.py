"""What was typed into the wizard, read tolerantly, with the refusals beside the fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Model
from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scloud.lib.errors import InvalidInput, ScloudError, StaleQuote
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant

M = TypeVar("M", bound=Model)
Text = str | Promise

# Where an action's refusal appears when it names something that the form calls otherwise.
FIELD_OF = {
    "address": "private_ips",
    "names": "name",
    "billing_method": "method",
    "internal_security_group": "internal_group",
    "external_security_group": "external_group",
}
# The fields in the order of the page, each with what the summary of mistakes calls it.
FIELDS: Mapping[str, Text] = {
    "cluster": gettext_lazy("Model"),
    "image": gettext_lazy("Image"),
    "spec": gettext_lazy("Size"),
    "gpu_count": gettext_lazy("GPU chips"),
    "system_disk_type": gettext_lazy("Type of the system disk"),
    "system_disk_gib": gettext_lazy("Size of the system disk"),
    "data_disk_type": gettext_lazy("Type of the data disk"),
    "data_disk_gib": gettext_lazy("Size of the data disk"),
    "subnet": gettext_lazy("VPC and subnet"),
    "internal_group": gettext_lazy("Internal security group"),
    "external_group": gettext_lazy("External security group"),
    "external_segment": gettext_lazy("External IP"),
    "external_bandwidth_mbps": gettext_lazy("Bandwidth of the external IP"),
    "name": gettext_lazy("Name"),
    "count": gettext_lazy("How many"),
    "private_ips": gettext_lazy("Private IP"),
    "password": gettext_lazy("Password"),
    "ssh_keys": gettext_lazy("SSH keys"),
    "ssh_public_key": gettext_lazy("SSH public key"),
    "placement_group": gettext_lazy("Placement group"),
    "remark": gettext_lazy("Remark"),
    "tags": gettext_lazy("Tags"),
    "user_data": gettext_lazy("User data"),
    "method": gettext_lazy("Billing method"),
    "periods": gettext_lazy("Duration"),
}


@dataclass(frozen=True)
class Mistake:
    """A line of the summary of mistakes: the field, what it is called, what is wrong with it."""

    field: str
    label: Text
    message: str


class Typed:
    """The fields as they were sent, and what was wrong with them.

    ``pressed``: whether *Buy now* was pressed, now or before; then empty fields are mistakes too.
    """

    def __init__(
        self,
        *,
        actor: Actor,
        region: Region,
        data: QueryDict | None = None,
        pressed: bool = False,
    ) -> None:
        assert actor.tenant is not None, "the console serves tenants' users only"
        self.actor = actor
        self.tenant: Tenant = actor.tenant
        self.region = region
        self.data = data if data is not None else QueryDict()
        self.fresh = data is None
        self.pressed = pressed or self.flag("pressed")
        self.errors: dict[str, list[ScloudError]] = {}
        self.refusal: ScloudError | None = None
        self.stale: StaleQuote | None = None

    def text(self, name: str, default: str = "") -> str:
        """Return what was typed into a field."""
        return str(self.data.get(name, default)).replace("\x00", "")

    def number(self, name: str, default: int) -> int:
        """Return a whole number; one that is none leaves an error beside its field."""
        typed = self.text(name).strip()
        if not typed:
            return default
        if not (typed.isascii() and typed.isdigit() and len(typed) <= 6):
            self.refuse(InvalidInput(_("Enter a whole number."), code="number_invalid", field=name))
            return default
        return int(typed)

    def flag(self, name: str) -> bool:
        return name in self.data

    def rows(self, name: str, count: int) -> list[str]:
        """Return the values of a field that exists once per VM."""
        typed = [str(value).strip() for value in self.data.getlist(name)][:count]
        return typed + [""] * (count - len(typed))

    def refuse(self, error: ScloudError) -> None:
        """Put a refusal beside its field, or above the price."""
        name = FIELD_OF.get(error.field or "", error.field or "")
        if isinstance(error, StaleQuote):
            self.stale = error
        elif name in FIELDS:
            known = self.errors.setdefault(name, [])
            if error.message not in {one.message for one in known}:
                known.append(error)
        elif self.refusal is None:
            self.refusal = error

    def try_(self, call: Callable[[], Any]) -> None:
        """Make a check; what it refuses is shown."""
        try:
            call()
        except ScloudError as error:
            self.refuse(error)

    def pick(self, rows: list[M], name: str, what: str, default: M | None) -> M | None:
        """Return the chosen row; the default where nothing, or nothing that is offered, is."""
        wanted = self.text(name)
        if not wanted:
            return default
        found = next((row for row in rows if str(row.pk) == wanted), None)
        if found is None and name not in self._forgiven:
            self.refuse(
                InvalidInput(
                    _("There is no such %(what)s here.") % {"what": what},
                    code=f"{name}_unknown",
                    field=name,
                )
            )
            return None
        return found or default

    @property
    def _forgiven(self) -> tuple[str, ...]:
        """Fields whose choice belongs to another model than the one that is chosen now."""
        seen = self.text("seen_cluster")
        return ("spec", "image") if seen and seen != self.text("cluster") else ()

    @property
    def form_values(self) -> dict[str, str]:
        """What was typed into the fields that nothing else reads; never the password."""
        return {name: self.text(name) for name in ("remark", "tags", "ssh_public_key", "user_data")}

    @property
    def has_password(self) -> bool:
        """Whether one was typed; what asks for a price says so without sending it."""
        return bool(self.text("password")) or self.flag("password_given")

    @property
    def field_errors(self) -> dict[str, list[ScloudError]]:
        """The errors of every field, empty lists included, so that old ones disappear.

        What was said of a password that was not sent again stays: nobody can judge it.
        """
        unseen = self.flag("password_given") and not self.text("password")
        return {
            name: self.errors.get(name, []) for name in FIELDS if name != "password" or not unseen
        }

    @property
    def mistakes(self) -> list[Mistake]:
        """All that is wrong, in the order of the page, once *Buy now* was pressed."""
        if not self.pressed:
            return []
        return [
            Mistake(name, label, error.message)
            for name, label in FIELDS.items()
            for error in self.errors.get(name, [])
        ]
