"""The rows that the input of a verb may name."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from alarms.catalogue import Subject
from alarms.models import AlarmTemplate, NotificationGroup
from alarms.queries.notices import groups
from alarms.queries.templates import templates
from scloud.tenancy.actor import Actor
from scloud.verbs.inputs import rows


@rows("alarms.vm_templates")
def vm_templates(actor: Actor, row: Any) -> QuerySet[AlarmTemplate]:
    """Return the tenant's templates for VMs."""
    return templates(Subject.VM)


@rows("alarms.external_ip_templates")
def external_ip_templates(actor: Actor, row: Any) -> QuerySet[AlarmTemplate]:
    """Return the tenant's templates for external IPs."""
    return templates(Subject.EXTERNAL_IP)


@rows("alarms.groups")
def notification_groups(actor: Actor, row: Any) -> QuerySet[NotificationGroup]:
    """Return the tenant's notification groups."""
    return groups()
