"""Messages by e-mail, over the mail server of the installation."""

from __future__ import annotations

from alarms.rules.messages import Message
from alarms.sending.base import NotSent
from scloud.lib import mail
from scloud.lib.mail import MailNotSent


def send(name: str, address: str, said: Message) -> None:
    """Hand a message to the mail server. Raises NotSent.

    Each answer of the server is waited for ``EMAIL_TIMEOUT`` seconds at most.
    """
    try:
        mail.send(name=name, address=address, subject=said.subject, text=said.text, mark=said.id)
    except MailNotSent as error:
        raise NotSent(error.message, lasting=error.lasting) from error
