"""Many rules at once: copied with their group, from a template, from a CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from network.actions.common import locked
from network.actions.security import (
    check_number,
    fill_rule,
    make_group,
    rules_changed,
)
from network.models import SecurityGroup, SecurityGroupRule
from network.rules import csv_rules, templates
from network.rules.rule_values import RuleInput, meaning
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import InvalidInput
from scloud.tenancy.actor import Actor

#: How many bad lines of a file are told of at once.
TOLD_LINES = 20


@dataclass(frozen=True, slots=True)
class RulesChanged:
    """What became of a set of rules; ``present`` ones were there already."""

    added: int
    present: int
    removed: int


@action("network.copy_security_group")
def copy_security_group(
    *, actor: Actor, group: SecurityGroup, name: str, remark: str | None = None
) -> SecurityGroup:
    """Create a group of the same region with the rules of this one.

    Raises InvalidInput (as :func:`create_security_group`), QuotaExceeded, NotFound.
    """
    row: SecurityGroup = locked(group)
    return make_group(
        actor,
        region=row.region,
        name=name,
        remark=row.remark if remark is None else remark,
        rules=[_as_written(rule) for rule in SecurityGroupRule.objects.filter(group=row)],
    )


@action("network.add_template")
def add_template(
    *, actor: Actor, group: SecurityGroup, template: str, cidr: str = ""
) -> RulesChanged:
    """Add the rules of a template; those that are there already stay as they are.

    ``cidr`` replaces the template's own sources. Raises InvalidInput (``template_unknown``,
    ``cidr_invalid``), Conflict (``too_many_rules``), NotFound.
    """
    row: SecurityGroup = locked(group)
    known = templates.named(template)
    wanted = [_filled(row, rule) for rule in known.rules(cidr)]
    return _put(actor, row, wanted, replace=False, source=f"template {known.key}")


@action("network.import_rules")
def import_rules(
    *, actor: Actor, group: SecurityGroup, content: str, replace: bool = False
) -> RulesChanged:
    """Add the rules of a CSV file, or make the group have exactly these; all of them or none.

    Rules that are there already stay, with the file's description. Raises InvalidInput (as
    :func:`network.rules.csv_rules.read`, ``csv_lines`` with what is wrong in which line), Conflict
    (``too_many_rules``), NotFound.
    """
    row: SecurityGroup = locked(group)
    wanted: list[SecurityGroupRule] = []
    wrong: list[tuple[int, InvalidInput]] = []
    lines = csv_rules.read(content)
    for line in lines:
        try:
            wanted.append(_filled(row, line.rule))
        except InvalidInput as error:
            wrong.append((line.number, error))
    if wrong:
        raise _bad_lines(wrong, len(lines))
    return _put(actor, row, wanted, replace=replace, source="CSV")


def _bad_lines(wrong: Sequence[tuple[int, InvalidInput]], total: int) -> InvalidInput:
    told = [
        _("Line %(line)s: %(message)s") % {"line": line, "message": error.message}
        for line, error in wrong[:TOLD_LINES]
    ]
    more = len(wrong) - len(told)
    if more:
        told.append(_("And %(more)s more.") % {"more": more})
    return InvalidInput(
        "\n".join(
            [
                _("%(wrong)s of %(total)s rules cannot be used.")
                % {"wrong": len(wrong), "total": total},
                *told,
            ]
        ),
        code="csv_lines",
        field="content",
        remedy=_("Correct these lines and import the file again; nothing was changed."),
        numbers={
            "wrong": len(wrong),
            "total": total,
            "lines": [
                {"line": line, "code": error.code, "field": error.field}
                for line, error in wrong[:TOLD_LINES]
            ],
        },
    )


def _filled(group: SecurityGroup, rule: RuleInput) -> SecurityGroupRule:
    return fill_rule(SecurityGroupRule(tenant=group.tenant, group=group), rule)


def _as_written(rule: SecurityGroupRule) -> RuleInput:
    return RuleInput(
        direction=rule.direction,
        protocol=rule.protocol,
        cidr=rule.cidr,
        ports=rule.ports,
        action=rule.action,
        priority=rule.priority,
        description=rule.description,
    )


def _put(
    actor: Actor,
    group: SecurityGroup,
    wanted: Iterable[SecurityGroupRule],
    *,
    replace: bool,
    source: str,
) -> RulesChanged:
    """Bring the rules of a locked group up to what is wanted, in one change of the network.

    A rule that is wanted and there keeps its id, so that the fabric does not touch it.
    """
    there = {meaning(rule): rule for rule in SecurityGroupRule.objects.filter(group=group)}
    new: dict[object, SecurityGroupRule] = {}
    described: list[SecurityGroupRule] = []
    kept: set[object] = set()
    repeated = 0
    for rule in wanted:
        key = meaning(rule)
        known = there.get(key)
        if known is not None:
            kept.add(key)
            if rule.description and known.description != rule.description:
                known.description = rule.description
                described.append(known)
        elif key in new:
            repeated += 1
        else:
            new[key] = rule
    gone = [rule for key, rule in there.items() if replace and key not in kept]
    check_number(len(there) - len(gone), len(new))
    SecurityGroupRule.objects.filter(pk__in=[rule.pk for rule in gone]).delete()
    SecurityGroupRule.objects.bulk_update(described, ["description"])
    SecurityGroupRule.objects.bulk_create(new.values())
    audit.note(
        group,
        before={"rules removed": [str(rule) for rule in gone]},
        after={"rules added": [str(rule) for rule in new.values()], "from": source},
    )
    if new or gone:
        rules_changed(group, actor)
    return RulesChanged(added=len(new), present=len(kept) + repeated, removed=len(gone))
