"""An administrator's own password."""

from typing import Any, Final

from django.contrib.admin.forms import AdminPasswordChangeForm
from django.contrib.auth import views
from django.http import HttpResponse, HttpResponseRedirect

from scloud.accounts import devices, signin
from scloud.lib.errors import ScloudError
from scloud.tenancy.admintools import administrator

# The action's names for what Django's form asks.
_FIELDS: Final = {"current": "old_password", "new": "new_password1"}


class PasswordChangeForm(AdminPasswordChangeForm):
    """Django's form; whether the old password is right is asked where guesses are counted."""

    def clean_old_password(self) -> str:
        """Leave the answer to the action."""
        return str(self.cleaned_data["old_password"])


class PasswordChangeView(views.PasswordChangeView):
    """Django's page around the action that the console calls, too."""

    form_class = PasswordChangeForm

    def form_valid(self, form: Any) -> HttpResponse:
        """Change it; a refusal is shown beside its field."""
        try:
            user = signin.change_password(
                self.request,
                actor=administrator(self.request, None),
                current=form.cleaned_data["old_password"],
                new=form.cleaned_data["new_password1"],
            )
        except ScloudError as error:
            # Django's page shows errors of fields only.
            field = _FIELDS.get(error.field or "", "old_password")
            form.add_error(field, f"{error.message} {error.remedy or ''}".strip())
            return self.form_invalid(form)
        response = HttpResponseRedirect(self.get_success_url())
        devices.remember(self.request, response, user)
        return response
