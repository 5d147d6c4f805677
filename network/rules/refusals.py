"""Why the state of a row does not allow a verb now: read by buttons and by ``allowed_actions``.

The actions check again; nothing is allowed because nothing is said against it here.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from network.models import RULES_PER_GROUP, SecurityGroup, SecurityGroupRule, Subnet, Vpc


def _count(row: Any, name: str) -> int:
    """Return what the query counted; 0 where it did not."""
    found: int = getattr(row, name, 0)
    return found


def vpc_refusal(vpc: Vpc, verb: str) -> str:
    """Reads ``subnet_count``."""
    if verb == "delete_vpc" and _count(vpc, "subnet_count"):
        return _("Cannot be deleted while it has subnets.")
    return ""


def subnet_refusal(subnet: Subnet, verb: str) -> str:
    """Reads ``address_count``."""
    if verb == "delete_subnet" and _count(subnet, "address_count"):
        return _("Cannot be deleted while VMs use it, including VMs in the recycle bin.")
    return ""


def security_group_refusal(group: SecurityGroup, verb: str) -> str:
    """Reads ``nic_count`` and ``rule_count``."""
    if verb in ("add_rule", "add_template") and _count(group, "rule_count") >= RULES_PER_GROUP:
        return _("The maximum number of rules is reached.")
    if verb == "delete_security_group" and _count(group, "nic_count"):
        return _("Cannot be deleted while VMs use it, including VMs in the recycle bin.")
    return ""


def rule_refusal(rule: SecurityGroupRule, verb: str) -> str:
    """A rule can always be changed by who may."""
    return ""
