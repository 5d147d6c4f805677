"""Alarms of the platform, and the operators who are told of them: what administrators do.

What is changed, tested and removed afterwards goes by the same actions as tenants' addresses and
webhooks: :mod:`alarms.actions.notices`.
"""

from __future__ import annotations

from django.utils.translation import gettext as _

from alarms.actions import notices
from alarms.models import Contact, OperatorContact, OperatorWebhook, PlatformAlarm, Webhook
from alarms.models.notices import CONTACTS_PER_TENANT, WEBHOOKS_PER_GROUP
from alarms.queries import clock
from network.actions.common import checked_name, locked
from scloud.accounts.addresses import checked_email
from scloud.audit import action as audit
from scloud.audit import events
from scloud.audit.action import action
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor


@action("platform.acknowledge_alarm")
def acknowledge_platform_alarm(*, actor: Actor, alarm: PlatformAlarm) -> PlatformAlarm:
    """Say that somebody takes care of an alarm of the platform.

    Raises Conflict (``alarm_ended``, ``alarm_acknowledged``), NotFound.
    """
    fresh: PlatformAlarm = locked(alarm)
    if fresh.recovered_at is not None:
        raise Conflict(_("The alarm is not open any more."), code="alarm_ended")
    if fresh.acknowledged_at is not None:
        raise Conflict(
            _("%(who)s has acknowledged it already.") % {"who": fresh.acknowledged_by},
            code="alarm_acknowledged",
        )
    fresh.acknowledged_at, fresh.acknowledged_by = clock.now(), actor.label
    fresh.save(update_fields=["acknowledged_at", "acknowledged_by"])
    audit.note(fresh)
    events.emit(
        tenant_id=None,
        kind=f"{PlatformAlarm.KIND}.acknowledged",
        resource_kind=PlatformAlarm.KIND,
        resource_id=fresh.pk,
        data={"message": fresh.text, "condition": fresh.condition},
    )
    return fresh


@action("platform.add_operator_contact")
def add_operator_contact(*, actor: Actor, contact: OperatorContact) -> OperatorContact:
    """Store a new address of operators. It counts as verified: administrators alone enter them.

    Raises InvalidInput (``email_invalid``, ``invalid_name``), Conflict (``contact_exists``,
    ``too_many_contacts``).
    """
    others = Contact.objects.filter(tenant__isnull=True)
    notices.check_number(others.count(), CONTACTS_PER_TENANT, "too_many_contacts")
    contact.tenant, contact.name = None, checked_name(contact.name)
    contact.email = checked_email(contact.email)
    if others.filter(email=contact.email).exists():
        raise Conflict(
            _("There is a contact with this address."), code="contact_exists", field="email"
        )
    contact.verified_at = clock.now()
    contact.save(force_insert=True)
    audit.note(contact, after={"name": contact.name, "email": contact.email})
    notices.tell(contact, "created")
    return contact


@action("platform.add_operator_webhook")
def add_operator_webhook(
    *, actor: Actor, webhook: OperatorWebhook, url: str, secret: str = ""
) -> OperatorWebhook:
    """Store a new webhook of operators; its name and format are those of the row.

    Raises as :func:`alarms.actions.notices.add_webhook`.
    """
    others = Webhook.objects.filter(tenant__isnull=True).count()
    notices.check_number(others, WEBHOOKS_PER_GROUP, "too_many_webhooks")
    webhook.tenant, webhook.group = None, None
    notices.fill_webhook(webhook, webhook.name, url, webhook.format, secret)
    webhook.save(force_insert=True)
    audit.note(webhook, after=notices.seen(webhook))
    notices.tell(webhook, "created")
    return webhook
