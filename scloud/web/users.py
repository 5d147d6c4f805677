"""The users of a tenant, for its owners."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.db.models import Count, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters

from scloud.accounts import users
from scloud.lib.errors import NotFound
from scloud.lib.form_fields import PlainDecimalField
from scloud.tenancy.models import CustomRole, User
from scloud.tenancy.permissions import CUSTOM, Role
from scloud.web import http, ui
from scloud.web.lists import Column, EmptyState, Filter, ListView, PageAction, RowAction
from scloud.web.status import StatusView
from scloud.web.views import ActionView


def _status(user: User) -> StatusView:
    if user.is_active:
        return StatusView(_("Active"), "ok")
    return StatusView(_("Deactivated"), "off")


def _second_factor(user: User) -> StatusView:
    if hasattr(user, "second_factor"):
        return StatusView(_("On"), "ok")
    return StatusView(_("Off"), "off")


def _signed_in(user: User) -> Any:
    return ui.reltime(user.last_login) if user.last_login else _("never")


def _with_second_factor(rows: QuerySet[User], values: Sequence[str]) -> QuerySet[User]:
    if set(values) == {"on", "off"}:
        return rows
    return rows.filter(second_factor__isnull="off" in values)


class UsersView(ListView):
    """Who can sign in to the account, and as what."""

    kind = "user"
    permission = users.MANAGE
    title = gettext_lazy("Users")
    text = gettext_lazy("Who can sign in to this account. The role decides what they can do.")
    search_fields = ("email", "full_name")
    search_placeholder = gettext_lazy("Search by e-mail or name")
    default_sort = "email"
    has_row_menu = True
    columns = (
        Column("email", gettext_lazy("E-mail"), sort="email", main=True),
        Column("full_name", gettext_lazy("Name"), sort="full_name"),
        Column("role", gettext_lazy("Role"), value="role_name", sort=("role", "custom_role__name")),
        Column("status", gettext_lazy("Status"), value=_status, sort="is_active"),
        Column(
            "second_factor",
            gettext_lazy("Second factor"),
            value=_second_factor,
            sort="second_factor__turned_on_at",
        ),
        Column(
            "last_login",
            gettext_lazy("Last sign-in"),
            value=_signed_in,
            sort="last_login",
            export="last_login",
        ),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )
    filters = (
        Filter(
            "role",
            gettext_lazy("Role"),
            choices=(*Role.choices, (CUSTOM, gettext_lazy("Roles of your own"))),
        ),
        Filter(
            "status",
            gettext_lazy("Status"),
            choices=(("active", gettext_lazy("Active")), ("off", gettext_lazy("Deactivated"))),
            apply=lambda rows, values: rows.filter(is_active__in=[v == "active" for v in values]),
        ),
        Filter(
            "second_factor",
            gettext_lazy("Second factor"),
            choices=(("on", gettext_lazy("On")), ("off", gettext_lazy("Off"))),
            apply=_with_second_factor,
        ),
    )
    page_actions = (
        PageAction(
            gettext_lazy("Security"),
            "users-second-factor",
            icon="shield-lock",
            primary=False,
            dialog=True,
        ),
        PageAction(gettext_lazy("Roles"), "roles", icon="user-cog", primary=False),
        PageAction(gettext_lazy("Invitations"), "invitations", icon="mail", primary=False),
        PageAction(gettext_lazy("Invite user"), "user-invite", icon="user-plus", dialog=True),
    )
    empty = EmptyState(gettext_lazy("No users"), icon="users")

    def get_queryset(self) -> QuerySet[User]:
        return User.objects.filter(tenant=self.actor.tenant).select_related(
            "second_factor", "custom_role"
        )

    def get_page_actions(self) -> Sequence[PageAction]:
        # Nobody is invited where no mail can be sent.
        return self.page_actions if settings.SCLOUD_EMAIL_READY else self.page_actions[:2]

    def row_name(self, obj: User) -> str:
        return obj.email

    def row_actions(self, obj: User) -> list[RowAction]:
        def offer(verb: str, label: str, icon: str, *, danger: bool = False) -> RowAction:
            refused = users.refusal(verb, me=self.request.user, user=obj)
            return RowAction(
                label,
                reverse(f"user-{verb.replace('_', '-')}", args=[obj.pk]),
                icon=icon,
                danger=danger,
                reason=refused.message if refused is not None else "",
            )

        last = (
            offer("deactivate", _("Deactivate"), "user-off", danger=True)
            if obj.is_active
            else offer("activate", _("Activate"), "user-check")
        )
        return [
            offer("change_role", _("Change role"), "user-cog"),
            offer("hand_over", _("Hand over ownership"), "crown"),
            offer("reset_second_factor", _("Reset second factor"), "shield-off"),
            last,
        ]


class UserActionView(ActionView):
    """A dialog about a user of the caller's tenant."""

    permission = users.MANAGE
    live_kind = "user"

    def get_object(self) -> User:
        user = User.objects.filter(tenant=self.actor.tenant, pk=self.kwargs["user_id"]).first()
        if user is None:
            raise NotFound(_("There is no user %(id)s.") % {"id": self.kwargs["user_id"]})
        return user

    def get_dialog_context(self, obj: User) -> dict[str, Any]:
        return {
            "lines": [
                (_("E-mail"), obj.email),
                (_("Name"), obj.full_name),
                (_("Role"), obj.role_name),
            ]
        }

    def success_url(self, obj: User) -> str | None:
        # The list is where a browser without scripts came from.
        return None if self.request.htmx else "users"


class RoleForm(forms.Form):
    """Which role."""

    role = forms.ChoiceField(
        label=gettext_lazy("Role"),
        choices=[(str(role), role.label) for role in users.GIVEN],
        help_text=gettext_lazy(
            "Administrators do everything but manage users. Operators buy and run resources. "
            "Finance sees everything and pays. Read-only changes nothing."
        ),
    )


class GivenRoleForm(RoleForm):
    """One of the platform's roles, or one that the tenant has made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made: dict[str, CustomRole] = {role.pk: role for role in CustomRole.objects.all()}
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            *((str(role), role.label) for role in users.GIVEN),
            *((key, role.name) for key, role in self.made.items()),
        ]

    def clean_role(self) -> str | CustomRole:
        """Return the role itself where the tenant has made it."""
        chosen = str(self.cleaned_data["role"])
        return self.made.get(chosen, chosen)


class ChangeRoleView(UserActionView):
    """Gives a user another role."""

    title = gettext_lazy("Change role")
    text = gettext_lazy("Holds from the next request on, also for the user's API keys.")
    verb = gettext_lazy("Change role")
    form_class = GivenRoleForm
    success_text = gettext_lazy("Role changed.")

    def get_form_kwargs(self, obj: User) -> dict[str, Any]:
        present = obj.custom_role_id if obj.role == CUSTOM else obj.role
        choosable = obj.role == CUSTOM or obj.role in users.GIVEN
        return {"initial": {"role": present if choosable else Role.ADMINISTRATOR}}

    def perform(self, obj: User, data: dict[str, Any]) -> None:
        users.change_role(actor=self.actor, user=obj, role=data["role"])


class DeactivateUserView(UserActionView):
    """Keeps a user out."""

    title = gettext_lazy("Deactivate user")
    text = gettext_lazy(
        "Signed out at once and cannot sign in. The user's API keys are revoked for good. "
        "Resources stay."
    )
    verb = gettext_lazy("Deactivate")
    danger = True
    success_text = gettext_lazy("User deactivated.")

    def perform(self, obj: User, data: dict[str, Any]) -> None:
        users.deactivate_user(actor=self.actor, user=obj)


class ActivateUserView(UserActionView):
    """Lets a user in again."""

    title = gettext_lazy("Activate user")
    text = gettext_lazy("Can sign in again with the same password. Revoked API keys stay revoked.")
    verb = gettext_lazy("Activate")
    success_text = gettext_lazy("User activated.")

    def perform(self, obj: User, data: dict[str, Any]) -> None:
        users.activate_user(actor=self.actor, user=obj)


class ResetSecondFactorView(UserActionView):
    """Takes the second factor of a user away, who has lost app and recovery codes."""

    title = gettext_lazy("Reset second factor")
    text = gettext_lazy(
        "Make sure who asks for it: afterwards the password alone signs in. The user is signed out "
        "at once and told by e-mail."
    )
    verb = gettext_lazy("Reset")
    danger = True
    success_text = gettext_lazy("Second factor reset.")

    def perform(self, obj: User, data: dict[str, Any]) -> None:
        users.reset_second_factor(actor=self.actor, user=obj)


class SecurityForm(forms.Form):
    """Whether everybody needs a second factor, and what payments are confirmed."""

    required = forms.BooleanField(
        label=gettext_lazy("Everyone needs a second factor"),
        required=False,
        help_text=gettext_lazy(
            "Users without one are asked to set it up before they can do anything else. API keys "
            "go on working."
        ),
    )
    ask_above = PlainDecimalField(
        label=gettext_lazy("Ask for the password again before paying more than"),
        required=False,
        min_value=0,
        max_digits=14,
        decimal_places=2,
        help_text=gettext_lazy(
            "At once, in the console. Who has entered it within the last minutes is not asked; API "
            "keys never are. Creating API keys and destroying for good ask as well."
        ),
    )


class SecurityView(ActionView):
    """Says what users of the account have to prove, and when."""

    permission = users.MANAGE
    title = gettext_lazy("Security")
    verb = gettext_lazy("Save")
    form_class = SecurityForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        tenant = self.actor.tenant
        assert tenant is not None, "the right says so"
        return {
            "initial": {
                "required": tenant.second_factor_required,
                "ask_above": tenant.ask_above,
            }
        }

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        active = User.objects.filter(tenant=self.actor.tenant, is_active=True)
        counted = active.aggregate(every=Count("pk"), have=Count("second_factor"))
        return {
            "lines": [
                (_("Users with a second factor"), _("%(have)s of %(every)s") % counted),
            ]
        }

    def perform(self, obj: Any, data: dict[str, Any]) -> None:
        users.change_security(
            actor=self.actor, required=data["required"], ask_above=data["ask_above"]
        )

    def success_url(self, obj: Any) -> str | None:
        return None if self.request.htmx else "users"


class HandOverForm(forms.Form):
    """What the caller is afterwards, and their password, where there is one."""

    own_role = forms.ChoiceField(
        label=gettext_lazy("Your role afterwards"),
        choices=Role.choices,
        initial=Role.ADMINISTRATOR,
        help_text=gettext_lazy("Only owners can manage users."),
    )
    password = forms.CharField(
        label=gettext_lazy("Your current password"),
        max_length=200,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, has_password: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not has_password:
            # Who signs in with an identity provider has proven it lately, or is asked to.
            del self.fields["password"]


@method_decorator(sensitive_post_parameters("password"), name="dispatch")
class HandOverView(UserActionView):
    """Makes a user an owner, after the caller's password."""

    title = gettext_lazy("Hand over ownership")
    text = gettext_lazy(
        "The user becomes an owner and can do everything, including managing users."
    )
    verb = gettext_lazy("Hand over")
    danger = True
    form_class: ClassVar[type[forms.Form] | None] = HandOverForm
    success_text = gettext_lazy("Ownership handed over.")

    def get_form_kwargs(self, obj: User) -> dict[str, Any]:
        return {"has_password": users.person_of(self.actor).has_usable_password()}

    def perform(self, obj: User, data: dict[str, Any]) -> str:
        users.hand_over(
            actor=self.actor,
            user=obj,
            password=data.get("password", ""),
            own_role=data["own_role"],
        )
        return str(data["own_role"])

    def succeeded(self, obj: User, result: str) -> HttpResponse:
        if result == Role.OWNER:
            return super().succeeded(obj, result)
        # The list is no longer the caller's to see, and menus change with the role.
        return http.done(self.request, self.success_text, to="home")
