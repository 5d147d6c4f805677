"""A forgotten password: a code by mail, and a new password with it. Nobody is signed in here."""

import hashlib
from typing import Final

from django.conf import settings
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from scloud.accounts.addresses import checked_email
from scloud.accounts.codes import user_of_reset
from scloud.accounts.mailing import RESET, What
from scloud.accounts.telling import tell
from scloud.audit.models import Operation
from scloud.jobs import service as jobs
from scloud.lib.errors import InvalidInput, NotFound, TooManyRequests
from scloud.tenancy import lockout, ratelimit, sessions
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled

#: Mails to an address in an hour.
PER_ADDRESS: Final = 3
_HOUR_S: Final = 3600
_DEADLINE_S: Final = 1800.0


def require_mail() -> None:
    """Raise NotFound where no mail can be sent: there is no such page then."""
    if not settings.SCLOUD_EMAIL_READY:
        raise NotFound(
            _("E-mail is not set up on this platform."),
            remedy=_("The administrator of your platform can set a new password."),
        )


def ask_reset(request: HttpRequest, email: str) -> None:
    """Queue a mail with a code to an address, whoever has it.

    The work, its time and the answer are the same for every address; a worker looks whether
    somebody has it. Raises InvalidInput (``email_invalid``) and TooManyRequests by the source; too
    many mails to one address are left out silently.
    """
    require_mail()
    ip = client_ip(request)
    _count(ip)
    address = checked_email(email)
    mark = hashlib.sha256(address.encode()).hexdigest()
    try:
        ratelimit.hit(f"forgot:{mark}", limit=PER_ADDRESS, window_s=_HOUR_S)
    except TooManyRequests:
        return
    jobs.enqueue(
        kind=RESET,
        tenant=None,
        title=_("Send a code for a forgotten password"),
        target_kind="address",
        target_id=mark[:12],
        payload={"email": address, "ip": ip},
        deadline_s=_DEADLINE_S,
        exclusive=False,
    )


def reset(request: HttpRequest, *, code: str, new: str) -> User:
    """Set the new password of a code's user; all their sessions end. Return the user.

    API keys and linked identities stay: they do not depend on the password, and who forgets it may
    have no other way in. Raises InvalidInput (``reset_invalid``,
    ``weak_password``) and TooManyRequests.
    """
    require_mail()
    ip = client_ip(request)
    _count(ip)
    with transaction.atomic():
        found = user_of_reset(code.strip())
        locked = User.objects.select_related("tenant").select_for_update(no_key=True, of=("self",))
        user = locked.filter(pk=found.pk).first() if found is not None else None
        # Looked at again under the lock: the same code may be on its way twice.
        if user is None or user_of_reset(code.strip()) is None:
            raise InvalidInput(
                _("This code is no longer valid."),
                code="reset_invalid",
                field="code",
                remedy=_("Ask for a new one."),
            )
        try:
            password_validation.validate_password(new, user)
        except ValidationError as error:
            refusal = InvalidInput(" ".join(error.messages), code="weak_password", field="new")
            raise refusal from error
        user.set_password(new)
        user.save(update_fields=["password"])
        sessions.end_all(user)
        # The mailbox has proven who it is: earlier wrong guesses from there count no more.
        lockout.proven(user, ip=ip)
        _write(user, ip)
        tell(user, What.CREDENTIALS, ip=ip)
    return user


def _count(ip: str | None) -> None:
    ratelimit.hit(
        f"recover:{lockout.source_of(ip)}", limit=settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE
    )


def _write(user: User, ip: str | None) -> None:
    with scopes_disabled():
        Operation.objects.create(
            tenant=user.tenant,
            actor=user.email,
            user_id=user.pk,
            via="console",
            ip=ip,
            verb="tenancy.reset_own_password",
            succeeded=True,
        )
