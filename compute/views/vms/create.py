"""The create wizard: one page, a price that follows every change, one press to buy."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_post_parameters

from compute.actions.vms.create import create_vms
from compute.views.vms.draft import Draft
from scloud.lib.errors import NotFound, ScloudError, StaleQuote
from scloud.web import http
from scloud.web.views import ConsoleView

_hidden = method_decorator(sensitive_post_parameters("password"), name="dispatch")


class WizardView(ConsoleView):
    """What both answers share."""

    permission = "compute.create_vm"
    title = gettext_lazy("Create virtual machine")

    def draft(self, data: Any = None) -> Draft:
        """Return the wizard's state. Raises NotFound on a platform without a region."""
        if not self.request.region:
            raise NotFound(_("There is no region yet."))
        return Draft(actor=self.actor, region=self.request.region, data=data)

    def context(self, draft: Draft) -> dict[str, Any]:
        """Price the draft and return the template's variables."""
        quote = None if draft.purchase.missing else draft.purchase.quote
        draft.check_typed()
        return {
            "draft": draft,
            "quote": quote,
            "blocked": bool(draft.typed.errors or draft.typed.refusal)
            or quote is None
            or not quote.affordable,
            "parts": draft.changed_parts,
        }


@_hidden
class VmCreate(WizardView):
    """GET shows the wizard; POST buys."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the page; values in the address are taken over, so that links can prepare it."""
        return self.page(self.draft(request.GET or None))

    def page(self, draft: Draft, *, status: int = 200) -> HttpResponse:
        return self.render("compute/vms/create/page.html", self.context(draft), status=status)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Buy, or say beside the fields why not; what was typed stays where it is."""
        draft = self.draft(request.POST)
        order = draft.purchase.order()
        if order is not None:
            try:
                vms = create_vms(
                    actor=self.actor, order=order, quote_token=request.POST.get("quote_token", "")
                )
            except (ScloudError, StaleQuote) as error:
                draft.typed.refuse(error)
            else:
                text = ngettext(
                    "%(name)s is being created.", "%(n)d VMs are being created.", len(vms)
                )
                return http.done(request, text % {"name": vms[0].name, "n": len(vms)}, to="vm-list")
        if not self.request.htmx:
            return self.page(draft, status=422)
        return self.render("compute/vms/create/update.html", self.context(draft), status=422)


@_hidden
class VmQuote(WizardView):
    """The price, the errors, and the parts of the page that follow a change."""

    def post(self, request: HttpRequest) -> HttpResponse:
        """Answer fragments; changes nothing."""
        return self.render("compute/vms/create/update.html", self.context(self.draft(request.POST)))
