"""A forgotten password: asking for a code, and setting a new password with it."""

from typing import Any

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

from scloud.accounts import recovering
from scloud.lib.bodies import BodyRule
from scloud.lib.errors import ScloudError
from scloud.web.forms import add_error


class ForgotForm(forms.Form):
    """Whose password."""

    email = forms.EmailField(
        label=gettext_lazy("E-mail"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )


class ResetForm(forms.Form):
    """The code of the mail and the new password."""

    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=200,
        help_text=gettext_lazy("From the mail."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    new = forms.CharField(
        label=gettext_lazy("New password"),
        max_length=200,
        strip=False,
        help_text=gettext_lazy("At least 10 characters. All sessions are signed out."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "data-after-code": True}),
    )


class _CodeView(View):
    """A form for people of whom nothing is known yet."""

    body_rule = BodyRule(lambda: 64 * 1024)
    form_class: type[forms.Form]
    template_name = ""

    def get(self, request: HttpRequest) -> HttpResponse:
        recovering.require_mail()
        return self.show(request, self.form_class())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Do it, or show the form again with what was wrong."""
        recovering.require_mail()
        form = self.form_class(request.POST)
        if not form.is_valid():
            return self.show(request, form, status=422)
        try:
            return self.perform(request, form.cleaned_data)
        except ScloudError as error:
            add_error(form, error)
            return self.show(request, form, status=429 if error.http_status == 429 else 422)

    def perform(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        raise NotImplementedError

    def show(
        self, request: HttpRequest, form: forms.Form | None, *, status: int = 200
    ) -> HttpResponse:
        return render(request, self.template_name, {"form": form}, status=status)


@method_decorator(never_cache, name="dispatch")
class ForgotView(_CodeView):
    """Asks for a code. The answer is the same whoever has the address."""

    form_class = ForgotForm
    template_name = "registration/forgot.html"

    def perform(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        recovering.ask_reset(request, data["email"])
        return self.show(request, None)


@method_decorator([never_cache, sensitive_post_parameters("code", "new")], name="dispatch")
class ResetView(_CodeView):
    """Sets the new password. The link carries the code behind its ``#``."""

    form_class = ResetForm
    template_name = "registration/reset.html"

    def perform(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        recovering.reset(request, code=data["code"], new=data["new"])
        messages.success(request, _("Password changed. Sign in with the new one."))
        return HttpResponseRedirect(resolve_url("login"))
