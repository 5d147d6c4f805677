"""What is refused while somebody is still typing."""

from __future__ import annotations

from functools import partial

from django.utils.translation import gettext as _

from compute.rules.validation import (
    batch_names,
    check_name,
    check_remark,
    check_ssh_keys,
    check_user_data,
)
from compute.views.vms.draft.choices import Network, Terms
from compute.views.vms.draft.login import Login
from compute.views.vms.draft.typed import Typed
from network.actions import addresses
from scloud.lib.errors import InvalidInput
from scloud.resources.tags import check_tags
from scloud.web.verbs import split_tags


def check_typed(typed: Typed, terms: Terms, network: Network, login: Login) -> None:
    """Refuse early what was typed wrongly; fields that are still empty are left alone."""
    if network.subnet is not None and network.free_addresses < terms.count:
        typed.refuse(
            InvalidInput(
                _("Only %(free)d addresses are free, %(count)d are needed.")
                % {"free": network.free_addresses, "count": terms.count},
                code="subnet_exhausted",
                field="subnet",
                remedy=_("Choose another subnet, or create fewer VMs."),
            )
        )
    if terms.name:
        names = terms.names
        if names:
            for one in names:
                typed.try_(partial(check_name, one, field="name"))
        else:
            typed.try_(lambda: batch_names(terms.name, terms.count))
    if network.subnet is not None:
        for refused in addresses.refusals(network.subnet, terms.private_ips, field="private_ips"):
            typed.refuse(refused)
    typed.try_(lambda: check_remark(typed.text("remark").strip()))
    typed.try_(lambda: check_tags(split_tags(typed.text("tags"))))
    typed.try_(lambda: check_ssh_keys(login.text))
    typed.try_(lambda: check_user_data(typed.text("user_data")))
