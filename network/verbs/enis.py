"""The verbs of ENIs, in the order of their menu."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from network.states.enis import EniStatus, EniTask
from network.verbs import inputs
from scloud.verbs.catalogue import AdminButton, Answer, Batch, Catalogue, Dialog, Quote, Route, Verb

S, T = EniStatus, EniTask
_USABLE = frozenset({S.FREE, S.BOUND})
# Of the operators' buttons: what is done is in the tenant's operation log.
_SEEN = _("The tenant sees in the operation log that an administrator did this.")

_PUBLIC = (
    Verb(
        "bind_eni",
        _("Bind"),
        frozenset({S.FREE}),
        T.BINDING,
        300,
        "eni.bound",
        icon="link",
        input=inputs.BindEniInput,
        route=Route(
            "Plug an ENI into a VM of its region, live where the VM runs.",
            example=("To a VM", {"vm": "vm-4k2p09xqa"}),
        ),
        dialog=Dialog(
            text=_(
                "A running VM sees the interface immediately. Where its guest agent does not "
                "answer, the guest configures it at its next boot."
            ),
            done=_("%(name)s is being bound."),
        ),
    ),
    Verb(
        "unbind_eni",
        _("Unbind"),
        frozenset({S.BOUND, S.EXPIRED}),
        T.UNBINDING,
        300,
        "eni.unbound",
        icon="unlink",
        route=Route("Pull an ENI out of its VM; it keeps its address."),
        dialog=Dialog(
            text=_("Its connections are dropped. It keeps its address."),
            done=_("%(name)s is being unbound."),
        ),
        batch=Batch(_("The connections of the selected ENIs are dropped.")),
        admin=AdminButton(batch=True, confirm=_SEEN),
    ),
    Verb(
        "set_eni_egress",
        _("Set as default egress"),
        frozenset({S.BOUND}),
        icon="logout",
        argument="eni",
        route=Route(
            "Make the address of an external ENI the one by which its VM reaches what is outside.",
            path="set-default-egress",
            answer=Answer.ROW,
        ),
        dialog=Dialog(
            path="set-default-egress",
            text=_(
                "New connections from the VM leave by this address. "
                "Each address goes on answering by its own gateway."
            ),
            done=_("%(name)s is the default egress."),
        ),
    ),
    Verb(
        "change_eni_group",
        _("Change security group"),
        _USABLE,
        icon="shield",
        argument="eni",
        input=inputs.GroupInput,
        route=Route(
            "Give an ENI another security group, or none; acts at once.",
            path="change-security-group",
            answer=Answer.ROW,
            example=("None", {"security_group": None}),
        ),
        dialog=Dialog(
            group=1,
            path="change-security-group",
            text=_(
                "Takes effect immediately. Active connections that are no longer "
                "allowed will be dropped."
            ),
            done=_("Saved."),
        ),
    ),
    Verb(
        "resize_eni",
        _("Change bandwidth"),
        _USABLE,
        T.RESIZING,
        180,
        "eni.resized",
        icon="gauge",
        input=inputs.BandwidthPurchaseInput,
        route=Route(
            "Give an external ENI another bandwidth, up or down; it takes effect at once.",
            path="change-bandwidth",
            example=("To 20 Mb/s", {"bandwidth_mbps": 20, "quote_token": inputs.QUOTED}),
            quote=Quote(
                doc="Say what another bandwidth costs now and per period; changes nothing.",
                input=inputs.BandwidthInput,
                name="quote_eni_bandwidth",
                example=("To 20 Mb/s", {"bandwidth_mbps": 20}),
            ),
        ),
        dialog=Dialog(
            group=1,
            path="change-bandwidth",
            text=_("It takes effect at once, in both directions."),
            done=_("The bandwidth of %(name)s is being changed."),
        ),
    ),
    Verb(
        "rename_eni",
        _("Rename"),
        frozenset(set(S) - {S.DESTROYED}),
        icon="pencil",
        needs_idle=False,
        input=inputs.TaggedInput,
        route=Route("Change name, remark or tags.", method="patch", answer=Answer.ROW),
        dialog=Dialog(
            group=2,
            title=_("Name, remark and tags"),
            press=_("Save"),
            icon="",
            done=_("Saved."),
        ),
    ),
    Verb(
        "renew_eni",
        _("Renew"),
        _USABLE | {S.EXPIRED},
        icon="calendar-plus",
        needs_idle=False,
        right="billing.renew_resource",
        elsewhere="POST /subscriptions/{resource_id}/renew",
        dialog=Dialog(
            group=2,
            press=_("Pay and renew"),
            text=_("The new time follows the paid time."),
            done=_("%(name)s is renewed."),
        ),
    ),
    Verb(
        "delete_eni",
        _("Delete"),
        frozenset({S.FREE, S.EXPIRED}),
        T.DESTROYING,
        300,
        "eni.destroyed",
        icon="trash",
        danger=True,
        route=Route(
            "Delete an unbound ENI for good, with its address; it does not go to the recycle bin.",
            method="delete",
        ),
        dialog=Dialog(
            group=3,
            text=_(
                "The ENI and its address are deleted for good; there is no recycle bin for it. "
                "What is left of its paid time is refunded."
            ),
            done=_("%(name)s is being deleted."),
            leaves=True,
        ),
        batch=Batch(_("The selected ENIs and their addresses are deleted for good.")),
    ),
)
_INTERNAL = (
    Verb("create_eni", _("Create"), frozenset({S.NEW}), event="eni.created"),
    # What it was bound to is gone or on its way: whatever is being done is pushed aside.
    Verb(
        "let_go_eni",
        _("Unbind"),
        frozenset({S.FREE, S.BOUND, S.EXPIRED}),
        T.UNBINDING,
        86_400,
        "eni.unbound",
        preempts=frozenset({T.BINDING, T.UNBINDING, T.RESIZING}),
    ),
    # One that has expired is unbound as people do it, and stays expired.
    Verb(
        "unbind_expired_eni",
        _("Unbind"),
        frozenset({S.EXPIRED}),
        T.UNBINDING,
        600,
        "eni.unbound",
    ),
    # The end of the grace of an external one that was not paid: off its VM, and gone.
    Verb(
        "retire_eni",
        _("Delete"),
        frozenset({S.FREE, S.BOUND, S.EXPIRED}),
        T.UNBINDING,
        3600,
        "eni.destroyed",
    ),
    Verb("expire_eni", _("Expire"), _USABLE, event="eni.expired"),
    Verb("reinstate_eni", _("Reinstate"), frozenset({S.EXPIRED}), event="eni.reinstated"),
)

ENIS = Catalogue(
    "eni",
    app="network",
    public=_PUBLIC,
    internal=_INTERNAL,
    labels={**dict(EniTask.choices), **dict(EniStatus.choices)},
    busy=_("The ENI is busy: %(state)s."),
)
