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
            "turn_on_ipv6",
            _("Turn on IPv6"),
            icon="world",
            route=Route(
                "Give a subnet a private IPv6 range, and each of its network interfaces an address "
                "of it.",
                answer=Answer.ROW,
            ),
            dialog=Dialog(
                press=_("Turn on"),
                text=_(
                    "Each VM in the subnet gets a private IPv6 address, by which it reaches the "
                    "IPv6 subnets of its VPC. Running VMs configure it within seconds if their "
                    "guest agent answers, others when they start next. Security groups deny IPv6 "
                    "that none of their rules accepts. IPv6 can be turned off again only while no "
                    "VM uses the subnet."
                ),
                done=_("IPv6 is being turned on."),
            ),
        ),
        Verb(
            "turn_off_ipv6",
            _("Turn off IPv6"),
            icon="world-off",
            danger=True,
            route=Route(
                "Take the private IPv6 range of a subnet that no VM uses away.", answer=Answer.ROW
            ),
            dialog=Dialog(
                press=_("Turn off"),
                text=_(
                    "Cannot be turned off while VMs use the subnet, including VMs in the recycle "
                    "bin. If IPv6 is turned on again, the subnet gets the same range."
                ),
                done=_("IPv6 is being turned off."),
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
