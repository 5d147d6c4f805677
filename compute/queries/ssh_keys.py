"""The SSH keys that a tenant keeps, and what becomes of chosen ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from compute.models import SshKey
from compute.rules import sshkeys
from scloud.lib.errors import InvalidInput, NotFound
from scloud.lib.text import unix_lines
from scloud.tenancy.models import Tenant


def ssh_keys() -> QuerySet[SshKey]:
    """Return the keys of the open scope, by name."""
    return SshKey.objects.order_by("name", "id")


def ssh_key(pk: str) -> SshKey:
    """Return one key. Raises NotFound."""
    found = ssh_keys().filter(pk=pk).first()
    if found is None:
        raise NotFound(_("There is no SSH key %(id)s.") % {"id": pk[:20]})
    return found


def chosen(tenant: Tenant, ids: Sequence[str], *, field: str = "ssh_keys") -> list[SshKey]:
    """Return keys of a tenant by their ids, in the order of their names.

    Raises InvalidInput (``ssh_keys_unknown``).
    """
    wanted = list(dict.fromkeys(ids))
    found = list(ssh_keys().filter(tenant=tenant, pk__in=wanted)) if wanted else []
    if len(found) < len(wanted):
        known = {one.pk for one in found}
        raise InvalidInput(
            _("There is no such SSH key here."),
            code="ssh_keys_unknown",
            field=field,
            remedy=_("Choose one that is offered."),
            numbers={"missing": [one for one in wanted if one not in known]},
        )
    return found


def together(typed: str, stored: Iterable[SshKey]) -> str:
    """Return typed keys with kept ones behind them, one a line, each once.

    What was typed stays as it is, so that a refusal can name the line that it is about.
    """
    given = {sshkeys.identity(line) for line in unix_lines(typed).split("\n") if line.strip()}
    more = [one.public_key for one in stored if sshkeys.identity(one.public_key) not in given]
    return "\n".join([typed, *more] if typed.strip() else more)
