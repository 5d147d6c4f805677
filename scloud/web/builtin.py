"""What the shell itself puts into navigation and dashboard."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from scloud.audit.models import Operation
from scloud.jobs.handlers import quiet_kinds
from scloud.jobs.models import ACTIVE, Job
from scloud.web import commands, dashboard, nav, operations
from scloud.web.commands import Command
from scloud.web.http import ConsoleRequest

RECENT_JOBS = 6


def _recent_tasks(request: ConsoleRequest) -> dict[str, Any] | None:
    # Imported late: the module belongs to the views, which need the app registry.
    from scloud.web.activity import job_status

    shown = Job.objects.exclude(kind__in=quiet_kinds())
    jobs = list(shown.order_by("-created_at")[:RECENT_JOBS])
    if not jobs:
        return None
    return {
        "jobs": [{"job": job, "status": job_status(job)} for job in jobs],
        "active": shown.filter(status__in=ACTIVE).count(),
    }


def _recent_operations(request: ConsoleRequest) -> dict[str, Any] | None:
    # Imported late for the same reason.
    from scloud.web.activity import result_of

    found = list(Operation.objects.order_by("-pk")[:RECENT_JOBS])
    if not found:
        return None
    return {
        "operations": [
            {"operation": one, "title": operations.title_of(one), "status": result_of(one)}
            for one in found
        ]
    }


def register() -> None:
    """Register the shell's own lines and cards."""
    nav.register(nav.NavItem("", _("Dashboard"), "home", icon="layout-dashboard", order=0))
    nav.register(
        nav.NavItem(
            "account", _("Tasks"), "tasks", icon="list-check", permission="jobs.view", order=10
        )
    )
    nav.register(
        nav.NavItem(
            "account",
            _("Operation log"),
            "operations",
            icon="history",
            permission="audit.view",
            order=20,
        )
    )
    nav.register(
        nav.NavItem(
            "account",
            _("API keys"),
            "api-keys",
            icon="key",
            permission="tenancy.manage_api_keys",
            order=30,
        )
    )
    nav.register(
        nav.NavItem(
            "account",
            _("Users"),
            "users",
            icon="users",
            permission="tenancy.manage_users",
            order=25,
        )
    )
    commands.register(
        Command(
            _("Create API key"),
            "api-key-create",
            "key",
            "tenancy.manage_api_keys",
            _("new add make token"),
        ),
        Command(
            _("Invite user"),
            "user-invite",
            "user-plus",
            "tenancy.manage_users",
            _("new add create colleague"),
        ),
        Command(
            _("Profile"), "profile", "user-circle", words=_("password language time zone account")
        ),
    )
    dashboard.register(
        dashboard.Card(
            key="tasks",
            title=_("Recent tasks"),
            template="web/cards/tasks.html",
            context=_recent_tasks,
            permission="jobs.view",
            order=90,
            width=6,
            icon="activity",
            link_url_name="tasks",
            link_label=_("All tasks"),
        )
    )
    dashboard.register(
        dashboard.Card(
            key="operations",
            title=_("Recent operations"),
            template="web/cards/operations.html",
            context=_recent_operations,
            permission="audit.view",
            order=95,
            width=6,
            icon="history",
            link_url_name="operations",
            link_label=_("Operation log"),
        )
    )
