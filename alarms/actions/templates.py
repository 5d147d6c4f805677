"""Alarm templates and their rules."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from alarms.catalogue import METRICS, Device, Metric, Subject
from alarms.models import Alarm, AlarmRule, AlarmTemplate
from alarms.models.templates import RULES_PER_TEMPLATE, SUBJECTS, TEMPLATES_PER_TENANT
from alarms.queries import clock
from alarms.rules.rule_values import RuleInput
from alarms.rules.values import checked_threshold
from alarms.states.alarms import (
    MAX_COUNT,
    NO_DATA_S,
    PERIODS_S,
    Comparison,
    Convergence,
    EndReason,
    Severity,
)
from alarms.store.base import MAX_DEVICE_LENGTH
from alarms.transitions.alarms import end_alarms
from network.actions.common import checked_name, checked_text, locked, tenant_of
from scloud.audit import action as audit
from scloud.audit import events
from scloud.audit.action import action
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.tenancy.actor import Actor


@action("alarms.create_alarm_template")
def create_alarm_template(
    *,
    actor: Actor,
    name: str,
    subject: str = Subject.VM.value,
    remark: str = "",
    no_data_s: int = 300,
    rules: Sequence[RuleInput] = (),
) -> AlarmTemplate:
    """Create a template with these rules; nothing has it until it is bound.

    Raises InvalidInput (``subject_invalid``, ``no_data_s_invalid``, and as :func:`add_alarm_rule`),
    Conflict (``too_many_rules``, ``too_many_templates``).
    """
    return make_template(
        actor, name=name, subject=subject, remark=remark, no_data_s=no_data_s, rules=rules
    )


def make_template(
    actor: Actor,
    *,
    name: str,
    subject: str = Subject.VM.value,
    remark: str = "",
    no_data_s: int = 300,
    rules: Sequence[RuleInput] = (),
    is_default: bool = False,
) -> AlarmTemplate:
    """Create a template within the caller's action. Raises as :func:`create_alarm_template`."""
    tenant = tenant_of(actor)
    _check_number_of_templates()
    template = AlarmTemplate(
        tenant=tenant,
        subject=_one_of(subject, [value for value, _label in SUBJECTS], "subject"),
        name=checked_name(name),
        remark=checked_text(remark, field="remark"),
        no_data_s=_no_data_s(no_data_s),
        is_default=is_default,
    )
    rows = [fill_rule(AlarmRule(tenant=tenant, template=template), template, one) for one in rules]
    check_number(0, len(rows))
    template.save(force_insert=True)
    AlarmRule.objects.bulk_create(rows)
    audit.note(template, after={"name": template.name, "rules": [str(row) for row in rows]})
    tell(template, "created")
    return template


@action("alarms.edit_alarm_template")
def edit_alarm_template(
    *,
    actor: Actor,
    template: AlarmTemplate,
    name: str | None = None,
    remark: str | None = None,
    no_data_s: int | None = None,
) -> AlarmTemplate:
    """Change a template; None leaves something as it is. Raises InvalidInput, NotFound."""
    fresh: AlarmTemplate = locked(template)
    audit.note(before=_seen(fresh))
    if name is not None:
        fresh.name = checked_name(name)
    if remark is not None:
        fresh.remark = checked_text(remark, field="remark")
    if no_data_s is not None:
        fresh.no_data_s = _no_data_s(no_data_s)
    fresh.save(update_fields=["name", "remark", "no_data_s"])
    audit.note(after=_seen(fresh))
    tell(fresh, "changed")
    return fresh


@action("alarms.copy_alarm_template")
def copy_alarm_template(
    *, actor: Actor, template: AlarmTemplate, name: str, remark: str | None = None
) -> AlarmTemplate:
    """Create a template with the same rules; no resource has it yet.

    Raises InvalidInput, Conflict (``too_many_templates``).
    """
    _check_number_of_templates()
    made: AlarmTemplate = AlarmTemplate(
        tenant=template.tenant,
        subject=template.subject,
        name=checked_name(name),
        remark=template.remark if remark is None else checked_text(remark, field="remark"),
        no_data_s=template.no_data_s,
        group=template.group,
    )
    made.save(force_insert=True)
    rules = []
    for rule in AlarmRule.objects.filter(template=template):
        copied = AlarmRule(tenant=template.tenant, template=made)
        for field in _RULE_FIELDS:
            setattr(copied, field, getattr(rule, field))
        rules.append(copied)
    AlarmRule.objects.bulk_create(rules)
    audit.note(made, after={"name": made.name, "rules": [str(one) for one in rules]})
    tell(made, "created")
    return made


@action("alarms.make_default_alarm_template")
def make_default_alarm_template(*, actor: Actor, template: AlarmTemplate) -> AlarmTemplate:
    """Give this template to new resources of its kind; those that exist keep theirs."""
    fresh: AlarmTemplate = locked(template)
    others = AlarmTemplate.objects.filter(subject=fresh.subject, is_default=True)
    before = others.exclude(pk=fresh.pk).select_for_update().first()
    try:
        with transaction.atomic():
            if before is not None:
                before.is_default = False
                before.save(update_fields=["is_default"])
            fresh.is_default = True
            fresh.save(update_fields=["is_default"])
    except IntegrityError as error:
        raise Conflict(
            _("Another template was made the default in the same moment."),
            code="default_changed",
            remedy=_("Try again."),
        ) from error
    audit.note(before={"default": before.pk if before else None}, after={"default": fresh.pk})
    for row in (fresh, before):
        if row is not None:
            tell(row, "changed")
    return fresh


@action("alarms.delete_alarm_template")
def delete_alarm_template(*, actor: Actor, template: AlarmTemplate) -> None:
    """Delete a template that no resource has and that new ones do not get.

    Raises Conflict (``alarm_template_in_use``, ``alarm_template_is_default``), NotFound.
    """
    row: AlarmTemplate = locked(template)
    if row.is_default:
        raise Conflict(
            _("%(name)s is the default template.") % {"name": row.name},
            code="alarm_template_is_default",
            remedy=_("Make another template the default first."),
        )
    used = row.bindings.count()
    if used:
        raise Conflict(
            _("%(name)s is used by %(number)s resources.") % {"name": row.name, "number": used},
            code="alarm_template_in_use",
            remedy=_("Give them another template, or none."),
            numbers={"resources": used},
        )
    audit.note(before=_seen(row))
    _end_alarms_of(list(row.rules.all()), EndReason.UNBOUND)
    tell(row, "deleted")
    row.delete()


@action("alarms.add_alarm_rule")
def add_alarm_rule(*, actor: Actor, template: AlarmTemplate, rule: RuleInput) -> AlarmRule:
    """Add a rule; it counts from the next period on.

    Raises InvalidInput (``metric_invalid``, ``comparison_invalid``, ``threshold_invalid``,
    ``unit_invalid``, ``period_s_invalid``, ``count_invalid``, ``convergence_invalid``,
    ``severity_invalid``, ``device_invalid``), Conflict (``too_many_rules``), NotFound.
    """
    row: AlarmTemplate = locked(template)
    check_number(AlarmRule.objects.filter(template=row).count(), 1)
    made = fill_rule(AlarmRule(tenant=row.tenant, template=row), row, rule)
    made.save(force_insert=True)
    audit.note(after={"rule": made.pk, "is": str(made)})
    tell(row, "rules_changed")
    return made


@action("alarms.edit_alarm_rule")
def edit_alarm_rule(*, actor: Actor, rule: AlarmRule, values: RuleInput) -> AlarmRule:
    """Change a rule; its open alarms end, and it begins to count anew.

    Raises as :func:`add_alarm_rule`.
    """
    template, fresh = _locked_rule(rule)
    audit.note(before={"rule": fresh.pk, "is": str(fresh)})
    _end_alarms_of([fresh], EndReason.RULE_CHANGED)
    fill_rule(fresh, template, values)
    fresh.save()
    audit.note(after={"rule": fresh.pk, "is": str(fresh)})
    tell(template, "rules_changed")
    return fresh


@action("alarms.remove_alarm_rule")
def remove_alarm_rule(*, actor: Actor, rule: AlarmRule) -> None:
    """Remove a rule; its open alarms end. Raises NotFound."""
    template, fresh = _locked_rule(rule)
    audit.note(before={"rule": fresh.pk, "is": str(fresh)})
    _end_alarms_of([fresh], EndReason.RULE_CHANGED)
    fresh.delete()
    tell(template, "rules_changed")


def _end_alarms_of(rules: Sequence[AlarmRule], reason: EndReason) -> None:
    """End what the rules have opened: an alarm speaks of a threshold that there is."""
    found = Alarm.objects.filter(rule__in=rules, ended_at__isnull=True)
    end_alarms(list(found), reason, clock.now())


def _locked_rule(rule: AlarmRule) -> tuple[AlarmTemplate, AlarmRule]:
    template: AlarmTemplate = locked(rule.template)
    fresh = AlarmRule.objects.filter(pk=rule.pk, template=template).first()
    if fresh is None:
        raise NotFound(_("There is no rule %(rule)s.") % {"rule": rule.pk})
    return template, fresh


def check_number(present: int, more: int) -> None:
    """Raise Conflict (``too_many_rules``) where a template would have too many rules."""
    if present + more > RULES_PER_TEMPLATE:
        raise Conflict(
            _("An alarm template has at most %(limit)s rules.") % {"limit": RULES_PER_TEMPLATE},
            code="too_many_rules",
            remedy=_("Remove a rule first."),
            numbers={"limit": RULES_PER_TEMPLATE, "used": present, "asked": more},
        )


def _check_number_of_templates() -> None:
    used = AlarmTemplate.objects.count()
    if used >= TEMPLATES_PER_TENANT:
        raise Conflict(
            _("There are at most %(limit)s alarm templates.") % {"limit": TEMPLATES_PER_TENANT},
            code="too_many_templates",
            remedy=_("Delete one that is not used."),
            numbers={"limit": TEMPLATES_PER_TENANT, "used": used},
        )


def fill_rule(row: AlarmRule, template: AlarmTemplate, values: RuleInput) -> AlarmRule:
    """Check what was written and put it into the row. Raises InvalidInput."""
    metric = _metric(values.metric, template.subject)
    row.metric = metric.name
    row.device = _device(values.device, metric)
    row.comparison = _one_of(values.comparison, Comparison.values, "comparison")
    row.threshold = checked_threshold(metric, values.threshold, unit=values.unit.strip())
    row.period_s = _one_number(values.period_s, PERIODS_S, "period_s")
    if not 1 <= values.count <= MAX_COUNT:
        raise InvalidInput(
            _("1 to %(max)s periods are allowed.") % {"max": MAX_COUNT},
            code="count_invalid",
            field="count",
            numbers={"min": 1, "max": MAX_COUNT, "given": values.count},
        )
    row.count = values.count
    row.convergence = _one_of(values.convergence, Convergence.values, "convergence")
    row.severity = _one_of(values.severity, Severity.values, "severity")
    return row


def _metric(name: str, subject: str) -> Metric:
    metric = METRICS.get(name.strip())
    if metric is None or metric.subject != subject:
        raise InvalidInput(
            _("“%(name)s” is not a metric of this kind of resource.") % {"name": name[:60]},
            code="metric_invalid",
            field="metric",
            remedy=_("Choose one that is offered."),
        )
    return metric


def _device(text: str, metric: Metric) -> str:
    cleaned = checked_text(text, field="device", longest=MAX_DEVICE_LENGTH)
    if cleaned and (metric.device is Device.NONE or not cleaned.isprintable()):
        raise InvalidInput(
            _("%(metric)s is not measured per device.") % {"metric": metric.label},
            code="device_invalid",
            field="device",
            remedy=_("Leave the device empty."),
        )
    return cleaned


def _one_of(value: str, allowed: Sequence[str], field: str) -> str:
    cleaned = value.strip().lower()
    if cleaned not in allowed:
        raise InvalidInput(
            _("“%(text)s” is not valid here.") % {"text": value.strip()[:30]},
            code=f"{field}_invalid",
            field=field,
            remedy=_("Choose one of %(choices)s.") % {"choices": ", ".join(allowed)},
        )
    return cleaned


def _one_number(value: int, allowed: Sequence[int], field: str) -> int:
    if value not in allowed:
        choices = ", ".join(str(one) for one in allowed)
        raise InvalidInput(
            _("%(value)s seconds are not offered here.") % {"value": value},
            code=f"{field}_invalid",
            field=field,
            remedy=_("Choose one of %(choices)s.") % {"choices": choices},
            numbers={"allowed": list(allowed), "given": value},
        )
    return value


def _no_data_s(value: int) -> int:
    return _one_number(value, NO_DATA_S, "no_data_s")


#: What makes a rule, apart from whose it is.
_RULE_FIELDS = (
    "metric",
    "device",
    "comparison",
    "threshold",
    "period_s",
    "count",
    "convergence",
    "severity",
)


def _seen(template: AlarmTemplate) -> dict[str, object]:
    return {
        "name": template.name,
        "remark": template.remark,
        "no_data_s": template.no_data_s,
        "default": template.is_default,
    }


def tell(template: AlarmTemplate, verb: str) -> None:
    """Write the event of a template."""
    events.emit(
        tenant_id=template.tenant_id,
        kind=f"{AlarmTemplate.KIND}.{verb}",
        resource_kind=AlarmTemplate.KIND,
        resource_id=template.pk,
        data={"name": template.name},
    )
