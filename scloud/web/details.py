"""A resource's page: its head, kept fresh by pushes, and a list of what belongs to it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http.response import HttpResponseBase

from scloud.web.lists import ListView
from scloud.web.views import Text


class DetailListView(ListView):
    """The page of one resource.

    ``page_context`` returns ``object``, ``status``, ``crumbs``, ``facts``, ``actions`` and
    perhaps ``primary`` and ``upcoming``, moments that are still to come. ``status_hint`` says what
    follows from a failure that the status tells.
    """

    page_template = "web/detail/page.html"
    status_hint: ClassVar[Text] = ""

    def get(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer the head alone when a push asks for it."""
        if request.GET.get("part") == "head":
            return self.render("web/detail/head.html", self.page_context())
        return super().get(request, *args, **kwargs)
