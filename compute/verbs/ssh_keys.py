"""The verbs of SSH keys."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from compute.verbs import inputs
from scloud.verbs.catalogue import Answer, Catalogue, Dialog, Field, Route, Verb

SSH_KEYS = Catalogue(
    "ssh_key",
    app="compute",
    public=(
        Verb(
            "rename_ssh_key",
            _("Rename"),
            icon="pencil",
            input=inputs.SshKeyNameInput,
            route=Route(
                "Rename an SSH key.",
                method="patch",
                answer=Answer.ROW,
                example=("Another name", {"name": "laptop"}),
            ),
            dialog=Dialog(
                icon="", press=_("Save"), done=_("Saved."), fields={"name": Field(_("Name"))}
            ),
        ),
        Verb(
            "delete_ssh_key",
            _("Delete"),
            icon="trash",
            danger=True,
            route=Route(
                "Delete an SSH key; VMs that were given it keep it.",
                method="delete",
                answer=Answer.NOTHING,
            ),
            dialog=Dialog(
                group=1,
                icon="",
                text=_("VMs that were given it keep it. It can no longer be chosen for new ones."),
                done=_("The SSH key was deleted."),
            ),
        ),
    ),
)
