"""What can be done with a row now, and why not: read by buttons and by ``allowed_actions``.

The actions check again; nothing is allowed because it is listed here.
"""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from network.models import RULES_PER_GROUP, SecurityGroup, SecurityGroupRule, Subnet, Vpc
from scloud.tenancy.actor import Actor

Text = str | Promise
#: Verb -> the reason against it; empty when it may be tried.
Verbs = dict[str, Text]

NOT_ALLOWED = _("Your role does not include this.")


def of_vpc(actor: Actor, vpc: Vpc) -> Verbs:
    """Reads ``subnet_count``."""
    in_use: Text = _("It still has subnets.") if getattr(vpc, "subnet_count", 0) else ""
    return _with_rights(actor, {"create_subnet": "", "rename_vpc": "", "delete_vpc": in_use})


def of_subnet(actor: Actor, subnet: Subnet) -> Verbs:
    """Reads ``address_count``."""
    in_use: Text = ""
    if getattr(subnet, "address_count", 0):
        in_use = _("VMs use its addresses, perhaps some in the recycle bin.")
    return _with_rights(actor, {"rename_subnet": "", "delete_subnet": in_use})


def of_security_group(actor: Actor, group: SecurityGroup) -> Verbs:
    """Reads ``nic_count`` and ``rule_count``."""
    full: Text = ""
    if getattr(group, "rule_count", 0) >= RULES_PER_GROUP:
        full = _("It has as many rules as it can have.")
    in_use: Text = ""
    if getattr(group, "nic_count", 0):
        in_use = _("VMs use it, perhaps some in the recycle bin.")
    return _with_rights(
        actor,
        {"add_rule": full, "rename_security_group": "", "delete_security_group": in_use},
    )


def of_rule(actor: Actor, rule: SecurityGroupRule) -> Verbs:
    """A rule can always be changed by who may."""
    return _with_rights(actor, {"edit_rule": "", "remove_rule": ""})


def _with_rights(actor: Actor, verbs: Verbs) -> Verbs:
    return {
        verb: reason if actor.allows(f"network.{verb}") else NOT_ALLOWED
        for verb, reason in verbs.items()
    }
