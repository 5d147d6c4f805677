"""The roles that the owners of a tenant have made."""

from typing import Any

from django import forms
from django.db.models import Count, Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scloud.accounts import rights, roles, users
from scloud.lib.errors import NotFound
from scloud.tenancy.models import CustomRole
from scloud.tenancy.permissions import CUSTOM
from scloud.web import ui
from scloud.web.lists import Column, EmptyState, ListView, PageAction, RowAction
from scloud.web.views import ActionView


def _included(role: CustomRole) -> list[str]:
    """Return what a role includes, in words; what has none is shown as it is."""
    found = rights.abilities_in(role.permissions)
    named = {one for ability in found for one in ability.permissions}
    words = [str(ability.label) for ability in found]
    return words + [one for one in role.permissions if one not in named]


class RolesView(ListView):
    """Roles beside those of the platform."""

    kind = "role"
    permission = users.MANAGE
    title = gettext_lazy("Roles")
    text = gettext_lazy(
        "Roles of your own, beside owner, administrator, operator, finance and read-only."
    )
    search_fields = ("name", "id")
    default_sort = "name"
    has_row_menu = True
    columns = (
        Column("name", gettext_lazy("Name"), sort="name", main=True),
        Column("includes", gettext_lazy("Includes"), value=_included, render=ui.tags),
        Column("having", gettext_lazy("Users"), sort="having", align="end"),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )
    page_actions = (
        PageAction(gettext_lazy("Create role"), "role-create", icon="plus", dialog=True),
    )
    empty = EmptyState(
        gettext_lazy("No roles of your own"),
        gettext_lazy("Make one from a list of abilities, and give it to users."),
        icon="user-cog",
        action_label=gettext_lazy("Create role"),
        action_url_name="role-create",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[CustomRole]:
        having = Count("users", filter=Q(users__role=CUSTOM, users__tenant=self.actor.tenant))
        found: QuerySet[CustomRole] = CustomRole.objects.annotate(having=having)
        return found

    def row_actions(self, obj: CustomRole) -> list[RowAction]:
        having = int(getattr(obj, "having", 0))
        return [
            RowAction(_("Edit"), reverse("role-edit", args=[obj.pk]), icon="pencil"),
            RowAction(
                _("Delete"),
                reverse("role-delete", args=[obj.pk]),
                icon="trash",
                danger=True,
                reason=_("Users have this role.") if having else "",
            ),
        ]


class RoleForm(forms.Form):
    """The name, and what the role includes."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=40)
    abilities = forms.MultipleChoiceField(
        label=gettext_lazy("Includes"),
        choices=[(ability.key, ability.label) for ability in rights.ABILITIES],
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("Users are managed by owners only."),
    )


class RoleCreateView(ActionView):
    """The dialog that makes a role."""

    permission = users.MANAGE
    title = gettext_lazy("Create role")
    verb = gettext_lazy("Create role")
    form_class = RoleForm
    success_text = gettext_lazy("Role created.")

    def perform(self, obj: Any, data: dict[str, Any]) -> CustomRole:
        return roles.create_role(actor=self.actor, **data)

    def success_url(self, obj: Any) -> str:
        return "roles"


class OwnRoleView(ActionView):
    """A dialog about a role of the caller's tenant."""

    permission = users.MANAGE
    live_kind = "role"

    def get_object(self) -> CustomRole:
        role = CustomRole.objects.filter(pk=self.kwargs["role_id"]).first()
        if not isinstance(role, CustomRole):
            raise NotFound(_("There is no role %(id)s.") % {"id": self.kwargs["role_id"]})
        return role

    def success_url(self, obj: CustomRole) -> str:
        return "roles"


class RoleEditView(OwnRoleView):
    """Changes the name of a role and what it includes."""

    title = gettext_lazy("Edit role")
    text = gettext_lazy("Holds from the next request of its users on, also for their API keys.")
    verb = gettext_lazy("Save")
    form_class = RoleForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: CustomRole) -> dict[str, Any]:
        included = [ability.key for ability in rights.abilities_in(obj.permissions)]
        return {"initial": {"name": obj.name, "abilities": included}}

    def perform(self, obj: CustomRole, data: dict[str, Any]) -> CustomRole:
        return roles.change_custom_role(actor=self.actor, role=obj, **data)


class RoleDeleteView(OwnRoleView):
    """Deletes a role that nobody has."""

    title = gettext_lazy("Delete role")
    verb = gettext_lazy("Delete")
    danger = True
    success_text = gettext_lazy("Role deleted.")

    def perform(self, obj: CustomRole, data: dict[str, Any]) -> None:
        roles.delete_role(actor=self.actor, role=obj)
