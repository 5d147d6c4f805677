"""Messages by e-mail, over the mail server of the installation."""

from __future__ import annotations

import smtplib
from email.utils import formataddr

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.translation import gettext as _

from alarms.rules.messages import Message, one_line
from alarms.sending.base import NotSent


def send(name: str, address: str, said: Message) -> None:
    """Hand a message to the mail server. Raises NotSent.

    Each answer of the server is waited for ``EMAIL_TIMEOUT`` seconds at most.
    """
    if not settings.SCLOUD_EMAIL_READY:
        raise NotSent(_("E-mail is not set up on this platform."), lasting=True)
    mail = EmailMessage(
        subject=one_line(said.subject),
        body=said.text,
        to=[formataddr((one_line(name), address))],
        headers={"X-SCloud-Delivery": said.id, "Auto-Submitted": "auto-generated"},
    )
    try:
        mail.send(fail_silently=False)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _words in error.recipients.values()]
        lasting = bool(codes) and all(500 <= code < 600 for code in codes)
        raise NotSent(
            _("The mail server does not accept this address."), lasting=lasting
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        # What the server said may name machines of the platform; operators have the log.
        raise NotSent(_("The mail server did not take the message.")) from error
