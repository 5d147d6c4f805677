"""Scoped reads of contacts, groups, webhooks, silences and deliveries."""

from __future__ import annotations

from django.db.models import Count, QuerySet

from alarms.models import Contact, Delivery, NotificationGroup, Silence, Webhook


def contacts() -> QuerySet[Contact]:
    """Contacts by name."""
    rows: QuerySet[Contact] = Contact.objects.order_by("name", "pk")
    return rows


def groups() -> QuerySet[NotificationGroup]:
    """Groups with ``contact_count``, ``webhook_count`` and ``template_count``."""
    rows: QuerySet[NotificationGroup] = NotificationGroup.objects.annotate(
        contact_count=Count("contacts", distinct=True),
        webhook_count=Count("webhooks", distinct=True),
        template_count=Count("templates", distinct=True),
    )
    return rows.prefetch_related("contacts").order_by("-created_at", "pk")


def webhooks(group: NotificationGroup | None = None) -> QuerySet[Webhook]:
    """Webhooks with their group."""
    rows: QuerySet[Webhook] = Webhook.objects.select_related("group")
    return rows if group is None else rows.filter(group=group)


def silences() -> QuerySet[Silence]:
    """Silences with their template, the latest first."""
    rows: QuerySet[Silence] = Silence.objects.select_related("template")
    return rows.order_by("-starts_at", "pk")


def deliveries() -> QuerySet[Delivery]:
    """Messages that were sent, or are being sent, the latest first."""
    rows: QuerySet[Delivery] = Delivery.objects.order_by("-created_at", "pk")
    return rows
