"""Asking somebody who is signed in for the password once more, or for another proof of lately."""

from django.utils.translation import gettext as _

from scloud.lib.errors import InvalidInput
from scloud.tenancy import lockout
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User


def confirm_person(actor: Actor, user: User, password: str, *, field: str) -> None:
    """Return if it is the password of the actor's user, or if who has none proved lately who it is.

    ConfirmationNeeded, where that was longer ago; otherwise as :func:`confirm_password`.
    """
    if user.has_usable_password():
        confirm_password(user, password, ip=actor.ip, field=field)
    else:
        actor.require_confirmed()


def confirm_password(user: User, password: str, *, ip: str | None, field: str) -> None:
    """Return if it is the user's present password.

    It can be guessed here as at a sign-in, so guesses are counted as those are. The count must
    outlast the refusal: call it outside the transaction of what is confirmed. Raises InvalidInput
    (``wrong_password``, ``no_password``) and TooManyRequests (``account_locked``).
    """
    if not user.has_usable_password():
        raise InvalidInput(
            _("Your account has no password."),
            code="no_password",
            field=field,
            remedy=_("Sign in again with your identity provider."),
        )
    attempt = lockout.begin(
        account=f"password:{user.pk}",
        email=user.email,
        ip=ip,
        source="signed in",
        # Whoever asks is signed in already; strangers cannot delay them.
        known_browser=True,
    )
    if not user.check_password(password):
        raise InvalidInput(
            _("This is not your current password."), code="wrong_password", field=field
        )
    lockout.succeeded(attempt)
