"""The billing address, as people write it."""

import unicodedata
from collections.abc import Sequence

from django.utils import timezone
from django.utils.translation import gettext as _

from billing import ledger
from billing.models import ADDRESS_CHARACTERS, ADDRESS_LINES, BillingAddress
from scloud.audit.action import action, note
from scloud.audit.events import emit
from scloud.lib.errors import InvalidInput
from scloud.lib.text import composed
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant


def address_of(tenant: Tenant) -> BillingAddress:
    """The tenant's billing address; its name alone, not saved, where it has said none."""
    found: BillingAddress | None = BillingAddress.objects.filter(tenant=tenant).first()
    return found or BillingAddress(tenant=tenant, name=tenant.name, updated_at=tenant.created_at)


@action("billing.set_address")
def set_address(
    *,
    actor: Actor,
    name: str,
    lines: Sequence[str] = (),
    country: str = "",
    tax_number: str = "",
) -> BillingAddress:
    """Say whom statements are for from now on; closed ones stay as they are.

    Raises InvalidInput (``name_missing``, ``address_too_long``, ``address_invalid``).
    """
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    said = {
        "name": _checked("name", name, ADDRESS_CHARACTERS),
        "lines": [line for one in lines if (line := _checked("lines", one, ADDRESS_CHARACTERS))],
        "country": _checked("country", country, 60),
        "tax_number": _checked("tax_number", tax_number, 40),
    }
    if not said["name"]:
        raise InvalidInput(_("Enter a name."), code="name_missing", field="name")
    if len(said["lines"]) > ADDRESS_LINES:
        raise InvalidInput(
            _("An address has at most %(limit)s lines.") % {"limit": ADDRESS_LINES},
            code="address_too_long",
            field="lines",
            numbers={"max": ADDRESS_LINES, "asked": len(said["lines"])},
        )
    # A month is closed under the same lock, with the old address or the new one.
    ledger.lock_account(actor.tenant)
    before = address_of(actor.tenant)
    note(before, before={key: getattr(before, key) for key in said}, after=said)
    found, _made = BillingAddress.objects.update_or_create(
        tenant=actor.tenant, defaults={**said, "updated_at": timezone.now()}
    )
    emit(
        tenant_id=actor.tenant.pk,
        kind="billing.address_changed",
        resource_kind="account",
        resource_id=actor.tenant.pk,
        data={"name": found.name},
    )
    return found


def _checked(field: str, text: str, most: int) -> str:
    cleaned = composed(text.strip())
    if len(cleaned) > most:
        raise InvalidInput(
            _("It has at most %(limit)s characters.") % {"limit": most},
            code="address_too_long",
            field=field,
            numbers={"max": most, "asked": len(cleaned)},
        )
    # Letters of all scripts, but nothing that cannot be seen.
    if any(unicodedata.category(one) in {"Cc", "Cs", "Co", "Cn"} for one in cleaned):
        raise InvalidInput(
            _("It has characters that cannot be printed."), code="address_invalid", field=field
        )
    return cleaned
