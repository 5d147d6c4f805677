"""The verbs of placement groups, in the order of their menus."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from compute.verbs import inputs
from scloud.verbs.catalogue import Answer, Catalogue, Dialog, Route, Verb

PLACEMENT_GROUPS = Catalogue(
    "placement_group",
    app="compute",
    argument="group",
    public=(
        Verb(
            "rename_placement_group",
            _("Rename"),
            icon="pencil",
            input=inputs.TextsInput,
            route=Route("Change name or remark.", method="patch", answer=Answer.ROW),
            dialog=Dialog(
                title=_("Rename placement group"), press=_("Save"), icon="", done=_("Saved.")
            ),
        ),
        Verb(
            "delete_placement_group",
            _("Delete"),
            icon="trash",
            danger=True,
            route=Route(
                "Delete a placement group without VMs.", method="delete", answer=Answer.NOTHING
            ),
            dialog=Dialog(
                group=1,
                title=_("Delete placement group"),
                icon="",
                text=_(
                    "Cannot be deleted while it has VMs, including VMs in the recycle bin. This "
                    "cannot be undone."
                ),
                done=_("The placement group was deleted."),
                leaves=True,
            ),
        ),
    ),
)
