"""The create wizard: one page, a price that follows every change, one press to buy."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_post_parameters

from billing.views.common import top_up_url
from compute.actions.vms.create import create_vms
from compute.queries import vms as vm_queries
from compute.views.vms.draft import Draft
from compute.views.vms.draft.api_call import body_of, command_of
from compute.views.vms.draft.like import values_of
from scloud.lib.errors import InvalidInput, NotFound, ScloudError, StaleQuote
from scloud.web import http
from scloud.web.views import ConsoleView

_hidden = method_decorator(sensitive_post_parameters("password"), name="dispatch")


class WizardView(ConsoleView):
    """What both answers share."""

    permission = "compute.create_vm"
    title = gettext_lazy("Create virtual machine")

    def draft(self, data: Any = None, *, pressed: bool = False) -> Draft:
        """Return the wizard's state. Raises NotFound on a platform without a region."""
        if not self.request.region:
            raise NotFound(_("There is no region yet."))
        return Draft(actor=self.actor, region=self.request.region, data=data, pressed=pressed)

    def context(self, draft: Draft) -> dict[str, Any]:
        """Price the draft and return the template's variables."""
        quote = None if draft.purchase.missing else draft.purchase.quote
        draft.check()
        short = quote is not None and not quote.affordable
        order = draft.purchase.order()
        call = ""
        if quote is not None and order is not None:
            url = self.request.build_absolute_uri(reverse("api-vm-list"))
            call = command_of(url, body_of(order, quote.token))
        return {
            "draft": draft,
            "quote": quote,
            "short": short,
            "top_up_url": top_up_url(self) if short else "",
            "wrong": bool(draft.typed.errors),
            "api_call": call,
            "parts": draft.changed_parts,
            "may_keep_keys": self.actor.allows("compute.create_ssh_key"),
        }


@_hidden
class VmCreate(WizardView):
    """GET shows the wizard; POST buys."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the page; values in the address are taken over, so that links can prepare it.

        ``like`` names a VM whose choices it begins with.
        """
        if "like" in request.GET:
            return self.page(self.like(request.GET["like"]))
        return self.page(self.draft(request.GET or None))

    def like(self, vm_id: str) -> Draft:
        """Begin with what a VM has. Raises NotFound."""
        self.actor.require("compute.view_vm")
        vm = vm_queries.vm(vm_id)
        if self.request.region and vm.region_id != self.request.region.pk:
            draft = self.draft()
            draft.typed.refuse(
                InvalidInput(
                    _("%(name)s is in %(region)s.") % {"name": vm.name, "region": vm.region.name},
                    code="region_differs",
                    remedy=_("Change the region above, then create another one like it."),
                )
            )
            return draft
        return self.draft(values_of(vm))

    def page(self, draft: Draft, *, status: int = 200) -> HttpResponse:
        return self.render("compute/vms/create/page.html", self.context(draft), status=status)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Buy, or say beside the fields why not; what was typed stays where it is."""
        draft = self.draft(request.POST, pressed=True)
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
