"""Messages to webhooks: the same rules about networks hold as for downloads of images."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext as _

from alarms.rules import messages
from alarms.rules.messages import Message
from alarms.sending.base import NotSent
from scloud.lib import outgoing
from scloud.lib.destinations import Destinations
from scloud.lib.errors import ScloudError

#: Seconds that one try may take, however slowly the other side answers.
LIMIT_S = 10.0
#: Answers after which the same request may be taken: the rest says that it is wrong.
_PASSING = frozenset({408, 425, 429})


def send(
    form: str,
    url: str,
    secret: str,
    said: Message,
    destinations: Destinations,
    *,
    now: datetime,
) -> int:
    """Post a message and return the status of the answer. Raises NotSent.

    Redirections are not followed. Of the answer only the beginning is read.
    """
    sent = messages.post(form, url, secret, said, now=now)
    try:
        answer = outgoing.post(
            sent.url, sent.body, destinations, headers=sent.headers, limit_s=LIMIT_S
        )
    except ScloudError as error:
        raise NotSent(error.message, lasting=not error.retryable) from error
    status = answer.status
    if not 200 <= status < 300:
        raise NotSent(
            _("The webhook answered with status %(status)s.") % {"status": status},
            lasting=status < 500 and status not in _PASSING,
            status=status,
        )
    refused = messages.refusal(form, answer.body)
    if refused:
        raise NotSent(
            _("The webhook refused the message: %(words)s") % {"words": refused},
            lasting=True,
            status=status,
        )
    return status
