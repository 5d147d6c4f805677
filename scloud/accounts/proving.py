"""Proving once more who one is, with the password or a code of the second factor."""

from django.http import HttpRequest
from django.utils.translation import gettext as _

from scloud.accounts import second_factor
from scloud.accounts.confirming import confirm_password
from scloud.audit.models import Operation
from scloud.lib.errors import InvalidInput, ScloudError
from scloud.tenancy import sessions
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled


def prove(request: HttpRequest, user: User, *, password: str, code: str) -> None:
    """Note in the session of a request that its user has just proven who they are.

    Either is enough: the password, or a code where there is a second factor. Guesses are counted
    and logged as those at a sign-in are. Raises InvalidInput (``wrong_password``, ``code_wrong``,
    ``proof_missing``) and TooManyRequests (``account_locked``).
    """
    ip = client_ip(request)
    try:
        if code and not password and hasattr(user, "second_factor"):
            second_factor.confirm_code(user, code, ip=ip)
        elif password:
            confirm_password(user, password, ip=ip, field="password")
        else:
            raise InvalidInput(_("Enter your password."), code="proof_missing", field="password")
    except ScloudError as refusal:
        _log(user, ip, refusal)
        raise
    sessions.confirm(request.session)


def _log(user: User, ip: str | None, refusal: ScloudError) -> None:
    with scopes_disabled():
        Operation.objects.create(
            tenant=user.tenant,
            actor=user.email,
            user_id=user.pk,
            via="console" if user.tenant_id else "admin",
            ip=ip,
            verb="tenancy.confirm_identity",
            succeeded=False,
            error_code=refusal.code,
            error_message=refusal.message,
        )
