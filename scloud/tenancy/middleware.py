"""Puts the actor on each request and opens the scope of its tenant around the view."""

from collections.abc import Callable

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse

from scloud.lib import tracing
from scloud.tenancy import acting, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import PlatformSettings, User
from scloud.tenancy.scoping import in_scope_of, scopes_disabled


def actor_of(request: HttpRequest, user: User) -> Actor:
    return Actor(
        tenant=user.tenant,
        user=user,
        role=user.role,
        ip=client_ip(request),
        via="console",
        request_id=tracing.request_id(),
        confirmed=sessions.is_confirmed(request.session),
    )


class TenancyMiddleware:
    """``request.actor`` for tenant users; administrators see all, inside Django admin only.

    Staff that looks at a tenant's console (acting.py) has the tenant's scope outside of the admin,
    and ``request.acting_as`` and ``request.acting_until`` beside the actor.

    ``request.factor_missing`` says that somebody is signed in who first has to set up a second
    factor. They have no actor and no scope, so that no page can do anything for them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = None  # type: ignore[attr-defined]  # set for all views, see typings
        request.factor_missing = False  # type: ignore[attr-defined]  # as above
        if sessions.carries_session(request) and isinstance(request.user, User):
            limits = PlatformSettings.load()
            if sessions.has_run_out(request, request.user, limits):
                # Whatever the way: the API takes the console's session, too.
                sessions.end(str(request.session.session_key))
                logout(request)
            elif not request.path.startswith("/api/") and sessions.lacks_factor(
                request.session, request.user, limits
            ):
                request.factor_missing = True  # type: ignore[attr-defined]  # as above
                return self.get_response(request)
        if request.path.startswith("/api/"):
            # Authentication there knows the tenant only later and opens the scope itself.
            return self.get_response(request)
        user = request.user
        if not isinstance(user, User):
            return self.get_response(request)
        if user.tenant is None:
            if user.is_staff and request.path.startswith("/admin/"):
                with scopes_disabled():
                    response = self.get_response(request)
                    # Admin lists are rendered lazily; their queries need the open scope too.
                    render = getattr(response, "render", None)
                    return render() if callable(render) else response
            found = acting.target_of(request, user) if user.is_staff else None
            if found is None:
                return self.get_response(request)
            target, request.acting_until = found  # type: ignore[attr-defined]  # for the page
            request.acting_as = target  # type: ignore[attr-defined]  # as above
            request.actor = acting.actor_of(request, user, target)  # type: ignore[attr-defined]  # see above
            with in_scope_of(target.tenant):
                response = self.get_response(request)
                render = getattr(response, "render", None)
                return render() if callable(render) else response
        request.actor = actor_of(request, user)  # type: ignore[attr-defined]  # see above
        with in_scope_of(user.tenant):
            response = self.get_response(request)
            render = getattr(response, "render", None)
            return render() if callable(render) else response
