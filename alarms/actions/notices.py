"""Contacts, notification groups, webhooks and silences."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Final

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from alarms.catalogue import Subject
from alarms.models import (
    AlarmTemplate,
    Contact,
    Delivery,
    NotificationGroup,
    Silence,
    Webhook,
)
from alarms.models.notices import (
    CONTACTS_PER_TENANT,
    GROUPS_PER_TENANT,
    WEBHOOKS_PER_GROUP,
    default_zone,
)
from alarms.queries import clock, resources
from alarms.states.notices import DeliveryState, WebhookFormat
from alarms.tasks.notify import CODE, TEST, TEST_DEADLINE_S, new_delivery
from network.actions.common import checked_name, checked_text, locked, tenant_of
from scloud.accounts.addresses import checked_email
from scloud.audit import action as audit
from scloud.audit import events
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib import destinations, keys
from scloud.lib.errors import Conflict, InvalidInput
from scloud.lib.text import time_zones
from scloud.tenancy.actor import Actor

CODE_LIVES: Final = timedelta(minutes=30)
CODE_AGAIN: Final = timedelta(minutes=5)
LONGEST_SECRET: Final = 200
LONGEST_SILENCE: Final = timedelta(days=90)

Told = Contact | NotificationGroup | Webhook | Silence


# -- contacts ----------------------------------------------------------------------------------


@action("alarms.create_contact")
def create_contact(*, actor: Actor, name: str, email: str) -> Contact:
    """Add an e-mail address, and send it a code: nothing else is sent before it is verified.

    Raises InvalidInput (``email_invalid``), Conflict (``contact_exists``, ``too_many_contacts``).
    """
    contact = make_contact(actor, name=name, email=email)
    _enqueue_code(actor, contact)
    return contact


def make_contact(actor: Actor, *, name: str, email: str) -> Contact:
    """Add an address within the caller's action. Raises as :func:`create_contact`."""
    tenant = tenant_of(actor)
    check_number(Contact.objects.count(), CONTACTS_PER_TENANT, "too_many_contacts")
    address = checked_email(email)
    if Contact.objects.filter(email=address).exists():
        raise Conflict(
            _("There is a contact with this address."), code="contact_exists", field="email"
        )
    contact = Contact(tenant=tenant, name=checked_name(name), email=address)
    contact.save(force_insert=True)
    audit.note(contact, after={"name": contact.name, "email": contact.email})
    tell(contact, "created")
    return contact


@action("alarms.edit_contact")
def edit_contact(*, actor: Actor, contact: Contact, name: str) -> Contact:
    """Rename a contact. Raises InvalidInput, NotFound."""
    fresh: Contact = locked(contact)
    audit.note(before={"name": fresh.name})
    fresh.name = checked_name(name)
    fresh.save(update_fields=["name"])
    audit.note(after={"name": fresh.name})
    tell(fresh, "changed")
    return fresh


@action("alarms.send_contact_code")
def send_contact_code(*, actor: Actor, contact: Contact) -> Job:
    """Send a new code to an address; the one before is void.

    Raises Conflict (``contact_verified``, ``code_sent_recently``, ``target_busy``), NotFound.
    """
    fresh: Contact = locked(contact)
    _refuse_verified(fresh)
    sent = fresh.code_sent_at
    if sent is not None and clock.now() - sent < CODE_AGAIN:
        raise Conflict(
            _("A code was sent a moment ago."),
            code="code_sent_recently",
            remedy=_("Wait %(minutes)d minutes, and look into the spam folder.")
            % {"minutes": CODE_AGAIN.seconds // 60},
        )
    return _enqueue_code(actor, fresh)


def _enqueue_code(actor: Actor, contact: Contact) -> Job:
    return jobs.enqueue(
        kind=CODE,
        tenant=contact.tenant,
        title=_("Send a code to %(name)s") % {"name": contact.name},
        target_kind=Contact.KIND,
        target_id=contact.pk,
        deadline_s=TEST_DEADLINE_S,
        actor=actor,
        exclusive=False,
    )


@action("alarms.verify_contact")
def verify_contact(*, actor: Actor, contact: Contact, code: str) -> Contact:
    """Verify an address by the code that was sent to it.

    It has more than 1e12 forms and lives half an hour, so guesses need no counting. Raises Conflict
    (``contact_verified``, ``code_expired``), InvalidInput (``code_wrong``), NotFound.
    """
    fresh: Contact = locked(contact)
    _refuse_verified(fresh)
    sent = fresh.code_sent_at
    if not fresh.code_digest or sent is None or clock.now() - sent > CODE_LIVES:
        raise Conflict(
            _("There is no valid code for this address."),
            code="code_expired",
            remedy=_("Send a new code."),
        )
    given = f"{fresh.pk}:{''.join(code.upper().replace('-', '').split())}"
    good = [hmac.compare_digest(one, fresh.code_digest) for one in keys.digests(given)]
    if not any(good):
        raise InvalidInput(
            _("This is not the code that was sent."), code="code_wrong", field="code"
        )
    fresh.verified_at, fresh.code_digest = clock.now(), ""
    fresh.save(update_fields=["verified_at", "code_digest"])
    audit.note(after={"email": fresh.email, "verified": True})
    tell(fresh, "verified")
    return fresh


@action("alarms.test_contact")
def test_contact(*, actor: Actor, contact: Contact) -> Job:
    """Send a test message to a verified address. Raises Conflict (``contact_not_verified``)."""
    if contact.verified_at is None:
        raise Conflict(
            _("%(email)s is not verified.") % {"email": contact.email},
            code="contact_not_verified",
            remedy=_("Enter the code that was sent to it."),
        )
    return _enqueue_test(actor, contact)


@action("alarms.delete_contact")
def delete_contact(*, actor: Actor, contact: Contact) -> None:
    """Delete a contact; groups go on without it. Raises NotFound."""
    fresh: Contact = locked(contact)
    audit.note(before={"name": fresh.name, "email": fresh.email})
    tell(fresh, "deleted")
    _give_up(Delivery.objects.filter(contact=fresh))
    fresh.delete()


def _refuse_verified(contact: Contact) -> None:
    if contact.verified_at is not None:
        raise Conflict(_("The address is verified already."), code="contact_verified")


# -- groups ------------------------------------------------------------------------------------


@action("alarms.create_notification_group")
def create_notification_group(
    *,
    actor: Actor,
    name: str,
    remark: str = "",
    contacts: Sequence[Contact] = (),
    quiet_from: time | None = None,
    quiet_until: time | None = None,
    quiet_critical: bool = False,
    time_zone: str = "",
) -> NotificationGroup:
    """Create a group; templates name it to have it told of their alarms.

    Raises InvalidInput (``quiet_hours_invalid``, ``time_zone_invalid``), Conflict
    (``too_many_groups``).
    """
    tenant = tenant_of(actor)
    check_number(NotificationGroup.objects.count(), GROUPS_PER_TENANT, "too_many_groups")
    group = NotificationGroup(
        tenant=tenant, name=checked_name(name), remark=checked_text(remark, field="remark")
    )
    _set_quiet(group, quiet_from, quiet_until, quiet_critical, time_zone or default_zone())
    group.save(force_insert=True)
    group.contacts.set(contacts)
    audit.note(group, after=seen(group))
    tell(group, "created")
    return group


@action("alarms.edit_notification_group")
def edit_notification_group(
    *,
    actor: Actor,
    group: NotificationGroup,
    name: str,
    remark: str,
    contacts: Sequence[Contact],
    quiet_from: time | None,
    quiet_until: time | None,
    quiet_critical: bool,
    time_zone: str,
) -> NotificationGroup:
    """Change a group as a whole. Raises as :func:`create_notification_group`, NotFound."""
    fresh: NotificationGroup = locked(group)
    audit.note(before=seen(fresh))
    fresh.name, fresh.remark = checked_name(name), checked_text(remark, field="remark")
    _set_quiet(fresh, quiet_from, quiet_until, quiet_critical, time_zone)
    fresh.save()
    fresh.contacts.set(contacts)
    audit.note(after=seen(fresh))
    tell(fresh, "changed")
    return fresh


@action("alarms.delete_notification_group")
def delete_notification_group(*, actor: Actor, group: NotificationGroup) -> None:
    """Delete a group that no template names, with its webhooks.

    Raises Conflict (``notification_group_in_use``), NotFound.
    """
    fresh: NotificationGroup = locked(group)
    used = AlarmTemplate.objects.filter(group=fresh).count()
    if used:
        raise Conflict(
            _("%(name)s is used by %(number)s alarm templates.")
            % {"name": fresh.name, "number": used},
            code="notification_group_in_use",
            remedy=_("Give them another group, or none."),
            numbers={"templates": used},
        )
    audit.note(before=seen(fresh))
    tell(fresh, "deleted")
    _give_up(Delivery.objects.filter(webhook__group=fresh))
    fresh.delete()


def _set_quiet(
    group: NotificationGroup,
    begin: time | None,
    end: time | None,
    critical: bool,
    zone: str,
) -> None:
    if (begin is None) != (end is None) or (begin is not None and begin == end):
        raise InvalidInput(
            _("Quiet hours have a beginning and another end."),
            code="quiet_hours_invalid",
            field="quiet_until",
            remedy=_("Enter both times, or leave both empty."),
        )
    if zone not in time_zones():
        raise InvalidInput(
            _("There is no time zone %(zone)s.") % {"zone": zone[:40]},
            code="time_zone_invalid",
            field="time_zone",
            remedy=_("Enter one such as Europe/Berlin."),
        )
    group.quiet_from, group.quiet_until = begin, end
    group.quiet_critical, group.time_zone = critical, zone


# -- webhooks ----------------------------------------------------------------------------------


@action("alarms.add_webhook")
def add_webhook(
    *,
    actor: Actor,
    group: NotificationGroup,
    name: str,
    url: str,
    webhook_format: str = WebhookFormat.SCLOUD.value,
    secret: str = "",
) -> Webhook:
    """Add a webhook to a group. The secret signs what is sent, and is shown nowhere.

    Raises InvalidInput (``url_invalid``, ``url_port``, ``url_credentials``, ``format_invalid``,
    ``secret_invalid``), Conflict (``too_many_webhooks``), NotFound. Where the URL leads is judged
    each time that something is sent.
    """
    fresh: NotificationGroup = locked(group)
    check_number(fresh.webhooks.count(), WEBHOOKS_PER_GROUP, "too_many_webhooks")
    webhook = Webhook(tenant=fresh.tenant, group=fresh)
    fill_webhook(webhook, name, url, webhook_format, secret)
    webhook.save(force_insert=True)
    audit.note(webhook, after=seen(webhook))
    tell(webhook, "created")
    return webhook


@action("alarms.edit_webhook")
def edit_webhook(
    *,
    actor: Actor,
    webhook: Webhook,
    name: str,
    webhook_format: str,
    enabled: bool,
    url: str = "",
    secret: str = "",
) -> Webhook:
    """Change a webhook; an empty URL or secret stays as it is. Raises as :func:`add_webhook`."""
    fresh: Webhook = locked(webhook)
    audit.note(before=seen(fresh))
    fill_webhook(fresh, name, url, webhook_format, secret)
    fresh.enabled = enabled
    fresh.save()
    audit.note(after=seen(fresh))
    tell(fresh, "changed")
    return fresh


@action("alarms.test_webhook")
def test_webhook(*, actor: Actor, webhook: Webhook) -> Job:
    """Send a test message to a webhook; what came of it is among the deliveries."""
    return _enqueue_test(actor, webhook)


@action("alarms.remove_webhook")
def remove_webhook(*, actor: Actor, webhook: Webhook) -> None:
    """Remove a webhook. Raises NotFound."""
    fresh: Webhook = locked(webhook)
    audit.note(before=seen(fresh))
    tell(fresh, "deleted")
    _give_up(Delivery.objects.filter(webhook=fresh))
    fresh.delete()


def fill_webhook(webhook: Webhook, name: str, url: str, form: str, secret: str) -> None:
    """Check what a webhook is given, and seal what is secret. Raises as :func:`add_webhook`."""
    webhook.name = checked_name(name)
    if form not in WebhookFormat.values:
        raise InvalidInput(
            _("“%(text)s” is not a format of webhooks.") % {"text": form[:30]},
            code="format_invalid",
            field="webhook_format",
            remedy=_("Choose one of %(choices)s.") % {"choices": ", ".join(WebhookFormat.values)},
        )
    webhook.format = form
    if url or not webhook.sealed_url:
        checked = destinations.configured().check_url(url)
        webhook.sealed_url = keys.box().encrypt(checked.encode()).decode()
        webhook.host = Webhook.host_of(checked)
    if secret:
        if len(secret) > LONGEST_SECRET or not secret.isprintable():
            raise InvalidInput(
                _("At most %(longest)s characters are allowed here.") % {"longest": LONGEST_SECRET},
                code="secret_invalid",
                field="secret",
            )
        webhook.sealed_secret = keys.box().encrypt(secret.encode()).decode()


def _give_up(deliveries: QuerySet[Delivery]) -> None:
    """End what is being sent to a receiver that is about to go: its job will not find it."""
    deliveries.filter(state=DeliveryState.SENDING).update(
        state=DeliveryState.FAILED, ended_at=clock.now(), error=_("The receiver was removed.")
    )


def _enqueue_test(actor: Actor, target: Contact | Webhook) -> Job:
    delivery = new_delivery(target, is_test=True)
    return jobs.enqueue(
        kind=TEST,
        tenant=target.tenant,
        title=_("Send a test message to %(name)s") % {"name": target.name},
        target_kind=Delivery.KIND,
        target_id=delivery.pk,
        deadline_s=TEST_DEADLINE_S,
        actor=actor,
    )


# -- silences ----------------------------------------------------------------------------------


@action("alarms.create_silence")
def create_silence(
    *,
    actor: Actor,
    reason: str,
    starts_at: datetime,
    ends_at: datetime,
    resource_id: str = "",
    template: AlarmTemplate | None = None,
) -> Silence:
    """Tell nobody of what happens in a time of planned work; alarms are recorded all the same.

    Raises InvalidInput (``silence_invalid``, ``reason_missing``, ``resource_id_unknown``).
    """
    tenant = tenant_of(actor)
    cleaned = checked_text(reason, field="reason")
    if not cleaned:
        raise InvalidInput(_("Say what it is for."), code="reason_missing", field="reason")
    if not starts_at < ends_at <= starts_at + LONGEST_SILENCE or ends_at <= clock.now():
        raise InvalidInput(
            _("A silence ends in the future, and takes at most %(days)d days.")
            % {"days": LONGEST_SILENCE.days},
            code="silence_invalid",
            field="ends_at",
        )
    resource_id = resource_id.strip()
    if resource_id and not any(
        resources.rows_of(subject).filter(pk=resource_id).exists()
        for subject in (Subject.VM, Subject.EXTERNAL_IP)
    ):
        raise InvalidInput(
            _("There is no such resource."), code="resource_id_unknown", field="resource_id"
        )
    silence = Silence(
        tenant=tenant,
        reason=cleaned,
        resource_id=resource_id,
        template=template,
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=actor.label,
    )
    silence.save(force_insert=True)
    audit.note(silence, after=seen(silence))
    tell(silence, "created")
    return silence


@action("alarms.end_silence")
def end_silence(*, actor: Actor, silence: Silence) -> Silence:
    """End a silence now; one that has not begun is deleted. Raises Conflict (``silence_over``)."""
    fresh: Silence = locked(silence)
    now = clock.now()
    if fresh.ends_at <= now:
        raise Conflict(_("The silence is over."), code="silence_over")
    audit.note(before=seen(fresh))
    if fresh.starts_at >= now:
        fresh.ends_at = now
        tell(fresh, "deleted")
        fresh.delete()
        return silence
    fresh.ends_at = now
    fresh.save(update_fields=["ends_at"])
    audit.note(after=seen(fresh))
    tell(fresh, "changed")
    return fresh


# -- the group of a template, and the bell -----------------------------------------------------


@action("alarms.set_alarm_template_group")
def set_alarm_template_group(
    *, actor: Actor, template: AlarmTemplate, group: NotificationGroup | None
) -> AlarmTemplate:
    """Have another group told of the alarms of a template, or nobody. Raises NotFound."""
    fresh: AlarmTemplate = locked(template)
    audit.note(before={"group": fresh.group_id}, after={"group": group.pk if group else None})
    fresh.group = group
    fresh.save(update_fields=["group"])
    events.emit(
        tenant_id=fresh.tenant_id,
        kind=f"{AlarmTemplate.KIND}.changed",
        resource_kind=AlarmTemplate.KIND,
        resource_id=fresh.pk,
        data={"name": fresh.name},
    )
    return fresh


def check_number(used: int, limit: int, code: str) -> None:
    """Raise Conflict where there are as many as there may be."""
    if used >= limit:
        raise Conflict(
            _("There are at most %(limit)s of them.") % {"limit": limit},
            code=code,
            remedy=_("Delete one that is not used."),
            numbers={"limit": limit, "used": used},
        )


def seen(row: Told) -> dict[str, object]:
    """What the operation log keeps of a row: never a URL, a secret or a code."""
    if isinstance(row, Webhook):
        return {"name": row.name, "host": row.host, "format": row.format, "enabled": row.enabled}
    if isinstance(row, NotificationGroup):
        return {
            "name": row.name,
            "remark": row.remark,
            "contacts": sorted(row.contacts.values_list("email", flat=True)),
            "quiet": f"{row.quiet_from or ''}-{row.quiet_until or ''} {row.time_zone}",
        }
    if isinstance(row, Silence):
        return {
            "reason": row.reason,
            "resource": row.resource_id,
            "template": row.template_id,
            "from": row.starts_at.isoformat(),
            "until": row.ends_at.isoformat(),
        }
    return {"name": row.name}


def tell(row: Told, verb: str) -> None:
    """Write the event of a change."""
    events.emit(
        tenant_id=row.tenant_id,
        kind=f"{row.KIND}.{verb}",
        resource_kind=row.KIND,
        resource_id=row.pk,
        data={"name": row.name},
    )
