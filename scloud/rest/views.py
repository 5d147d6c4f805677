"""Base classes of the API's views."""

from contextlib import AbstractContextManager, ExitStack
from typing import Any

from django.db import models
from django.http import Http404
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from rest_framework import mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from scloud.lib.errors import Forbidden, NotFound
from scloud.rest import idempotency, queries
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import in_scope_of


class ActorMixin(APIView):
    """``self.actor`` and the open scope of its tenant for the whole request."""

    # The permission that reading needs; verbs check theirs in the actions.
    view_permission = ""
    _stack: ExitStack

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if any("\x00" in str(value) for value in kwargs.values()):
            raise NotFound(_("There is no such resource."))
        scope: AbstractContextManager[Any] = in_scope_of(self.actor.tenant)
        self._stack.enter_context(scope)
        if self.view_permission and request.method in {"GET", "HEAD", "OPTIONS"}:
            self.actor.require(self.view_permission)
        queries.check(self, request)
        self._keep_answer(request)

    def _keep_answer(self, request: Request) -> None:
        """Let what handles this request answer once per Idempotency-Key."""
        name = str(request.method).lower()
        handler = getattr(self, name, None)
        if handler is None or not idempotency.keeps_answer(name.upper(), handler):
            return

        def once(request: Request, *args: Any, **kwargs: Any) -> Response:
            return idempotency.once(request, self.actor, lambda: handler(request, *args, **kwargs))

        setattr(self, name, once)

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with ExitStack() as self._stack:
            response = super().dispatch(request, *args, **kwargs)
            render = getattr(response, "render", None)
            # Rendered here: lazy querysets must be read while the scope is open.
            return render() if callable(render) else response

    @property
    def actor(self) -> Actor:
        """Who calls."""
        auth = self.request.auth
        if not isinstance(auth, Actor) or auth.tenant is None:
            raise Forbidden(_("Only a tenant's user or key can call this."))
        return auth

    @property
    def tenant(self) -> Tenant:
        """Whose resources are spoken of; ``actor`` lets nobody without one through."""
        tenant = self.actor.tenant
        assert tenant is not None
        return tenant


class ResourceViewSet(
    ActorMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    viewsets.GenericViewSet[Any],
):
    """List and detail of a tenant's resources; verbs are added as ``@action`` methods."""

    lookup_field = "pk"
    lookup_value_regex = "[a-z]+-[a-z0-9]{9}"

    def get_object(self) -> Any:
        try:
            return super().get_object()
        except (Http404, models.ObjectDoesNotExist) as error:
            label = self.get_queryset().model._meta.verbose_name
            raise NotFound(
                _("There is no %(label)s %(get)s.") % {"label": label, "get": self.kwargs.get("pk")}
            ) from error
