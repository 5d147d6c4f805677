"""Invitations of a tenant, for its owners."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scloud.accounts import invitations
from scloud.accounts.users import MANAGE
from scloud.lib.errors import NotFound
from scloud.tenancy.models import Invitation
from scloud.tenancy.permissions import CUSTOM, Role
from scloud.web import ui
from scloud.web.lists import Column, EmptyState, Filter, ListView, PageAction, RowAction
from scloud.web.status import StatusView
from scloud.web.users import GivenRoleForm
from scloud.web.views import ActionView


def _status(invitation: Invitation) -> StatusView:
    if invitation.accepted_at is not None:
        return StatusView(_("Accepted"), "ok")
    if invitation.withdrawn_at is not None:
        return StatusView(_("Withdrawn"), "off")
    if invitation.expires_at <= timezone.now():
        return StatusView(_("Expired"), "warn")
    if invitation.sent_at is None:
        return StatusView(_("Not sent yet"), "warn", _("The tasks show why."))
    return StatusView(_("Sent"), "off", _("Waits for the invited person."))


class InvitationsView(ListView):
    """Who was invited, and what came of it."""

    kind = "invitation"
    permission = MANAGE
    title = gettext_lazy("Invitations")
    text = gettext_lazy(
        "An invited person sets name and password by the link in the mail, within three days."
    )
    search_fields = ("email",)
    search_placeholder = gettext_lazy("Search by e-mail")
    default_sort = "-created"
    has_row_menu = True
    columns = (
        Column("email", gettext_lazy("E-mail"), sort="email", main=True),
        Column("role", gettext_lazy("Role"), value="role_name", sort="role"),
        Column("status", gettext_lazy("Status"), value=_status),
        Column(
            "invited_by", gettext_lazy("Invited by"), value="invited_by.email", sort="invited_by"
        ),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
        Column("expires", gettext_lazy("Expires"), value="expires_at", sort="expires_at"),
        Column("id", gettext_lazy("ID"), render=ui.ident, default=False),
    )
    filters = (
        Filter(
            "role",
            gettext_lazy("Role"),
            choices=(*Role.choices, (CUSTOM, gettext_lazy("Roles of your own"))),
        ),
    )
    page_actions = (
        PageAction(gettext_lazy("Invite user"), "user-invite", icon="user-plus", dialog=True),
    )
    empty = EmptyState(
        gettext_lazy("No invitations"),
        gettext_lazy("Invite people to this account by e-mail. Users cost nothing."),
        icon="mail",
        action_label=gettext_lazy("Invite user"),
        action_url_name="user-invite",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Invitation]:
        rows: QuerySet[Invitation] = Invitation.objects.select_related("invited_by", "custom_role")
        return rows

    def row_actions(self, obj: Invitation) -> list[RowAction]:
        refused = invitations.refusal(obj)
        reason = refused.message if refused is not None else ""
        return [
            RowAction(
                _("Send again"),
                reverse("invitation-send", args=[obj.pk]),
                icon="mail-forward",
                reason=reason,
            ),
            RowAction(
                _("Withdraw"),
                reverse("invitation-withdraw", args=[obj.pk]),
                icon="ban",
                danger=True,
                reason=reason,
            ),
        ]


class InviteForm(GivenRoleForm):
    """Whom, and as what."""

    email = forms.EmailField(
        label=gettext_lazy("E-mail"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    field_order = ("email", "role")


class InviteView(ActionView):
    """The dialog that invites somebody."""

    permission = MANAGE
    title = gettext_lazy("Invite user")
    text = gettext_lazy(
        "A link is sent to the address. Whoever opens it sets a name and password and can sign in."
    )
    verb = gettext_lazy("Send invitation")
    form_class = InviteForm
    success_text = gettext_lazy("The invitation is being sent.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        return {"initial": {"role": Role.READONLY}}

    def perform(self, obj: Any, data: dict[str, Any]) -> Invitation:
        return invitations.invite_user(actor=self.actor, email=data["email"], role=data["role"])

    def success_url(self, obj: Any) -> str:
        # Also from the list of users, which does not show who is only invited.
        return "invitations"


class InvitationActionView(ActionView):
    """A dialog about an invitation of the caller's tenant."""

    permission = MANAGE
    live_kind = "invitation"

    def get_object(self) -> Invitation:
        found = Invitation.objects.filter(pk=self.kwargs["invitation_id"]).first()
        if not isinstance(found, Invitation):
            raise NotFound(
                _("There is no invitation %(id)s.") % {"id": self.kwargs["invitation_id"]}
            )
        return found

    def success_url(self, obj: Invitation) -> str | None:
        # The list is where a browser without scripts came from.
        return None if self.request.htmx else "invitations"


class SendAgainView(InvitationActionView):
    """Sends a new code."""

    title = gettext_lazy("Send invitation again")
    text = gettext_lazy("A new link is sent, valid for three days. The one before becomes invalid.")
    verb = gettext_lazy("Send again")
    success_text = gettext_lazy("The invitation is being sent.")

    def perform(self, obj: Invitation, data: dict[str, Any]) -> None:
        invitations.send_invitation_again(actor=self.actor, invitation=obj)


class WithdrawView(InvitationActionView):
    """Makes the code void."""

    title = gettext_lazy("Withdraw invitation")
    text = gettext_lazy("The link that was sent becomes invalid.")
    verb = gettext_lazy("Withdraw")
    danger = True
    success_text = gettext_lazy("Invitation withdrawn.")

    def perform(self, obj: Invitation, data: dict[str, Any]) -> None:
        invitations.withdraw_invitation(actor=self.actor, invitation=obj)
