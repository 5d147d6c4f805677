"""The page that tells whether one end can reach another, and which rule decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from network.models import Nic, RuleDirection, SecurityGroupRule
from network.queries import reach as reach_queries
from network.queries.reach import End, Reach, Step, Way
from network.rules.evaluate import Because, Verdict
from network.views import owners
from network.views.common import region_of
from network.views.forms import ReachForm
from scloud.lib.errors import InvalidInput
from scloud.web import ui
from scloud.web.forms import add_error
from scloud.web.status import StatusView
from scloud.web.views import ConsoleView

WAYS = {
    Way.OPEN: gettext_lazy("The network connects the two."),
    Way.ISOLATED: gettext_lazy("The two are in different VPCs, which are isolated."),
    Way.UNUSED: gettext_lazy("No network interface has this address of the VPC."),
    Way.NO_WAY_OUT: gettext_lazy(
        "The source has no external IP, so it cannot reach addresses outside its VPC."
    ),
    Way.NO_ROUTE: gettext_lazy("The segment of the source has no route to the destination."),
    Way.NO_WAY_IN: gettext_lazy(
        "The destination has no external IP at which it can be reached from outside its VPC."
    ),
    Way.NO_COMMON_VERSION: gettext_lazy("The two have no address of the same IP version."),
    Way.OUTSIDE: gettext_lazy("Both are outside your networks."),
}


@dataclass(frozen=True)
class Line:
    """One step of the way, as the page shows it."""

    title: str
    status: StatusView
    text: str
    group: Any = None
    rule: SecurityGroupRule | None = None


class ReachPage(ConsoleView):
    """Can A reach B on TCP 443?"""

    permission = "network.view_security_group"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the form, and the answer when a question was asked."""
        asked = "source" in request.GET
        form = ReachForm(request.GET if asked else None)
        found: Reach | None = None
        if asked and form.is_valid():
            try:
                found = reach_queries.reach(**form.cleaned_data)
            except InvalidInput as error:
                add_error(form, error)
        region = region_of(self.request)
        nics = list(reach_queries.choices(region.pk))
        ends = [found.source.nic, found.destination.nic] if found else []
        names = owners.names(nic.vm_id for nic in [*nics, *ends] if nic is not None)
        context: dict[str, Any] = {
            "form": form,
            "choices": [(vm_id, names.get(vm_id, vm_id)) for vm_id in _vms(nics)],
            "found": found,
        }
        if found is not None:
            context |= {
                "headline": headline(found, form.cleaned_data, names),
                "lines": lines(found, names),
            }
        status = 422 if asked and found is None else 200
        return self.render("network/reach.html", context, status=status)


def _vms(nics: list[Nic]) -> list[str]:
    return list(dict.fromkeys(str(nic.vm_id) for nic in nics))


def _name(end: End, names: dict[str, str]) -> str:
    if end.nic is None:
        return str(end.address)
    owner = names.get(end.nic.vm_id or "", end.nic.vm_id or end.nic.pk)
    return f"{owner} ({end.address})"


def headline(found: Reach, asked: dict[str, Any], names: dict[str, str]) -> str:
    """The answer in one sentence."""
    what = (
        _("ping") if asked["protocol"] == "icmp" else f"{asked['protocol'].upper()} {asked['port']}"
    )
    said = {
        "source": _name(found.source, names),
        "destination": _name(found.destination, names),
        "what": what,
    }
    if found.allowed:
        return _("%(source)s can reach %(destination)s: %(what)s") % said
    return _("%(source)s cannot reach %(destination)s: %(what)s") % said


def lines(found: Reach, names: dict[str, str]) -> list[Line]:
    """The steps of the way: out of the source, through the network, into the destination."""
    good = found.way is Way.OPEN
    tone = StatusView(_("Connected") if good else _("Not connected"), "ok" if good else "error")
    middle = Line(_("Network"), tone, str(WAYS[found.way]))
    outer = _("This end is outside; no security group of yours is asked.")
    return [
        _line(_("Outbound at the source"), found.egress, outer),
        middle,
        _line(_("Inbound at the destination"), found.ingress, outer),
    ]


def _line(title: str, step: Step | None, outside: str) -> Line:
    if step is None:
        return Line(title, StatusView(_("Not asked"), "off"), outside)
    verdict = step.verdict
    tone = StatusView(
        _("Accepted") if verdict.allowed else _("Denied"), "ok" if verdict.allowed else "error"
    )
    group = step.nic.security_group
    link = ui.link(group.name, reverse("security-group-detail", args=[group.pk])) if group else None
    return Line(title, tone, because(verdict, step.direction), link, verdict.rule)


def because(verdict: Verdict, direction: str) -> str:
    """Why a group lets something through or not, in one sentence."""
    if verdict.because is Because.UNFILTERED:
        return _("The network interface has no security group, so nothing is filtered.")
    if verdict.because is Because.ALWAYS:
        return _("This always passes.")
    if verdict.because is Because.NO_RULE:
        if direction == RuleDirection.IN:
            return _("No inbound rule matches, so it is denied.")
        return _("No outbound rule matches, so it is denied.")
    return _("Decided by this rule:")
