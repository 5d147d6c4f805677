"""Where invited people set their name and password. Nobody is signed in here."""

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from scloud.accounts import devices, invitations
from scloud.lib.bodies import BodyRule
from scloud.lib.errors import ScloudError
from scloud.web.forms import add_error


class JoinForm(forms.Form):
    """The code of the mail, a name and a password."""

    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=100,
        help_text=gettext_lazy("From the mail that invited you."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    full_name = forms.CharField(
        label=gettext_lazy("Your name"),
        max_length=80,
        widget=forms.TextInput(attrs={"autocomplete": "name", "data-after-code": True}),
    )
    password = forms.CharField(
        label=gettext_lazy("Password"),
        max_length=200,
        strip=False,
        help_text=gettext_lazy("At least 10 characters."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


@method_decorator(
    [never_cache, sensitive_post_parameters("code", "password")],
    name="dispatch",
)
class JoinView(View):
    """Takes an invitation. The link carries the code behind its ``#``; ``code.js`` fills it in."""

    # Nobody is known yet: a code, a name and a password.
    body_rule = BodyRule(lambda: 64 * 1024)

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show(request, JoinForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make the user, sign them in and show the console."""
        form = JoinForm(request.POST)
        if not form.is_valid():
            return self.show(request, form, status=422)
        try:
            user = invitations.accept(request, **form.cleaned_data)
        except ScloudError as error:
            add_error(form, error)
            return self.show(request, form, status=429 if error.http_status == 429 else 422)
        messages.success(request, _("Welcome to %(account)s.") % {"account": user.tenant})
        response = HttpResponseRedirect(resolve_url("home"))
        devices.remember(request, response, user)
        return response

    def show(self, request: HttpRequest, form: JoinForm, *, status: int = 200) -> HttpResponse:
        return render(request, "registration/join.html", {"form": form}, status=status)
