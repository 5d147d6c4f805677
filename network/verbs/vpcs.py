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
            "configure_subnet",
            _("DNS and routes"),
            icon="route",
            input=inputs.SubnetOptionsInput,
            route=Route(
                "Change the DNS servers and static routes that guests of a subnet are told.",
                answer=Answer.ROW,
                example=(
                    "A route through a VM",
                    {
                        "dns_servers": ["192.0.2.53"],
                        "routes": [{"destination": "192.0.2.0/24", "next_hop": "10.0.0.9"}],
                    },
                ),
            ),
            dialog=Dialog(
                press=_("Save"),
                text=_(
                    "VMs take over changes when they start or renew their DHCP lease. The VM that "
                    "is a next hop may receive and send for the destination; forwarding has to be "
                    "enabled in its operating system, and its security group has to allow it."
                ),
                done=_("Saved."),
            ),
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
