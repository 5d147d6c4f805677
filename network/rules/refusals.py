"""Why the state of a row does not allow a verb now: read by buttons and by ``allowed_actions``.

The actions check again; nothing is allowed because nothing is said against it here.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from network.models import (
    RULES_PER_GROUP,
    Eni,
    ExternalIp,
    NicNetwork,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
)
from network.verbs.enis import ENIS
from network.verbs.external_ips import EXTERNAL_IPS


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
    if verb == "turn_on_ipv6" and subnet.ipv6_cidr:
        return _("IPv6 is already on.")
    if verb == "turn_off_ipv6":
        if not subnet.ipv6_cidr:
            return _("IPv6 is already off.")
        if _count(subnet, "address_count"):
            return _("Cannot be turned off while VMs use it, including VMs in the recycle bin.")
        if subnet.ipv6_dns_servers:
            return _("Remove its IPv6 DNS servers first.")
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


def external_ip_refusal(row: ExternalIp, verb: str) -> str | None:
    """Return why a verb is not allowed in the external IP's present state; None when it is."""
    reason = EXTERNAL_IPS.standing(verb, row.status, row.task)
    if reason is not None:
        return reason
    if verb == "delete_external_ip" and row.nic_id is not None:
        return _("Unbind it first.")
    if verb in ("unbind_external_ip", "unbind_expired_external_ip") and row.nic_id is None:
        return _("It is not bound.")
    if verb == "set_default_egress":
        if row.segment is None or not row.segment.gives_default_route:
            return _("Its segment has no default route.")
        if row.egress:
            return _("It is the default egress already.")
    return None


def eni_refusal(row: Eni, verb: str) -> str | None:
    """Return why a verb is not allowed in the ENI's present state; None when it is."""
    reason = ENIS.standing(verb, row.status, row.task)
    if reason is not None:
        return reason
    inside = row.network == NicNetwork.INTERNAL
    if verb in ("resize_eni", "renew_eni") and inside:
        return _("An internal ENI costs nothing and has no bandwidth of its own.")
    if verb == "delete_eni" and row.vm_id:
        return _("Unbind it first.")
    if verb in ("unbind_eni", "unbind_expired_eni") and not row.vm_id:
        return _("It is not bound.")
    if verb == "set_eni_egress":
        held = getattr(row.nic, "external_address", None) if row.nic is not None else None
        if held is None or not held.segment.gives_default_route:
            return _("Only an external ENI of a segment with a default route can be it.")
        if row.nic is not None and row.nic.egress:
            return _("It is the default egress already.")
    return None
