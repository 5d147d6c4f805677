"""Why the state of a row does not allow a verb now: read by buttons and by ``allowed_actions``.

The actions check again; nothing is allowed because nothing is said against it here.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _


def template_refusal(template: Any, verb: str) -> str:
    """Reads ``resource_count`` where the query counted it."""
    if verb == "make_default_alarm_template" and template.is_default:
        return _("It is the default template already.")
    if verb == "delete_alarm_template":
        if template.is_default:
            return _("The default template cannot be deleted.")
        if getattr(template, "resource_count", 0):
            return _("Cannot be deleted while resources use it.")
    return ""


def rule_refusal(rule: Any, verb: str) -> str:
    """A rule can always be changed by who may."""
    return ""


def alarm_refusal(alarm: Any, verb: str) -> str:
    """Only an open alarm can be acknowledged, and once."""
    if alarm.ended_at is not None:
        return _("It is not open any more.")
    if alarm.acknowledged_at is not None:
        return _("It has been acknowledged.")
    return ""


def contact_refusal(contact: Any, verb: str) -> str:
    """An address is verified once, and tested after that."""
    if verb in ("verify_contact", "send_contact_code") and contact.verified_at is not None:
        return _("The address is verified already.")
    if verb == "test_contact" and contact.verified_at is None:
        return _("The address is not verified.")
    return ""


def group_refusal(group: Any, verb: str) -> str:
    """Reads ``template_count`` where the query counted it."""
    used: int = getattr(group, "template_count", 0)
    if verb == "delete_notification_group" and used:
        return _("Cannot be deleted while alarm templates use it.")
    return ""


def webhook_refusal(webhook: Any, verb: str) -> str:
    """One that is off is sent nothing."""
    if verb == "test_webhook" and not webhook.enabled:
        return _("The webhook is off.")
    return ""


def silence_refusal(silence: Any, verb: str) -> str:
    """What is over cannot end."""
    return _("The silence is over.") if silence.ends_at <= timezone.now() else ""
