"""Telling people by mail what happened to their account."""

from typing import Any, Final

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.accounts.mailing import TELL, TELL_LINK, What
from scloud.jobs import service as jobs
from scloud.lib.text import one_line
from scloud.tenancy.models import User

_DEADLINE_S: Final = 3600.0
_LONGEST_FACT: Final = 200
_OF_LINKS: Final = frozenset({What.IDENTITY_LINKED, What.IDENTITY_UNLINKED})


def tell(user: User, what: What, *, ip: str | None, to: str = "", **facts: str) -> None:
    """Queue a mail to a user, at ``to`` where that is not their present address.

    ``facts`` are values of the words of ``what``. Without a mail server nothing is told. The job
    belongs to no tenant: colleagues are not shown when somebody signs in.
    """
    if not settings.SCLOUD_EMAIL_READY:
        return
    payload: dict[str, Any] = {
        "what": what.value,
        "to": to or user.email,
        "at": f"{timezone.now():%Y-%m-%d %H:%M} UTC",
        "ip": ip or _("unknown"),
        "facts": {name: one_line(value)[:_LONGEST_FACT] for name, value in facts.items()},
    }
    jobs.enqueue(
        kind=TELL_LINK if what in _OF_LINKS else TELL,
        tenant=None,
        title=_("Tell a user of a change"),
        target_kind="user",
        target_id=str(user.pk),
        payload=payload,
        deadline_s=_DEADLINE_S,
        exclusive=False,
    )
