"""A rule of a security group as somebody wrote it, and which rules are the same."""

from __future__ import annotations

from dataclasses import dataclass

from network.models import RuleAction, RulePriority, SecurityGroupRule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleInput:
    """A rule as somebody wrote it; nothing in it is checked yet.

    ``ports`` is empty for all, ``22`` or ``8000-8100``; only TCP and UDP have ports.
    """

    direction: str
    protocol: str
    cidr: str
    ports: str = ""
    action: str = RuleAction.ACCEPT
    priority: str = RulePriority.MEDIUM
    description: str = ""


#: What a rule does, without its description: two rules of a group never share it.
Meaning = tuple[str, str, int | None, int | None, str, str, str]


def meaning(rule: SecurityGroupRule) -> Meaning:
    """What tells a rule from the others of its group."""
    return (
        rule.direction,
        rule.protocol,
        rule.port_min,
        rule.port_max,
        rule.cidr,
        rule.action,
        rule.priority,
    )
