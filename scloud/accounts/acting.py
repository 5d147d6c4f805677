"""Beginning and ending to look at a tenant's console as one of its users would."""

from datetime import timedelta

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy import acting, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User

REASON_LENGTH = 200


@action(acting.RIGHT)
def act_as(*, actor: Actor, user: User, reason: str) -> int:
    """Return the end, in Unix time, of looking as ``user`` from now on.

    The tenant reads in its operation log who looks, as whom, why and until when. Raises
    InvalidInput (``reason_missing``) and Conflict (``user_inactive``).
    """
    said = reason.strip()
    if not 1 <= len(said) <= REASON_LENGTH:
        raise InvalidInput(
            _("Say why, in at most %(count)d characters.") % {"count": REASON_LENGTH},
            code="reason_missing",
            field="reason",
            numbers={"max_length": REASON_LENGTH},
        )
    fresh = User.objects.select_related("tenant").get(pk=user.pk)
    if fresh.tenant is None or not (fresh.is_active and fresh.tenant.is_active):
        raise Conflict(
            _("Only an active user of an active tenant can be looked as."), code="user_inactive"
        )
    until = timezone.now() + timedelta(seconds=acting.LENGTH_S)
    told = {"user": fresh.email, "reason": said, "until": until.isoformat(timespec="seconds")}
    audit.note(fresh, after=told)
    return int(until.timestamp())


@action(acting.RIGHT)
def stop_acting(*, actor: Actor, user: User) -> None:
    """Write down that somebody does not look as ``user`` any more."""
    audit.note(user, before={"user": user.email})


def begin(request: HttpRequest, *, actor: Actor, user: User, reason: str) -> None:
    """Look as ``user`` in this browser. Raises as :func:`act_as`."""
    until = act_as(actor=actor, user=user, reason=reason)
    request.session[acting.KEY] = {"user": user.pk, "until": until}


def end(request: HttpRequest, *, actor: Actor, user: User) -> None:
    """Look as ``user`` no longer in this browser."""
    request.session.pop(acting.KEY, None)
    # A request under way has a copy that says otherwise, and may still save it under the old key.
    sessions.renew(request.session)
    stop_acting(actor=actor, user=user)
