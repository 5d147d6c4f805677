"""Maintenance in Django admin: of a host, of a cluster host by host, and the removal of a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import maintenance as platform
from compute.admin.fencing import HostNameForm
from compute.hosts.admission import that_served
from compute.models import Cluster, ClusterRoll, Host
from compute.queries import maintenance as queries
from compute.rules.host_tests import waits_for_test
from compute.states.hosts import CONFIRMED_OFF, IN_SERVICE, HostState
from compute.states.maintenance import DepartureState, Way
from compute.transitions.maintenance import open_of
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import ModelAdmin, administrator, needs


class WayForm(forms.Form):
    """What is done about VMs that cannot be moved."""

    way = forms.ChoiceField(
        label=gettext_lazy("VMs that cannot be moved while they run"),
        choices=Way.choices,
        initial=Way.WAIT,
        widget=forms.RadioSelect,
        help_text=gettext_lazy(
            "VMs with a GPU, those for which no other host has room, and those whose moves failed "
            "three times. A paused VM waits for an operator, also when others are shut down."
        ),
    )


def _said(
    owner: ModelAdmin, request: HttpRequest, call: Callable[[Actor], Any], words: str
) -> None:
    """Call an action as the administrator, and say what came of it."""
    try:
        call(administrator(request, None))
    except ScloudError as error:
        owner.message_user(request, error.for_operators(), messages.ERROR)
    else:
        owner.message_user(request, words, messages.SUCCESS)


class HostMaintenanceAdmin(ModelAdmin):
    """The pages of a host: its maintenance, and its removal."""

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "<path:object_id>/maintenance/",
                self.admin_site.admin_view(self.maintenance_view),
                name="compute_host_maintenance",
            ),
            path(
                "<path:object_id>/remove/",
                self.admin_site.admin_view(self.remove_view),
                name="compute_host_remove",
            ),
        ]
        return [*own, *super().get_urls()]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A host is removed on a page of its own, out of maintenance."""
        return False

    @needs("platform.enter_maintenance")
    def maintenance_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what would happen or how far it is (GET); enter, abort or leave (POST)."""
        host = self.get_object(request, object_id)
        if host is None:
            raise Http404
        here = reverse("admin:compute_host_maintenance", args=[host.pk])
        form = WayForm(request.POST if request.POST.get("do") == "enter" else None)
        if request.method == "POST" and self._order(request, host, form):
            return HttpResponseRedirect(here)
        now = open_of(host)
        in_service = host.state in IN_SERVICE
        context = {
            **self.admin_site.each_context(request),
            "title": _("Maintenance of %(name)s") % {"name": host.name},
            "opts": Host._meta,
            "object": host,
            "maintenance": now,
            "forecast": queries.forecast(host)[: queries.SHOWN] if in_service else None,
            "progress": queries.progress(now) if now is not None else None,
            "counts": _counts(queries.counts(now)) if now is not None else None,
            "may_enter": in_service,
            "may_abort": now is not None and not in_service and host.state != HostState.MAINTENANCE,
            "may_leave": host.state == HostState.MAINTENANCE,
            "most": host.cluster.moves_per_host,
            "form": form,
            "here": here,
            "back": reverse("admin:compute_host_change", args=[host.pk]),
        }
        return TemplateResponse(request, "compute/admin/maintenance.html", context)

    def _order(self, request: HttpRequest, host: Host, form: WayForm) -> bool:
        """Do what was ordered; False when the form has to be shown again."""
        name, what = {"name": host.name}, request.POST.get("do")
        if what == "enter":
            if not form.is_valid():
                return False
            way = form.cleaned_data["way"]
            _said(
                self,
                request,
                lambda actor: platform.enter_maintenance(actor=actor, host=host, way=way),
                _("%(name)s enters maintenance.") % name,
            )
        elif what == "abort":
            _said(
                self,
                request,
                lambda actor: platform.abort_maintenance(actor=actor, host=host),
                _("The maintenance of %(name)s was aborted. Moves under way go on.") % name,
            )
        elif what == "leave":
            _said(
                self,
                request,
                lambda actor: platform.leave_maintenance(actor=actor, host=host),
                _("%(name)s is used again when it has been compared.") % name,
            )
        return True

    @needs("platform.remove_host")
    def remove_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Have the name of the host typed (GET), forget it (POST)."""
        host = self.get_object(request, object_id)
        if host is None:
            raise Http404
        form = HostNameForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                platform.remove_host(
                    actor=administrator(request, None), host=host, typed=form.cleaned_data["typed"]
                )
            except ScloudError as error:
                form.add_error(
                    error.field if error.field in form.fields else None, error.for_operators()
                )
            else:
                self.message_user(request, _("%(name)s was removed.") % {"name": host.name})
                return HttpResponseRedirect(reverse("admin:compute_host_changelist"))
        may = (
            host.state == HostState.MAINTENANCE
            or host.state in CONFIRMED_OFF
            or waits_for_test(host)
        )
        context = {
            **self.admin_site.each_context(request),
            "title": _("Remove the host"),
            "opts": Host._meta,
            "object": host,
            "running": host.vms.filter(status="running").count(),
            "text": _(
                "The host, its fence device and what its witnesses said are deleted; the changes "
                "of its state and the operation log stay. It has to be in maintenance, known to "
                "be off or never in service, and no VM may be on it. Remove its chassis "
                "from OVN and its heartbeat file by hand."
            ),
            "reason": ""
            if may
            else _("%(name)s is %(label)s.")
            % {"name": host.name, "label": host.get_state_display()},
            "form": form,
            "back": reverse("admin:compute_host_change", args=[host.pk]),
        }
        return TemplateResponse(request, "compute/admin/host_typed.html", context)


def _counts(numbers: dict[str, int]) -> list[tuple[str, int]]:
    return [(str(state.label), numbers.get(state, 0)) for state in DepartureState]


class ClusterRollAdmin(ModelAdmin):
    """The page of a cluster on which its hosts enter maintenance one after the other."""

    change_form_template = "compute/admin/cluster.html"

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<path:object_id>/roll/",
            self.admin_site.admin_view(self.roll_view),
            name="compute_cluster_roll",
        )
        return [own, *super().get_urls()]

    @needs("platform.start_roll")
    def roll_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what would happen or how far it is (GET); start, go on or stop (POST)."""
        cluster = self.get_object(request, object_id)
        if cluster is None:
            raise Http404
        here = reverse("admin:compute_cluster_roll", args=[cluster.pk])
        roll: ClusterRoll | None = cluster.rolls.filter(ended_at=None).first()
        form = WayForm(request.POST if request.POST.get("do") == "start" else None)
        if request.method == "POST" and self._order(request, cluster, roll, form):
            return HttpResponseRedirect(here)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Rolling maintenance of %(name)s") % {"name": cluster.alias},
            "opts": Cluster._meta,
            "object": cluster,
            "roll": roll,
            "standing": None if roll is None else queries.standing(roll),
            "plan": _plan(cluster) if roll is None else None,
            "last": cluster.rolls.exclude(ended_at=None).first(),
            "form": form,
            "here": here,
            "back": reverse("admin:compute_cluster_change", args=[cluster.pk]),
        }
        return TemplateResponse(request, "compute/admin/roll.html", context)

    def _order(
        self, request: HttpRequest, cluster: Cluster, roll: ClusterRoll | None, form: WayForm
    ) -> bool:
        """Do what was ordered; False when the form has to be shown again."""
        what = request.POST.get("do")
        if what == "start":
            if not form.is_valid():
                return False
            way = form.cleaned_data["way"]
            _said(
                self,
                request,
                lambda actor: platform.start_roll(actor=actor, cluster=cluster, way=way),
                _("The first host enters maintenance when all hosts are in service."),
            )
        elif roll is None:
            self.message_user(request, _("This rolling maintenance has ended."), messages.ERROR)
        elif what == "next":
            _said(
                self,
                request,
                lambda actor: platform.continue_roll(actor=actor, roll=roll),
                _("The next host enters maintenance when all hosts are in service."),
            )
        elif what == "stop":
            _said(
                self,
                request,
                lambda actor: platform.stop_roll(actor=actor, roll=roll),
                _("No further host enters maintenance."),
            )
        return True


def _plan(cluster: Cluster) -> list[dict[str, Any]]:
    """What would become of the VMs of each host in service, if it were its turn now."""
    hosts = that_served(cluster).filter(state__in=IN_SERVICE).select_related("cluster")
    found = []
    for host in hosts.order_by("name"):
        forecast = queries.forecast(host)
        found.append(
            {
                "host": host,
                "vms": len(forecast),
                "homeless": [one.vm for one in forecast if one.homeless],
                "unmovable": [
                    (one.vm, one.words) for one in forecast if one.problem and not one.homeless
                ],
            }
        )
    return found
