"""How people are notified, and what becomes of it."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class WebhookFormat(models.TextChoices):
    """Who reads what a webhook is sent."""

    SCLOUD = "scloud", _("SCloud (JSON, signed)")
    SLACK = "slack", _("Slack")
    DINGTALK = "dingtalk", _("DingTalk")
    WECOM = "wecom", _("WeCom")


class NoticeState(models.TextChoices):
    """Where one notice for one contact or webhook stands."""

    WAITING = "waiting", _("Waiting")
    SENT = "sent", _("Sent")
    FAILED = "failed", _("Failed")


class DeliveryState(models.TextChoices):
    """Where one message stands."""

    SENDING = "sending", _("Sending")
    SENT = "sent", _("Sent")
    FAILED = "failed", _("Failed")


#: Seconds between the tries to send a message; after the last one it is given up.
RETRIES_S: Final = (10, 30, 60, 300, 900, 1800, 3600, 7200)
#: Notices that one message tells; what is more is told by the next one.
NOTICES_PER_MESSAGE: Final = 2000
