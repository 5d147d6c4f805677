"""How somebody will sign in to the VM: a password, kept keys, typed keys."""

from __future__ import annotations

from functools import cached_property

from django.utils.translation import gettext as _

from compute.models import SshKey
from compute.queries import ssh_keys as queries
from compute.rules.validation import MAX_SSH_KEYS
from compute.views.vms.draft.typed import Typed
from scloud.lib.errors import InvalidInput


class Login:
    """The kept keys to choose from, those that are chosen, and what was typed."""

    def __init__(self, typed: Typed) -> None:
        self.typed = typed

    @cached_property
    def offered(self) -> list[SshKey]:
        """The keys that the tenant keeps; none where the caller may not see them."""
        if not self.typed.actor.allows("compute.view_ssh_key"):
            return []
        return list(queries.ssh_keys())

    @cached_property
    def chosen(self) -> list[SshKey]:
        """The chosen ones; an id that is not offered leaves an error."""
        wanted = {str(one) for one in self.typed.data.getlist("ssh_keys")}
        found = [one for one in self.offered if one.pk in wanted]
        if len(found) < len(wanted):
            self.typed.refuse(
                InvalidInput(
                    _("There is no such SSH key here."), code="ssh_keys_unknown", field="ssh_keys"
                )
            )
        return found

    @property
    def chosen_ids(self) -> set[str]:
        return {one.pk for one in self.chosen}

    @property
    def text(self) -> str:
        """The keys that the VM is given, one a line: typed ones, then chosen ones."""
        return queries.together(self.typed.text("ssh_public_key"), self.chosen)

    @property
    def max_keys(self) -> int:
        return MAX_SSH_KEYS

    @property
    def keys_seen(self) -> str:
        """What the part of the page with the keys depends on."""
        return ".".join(f"{one.pk}:{one.name}" for one in self.offered)
