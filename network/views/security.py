"""Security groups and their rules."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from network import actions
from network.actions import RulesChanged
from network.models import (
    RULES_PER_GROUP,
    RuleAction,
    RuleDirection,
    RulePriority,
    RuleProtocol,
    SecurityGroup,
    SecurityGroupRule,
)
from network.queries import security as security_queries
from network.rules import csv_rules
from network.views import presentation
from network.views.common import (
    NAMES,
    NetworkDetail,
    found,
    name_column,
    region_of,
    status_column,
)
from network.views.forms import (
    CopyGroupForm,
    RuleForm,
    RulesFileForm,
    SecurityGroupForm,
    TemplateForm,
)
from scloud.web import http, ui
from scloud.web.lists import (
    Column,
    EmptyState,
    Filter,
    PageAction,
    RowAction,
)
from scloud.web.status import StatusView
from scloud.web.verbs import Lines, Pages, VerbDialog, VerbList, dialog, menu, register
from scloud.web.views import ActionView, ConsoleView


class SecurityGroupList(VerbList):
    kind = "security_group"
    title = gettext_lazy("Security groups")
    text = gettext_lazy(
        "Stateful firewall rules for VMs. Traffic that matches no rule is "
        "denied. A VM without a group is not filtered."
    )
    permission = "network.view_security_group"
    columns = (
        name_column("security-group-detail"),
        Column("id", gettext_lazy("ID"), render=ui.ident, sort="id", nowrap=True),
        Column("rules", gettext_lazy("Rules"), value="rule_count", sort="rule_count", align="end"),
        Column("nics", gettext_lazy("Used by interfaces"), value="nic_count", sort="nic_count",
               align="end"),
        status_column(gettext_lazy("Status")),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )  # fmt: skip
    page_actions = (
        PageAction(
            gettext_lazy("Create security group"),
            "security-group-create",
            dialog=True,
            permission="network.create_security_group",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No security group yet"),
        gettext_lazy("A security group controls which connections a VM can accept and open."),
        icon="shield",
        action_label=gettext_lazy("Create security group"),
        action_url_name="security-group-create",
        action_permission="network.create_security_group",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Any]:
        return security_queries.security_groups(region_of(self.request))


def _action_view(rule: SecurityGroupRule) -> StatusView:
    accept = rule.action == RuleAction.ACCEPT
    return StatusView(RuleAction(rule.action).label, "ok" if accept else "error")


class SecurityGroupDetail(VerbList, NetworkDetail):
    kind = "security_group_rule"
    title = gettext_lazy("Rules")
    permission = "network.view_security_group"
    columns = (
        Column("direction", gettext_lazy("Direction"), value="get_direction_display",
               sort="direction", main=True),
        Column("protocol", gettext_lazy("Protocol"), value="get_protocol_display",
               sort="protocol"),
        Column("ports", gettext_lazy("Ports"), value=lambda rule: rule.ports or _("All"),
               sort=("port_min", "port_max")),
        Column("cidr", gettext_lazy("Source or destination"), render=ui.ident, sort="cidr"),
        Column("action", gettext_lazy("Action"), value=_action_view, sort="action",
               export="get_action_display"),
        Column("priority", gettext_lazy("Priority"), value="get_priority_display",
               sort=("level", "-action")),
        Column("description", gettext_lazy("Description")),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
    )  # fmt: skip
    filters = (
        Filter("direction", gettext_lazy("Direction"), choices=RuleDirection.choices),
        Filter("protocol", gettext_lazy("Protocol"), choices=RuleProtocol.choices),
        Filter("action", gettext_lazy("Action"), choices=RuleAction.choices),
        Filter("priority", gettext_lazy("Priority"), choices=RulePriority.choices),
    )
    search_fields = ("id", "cidr", "description")
    search_placeholder = gettext_lazy("Search by address or description")
    default_size = 50
    empty = EmptyState(
        gettext_lazy("No rule yet"),
        gettext_lazy("All traffic is denied until a rule allows it."),
        icon="shield",
    )

    def group(self) -> SecurityGroup:
        row: SecurityGroup = found(security_queries.security_groups(), self.kwargs["pk"])
        return row

    def get_queryset(self) -> QuerySet[Any]:
        return security_queries.rules(self.group())

    def page_context(self) -> dict[str, Any]:
        group = self.group()
        add, *others = menu("security_group", group, self.actor)
        export = RowAction(
            _("Export rules as CSV"),
            reverse("security-group-rules-csv", args=[group.pk]),
            icon="download",
            how="link",
        )
        others.insert(2, export)
        return {
            "object": group,
            "status": presentation.status_view(group),
            "crumbs": [(_("Security groups"), reverse("security-group-list")), (group.name, "")],
            "primary": add,
            "actions": others,
            "facts": [
                (_("ID"), group.pk, group.pk),
                (_("Region"), group.region.name),
                (_("Rules"), f"{group.rule_count} / {RULES_PER_GROUP}"),  # type: ignore[attr-defined]  # annotated
                (_("Used by interfaces"), group.nic_count),  # type: ignore[attr-defined]  # annotated
                (_("Remark"), group.remark),
                (_("Created"), ui.moment(group.created_at)),
            ],
        }


class RulesCsv(ConsoleView):
    """The rules of a group as a CSV file."""

    permission = "network.view_security_group"

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Answer with the file."""
        group = found(security_queries.security_groups(), pk)
        return rules_file(group)


def rules_file(group: SecurityGroup) -> HttpResponse:
    """The answer with the rules of a group as a file to keep."""
    text = csv_rules.written(security_queries.rules(group))
    response = HttpResponse(text, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{group.pk}-rules.csv"'
    return response


class SecurityGroupCreate(ActionView):
    title = gettext_lazy("Create security group")
    verb = gettext_lazy("Create")
    form_class = SecurityGroupForm
    success_text = gettext_lazy("The security group is being created.")

    def perform(self, obj: Any, data: dict[str, Any]) -> SecurityGroup:
        """Create it in the region that the user works in."""
        return actions.create_security_group(
            actor=self.actor, region=region_of(self.request), **data
        )

    def success_url(self, obj: Any) -> Any:
        """Stay on the list, where the row appears."""
        return None if self.request.htmx else reverse("security-group-list")


def _lines(verb: str, rule: SecurityGroupRule) -> Lines:
    if verb != "remove_rule":
        return []
    return [
        (_("Direction"), rule.get_direction_display()),
        (_("Protocol"), f"{rule.get_protocol_display()} {rule.ports}".strip()),
        (_("Source or destination"), rule.cidr),
        (_("Action"), rule.get_action_display()),
    ]


def _rules() -> QuerySet[SecurityGroupRule]:
    rows: QuerySet[SecurityGroupRule] = SecurityGroupRule.objects.select_related("group")
    return rows


register(
    Pages(
        kind="security_group",
        prefix="network/security-groups",
        one=lambda request, pk, binned: found(security_queries.security_groups(), pk),
        several=lambda request, ids: security_queries.security_groups().filter(pk__in=ids),
        names=NAMES,
        home=lambda group: reverse("security-group-list"),
    )
)
register(
    Pages(
        kind="security_group_rule",
        prefix="network/rules",
        one=lambda request, pk, binned: found(_rules(), pk),
        several=lambda request, ids: _rules().filter(pk__in=ids),
        lines=_lines,
    )
)


class RuleDialog(VerbDialog):
    """After a change of a rule its row is fetched again, or appears, or goes."""

    def answer(self, group_id: str, rule_id: str) -> HttpResponse:
        """Close the dialog; without HTMX go to the group's page."""
        to = None if self.request.htmx else reverse("security-group-detail", args=[group_id])
        response = http.done(self.request, self.success_text, to=to)
        if response.status_code == 204:
            http.changed(response, "security_group_rule", rule_id)
        return response

    def succeeded(self, obj: Any, result: Any) -> HttpResponse:
        """Show the changed row, or let it go."""
        return self.answer(obj.group_id, obj.pk)


@dialog("security_group", "add_rule")
class RuleAdd(RuleDialog):
    form_class = RuleForm

    def values(self, obj: SecurityGroup, data: dict[str, Any]) -> dict[str, Any]:
        return {"rule": RuleForm.rule(data)}

    def succeeded(self, obj: SecurityGroup, result: SecurityGroupRule) -> HttpResponse:
        return self.answer(obj.pk, result.pk)


@dialog("security_group_rule", "edit_rule")
class RuleEdit(RuleDialog):
    form_class = RuleForm

    def get_form_kwargs(self, obj: SecurityGroupRule) -> dict[str, Any]:
        """Begin with what it says now."""
        return {"initial": RuleForm.initial_of(obj)}

    def values(self, obj: SecurityGroupRule, data: dict[str, Any]) -> dict[str, Any]:
        return {"values": RuleForm.rule(data)}


@dialog("security_group_rule", "remove_rule")
class RuleRemove(RuleDialog):
    """Remove a rule."""


class RulesDialog(VerbDialog):
    """Many rules at once: the page says how many, and shows them all."""

    def get_success_text(self, obj: Any, result: RulesChanged) -> str:
        """Say what became of them."""
        said = [ngettext("%(n)s rule added", "%(n)s rules added", result.added)]
        counts = [result.added]
        if result.present:
            said.append(ngettext("%(n)s already there", "%(n)s already there", result.present))
            counts.append(result.present)
        if result.removed:
            said.append(ngettext("%(n)s removed", "%(n)s removed", result.removed))
            counts.append(result.removed)
        return ", ".join(text % {"n": n} for text, n in zip(said, counts, strict=True)) + "."

    def success_url(self, obj: Any) -> Any:
        """Load the group's page anew: any number of its rows has changed."""
        return reverse("security-group-detail", args=[obj.pk])


@dialog("security_group", "add_template")
class TemplateAdd(RulesDialog):
    """Add rules from a template."""

    form_class = TemplateForm


@dialog("security_group", "import_rules")
class RulesImport(RulesDialog):
    """Import rules from a CSV file."""

    form_class = RulesFileForm


@dialog("security_group", "copy_security_group")
class SecurityGroupCopy(VerbDialog):
    """Copy a group with its rules."""

    form_class = CopyGroupForm

    def get_form_kwargs(self, obj: SecurityGroup) -> dict[str, Any]:
        """Begin with a name that tells it from the original."""
        return {"initial": {"name": copy_name(obj.name), "remark": obj.remark}}

    def success_url(self, obj: Any) -> Any:
        """To the list, where the copy appears."""
        return reverse("security-group-list")


#: As long as a name may be.
LONGEST_NAME = 30


def copy_name(name: str) -> str:
    """A name for the copy that is not longer than a name may be."""
    return f"{name[: LONGEST_NAME - len('-copy')]}-copy"
