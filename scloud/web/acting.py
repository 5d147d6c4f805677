"""The end of looking at a tenant's console as one of its users would."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse
from django.views import View

from scloud.accounts import acting
from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import User


class EndView(View):
    """The button of the banner."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Go back to the page of the user in the administration; nobody else ends anything."""
        target = getattr(request, "acting_as", None)
        if not isinstance(target, User) or not isinstance(request.user, User):
            return HttpResponseRedirect(resolve_url("home"))
        actor = Actor.administrator(request.user, target.tenant, client_ip(request))
        acting.end(request, actor=actor, user=target)
        return HttpResponseRedirect(reverse("admin:tenancy_user_change", args=[target.pk]))
