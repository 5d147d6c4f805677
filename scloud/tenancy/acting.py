"""A member of the staff looks at a tenant's console as one of its users would, and changes nothing.

Who is looked as stands in the session of the member of the staff, with an end. What they may is the
user's rights to look at things, and no other (:meth:`scloud.tenancy.actor.Actor.allows`); requests
that could change something are refused before any view. Begun and ended in scloud/accounts/acting.
"""

from datetime import UTC, datetime
from typing import Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from scloud.lib import tracing
from scloud.tenancy import staff
from scloud.tenancy.actor import ACTING, Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import User

#: Key of a session: {"user": number, "until": Unix time in seconds}.
KEY: Final = "acting_as"
RIGHT: Final = "platform.act_as"
LENGTH_S: Final = 1800
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: Pages about the account of whoever is signed in: theirs, not the user's.
_OWN: Final = (
    "/profile/", "/api-keys/", "/second-factor/", "/login/", "/logout/", "/join/", "/password/"
)  # fmt: skip


def target_of(request: HttpRequest, user: User) -> tuple[User, datetime] | None:
    """Return as whom a member of the staff looks, and until when; None when they do not."""
    kept = request.session.get(KEY)
    if not isinstance(kept, dict) or request.path.startswith(_OWN):
        return None
    until = datetime.fromtimestamp(float(kept.get("until", 0)), UTC)
    if until <= timezone.now() or not staff.may(user, RIGHT):
        del request.session[KEY]
        return None
    target = User.objects.select_related("tenant").filter(pk=int(kept.get("user", 0))).first()
    if (
        target is None
        or target.tenant is None
        or not (target.is_active and target.tenant.is_active)
    ):
        del request.session[KEY]
        return None
    return target, until


def actor_of(request: HttpRequest, user: User, target: User) -> Actor:
    """Return the member of the staff with the user's rights to look at things."""
    return Actor(
        tenant=target.tenant,
        user=user,
        seen_as=target,
        role=target.role,
        ip=client_ip(request),
        via=ACTING,
        request_id=tracing.request_id(),
    )


def is_refused(request: HttpRequest) -> bool:
    """Tell whether a request could change something; ending it all is the one that may."""
    return request.method not in SAFE and request.path != reverse("acting-end")
