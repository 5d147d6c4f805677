"""Adding hosts in Django admin, and what the tests of their connections found."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import hosts as platform
from compute.models import Host, HostTest
from compute.rules.host_tests import TEST, acceptance_problem
from compute.states.hosts import FindingLevel
from scloud.jobs.models import ACTIVE, Job
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import Button, ModelAdmin, administrator, needs
from scloud.tenancy.scoping import scopes_disabled

#: What is entered of a new host; the rest is read from it.
ENTERED: Final = ("name", "cluster", "uri", "address", "offloads", "reserved_memory_mib", "tags")
#: What decides to whom SCloud speaks: a change of it has not been tested.
_REACHED_BY: Final = frozenset({"uri", "address", "cluster"})


def _test(actor: Actor, host: Host) -> str:
    platform.test_host(actor=actor, host=host)
    return _("The connection of %(name)s is tested. Reload to see what was found.") % {
        "name": host.name
    }


TEST_BUTTON: Final = Button(
    "test", gettext_lazy("Test connection"), _test, batch=True, right="platform.test_host"
)


def _test_of(host: Host) -> HostTest | None:
    found: HostTest | None = HostTest.objects.filter(host=host).first()
    return found


def _shown(host: Host) -> dict[str, Any]:
    """What a page says of the last test."""
    test = _test_of(host)
    with scopes_disabled():
        running = Job.objects.filter(
            kind=TEST, target_kind="host", target_id=host.pk, status__in=ACTIVE
        )
        is_running = running.exists()
    labels = {str(level.value): level.label for level in FindingLevel}
    findings = [] if test is None else test.findings
    return {
        "object": host,
        "test": test,
        "running": is_running,
        "stale": test is not None and test.tested_at is not None and not test.is_of(host),
        "findings": [{**one, "label": labels.get(one["level"], "")} for one in findings],
        "waits": test is not None and test.required and test.admitted_at is None,
        "acceptable": not acceptance_problem(host, test),
    }


class HostTestAdmin(ModelAdmin):
    """The form that adds a host, the findings on its page, and the page that accepts them."""

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<path:object_id>/accept/",
            self.admin_site.admin_view(self.accept_view),
            name="compute_host_accept",
        )
        return [own, *super().get_urls()]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Of a new host there is nothing to show yet."""
        return ENTERED if obj is None else super().get_fields(request, obj)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Offer to accept warnings while the host waits for that."""
        host = self.get_object(request, object_id)
        acceptable = host is not None and not acceptance_problem(host, _test_of(host))
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "acceptable": acceptable}
        )

    def save_model(self, request: HttpRequest, obj: Host, form: Any, change: bool) -> None:
        """A new one by the action, which has it tested; the form was checked by the same rules."""
        if not change:
            platform.add_host(actor=administrator(request, None), host=obj)
            self.message_user(
                request,
                _("The connection is tested. The host is locked until the test has passed."),
            )
            return
        if form.changed_data:
            # What sweeps write about it meanwhile stays.
            obj.save(update_fields=form.changed_data)
        if _REACHED_BY & set(form.changed_data):
            self.message_user(
                request,
                _("How the host is reached has changed: test its connection."),
                messages.WARNING,
            )

    @admin.display(description=gettext_lazy("Connection test"))
    def findings(self, host: Host) -> str:
        """What the last test of the connection found."""
        return render_to_string("compute/admin/host_findings.html", _shown(host))

    @needs("platform.accept_host")
    def accept_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what a test found (GET), put the host into service in spite of it (POST)."""
        host = self.get_object(request, object_id)
        if host is None:
            raise Http404
        back = reverse("admin:compute_host_change", args=[host.pk])
        if request.method == "POST":
            try:
                platform.accept_host(
                    actor=administrator(request, None),
                    host=host,
                    seen=request.POST.get("seen", ""),
                )
            except ScloudError as error:
                self.message_user(request, error.for_operators(), messages.ERROR)
            else:
                words = _("%(name)s is in service.") % {"name": host.name}
                self.message_user(request, words, messages.SUCCESS)
                return HttpResponseRedirect(back)
        shown = _shown(host)
        test = shown["test"]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Put %(name)s into service") % {"name": host.name},
            "opts": Host._meta,
            **shown,
            "problem": acceptance_problem(host, test),
            "seen": "" if test is None or test.tested_at is None else test.tested_at.isoformat(),
            "back": back,
        }
        return TemplateResponse(request, "compute/admin/host_accept.html", context)
