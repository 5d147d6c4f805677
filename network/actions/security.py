"""Security groups and their rules."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from django.utils.translation import gettext as _

from billing import quotas
from network.actions.common import (
    bury_and_remove,
    changed,
    checked_name,
    checked_text,
    enqueue_sync,
    locked,
    rename,
    tell,
    tenant_of,
    usable,
)
from network.models import (
    RULES_PER_GROUP,
    Nic,
    RuleAction,
    RuleDirection,
    RulePriority,
    RuleProtocol,
    SecurityGroup,
    SecurityGroupRule,
)
from network.models import cidr as ranges
from network.rules import templates as template_rules
from network.rules import usage
from network.rules.rule_values import RuleInput, meaning
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.lib.ids import new_id
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor

DESCRIPTION_LENGTH = 100
HIGHEST_PORT = 65_535


@action("network.create_security_group")
def create_security_group(
    *,
    actor: Actor,
    region: Region,
    name: str,
    remark: str = "",
    rules: Sequence[RuleInput] = (),
    templates: Sequence[str] = (),
    is_default: bool = False,
) -> SecurityGroup:
    """Create a group with these rules and those of these templates; without any nothing passes.

    Raises InvalidInput (as :func:`add_rule`; ``template_unknown``), Conflict (``too_many_rules``)
    and QuotaExceeded.
    """
    sets = [template_rules.named(key).rules() for key in templates]
    return make_group(
        actor,
        region=region,
        name=name,
        remark=remark,
        rules=list(itertools.chain(rules, *sets)),
        is_default=is_default,
    )


def make_group(
    actor: Actor,
    *,
    region: Region,
    name: str,
    remark: str,
    rules: Sequence[RuleInput],
    is_default: bool = False,
) -> SecurityGroup:
    """Create a group within the caller's action, with each rule once.

    Raises as :func:`create_security_group`.
    """
    tenant = tenant_of(actor)
    group = SecurityGroup(
        id=new_id("sg"),
        tenant=tenant,
        region=usable(region),
        name=checked_name(name),
        remark=checked_text(remark, field="remark"),
        is_default=is_default,
    )
    filled = [fill_rule(SecurityGroupRule(tenant=tenant, group=group), one) for one in rules]
    # Of two that say the same the first: it may be the caller's own, with its description.
    rows = list({meaning(row): row for row in reversed(filled)}.values())[::-1]
    check_number(0, len(rows))
    quotas.take(tenant, region, {"security_groups": 1}, group.pk)
    group.save(force_insert=True)
    SecurityGroupRule.objects.bulk_create(rows)
    audit.note(group, after={"name": group.name, "rules": [str(row) for row in rows]})
    tell(group, "created")
    enqueue_sync(
        group, actor=actor, title=_("Create security group %(name)s") % {"name": group.name}
    )
    return group


@action("network.rename_security_group")
def rename_security_group(
    *, actor: Actor, group: SecurityGroup, name: str | None = None, remark: str | None = None
) -> SecurityGroup:
    """Change name and remark; None leaves one as it is. Raises InvalidInput, NotFound."""
    return rename(group, name, remark)


@action("network.delete_security_group")
def delete_security_group(*, actor: Actor, group: SecurityGroup) -> None:
    """Delete a group that no NIC uses, those of binned VMs included.

    Raises Conflict (``security_group_in_use``), NotFound.
    """
    row: SecurityGroup = locked(group)
    nics = Nic.objects.filter(security_group=row).count()
    if nics:
        raise Conflict(
            _("Security group %(name)s is used by %(nics)s network interfaces.")
            % {"name": row.name, "nics": nics},
            code="security_group_in_use",
            remedy=_(
                "Assign another security group to the VMs, including those in the recycle bin."
            ),
            numbers={"nics": nics},
        )
    for who, number in usage.elsewhere(row).items():
        raise Conflict(
            _("Security group %(name)s is referenced by %(number)s %(who)s.")
            % {"name": row.name, "number": number, "who": who},
            code="security_group_in_use",
            remedy=_(
                "Assign another security group to the VMs, including those in the recycle bin."
            ),
            numbers={"used": number},
        )
    audit.note(before={"name": row.name})
    tell(row, "deleted")
    quotas.free(row.pk)
    bury_and_remove(
        row, actor=actor, title=_("Delete security group %(name)s") % {"name": row.name}
    )


@action("network.add_rule")
def add_rule(*, actor: Actor, group: SecurityGroup, rule: RuleInput) -> SecurityGroupRule:
    """Add a rule; it acts at once on running VMs.

    Raises InvalidInput (``direction_invalid``, ``protocol_invalid``, ``action_invalid``,
    ``priority_invalid``, ``cidr_invalid``, ``protocol_ip_version``, ``ports_invalid``,
    ``ports_not_allowed``), Conflict (``too_many_rules``, ``rule_repeated``), NotFound.
    """
    row: SecurityGroup = locked(group)
    check_number(SecurityGroupRule.objects.filter(group=row).count(), 1)
    made = fill_rule(SecurityGroupRule(tenant=row.tenant, group=row), rule)
    _refuse_repeated(made)
    made.save(force_insert=True)
    audit.note(after={"rule": made.pk, "is": str(made)})
    rules_changed(row, actor)
    return made


@action("network.edit_rule")
def edit_rule(*, actor: Actor, rule: SecurityGroupRule, values: RuleInput) -> SecurityGroupRule:
    """Change a rule; it acts at once on running VMs. Raises as :func:`add_rule`."""
    group, fresh = _locked_rule(rule)
    audit.note(before={"rule": fresh.pk, "is": str(fresh)})
    fill_rule(fresh, values)
    _refuse_repeated(fresh)
    fresh.save()
    audit.note(after={"rule": fresh.pk, "is": str(fresh)})
    rules_changed(group, actor)
    return fresh


@action("network.remove_rule")
def remove_rule(*, actor: Actor, rule: SecurityGroupRule) -> None:
    """Remove a rule; connections that nothing allows any more are cut. Raises NotFound."""
    group, fresh = _locked_rule(rule)
    audit.note(before={"rule": fresh.pk, "is": str(fresh)})
    fresh.delete()
    rules_changed(group, actor)


def _locked_rule(rule: SecurityGroupRule) -> tuple[SecurityGroup, SecurityGroupRule]:
    group: SecurityGroup = locked(rule.group)
    fresh = SecurityGroupRule.objects.filter(pk=rule.pk, group=group).first()
    if fresh is None:
        raise NotFound(_("There is no rule %(rule)s.") % {"rule": rule.pk})
    return group, fresh


def rules_changed(group: SecurityGroup, actor: Actor) -> None:
    """Have a worker apply the rules of a locked group, and tell who looks at it."""
    changed(group)
    audit.note(group)
    tell(group, "rules_changed")
    enqueue_sync(group, actor=actor, title=_("Apply the rules of %(name)s") % {"name": group.name})


def check_number(present: int, more: int) -> None:
    """Raise Conflict (``too_many_rules``) where a group would have too many rules."""
    if present + more > RULES_PER_GROUP:
        raise Conflict(
            _("A security group has at most %(rules_per_group)s rules.")
            % {"rules_per_group": RULES_PER_GROUP},
            code="too_many_rules",
            remedy=_("Remove a rule, or combine several into a range."),
            numbers={"limit": RULES_PER_GROUP, "used": present, "asked": more},
        )


def _refuse_repeated(rule: SecurityGroupRule) -> None:
    same = SecurityGroupRule.objects.filter(
        group=rule.group,
        direction=rule.direction,
        protocol=rule.protocol,
        port_min=rule.port_min,
        port_max=rule.port_max,
        cidr=rule.cidr,
        action=rule.action,
        priority=rule.priority,
    ).exclude(pk=rule.pk)
    if same.exists():
        raise Conflict(
            _("The security group already has this rule."),
            code="rule_repeated",
            remedy=_("Change the existing rule."),
        )


def fill_rule(row: SecurityGroupRule, values: RuleInput) -> SecurityGroupRule:
    """Check what was written and put it into the row. Raises InvalidInput as :func:`add_rule`."""
    row.direction = _one_of(values.direction, RuleDirection.values, "direction")
    row.protocol = _one_of(values.protocol, RuleProtocol.values, "protocol")
    row.action = _one_of(values.action, RuleAction.values, "action")
    row.priority = _one_of(values.priority, RulePriority.values, "priority")
    remote = ranges.parse_remote(values.cidr)
    version = {RuleProtocol.ICMP.value: 4, RuleProtocol.ICMPV6.value: 6}.get(row.protocol)
    if version not in (None, remote.version):
        raise InvalidInput(
            _("%(label)s does not exist in IPv%(version)s.")
            % {"label": RuleProtocol(row.protocol).label, "version": remote.version},
            code="protocol_ip_version",
            field="cidr",
            remedy=_("Enter an IPv%(version)s range, or choose another protocol.")
            % {"version": version},
        )
    row.cidr = str(remote)
    row.port_min, row.port_max = _ports(values.ports, row.protocol)
    row.description = checked_text(
        values.description, field="description", longest=DESCRIPTION_LENGTH
    )
    return row


def _one_of(value: str, allowed: list[str], field: str) -> str:
    cleaned = value.strip().lower()
    if cleaned not in allowed:
        raise InvalidInput(
            _("“%(text)s” is not a valid %(field)s of a rule.")
            % {"text": value.strip()[:30], "field": field},
            code=f"{field}_invalid",
            field=field,
            remedy=_("Choose one of %(choices)s.") % {"choices": ", ".join(allowed)},
        )
    return cleaned


def _ports(text: str, protocol: str) -> tuple[int | None, int | None]:
    cleaned = text.strip()
    if protocol not in (RuleProtocol.TCP, RuleProtocol.UDP):
        if cleaned:
            raise InvalidInput(
                _("%(label)s has no ports.") % {"label": RuleProtocol(protocol).label},
                code="ports_not_allowed",
                field="ports",
                remedy=_("Leave the ports empty."),
            )
        return None, None
    if not cleaned:
        return None, None
    first, dash, last = (part.strip() for part in cleaned.partition("-"))
    ends = [first, last] if dash else [first, first]
    good = all(end.isascii() and end.isdigit() and len(end) <= 5 for end in ends)
    numbers = [int(end) for end in ends] if good else [0, 0]
    if not 1 <= numbers[0] <= numbers[1] <= HIGHEST_PORT:
        raise InvalidInput(
            _("“%(cleaned)s” is not a port or a range of ports.") % {"cleaned": cleaned[:30]},
            code="ports_invalid",
            field="ports",
            remedy=_("Enter a port from 1 to %(highest_port)s, such as 22, or a range: 8000-8100.")
            % {"highest_port": HIGHEST_PORT},
        )
    return numbers[0], numbers[1]
