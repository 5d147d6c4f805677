"""What was typed into the wizard, read tolerantly, with the refusals beside the fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import Model
from django.http import QueryDict
from django.utils.translation import gettext as _

from scloud.lib.errors import InvalidInput, ScloudError, StaleQuote
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant

M = TypeVar("M", bound=Model)

# Where an action's refusal appears when it names something that the form calls otherwise.
FIELD_OF = {
    "address": "private_ips",
    "names": "name",
    "billing_method": "method",
    "internal_security_group": "internal_group",
    "external_security_group": "external_group",
}
FIELDS = (
    "cluster",
    "image",
    "spec",
    "gpu_count",
    "system_disk_type",
    "system_disk_gib",
    "data_disk_type",
    "data_disk_gib",
    "subnet",
    "private_ips",
    "internal_group",
    "external_group",
    "external_segment",
    "external_bandwidth_mbps",
    "placement_group",
    "name",
    "remark",
    "tags",
    "password",
    "ssh_public_key",
    "user_data",
    "count",
    "method",
    "periods",
)


class Typed:
    """The fields as they were sent, and what was wrong with them."""

    def __init__(self, *, actor: Actor, region: Region, data: QueryDict | None = None) -> None:
        assert actor.tenant is not None, "the console serves tenants' users only"
        self.actor = actor
        self.tenant: Tenant = actor.tenant
        self.region = region
        self.data = data if data is not None else QueryDict()
        self.fresh = data is None
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
    def field_errors(self) -> dict[str, list[ScloudError]]:
        """The errors of every field, empty lists included, so that old ones disappear."""
        return {name: self.errors.get(name, []) for name in FIELDS}
