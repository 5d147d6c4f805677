"""What every tenant starts with."""

from __future__ import annotations

from typing import Final

from django.db import IntegrityError, transaction

from alarms.actions.notices import create_notification_group, set_alarm_template_group
from alarms.actions.templates import create_alarm_template, make_default_alarm_template
from alarms.catalogue import Subject
from alarms.models import AlarmTemplate, NotificationGroup
from alarms.rules.rule_values import DEFAULT_RULES
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope

NAME: Final = "default"


def ensure_default_template(tenant: Tenant) -> None:
    """Make a template for new VMs be there: CPU, memory and space above 90 %, three periods long.

    Any number of times: a tenant with a template for VMs, whatever became of it, gets no other one.
    """
    actor = Actor.system(tenant)
    with scope(tenant=tenant):
        if AlarmTemplate.objects.filter(subject=Subject.VM).exists():
            return
        try:
            with transaction.atomic():
                made = create_alarm_template(actor=actor, name=NAME, rules=DEFAULT_RULES)
                make_default_alarm_template(actor=actor, template=made)
                set_alarm_template_group(
                    actor=actor, template=made, group=_default_group(actor, tenant)
                )
        except IntegrityError:
            # Somebody else made it in the same moment.
            assert AlarmTemplate.objects.filter(subject=Subject.VM, is_default=True).exists()


def _default_group(actor: Actor, tenant: Tenant) -> NotificationGroup:
    """Return the tenant's oldest group, made where there is none; its contacts are for people."""
    found = NotificationGroup.objects.order_by("created_at", "pk").first()
    return found or create_notification_group(actor=actor, name=NAME)
