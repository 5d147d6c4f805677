"""Views of a list that a user has saved: search, filters, order and columns under a name."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scloud.accounts.actions import (
    MAX_VIEW_NAME,
    MAX_VIEW_QUERY,
    delete_list_view,
    save_list_view,
)
from scloud.lib.errors import NotFound
from scloud.web import http
from scloud.web.views import ActionView, PostView

#: Kinds of the lists that there are: each notes its own (scloud/web/lists.py).
KINDS: Final[set[str]] = set()


class SaveForm(forms.Form):
    """The name, and what the list shows."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=MAX_VIEW_NAME)
    query = forms.CharField(
        max_length=MAX_VIEW_QUERY, required=False, strip=False, widget=forms.HiddenInput
    )


def _here(view: ActionView | PostView) -> str:
    """Return the page that the browser shows."""
    htmx = view.request.htmx
    return (htmx.current_url_abs_path if htmx else "") or "home"


class SaveListView(ActionView):
    title = gettext_lazy("Save view")
    text = gettext_lazy(
        "Search, filters, order and columns of this list, for you alone. A view of the same name "
        "is replaced."
    )
    verb = gettext_lazy("Save")
    form_class = SaveForm
    success_text = gettext_lazy("Saved.")

    def get_object(self) -> None:
        """There is none; a list of the kind there must be."""
        if self.kwargs["kind"] not in KINDS:
            raise NotFound(_("There is no such list."))

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """What the list shows comes with the link."""
        return {"initial": {"query": self.request.GET.get("query", "")}}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        return save_list_view(actor=self.actor, kind=self.kwargs["kind"], **data)

    def success_url(self, obj: Any) -> Any:
        """The same list, whose menu has the view then."""
        return _here(self)


class DeleteListView(PostView):
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Forget it, and show the list without it."""
        delete_list_view(actor=self.actor, kind=kwargs["kind"], name=request.POST.get("name", ""))
        return http.done(request, _("The view was deleted."), to=_here(self))


def same(one: str, other: str) -> bool:
    """Tell whether two queries show the same, whatever the order of their parts."""
    return parse_qs(one) == parse_qs(other)
