"""Mail over the mail server of the installation."""

import smtplib
from email.utils import formataddr

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.encoding import punycode
from django.utils.translation import gettext as _

from scloud.lib.text import one_line


class MailNotSent(Exception):
    """A mail was not taken. ``lasting`` says that trying again cannot help.

    ``message`` is for the tenant: it says what the other side did, and nothing of the platform.
    """

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.lasting = lasting


def send(*, name: str, address: str, subject: str, text: str, mark: str) -> None:
    """Hand a mail to the mail server; ``mark`` is the same when it is sent again.

    Each answer of the server is waited for ``EMAIL_TIMEOUT`` seconds at most. Raises MailNotSent.
    """
    if not settings.SCLOUD_EMAIL_READY:
        raise MailNotSent(_("E-mail is not set up on this platform."), lasting=True)
    mail = EmailMessage(
        subject=one_line(subject),
        body=text,
        to=[formataddr((one_line(name), _ascii(address)))],
        headers={"X-SCloud-Delivery": mark, "Auto-Submitted": "auto-generated"},
    )
    try:
        mail.send(fail_silently=False)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _words in error.recipients.values()]
        lasting = bool(codes) and all(500 <= code < 600 for code in codes)
        raise MailNotSent(
            _("The mail server does not accept this address."), lasting=lasting
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        # What the server said may name machines of the platform; operators have the log.
        raise MailNotSent(_("The mail server did not take the message.")) from error


def _ascii(address: str) -> str:
    """Return an address as headers take it: a domain in other letters by its ASCII name."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{domain if domain.isascii() else punycode(domain)}"
