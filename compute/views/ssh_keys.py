"""SSH keys: the list, keeping one, and the dialogs of their verbs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext_lazy

from compute.actions.ssh_keys import create_ssh_key
from compute.models import SshKey
from compute.queries import ssh_keys as queries
from compute.rules.validation import SSH_KEY_MAX
from scloud.web import http, ui
from scloud.web.forms import LinesField
from scloud.web.lists import Column, EmptyState, PageAction
from scloud.web.verbs import Lines, Pages, VerbDialog, VerbList, dialog, register
from scloud.web.views import ActionView


class SshKeyList(VerbList):
    """The keys that the tenant keeps."""

    kind = "ssh_key"
    permission = "compute.view_ssh_key"
    title = gettext_lazy("SSH keys")
    text = gettext_lazy(
        "Public keys to choose from when a VM is created or reinstalled. A VM keeps the keys that "
        "it was given."
    )
    search_fields = ("id", "name", "fingerprint", "public_key")
    search_placeholder = gettext_lazy("Search by name or fingerprint")
    exportable = False
    columns = (
        Column("name", gettext_lazy("Name"), sort="name", main=True),
        Column("type", gettext_lazy("Type"), value="key_type", sort="key_type"),
        Column("fingerprint", gettext_lazy("Fingerprint"), render=ui.ident, nowrap=True),
        Column("public_key", gettext_lazy("Public key"), render=ui.ident, default=False),
        Column(
            "created",
            gettext_lazy("Added"),
            value=lambda row: ui.reltime(row.created_at),
            sort="created_at",
        ),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
    )
    page_actions = (
        PageAction(
            gettext_lazy("Add SSH key"),
            "ssh-key-create",
            dialog=True,
            permission="compute.create_ssh_key",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No SSH key yet"),
        gettext_lazy("With a key you sign in to VMs without a password."),
        icon="key",
        action_label=gettext_lazy("Add SSH key"),
        action_url_name="ssh-key-create",
        action_permission="compute.create_ssh_key",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[SshKey]:
        return queries.ssh_keys()


class SshKeyForm(forms.Form):
    """A key and what it is called."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=30,
        help_text=gettext_lazy("1 to 30 letters, digits or - _ ."),
    )
    public_key = LinesField(
        label=gettext_lazy("Public key"),
        max_length=SSH_KEY_MAX,
        widget=forms.Textarea(
            attrs={
                "rows": "4",
                "class": "input-mono",
                "spellcheck": "false",
                "placeholder": "ssh-ed25519 AAAA… you@laptop",
            }
        ),
        help_text=gettext_lazy("The content of a .pub file, such as ~/.ssh/id_ed25519.pub."),
    )


class SshKeyCreate(ActionView):
    """The dialog that keeps a key."""

    title = gettext_lazy("Add SSH key")
    verb = gettext_lazy("Add")
    permission = "compute.create_ssh_key"
    form_class = SshKeyForm
    success_text = gettext_lazy("The SSH key was added.")

    def perform(self, obj: Any, data: dict[str, Any]) -> SshKey:
        return create_ssh_key(actor=self.actor, **data)

    def succeeded(self, obj: Any, result: Any) -> Any:
        """To the list; the page that creates a VM stays and offers the key."""
        here = (self.request.htmx.current_url_abs_path if self.request.htmx else "") or ""
        stays = here.split("?")[0] == reverse("vm-create")
        response = http.done(self.request, self.success_text, to=None if stays else "ssh-key-list")
        return http.changed(response, SshKey.KIND, result.pk) if stays else response


@dialog("ssh_key", "rename_ssh_key")
class SshKeyRename(VerbDialog):
    """Its name alone: a key has no remark and no tags."""


def _lines(verb: str, key: Any) -> Lines:
    """Return which key it is."""
    return [
        (gettext_lazy("Type"), key.key_type),
        (gettext_lazy("Fingerprint"), key.fingerprint),
    ]


register(
    Pages(
        kind="ssh_key",
        prefix="ssh-keys",
        permission="compute.view_ssh_key",
        one=lambda request, pk, binned: queries.ssh_key(pk),
        several=lambda request, ids: queries.ssh_keys().filter(pk__in=ids),
        lines=_lines,
    )
)
