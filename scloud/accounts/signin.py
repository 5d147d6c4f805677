"""The one way in: every form that takes a password comes here, the console's and the admin's.

Who comes from an identity provider is let in here, too (federated.py).

Who has a second factor is not in after the password: a code comes next, and the session begins when
both were right. Each attempt is limited per source, counted per account, and written into the
operation log; each success has a session that its owner sees and can end.
"""

from django.conf import settings
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from scloud.accounts import actions, devices, halfway, second_factor
from scloud.accounts.mailing import What
from scloud.accounts.telling import tell
from scloud.audit.models import Operation
from scloud.lib.errors import InvalidInput, ScloudError
from scloud.tenancy import factors, lockout, ratelimit, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import User, UserSession
from scloud.tenancy.scoping import scopes_disabled


def note(user: User, ip: str | None, verb: str, error: ScloudError | None = None) -> None:
    """Write a sign-in or sign-out into the operation log of the user's tenant."""
    with scopes_disabled():
        Operation.objects.create(
            tenant=user.tenant,
            actor=user.email,
            user_id=user.pk,
            via="console" if user.tenant_id else "admin",
            ip=ip,
            verb=verb,
            succeeded=error is None,
            error_code=error.code if error else "",
            error_message=error.message if error else "",
        )


def sign_in(request: HttpRequest, *, email: str, password: str) -> tuple[User, bool]:
    """Return the user of an address and a password, and whether they are signed in by them.

    They are not where a second factor is on: :func:`enter_code` comes next. The answer to a wrong
    address and to a wrong password is the same; whether there is a second factor is told only
    after the right password. Raises InvalidInput (``login_failed``) and TooManyRequests
    (``too_many_requests``, ``account_locked``, ``sign_in_delayed``).
    """
    ip = client_ip(request)
    source = lockout.source_of(ip)
    ratelimit.hit(f"login:{source}", limit=settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE)
    claimed = User.objects.by_email(email)
    browser = devices.name_of(request, claimed)
    attempt = lockout.begin(
        account=lockout.account_of(email, claimed),
        email=email,
        ip=ip,
        source=f"browser:{browser}" if browser else source,
        known_browser=browser is not None,
    )
    user = authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        refusal = InvalidInput(
            _("The e-mail address or the password is wrong."), code="login_failed"
        )
        if claimed is not None:
            note(claimed, ip, "tenancy.sign_in", refusal)
        raise refusal
    lockout.succeeded(attempt)
    is_first = user.last_login is None
    with transaction.atomic():
        # A second factor that is being turned on ends this session, or is seen here.
        second_factor.lock(user)
        if factors.has_one(user):
            return user, False
        enter(request, user, ip)
    if browser is None and not is_first:
        tell_of_browser(request, user, ip)
    return user, True


def enter_code(request: HttpRequest, *, code: str) -> tuple[User, second_factor.Used]:
    """Sign in whose password was right, after a code; return the user and what the code was.

    Raises InvalidInput (``sign_in_again``, ``code_wrong``) and TooManyRequests
    (``too_many_requests``, ``account_locked``).
    """
    ip = client_ip(request)
    ratelimit.hit(f"login:{lockout.source_of(ip)}", limit=settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE)
    user = halfway.user_of(request)
    if user is None:
        raise _begin_again()
    browser = devices.name_of(request, user)
    try:
        used = second_factor.confirm_code(
            user,
            code,
            ip=ip,
            # Only who knows the password comes here: whatever their addresses, all browsers that
            # are not known are one source, and six digits are not guessed from many places.
            source=f"browser:{browser}" if browser else "unknown browsers",
            known_browser=browser is not None,
        )
        with transaction.atomic():
            # What ends the sessions of the user meanwhile ends this one too, or is seen here.
            second_factor.lock(user)
            # And who has unlinked the identity that came first, or turned its provider off.
            fresh = halfway.user_of(request)
            if fresh is None:
                raise _begin_again()
            enter(request, fresh, ip)
    except ScloudError as refusal:
        note(user, ip, "tenancy.sign_in", refusal)
        raise
    if browser is None:
        tell_of_browser(request, user, ip)
    return user, used


def _begin_again() -> InvalidInput:
    return InvalidInput(
        _("This sign-in took too long, or your account has changed."),
        code="sign_in_again",
        remedy=_("Sign in again."),
    )


def tell_of_browser(request: HttpRequest, user: User, ip: str | None) -> None:
    """Tell a user that a browser which was not known has signed in."""
    tell(user, What.SIGNED_IN, ip=ip, browser=request.headers.get("User-Agent", ""))


def enter(
    request: HttpRequest,
    user: User,
    ip: str | None,
    *,
    factor_counts: bool = False,
    silent: bool = False,
    proven_at: float | None = None,
) -> None:
    """Begin the session of somebody of whom it is known who they are.

    ``factor_counts`` says that an identity provider has asked for a second factor that counts,
    ``silent`` that it has vouched for somebody who need not have proven just now who they are, but
    did at ``proven_at`` (Unix time, s), if that is known.
    """
    login(request, user)
    # Whatever an earlier session of the same user has held, which login() keeps.
    request.session[sessions.FACTOR_KEY] = factor_counts
    sessions.begin(request, user, ip, silent=silent, proven_at=proven_at)
    note(user, ip, "tenancy.sign_in")


def sign_out(request: HttpRequest) -> None:
    """End the session of the request, if there is one."""
    if isinstance(request.user, User):
        UserSession.objects.filter(session_key=request.session.session_key).delete()
        note(request.user, client_ip(request), "tenancy.sign_out")
    logout(request)


def change_password(request: HttpRequest, *, actor: Actor, current: str, new: str) -> User:
    """Set a new password of the signed-in person; this session goes on, all others end.

    Raises what :func:`scloud.accounts.actions.change_password` raises.
    """
    old_key = request.session.session_key
    user = actions.change_password(actor=actor, current=current, new=new, keep_session=old_key)
    update_session_auth_hash(request, user)
    request.session.save()
    # The key was cycled.
    sessions.follow(request.session, old_key)
    return user
