"""Security groups and their rules."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from network import actions
from network.actions.defaults import default_rules
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
from network.rules import verbs
from network.views import presentation
from network.views.common import (
    NetworkDetail,
    away,
    dialog,
    found,
    name_column,
    region_of,
    status_column,
)
from network.views.forms import NameForm, RuleForm, SecurityGroupForm
from scloud.web import http, ui
from scloud.web.http import ConsoleRequest
from scloud.web.lists import (
    BatchAction,
    Column,
    EmptyState,
    Filter,
    ListView,
    PageAction,
    RowAction,
)
from scloud.web.status import StatusView
from scloud.web.views import ActionView, BatchView


class SecurityGroupListView(ListView):
    """All security groups of the region."""

    kind = "security_group"
    title = gettext_lazy("Security groups")
    text = gettext_lazy(
        "Stateful packet filters for VMs. What no rule matches is denied. "
        "A VM without a group is not filtered."
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
    has_row_menu = True
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
        gettext_lazy("A security group says which connections may reach a VM and leave it."),
        icon="shield",
        action_label=gettext_lazy("Create security group"),
        action_url_name="security-group-create",
        action_permission="network.create_security_group",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Any]:
        """Return the region's groups."""
        return security_queries.security_groups(region_of(self.request))

    def row_actions(self, obj: SecurityGroup) -> list[RowAction]:
        """Return what can be done with a group."""
        return group_actions(self.request, obj)


def group_actions(request: ConsoleRequest, group: SecurityGroup) -> list[RowAction]:
    """The menu of a group."""
    can = verbs.of_security_group(request.actor, group)
    pk = group.pk
    return [
        dialog(gettext_lazy("Add rule"), "plus", "rule-add", pk, can["add_rule"]),
        dialog(
            gettext_lazy("Rename"), "pencil", "security-group-rename", pk,
            can["rename_security_group"],
        ),
        dialog(
            gettext_lazy("Delete"), "trash", "security-group-delete", pk,
            can["delete_security_group"], danger=True, separator=True,
        ),
    ]  # fmt: skip


def _action_view(rule: SecurityGroupRule) -> StatusView:
    accept = rule.action == RuleAction.ACCEPT
    return StatusView(RuleAction(rule.action).label, "ok" if accept else "error")


class SecurityGroupDetailView(NetworkDetail):
    """A security group with its rules."""

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
        Column("priority", gettext_lazy("Priority"), value="get_priority_display"),
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
    has_row_menu = True
    batch_actions = (
        BatchAction(
            gettext_lazy("Remove"), "trash", "rules-remove", danger=True,
            permission="network.remove_rule",
        ),
    )  # fmt: skip
    empty = EmptyState(
        gettext_lazy("No rule yet"),
        gettext_lazy("Nothing passes in either direction until a rule allows it."),
        icon="shield",
    )

    def group(self) -> SecurityGroup:
        """The group of the page."""
        row: SecurityGroup = found(security_queries.security_groups(), self.kwargs["pk"])
        return row

    def get_queryset(self) -> QuerySet[Any]:
        """Return its rules."""
        return security_queries.rules(self.group())

    def row_actions(self, obj: SecurityGroupRule) -> list[RowAction]:
        """Return what can be done with a rule."""
        can = verbs.of_rule(self.actor, obj)
        return [
            dialog(gettext_lazy("Edit"), "pencil", "rule-edit", obj.pk, can["edit_rule"]),
            dialog(
                gettext_lazy("Remove"), "trash", "rule-remove", obj.pk, can["remove_rule"],
                danger=True, separator=True,
            ),
        ]  # fmt: skip

    def page_context(self) -> dict[str, Any]:
        """Return the head of the page."""
        group = self.group()
        add, *others = group_actions(self.request, group)
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


class CreateSecurityGroupView(ActionView):
    """Create a security group."""

    title = gettext_lazy("Create security group")
    verb = gettext_lazy("Create")
    form_class = SecurityGroupForm
    success_text = gettext_lazy("The security group is being created.")

    def perform(self, obj: Any, data: dict[str, Any]) -> SecurityGroup:
        """Create it in the region that the user works in."""
        template = data.pop("template")
        rules = () if template == "empty" else default_rules()
        if template == "outbound":
            rules = tuple(rule for rule in rules if rule.direction == RuleDirection.OUT)
        return actions.create_security_group(
            actor=self.actor, region=region_of(self.request), rules=rules, **data
        )

    def success_url(self, obj: Any) -> Any:
        """Stay on the list, where the row appears."""
        return None if self.request.htmx else reverse("security-group-list")


class GroupActionView(ActionView):
    """A dialog about one group."""

    live_kind = "security_group"

    def get_object(self) -> SecurityGroup:
        """Return the group."""
        row: SecurityGroup = found(security_queries.security_groups(), self.kwargs["pk"])
        return row


class RenameSecurityGroupView(GroupActionView):
    """Rename a security group."""

    title = gettext_lazy("Rename security group")
    verb = gettext_lazy("Save")
    form_class = NameForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: SecurityGroup) -> dict[str, Any]:
        """Begin with what it is called now."""
        return {"initial": {"name": obj.name, "remark": obj.remark}}

    def perform(self, obj: SecurityGroup, data: dict[str, Any]) -> SecurityGroup:
        """Rename it."""
        return actions.rename_security_group(actor=self.actor, group=obj, **data)


class DeleteSecurityGroupView(GroupActionView):
    """Delete a security group."""

    title = gettext_lazy("Delete security group")
    text = gettext_lazy(
        "Only a security group that no VM uses can be deleted, the recycle bin included. "
        "It cannot be restored."
    )
    verb = gettext_lazy("Delete")
    danger = True
    success_text = gettext_lazy("The security group was deleted.")

    def perform(self, obj: SecurityGroup, data: dict[str, Any]) -> None:
        """Delete it."""
        actions.delete_security_group(actor=self.actor, group=obj)

    def success_url(self, obj: Any) -> Any:
        """Its own page is gone now."""
        return away(self.request, self.kwargs["pk"], reverse("security-group-list"))


class RuleDialog(ActionView):
    """After a change of a rule its row is fetched again, or appears, or goes."""

    def answer(self, group_id: str, rule_id: str, text: str) -> HttpResponse:
        """Close the dialog; without HTMX go to the group's page."""
        to = None if self.request.htmx else reverse("security-group-detail", args=[group_id])
        response = http.done(self.request, text, to=to)
        if response.status_code == 204:
            http.changed(response, "security_group_rule", rule_id)
        return response


class AddRuleView(RuleDialog):
    """Add a rule to a group."""

    title = gettext_lazy("Add rule")
    verb = gettext_lazy("Add")
    form_class = RuleForm

    def get_object(self) -> SecurityGroup:
        """Return the group."""
        row: SecurityGroup = found(security_queries.security_groups(), self.kwargs["pk"])
        return row

    def perform(self, obj: SecurityGroup, data: dict[str, Any]) -> SecurityGroupRule:
        """Add it."""
        return actions.add_rule(actor=self.actor, group=obj, rule=RuleForm.rule(data))

    def succeeded(self, obj: SecurityGroup, result: SecurityGroupRule) -> HttpResponse:
        """Show the new row."""
        return self.answer(obj.pk, result.pk, _("The rule was added."))


class RuleActionView(RuleDialog):
    """A dialog about one rule."""

    def get_object(self) -> SecurityGroupRule:
        """Return the rule."""
        row: SecurityGroupRule = found(
            SecurityGroupRule.objects.select_related("group"), self.kwargs["pk"]
        )
        return row


class EditRuleView(RuleActionView):
    """Change a rule."""

    title = gettext_lazy("Edit rule")
    verb = gettext_lazy("Save")
    form_class = RuleForm

    def get_form_kwargs(self, obj: SecurityGroupRule) -> dict[str, Any]:
        """Begin with what it says now."""
        return {"initial": RuleForm.initial_of(obj)}

    def perform(self, obj: SecurityGroupRule, data: dict[str, Any]) -> SecurityGroupRule:
        """Change it."""
        return actions.edit_rule(actor=self.actor, rule=obj, values=RuleForm.rule(data))

    def succeeded(self, obj: SecurityGroupRule, result: SecurityGroupRule) -> HttpResponse:
        """Show the changed row."""
        return self.answer(result.group_id, result.pk, _("The rule was changed."))


class RemoveRuleView(RuleActionView):
    """Remove a rule."""

    title = gettext_lazy("Remove rule")
    text = gettext_lazy("Connections that nothing allows any more are cut at once.")
    verb = gettext_lazy("Remove")
    danger = True

    def get_dialog_context(self, obj: SecurityGroupRule) -> dict[str, Any]:
        """Say which one."""
        return {
            "lines": [
                (_("Direction"), obj.get_direction_display()),
                (_("Protocol"), f"{obj.get_protocol_display()} {obj.ports}".strip()),
                (_("Source or destination"), obj.cidr),
                (_("Action"), obj.get_action_display()),
            ]
        }

    def perform(self, obj: SecurityGroupRule, data: dict[str, Any]) -> tuple[str, str]:
        """Remove it."""
        ids = (obj.group_id, obj.pk)
        actions.remove_rule(actor=self.actor, rule=obj)
        return ids

    def succeeded(self, obj: SecurityGroupRule, result: tuple[str, str]) -> HttpResponse:
        """Let the row go."""
        return self.answer(*result, _("The rule was removed."))


class RemoveRulesView(BatchView):
    """Remove several rules."""

    title = gettext_lazy("Remove rules")
    text = gettext_lazy("Connections that nothing allows any more are cut at once.")
    verb = gettext_lazy("Remove")
    danger = True
    live_kind = "security_group_rule"

    def get_objects(self, ids: list[str]) -> list[Any]:
        """Return the rules, named by what they say."""
        rows = SecurityGroupRule.objects.filter(pk__in=ids)
        return list(rows.select_related("group"))

    def perform(self, obj: SecurityGroupRule, data: dict[str, Any]) -> None:
        """Remove one."""
        actions.remove_rule(actor=self.actor, rule=obj)
