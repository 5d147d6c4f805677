"""What a tenant of the isolation tests has of alarms."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from alarms.actions.binding import change_vm_template
from alarms.actions.defaults import ensure_default_template
from alarms.actions.notices import add_webhook, create_notification_group, create_silence
from alarms.actions.templates import create_alarm_template
from alarms.models import Alarm, AlarmRule, AlarmTemplate, Contact, Delivery
from alarms.rules.rule_values import RuleInput
from alarms.tasks.notify import new_delivery
from compute.models import VM
from scloud.tenancy.actor import Actor

RULE = RuleInput(metric="cpu_usage_ratio", threshold=70)


def furnish_alarms(actor: Actor, vm: VM, mark: str) -> dict[str, str]:
    """Give a tenant templates, one of them on a VM, and an open alarm; within its scope."""
    assert actor.tenant is not None
    ensure_default_template(actor.tenant)
    default = AlarmTemplate.objects.get(is_default=True)
    unused = create_alarm_template(actor=actor, name=f"{mark}-template", rules=[RULE])
    of_ips = create_alarm_template(actor=actor, name=f"{mark}-ips", subject="external_ip")
    change_vm_template(actor=actor, vm=vm, template=default)
    return {
        **furnish_notices(actor, mark),
        "template": default.pk,
        "unused_template": unused.pk,
        "eip_template": of_ips.pk,
        "alarm_rule": AlarmRule.objects.filter(template=default).earliest("created_at").pk,
        "alarm": open_alarm(vm, default).pk,
    }


def furnish_notices(actor: Actor, mark: str) -> dict[str, str]:
    """Give a tenant who is notified, and what was sent; within its scope."""
    assert actor.tenant is not None
    contact, verified = (
        Contact.objects.create(tenant=actor.tenant, name=f"{mark}-{n}", email=f"{mark}-{n}@x.test")
        for n in range(2)
    )
    Contact.objects.filter(pk=verified.pk).update(verified_at=timezone.now())
    group = create_notification_group(actor=actor, name=f"{mark}-ops", contacts=[contact, verified])
    unused = create_notification_group(actor=actor, name=f"{mark}-idle")
    webhook = add_webhook(
        actor=actor, group=group, name=f"{mark}-hook", url=f"https://{mark}.example.org/"
    )
    now = timezone.now()
    silence = create_silence(
        actor=actor, reason=f"{mark}-work", starts_at=now, ends_at=now + timedelta(days=2)
    )
    delivery = new_delivery(verified)
    Delivery.objects.filter(pk=delivery.pk).update(state="sent", subject=f"{mark}-subject")
    return {
        "contact": contact.pk,
        "verified_contact": verified.pk,
        "notification_group": group.pk,
        "unused_group": unused.pk,
        "webhook": webhook.pk,
        "silence": silence.pk,
        "delivery": delivery.pk,
    }


def open_alarm(vm: VM, template: AlarmTemplate) -> Alarm:
    """Write an open alarm of a VM, as the sweep would."""
    rule = AlarmRule.objects.filter(template=template).latest("created_at")
    made: Alarm = Alarm.objects.create(
        tenant=vm.tenant,
        kind="threshold",
        severity="warning",
        subject="vm",
        resource_id=vm.pk,
        resource_name=vm.name,
        template=template.pk,
        rule=rule,
        metric=rule.metric,
        comparison=rule.comparison,
        threshold=rule.threshold,
        period_s=rule.period_s,
        value=0.97,
        last_value=0.98,
        opened_at=timezone.now(),
    )
    return made
