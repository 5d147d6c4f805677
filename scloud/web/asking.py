"""The page or dialog that asks who is signed in to prove it, and goes on with what was sent.

What was refused with ConfirmationNeeded stands in hidden fields of the form, which is sent to where
it was going. There the middleware takes the proof out, notes it in the session, and the view finds
the request as it was. It needs no script, and serves the console and Django admin alike.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from scloud.accounts import federated
from scloud.accounts.proving import prove
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.confirmation import ConfirmationNeeded
from scloud.tenancy.models import User
from scloud.web import errors
from scloud.web.forms import add_error

_PREFIX: Final = "identity"
#: The field that tells a request with a proof from others.
MARK: Final = "identity-asked"
_DIALOG: Final = "dialog-slot"


class ProofForm(forms.Form):
    """The password, or a code where there is a second factor."""

    password = forms.CharField(
        label=_("Your password"),
        required=False,
        max_length=200,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
    code = forms.CharField(
        label=_("Or a code of your second factor"),
        required=False,
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )

    def __init__(self, data: Any = None, *, user: User) -> None:
        super().__init__(data, prefix=_PREFIX)
        if not user.has_usable_password():
            del self.fields["password"]
            self.fields["code"].label = _("A code of your second factor")
        if not hasattr(user, "second_factor"):
            del self.fields["code"]


class AskMiddleware:
    """Asks where a view needs a proof, and takes the proof from what is sent then.

    It comes after the tenancy middleware, which knows who is signed in, and after the comparison of
    CSRF tokens.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Take a proof out of the request; ask again where it is none."""
        user = request.user
        if (
            request.method != "POST"
            or request.path.startswith("/api/")
            # The form is sent so; nothing else is read here, where no view has a say on its body.
            or request.content_type != "application/x-www-form-urlencoded"
            or not isinstance(user, User)
            or request.factor_missing  # type: ignore[attr-defined]  # set by the tenancy middleware
            or MARK not in request.POST
        ):
            return None
        form = ProofForm(request.POST, user=user)
        sent = request.POST.copy()
        for name in [name for name in sent if name.startswith(f"{_PREFIX}-")]:
            del sent[name]
        # No view, and no report of its errors, gets to see the proof.
        request.POST = sent  # type: ignore[assignment]  # Django allows it
        if not form.is_valid():
            return _ask(request, user, form)
        try:
            found = form.cleaned_data
            prove(
                request,
                user,
                password=found.get("password", ""),
                code=found.get("code", ""),
            )
        except ScloudError as error:
            add_error(form, error)
            return _ask(request, user, form)
        actor = getattr(request, "actor", None)
        if isinstance(actor, Actor):
            request.actor = replace(actor, confirmed=True)  # type: ignore[attr-defined]  # as above
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Ask where a view cannot go on without."""
        if not isinstance(exception, ConfirmationNeeded) or request.path.startswith("/api/"):
            return None
        user = request.user
        if request.method != "POST" or request.FILES or not isinstance(user, User):
            # There is nothing that could be sent again.
            return errors.response(request, exception.refusal())
        return _ask(request, user, ProofForm(user=user))


def _here(request: HttpRequest) -> str:
    """Return the page of this site that was open when something was sent."""
    htmx = getattr(request, "htmx", None)
    address = str((htmx.current_url if htmx else None) or request.headers.get("Referer", ""))
    parts = urlsplit(address)
    if parts.netloc != request.get_host():
        return "/"
    return parts._replace(scheme="", netloc="", fragment="").geturl() or "/"


def _ask(request: HttpRequest, user: User, form: ProofForm) -> HttpResponse:
    """Return the dialog, or page, with everything that was sent."""
    htmx = getattr(request, "htmx", None)
    target = htmx.target if htmx else None
    context: dict[str, Any] = {
        "form": form,
        "heading": _("Confirm that it is you"),
        # What the page around a dialog is called.
        "view": {"title": _("Confirm that it is you")},
        "action_url": request.get_full_path(),
        "mark": MARK,
        "sent": [
            (name, value)
            for name, values in request.POST.lists()
            if name != "csrfmiddlewaretoken"
            for value in values
        ],
        "ways": federated.ways_to_confirm(user),
        "here": _here(request),
        # What was sent from a dialog goes on in it; another part of a page is not known here.
        "in_dialog": bool(htmx) and target in (None, "", _DIALOG),
        "dialog_template": "web/dialog/ask.html",
    }
    if request.path.startswith("/admin/"):
        context |= {**admin.site.each_context(request), "title": context["heading"]}
        return render(request, "admin/scloud/ask.html", context, status=422)
    # Staff outside of the admin has no console around the page.
    page = "web/dialog/page.html" if user.tenant_id else "registration/ask.html"
    template = "web/dialog/ask.html" if htmx else page
    response = render(request, template, context, status=422)
    if htmx:
        response.headers["HX-Retarget"] = f"#{_DIALOG}"
        response.headers["HX-Reswap"] = "innerHTML"
    return response
