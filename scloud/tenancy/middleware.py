"""Puts the actor on each request and opens the scope of its tenant around the view."""

import secrets
from collections.abc import Callable
from datetime import timedelta

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import PlatformSettings, User, UserSession
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

SEEN_KEY = "seen_at"


def actor_of(request: HttpRequest, user: User) -> Actor:
    """Return the actor of a signed-in console user."""
    return Actor(
        tenant=user.tenant,
        user=user,
        role=user.role,
        ip=client_ip(request),
        via="console",
        request_id=secrets.token_hex(6),
    )


class TenancyMiddleware:
    """``request.actor`` for tenant users; administrators see all, inside Django admin only."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = None  # type: ignore[attr-defined]  # set for all views, see typings
        if request.path.startswith("/api/"):
            # Authentication there knows the tenant only later and opens the scope itself.
            return self.get_response(request)
        user = request.user
        if not isinstance(user, User):
            return self.get_response(request)
        if self._idle_too_long(request):
            logout(request)
            return self.get_response(request)
        if user.tenant is None:
            if user.is_staff and request.path.startswith("/admin/"):
                with scopes_disabled():
                    response = self.get_response(request)
                    # Admin lists are rendered lazily; their queries need the open scope too.
                    render = getattr(response, "render", None)
                    return render() if callable(render) else response
            return self.get_response(request)
        request.actor = actor_of(request, user)  # type: ignore[attr-defined]  # see above
        with in_scope_of(user.tenant):
            response = self.get_response(request)
            render = getattr(response, "render", None)
            return render() if callable(render) else response

    def _idle_too_long(self, request: HttpRequest) -> bool:
        """Tell whether the session was idle past the limit, and note that it is alive."""
        now = timezone.now()
        last = request.session.get(SEEN_KEY)
        limit = timedelta(minutes=PlatformSettings.load().idle_logout_min)
        if last is not None and now.timestamp() - float(last) > limit.total_seconds():
            return True
        # Pages fetch by themselves what was pushed to them: that is not somebody being there.
        passive = request.headers.get("X-Scloud-Passive") == "1"
        if last is None or (not passive and now.timestamp() - float(last) > 30):
            request.session[SEEN_KEY] = now.timestamp()
            UserSession.objects.filter(session_key=request.session.session_key).update(
                last_seen_at=now, ip=client_ip(request)
            )
        return False
