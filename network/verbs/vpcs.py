"""The verbs of VPCs and subnets, in the order of their menus."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from network.verbs import inputs
from scloud.verbs.catalogue import Answer, Catalogue, Dialog, Route, Verb

VPCS = Catalogue(
    "vpc",
    app="network",
    public=(
        Verb(
            "create_subnet",
            _("Create subnet"),
            icon="plus",
            elsewhere="POST /subnets",
            dialog=Dialog(
                name="subnet-create",
                icon="",
                press=_("Create"),
                done=_("The subnet is being created."),
            ),
        ),
        Verb(
            "rename_vpc",
            _("Rename"),
            icon="pencil",
            input=inputs.NameInput,
            route=Route(
                "Rename a VPC, and change its remark if one is given.",
                method="patch",
                answer=Answer.ROW,
            ),
            dialog=Dialog(title=_("Rename VPC"), press=_("Save"), icon="", done=_("Saved.")),
        ),
        Verb(
            "delete_vpc",
            _("Delete"),
            icon="trash",
            danger=True,
            route=Route("Delete a VPC without subnets.", method="delete", answer=Answer.NOTHING),
            dialog=Dialog(
                group=1,
                title=_("Delete VPC"),
                icon="",
                text=_("Cannot be deleted while it has subnets. This cannot be undone."),
                done=_("The VPC was deleted."),
                leaves=True,
            ),
        ),
    ),
)

SUBNETS = Catalogue(
    "subnet",
    app="network",
    public=(
        Verb(
            "rename_subnet",
            _("Rename"),
            icon="pencil",
            input=inputs.NameInput,
            route=Route(
                "Rename a subnet, and change its remark if one is given.",
                method="patch",
                answer=Answer.ROW,
            ),
            dialog=Dialog(title=_("Rename subnet"), press=_("Save"), icon="", done=_("Saved.")),
        ),
        Verb(
            "delete_subnet",
            _("Delete"),
            icon="trash",
            danger=True,
            route=Route("Delete a subnet that no VM uses.", method="delete", answer=Answer.NOTHING),
            dialog=Dialog(
                group=1,
                title=_("Delete subnet"),
                icon="",
                text=_(
                    "Cannot be deleted while VMs use it, including VMs in the recycle "
                    "bin. This cannot be undone."
                ),
                done=_("The subnet was deleted."),
                leaves=True,
            ),
        ),
    ),
)
