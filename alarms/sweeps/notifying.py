"""Queues a job for each contact and webhook that waits to be told something."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _

from alarms.models import Contact, Delivery, Notice, Webhook
from alarms.queries import clock
from alarms.states.notices import DeliveryState, NoticeState
from alarms.tasks.notify import DEADLINE_S, NOTIFY
from scloud.jobs import service as jobs
from scloud.jobs.models import ACTIVE, Job
from scloud.jobs.rows import each
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

#: Deliveries, and notices that were told, are kept so long.
KEEP: Final = timedelta(days=90)
_AT_ONCE: Final = 5000


def notify() -> int:
    """Queue what is due; return how many jobs. One that is at it already takes the rest along."""
    with scopes_disabled():
        due = Notice.objects.filter(
            state=NoticeState.WAITING, not_before__lte=clock.now()
        ).order_by()
        busy = Job.objects.filter(kind=NOTIFY, status__in=ACTIVE).values("target_id")
        contacts = due.filter(contact__isnull=False).values("contact")
        webhooks = due.filter(webhook__isnull=False).values("webhook")
        targets: list[Contact | Webhook] = [
            *Contact.objects.filter(pk__in=contacts).exclude(pk__in=busy).select_related("tenant"),
            *Webhook.objects.filter(pk__in=webhooks).exclude(pk__in=busy).select_related("tenant"),
        ]
    return len(each(targets, _queue, "a notification"))


def _queue(target: Contact | Webhook) -> None:
    with in_scope_of(target.tenant):
        jobs.enqueue(
            kind=NOTIFY,
            tenant=target.tenant,
            title=_("Notify %(name)s of alarms") % {"name": target.name},
            target_kind=target.KIND,
            target_id=target.pk,
            deadline_s=DEADLINE_S,
        )


def forget_old() -> int:
    """Delete what was told long ago; return how many deliveries."""
    limit = timezone.now() - KEEP
    with scopes_disabled():
        Notice.objects.filter(
            pk__in=list(
                Notice.objects.exclude(state=NoticeState.WAITING)
                .filter(at__lt=limit)
                .values_list("pk", flat=True)[:_AT_ONCE]
            )
        ).delete()
        old = Delivery.objects.exclude(state=DeliveryState.SENDING).filter(created_at__lt=limit)
        deleted, _rows = Delivery.objects.filter(
            pk__in=list(old.values_list("pk", flat=True)[:_AT_ONCE])
        ).delete()
    return int(deleted)
