"""Jobs that send what people are told. They wait for the next try without keeping a slot.

There is one job for each contact and webhook at a time, and it looks for what waits at each try:
what happens while a mail server is away is told by one message when it is back. A worker that dies
between sending and writing that it has sent lets the message be sent twice, with the same id.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from alarms.models import Contact, Delivery, Notice, Webhook
from alarms.queries import clock
from alarms.rules import messages
from alarms.rules.messages import Fact, Item, Message
from alarms.rules.values import value_text
from alarms.sending import email, webhook
from alarms.sending.base import NotSent
from alarms.states.alarms import Severity
from alarms.states.notices import NOTICES_PER_MESSAGE, RETRIES_S, DeliveryState, NoticeState
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib import destinations, keys
from scloud.lib.errors import ScloudError
from scloud.resources import kinds

NOTIFY: Final = "alarm.notify"
TEST: Final = "alarm.test"
CODE: Final = "contact.send_code"
#: Longer than all waits between the tries together.
DEADLINE_S: Final = sum(RETRIES_S) + 3600.0
TEST_DEADLINE_S: Final = 300.0
#: Of eight signs that nobody takes for others: more than 1e12 codes.
CODE_SIGNS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
ERROR_LENGTH: Final = 300

Target = Contact | Webhook


class Notify(Handler):
    """``alarm.notify``: its target is a contact or a webhook."""

    repeatable = False

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("send", _("Send the notification"), _notify)]

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """Give up what could not be sent; what happens from now on is another message."""
        now = clock.now()
        sending = _open_deliveries(context.job)
        Notice.objects.filter(delivery__in=sending, state=NoticeState.WAITING).update(
            state=NoticeState.FAILED
        )
        sending.update(state=DeliveryState.FAILED, ended_at=now, error=error.message[:ERROR_LENGTH])


class SendTest(Handler):
    """``alarm.test``: one message, tried once. Its target is the delivery."""

    repeatable = False
    max_attempts = 1

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("send", _("Send the test message"), _test)]

    def on_failure(self, context: Context, error: ScloudError) -> None:
        Delivery.objects.filter(pk=context.job.target_id, state=DeliveryState.SENDING).update(
            state=DeliveryState.FAILED,
            ended_at=clock.now(),
            error=error.message[:ERROR_LENGTH],
        )


class SendCode(Handler):
    """``contact.send_code``: a new code to an address that shall be verified."""

    repeatable = False

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("send", _("Send the code"), _send_code)]


def register_handlers() -> None:
    """Called once, when the app is ready."""
    register(NOTIFY, Notify())
    register(TEST, SendTest())
    register(CODE, SendCode())


def target_named(kind: str, pk: str) -> Target | None:
    """Return a contact or webhook of the open scope that messages may be sent to."""
    if kind == Contact.KIND:
        return Contact.objects.filter(pk=pk, verified_at__isnull=False).first()
    return Webhook.objects.filter(pk=pk, enabled=True).first()


def _open_deliveries(job: Job) -> QuerySet[Delivery]:
    rows = Delivery.objects.filter(state=DeliveryState.SENDING, is_test=False)
    if job.target_kind == Contact.KIND:
        return rows.filter(contact=job.target_id)
    return rows.filter(webhook=job.target_id)


def _notify(context: Context) -> None:
    job = context.job
    target = target_named(job.target_kind, job.target_id)
    if target is None:
        # Removed, turned off, or with another address: what waited for it is told to nobody.
        _waiting(job).update(state=NoticeState.FAILED)
        _open_deliveries(job).update(state=DeliveryState.FAILED, ended_at=clock.now())
        return
    now = clock.now()
    delivery = _collect(job, target, now)
    if delivery is None:
        return
    notices = list(
        Notice.objects.filter(delivery=delivery).select_related("alarm").order_by("at", "pk")
    )
    said = messages.message(
        delivery.pk,
        [item_of(one) for one in notices],
        console_url=settings.SCLOUD_CONSOLE_URL,
        list_path=_list_path(target),
    )
    delivery.subject, delivery.notices = said.subject[:200], len(notices)
    delivery.tries += 1
    delivery.save(update_fields=["subject", "notices", "tries"])
    context.guard()
    try:
        status = deliver(target, said, now)
    except NotSent as error:
        delivery.error, delivery.http_status = error.message[:ERROR_LENGTH], error.status
        delivery.save(update_fields=["error", "http_status"])
        if error.lasting or delivery.tries > len(RETRIES_S):
            raise ScloudError(error.message, code="notification_failed") from error
        context.park(RETRIES_S[delivery.tries - 1])
    _sent(delivery, status)


def _collect(job: Job, target: Target, now: datetime) -> Delivery | None:
    """Return the message that is being sent, with all that waits by now; None for nothing."""
    with transaction.atomic():
        delivery = _open_deliveries(job).order_by("created_at").first()
        room = NOTICES_PER_MESSAGE
        if delivery is not None:
            room -= Notice.objects.filter(delivery=delivery).count()
        waiting = _waiting(job).filter(delivery__isnull=True, not_before__lte=now)
        ids = list(waiting.order_by("at", "pk").values_list("pk", flat=True)[: max(0, room)])
        if delivery is None:
            if not ids:
                return None
            delivery = new_delivery(target)
        Notice.objects.filter(pk__in=ids).update(delivery=delivery)
    return delivery


def _waiting(job: Job) -> QuerySet[Notice]:
    rows = Notice.objects.filter(state=NoticeState.WAITING)
    if job.target_kind == Contact.KIND:
        return rows.filter(contact=job.target_id)
    return rows.filter(webhook=job.target_id)


def new_delivery(target: Target, *, is_test: bool = False) -> Delivery:
    """Write the row of a message that is about to be sent."""
    contact = target if isinstance(target, Contact) else None
    made: Delivery = Delivery.objects.create(
        tenant_id=target.tenant_id,
        contact=contact,
        webhook=target if isinstance(target, Webhook) else None,
        to=target.email if isinstance(target, Contact) else f"{target.name} ({target.host})",
        is_test=is_test,
    )
    return made


def deliver(target: Target, said: Message, now: datetime) -> int | None:
    """Send a message; return the status of the answer, None for e-mail. Raises NotSent."""
    if isinstance(target, Contact):
        email.send(target.name, target.email, said)
        return None
    box = keys.box()
    secret = box.decrypt(target.sealed_secret.encode()).decode() if target.sealed_secret else ""
    return webhook.send(
        target.format,
        box.decrypt(target.sealed_url.encode()).decode(),
        secret,
        said,
        destinations.configured(),
        now=now,
    )


def _sent(delivery: Delivery, status: int | None) -> None:
    with transaction.atomic():
        Notice.objects.filter(delivery=delivery).update(state=NoticeState.SENT)
        delivery.state, delivery.ended_at = DeliveryState.SENT, clock.now()
        delivery.http_status, delivery.error = status, ""
        delivery.save(update_fields=["state", "ended_at", "http_status", "error"])


def _test(context: Context) -> None:
    delivery = (
        Delivery.objects.filter(pk=context.job.target_id, state=DeliveryState.SENDING)
        .select_related("contact", "webhook")
        .first()
    )
    target = None if delivery is None else delivery.contact or delivery.webhook
    if delivery is None or target is None:
        return
    said = messages.test_message(
        delivery.pk, console_url=settings.SCLOUD_CONSOLE_URL, list_path=_list_path(target)
    )
    delivery.subject, delivery.tries = said.subject, delivery.tries + 1
    delivery.save(update_fields=["subject", "tries"])
    context.guard()
    try:
        status = deliver(target, said, clock.now())
    except NotSent as error:
        delivery.http_status = error.status
        delivery.save(update_fields=["http_status"])
        raise ScloudError(error.message, code="notification_failed") from error
    _sent(delivery, status)


def _send_code(context: Context) -> None:
    """The code is made here and nowhere kept but in the message: the row has its digest."""
    contact = Contact.objects.filter(pk=context.job.target_id, verified_at__isnull=True).first()
    if contact is None:
        return
    code = "".join(secrets.choice(CODE_SIGNS) for _place in range(8))
    now = clock.now()
    Contact.objects.filter(pk=contact.pk, verified_at__isnull=True).update(
        code_digest=keys.digest(f"{contact.pk}:{code}"), code_sent_at=now
    )
    said = Message(
        contact.pk,
        _("Verify this address for SCloud notifications"),
        _(
            "The code is %(code)s.\n\nEnter it in the console, under Contacts. Nothing is sent to "
            "this address unless you do. If you did not ask for it, ignore this message."
        )
        % {"code": f"{code[:4]}-{code[4:]}"},
    )
    context.guard()
    try:
        email.send(contact.name, contact.email, said)
    except NotSent as error:
        raise ScloudError(error.message, code="notification_failed") from error


def _list_path(target: Target) -> str:
    """Return the page with all that a receiver is told of."""
    if target.tenant_id is None:
        return reverse("admin:alarms_platformalarm_changelist")
    return messages.ALARMS_PATH


def item_of(notice: Notice) -> Item:
    """Return what a message tells of a notice."""
    alarm = notice.alarm
    if alarm is None:
        assert notice.about is not None, "a constraint says so"
        return _item_of_fact(Fact(**notice.about), notice)
    return Item(
        alarm=alarm.pk,
        what=notice.what,
        severity=alarm.severity,
        severity_word=str(Severity(alarm.severity).label),
        resource_kind=alarm.subject,
        resource_id=alarm.resource_id,
        resource_name=alarm.resource_name,
        text=alarm.what,
        device=alarm.device,
        value=notice.value,
        value_text=value_text(alarm.metric, notice.value),
        at=notice.at,
        url=link_to(alarm.subject, alarm.resource_id),
    )


def _item_of_fact(fact: Fact, notice: Notice) -> Item:
    return Item(
        alarm=fact.id,
        what=notice.what,
        severity=fact.severity,
        severity_word=str(Severity(fact.severity).label),
        resource_kind=fact.resource_kind,
        resource_id=fact.resource_id,
        resource_name=fact.resource_name,
        text=fact.text,
        device="",
        value=None,
        value_text="",
        at=notice.at,
        url=f"{settings.SCLOUD_CONSOLE_URL}{fact.path}"
        if fact.path
        else link_to(fact.resource_kind, fact.resource_id),
        is_sentence=fact.is_sentence,
    )


def link_to(kind: str, pk: str) -> str:
    """Return the URL of a resource's page."""
    url_name = kinds.get(kind).url_name
    path = reverse(url_name, args=[pk]) if url_name else "/"
    return f"{settings.SCLOUD_CONSOLE_URL}{path}"
