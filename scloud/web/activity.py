"""Tasks (jobs) and the operation log."""

import json
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scloud.audit.models import Operation
from scloud.jobs.handlers import quiet_kinds
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.lib import search
from scloud.lib.errors import NotFound
from scloud.resources import kinds
from scloud.web import operations, ui
from scloud.web.lists import Column, EmptyState, Filter, ListView
from scloud.web.status import StatusView, Tone
from scloud.web.views import ConsoleView

STRIP_JOBS = 5
STRIP_RECENT = timedelta(minutes=15)

_JOB_TONES: dict[str, Tone] = {
    JobStatus.QUEUED: "busy",
    JobStatus.RUNNING: "busy",
    JobStatus.SUCCEEDED: "ok",
    JobStatus.FAILED: "error",
    JobStatus.CANCELLED: "off",
}


def job_status(job: Job) -> StatusView:
    """Return how a job's status is shown."""
    return StatusView(job.get_status_display(), _JOB_TONES[job.status], job.error_message)


def resource_link(kind: str, resource_id: str, name: str = "") -> str:
    """Return a link to a resource's page where there is one, else its id."""
    label = name or resource_id
    try:
        found = kinds.get(kind)
        url = reverse(found.url_name, args=[resource_id]) if found.url_name else ""
    except (KeyError, NoReverseMatch):
        url = ""
    if not url:
        return format_html('<span class="{}">{}</span>', "" if name else "mono small", label)
    return format_html('<a href="{}" class="{}">{}</a>', url, "" if name else "mono small", label)


def _duration(job: Job) -> timedelta | None:
    if job.started_at is None:
        return None
    return (job.finished_at or timezone.now()) - job.started_at


class TasksView(ListView):
    kind = "job"
    permission = "jobs.view"
    title = _("Tasks")
    text = _("Current and past tasks, step by step.")
    search_fields = ("id", "title", "target_id", "created_by")
    search_placeholder = _("Search by task or resource")
    default_sort = "-created"
    has_row_menu = False
    columns = (
        Column("title", _("Task"), template="web/tasks/cell_title.html", main=True, export="title"),
        Column(
            "target",
            _("Resource"),
            value=lambda job: resource_link(job.target_kind, job.target_id),
            export="target_id",
            nowrap=True,
        ),
        Column("status", _("Status"), value=job_status, sort="status", export="get_status_display"),
        Column(
            "progress",
            _("Progress"),
            template="web/tasks/cell_progress.html",
            export="progress_percent",
        ),
        Column("created_by", _("Started by"), sort="created_by"),
        Column("created", _("Created"), value="created_at", sort="created_at"),
        Column("duration", _("Duration"), value=_duration, align="end"),
        Column("error", _("Error"), value="error_message", default=False),
        Column("id", _("ID"), render=ui.ident, default=False),
    )
    filters = (
        Filter("status", _("Status"), choices=JobStatus.choices),
        Filter("target_kind", _("Resource type"), kind="text"),
    )
    empty = EmptyState(
        _("No tasks yet"),
        _("Tasks appear here when you create or change resources."),
        icon="list-check",
    )

    def get_queryset(self) -> QuerySet[Job]:
        jobs: QuerySet[Job] = Job.objects.exclude(kind__in=quiet_kinds())
        return jobs


class TaskDetailView(ConsoleView):
    """One job with its steps and its error, in the dialog or as a page."""

    permission = "jobs.view"

    def get(self, request: HttpRequest, job_id: str) -> HttpResponse:
        job = Job.objects.filter(pk=job_id).first()
        if job is None:
            raise NotFound(gettext("There is no task %(job_id)s.") % {"job_id": job_id})
        context = {
            "job": job,
            "status": job_status(job),
            "steps": [_step(step) for step in job.steps],
            "facts": [
                (_("Resource"), resource_link(job.target_kind, job.target_id)),
                (_("Started by"), job.created_by),
                (_("Created"), ui.moment(job.created_at)),
                (_("Duration"), _duration(job)),
                (_("Attempt"), job.attempt or None),
                (_("Task ID"), ui.ident(job.pk)),
            ],
            "dialog_template": "web/tasks/detail.html",
        }
        if request.GET.get("part") == "body":
            return self.render("web/tasks/body.html", context)
        template = "web/tasks/detail.html" if self.request.htmx else "web/dialog/page.html"
        return self.render(template, context)

    title = _("Task")


_STEP_ICONS = {
    "waiting": ("circle-dashed", "pending"),
    "running": ("loader-2", "active"),
    "done": ("circle-check", "done"),
    "failed": ("circle-x", "failed"),
}


def _step(step: dict[str, Any]) -> dict[str, Any]:
    icon, css = _STEP_ICONS.get(str(step.get("state")), _STEP_ICONS["waiting"])
    at = step.get("at")
    moment = datetime.fromisoformat(at) if isinstance(at, str) and at else None
    return {"label": step.get("label") or step.get("name"), "icon": icon, "css": css, "at": moment}


class TaskStripView(ConsoleView):
    """The inner part of the strip at the bottom of every page: what runs, and what failed."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not self.actor.allows("jobs.view"):
            return self.render("web/tasks/strip.html", {"jobs": [], "active": 0})
        failed = Q(status=JobStatus.FAILED, finished_at__gte=timezone.now() - STRIP_RECENT)
        shown = Job.objects.filter(Q(status__in=ACTIVE) | failed).exclude(kind__in=quiet_kinds())
        jobs = sorted(shown.order_by("-created_at")[:50], key=lambda job: not job.is_active)
        context = {
            "jobs": [{"job": job, "status": job_status(job)} for job in jobs[:STRIP_JOBS]],
            "active": sum(job.is_active for job in jobs),
            "more": max(0, len(jobs) - STRIP_JOBS),
        }
        return self.render("web/tasks/strip.html", context)


def _resources(operation: Operation) -> str:
    links = [
        (resource_link(str(r.get("kind")), str(r.get("id")), str(r.get("name") or "")),)
        for r in operation.resources[:3]
    ]
    if not links:
        return ui.NONE
    more = len(operation.resources) - len(links)
    return format_html(
        '<span class="links">{}{}</span>',
        format_html_join(", ", "{}", links),
        format_html(" +{}", more) if more else "",
    )


def result_of(operation: Operation) -> StatusView:
    """Return how the result of an operation is shown."""
    if operation.succeeded:
        return StatusView(_("Accepted"), "ok")
    return StatusView(_("Refused"), "error", operation.error_message)


def _verb_button(operation: Operation) -> str:
    return format_html(
        '<div class="cell-two"><button type="button" class="link-btn cell-name" hx-get="{}"'
        ' hx-target="#dialog-slot" aria-haspopup="dialog">{}</button>'
        '<span class="mono">{}</span></div>',
        reverse("operation-detail", args=[operation.pk]),
        operations.title_of(operation),
        operation.verb,
    )


class OperationsView(ListView):
    kind = "operation"
    permission = "audit.view"
    title = _("Operation log")
    text = _(
        "Who did what, from where, on which resource, and with what result. Kept for 6 months."
    )
    search_fields = ("verb", "actor", "resources", "error_message")
    search_placeholder = _("Search by verb, person or resource")
    default_sort = "-at"
    columns = (
        Column("verb", _("Operation"), value=_verb_button, sort="verb", main=True, export="verb"),
        Column(
            "resources",
            _("Resources"),
            value=_resources,
            export=lambda o: [r.get("id") for r in o.resources],
        ),
        Column("result", _("Result"), value=result_of, sort="succeeded"),
        Column("error", _("Reason"), value="error_message"),
        Column("actor", _("Who"), sort="actor"),
        Column("via", _("Through"), sort="via"),
        Column("ip", _("From"), render=ui.ident),
        Column("at", _("When"), sort="at"),
        Column("request_id", _("Request"), render=ui.ident, default=False),
    )
    filters = (
        Filter(
            "verb",
            _("Operation"),
            choices=lambda request: operations.choices(),
            one=True,
        ),
        Filter(
            "result",
            _("Result"),
            choices=(("yes", _("Accepted")), ("no", _("Refused"))),
            apply=lambda rows, values: rows.filter(succeeded__in=[v == "yes" for v in values]),
        ),
        Filter(
            "via",
            _("Through"),
            choices=(
                ("console", _("Console")),
                ("api", _("API")),
                ("admin", _("Administrator")),
                ("system", _("Platform")),
            ),
        ),
        Filter("since", _("From day"), kind="date", lookup="at__date__gte"),
        Filter("until", _("To day"), kind="date", lookup="at__date__lte"),
    )
    empty = EmptyState(_("No operations yet"), icon="history")

    def get_queryset(self) -> QuerySet[Operation]:
        found: QuerySet[Operation] = Operation.objects.all()
        return found

    def match(self, model: type[Model]) -> search.Match:
        """Search finds what people read, too: the words of the verb."""
        plain = super().match(model)
        return lambda word: plain(word) | Q(verb__in=list(operations.saying(word)))


class OperationDetailView(ConsoleView):
    """One entry of the log with its values before and after."""

    permission = "audit.view"
    title = _("Operation")

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        operation = Operation.objects.filter(pk=pk).first()
        if operation is None:
            raise NotFound(gettext("There is no such entry in the log."))
        context = {
            "operation": operation,
            "heading": operations.title_of(operation),
            "status": result_of(operation),
            "facts": [
                (_("Operation"), operations.words_of(operation.verb)),
                (_("Right"), ui.ident(operation.verb)),
                (_("Who"), operation.actor),
                (_("Through"), operation.via),
                (_("From"), ui.ident(operation.ip)),
                (_("When"), ui.moment(operation.at)),
                (_("Resources"), _resources(operation)),
                (_("Error code"), operation.error_code),
                (_("Request"), ui.ident(operation.request_id)),
            ],
            "before": _pretty(operation.before),
            "after": _pretty(operation.after),
            "dialog_template": "web/operations/detail.html",
        }
        template = "web/operations/detail.html" if self.request.htmx else "web/dialog/page.html"
        return self.render(template, context)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) if value else ""
