"""The verbs of external IPs, in the order of their menu."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from network.states.external_ips import ExternalIpStatus, ExternalIpTask
from network.verbs import inputs
from scloud.verbs.catalogue import (
    AdminButton,
    Answer,
    Batch,
    Catalogue,
    Dialog,
    Quote,
    Route,
    Verb,
)

S, T = ExternalIpStatus, ExternalIpTask
_USABLE = frozenset({S.FREE, S.BOUND})
_THERE = frozenset(set(S) - {S.DESTROYED})
# Of the operators' buttons: what is done is in the tenant's operation log.
_SEEN = _("The tenant sees in the operation log that an administrator did this.")

_PUBLIC = (
    Verb(
        "bind_external_ip",
        _("Bind"),
        frozenset({S.FREE}),
        T.BINDING,
        180,
        "external_ip.bound",
        icon="link",
        input=inputs.BindInput,
        route=Route(
            "Bind an external IP to a VM of its region; a running VM has it at once.",
            example=("To a VM", {"target": "vm-4k2p09xqa"}),
        ),
        dialog=Dialog(
            text=_(
                "The VM gets the address on its external network interface. Where its guest agent "
                "does not answer, the guest configures the address at its next boot."
            ),
            done=_("%(name)s is being bound."),
        ),
    ),
    Verb(
        "unbind_external_ip",
        _("Unbind"),
        frozenset({S.BOUND, S.EXPIRED}),
        T.UNBINDING,
        180,
        "external_ip.unbound",
        icon="unlink",
        route=Route("Take an external IP off what it is bound to; its connections end."),
        dialog=Dialog(
            text=_("Connections to this address are dropped. The address remains yours."),
            done=_("%(name)s is being unbound."),
        ),
        batch=Batch(_("Connections to the selected addresses are dropped.")),
        admin=AdminButton(batch=True, confirm=_SEEN),
    ),
    Verb(
        "set_default_egress",
        _("Set as default egress"),
        frozenset({S.BOUND}),
        icon="logout",
        argument="external_ip",
        route=Route(
            "Make an external IP the one by which its VM reaches what is outside.",
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
        "change_alarm_template",
        _("Modify alarm template"),
        _USABLE | {S.EXPIRED},
        icon="bell-cog",
        needs_idle=False,
        right="alarms.change_external_ip_template",
        argument="external_ip",
        input=inputs.ExternalIpAlarmTemplateInput,
        route=Route(
            "Give an external IP another alarm template, or none; its open alarms end.",
            operation="change_alarm_template_of_external_ip",
            example=("Another one", {"template": "template-0q8zt5mva"}),
        ),
        dialog=Dialog(
            press=_("Save"),
            text=_("Open alarms of the address end, and the rules of the new template apply."),
            done=_("Saved."),
        ),
        batch=Batch(
            _("Open alarms of the addresses end, and the rules of the new template apply.")
        ),
    ),
    Verb(
        "resize_external_ip",
        _("Change bandwidth"),
        _USABLE,
        T.RESIZING,
        180,
        "external_ip.resized",
        icon="gauge",
        input=inputs.BandwidthPurchaseInput,
        route=Route(
            "Give an external IP another bandwidth, up or down; it takes effect at once.",
            path="change-bandwidth",
            example=("To 20 Mb/s", {"bandwidth_mbps": 20, "quote_token": inputs.QUOTED}),
            quote=Quote(
                doc="Say what another bandwidth costs now and per period; changes nothing.",
                input=inputs.BandwidthInput,
                name="quote_bandwidth",
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
        "rename_external_ip",
        _("Rename"),
        _THERE,
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
        "renew_external_ip",
        _("Renew"),
        _USABLE | {S.EXPIRED, S.BINNED},
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
        "delete_external_ip",
        _("Release"),
        frozenset({S.FREE, S.EXPIRED, S.FAILED}),
        event="external_ip.deleted",
        icon="trash",
        danger=True,
        route=Route(
            "Release an external IP to the recycle bin; it must not be bound.", method="delete"
        ),
        dialog=Dialog(
            leaves=True,
            group=3,
            text=_("The address is moved to the recycle bin. Until then nobody else gets it."),
            done=_("%(name)s was released."),
        ),
        batch=Batch(_("The selected addresses are moved to the recycle bin.")),
        admin=AdminButton(confirm=_SEEN),
    ),
    Verb(
        "restore_external_ip",
        _("Restore"),
        frozenset({S.BINNED}),
        event="external_ip.restored",
        icon="arrow-back-up",
        route=Route(
            "Take an external IP out of the recycle bin; it comes back unbound.",
            answer=Answer.ROW,
        ),
        silent="The recycle bin has it.",
    ),
    Verb(
        "destroy_external_ip",
        _("Destroy"),
        frozenset({S.BINNED}),
        event="external_ip.destroyed",
        icon="trash-x",
        danger=True,
        input=inputs.ConfirmInput,
        route=Route("Give a binned external IP back for good.", name="destroy_for_good"),
        silent="The recycle bin has it.",
    ),
)
_INTERNAL = (
    # One that is bought alone is free at once, one that is bought with a VM is bound by its job.
    Verb("allot_external_ip", _("Buy"), frozenset({S.NEW}), event="external_ip.created"),
    Verb(
        "create_external_ip",
        _("Buy"),
        frozenset({S.NEW}),
        T.BINDING,
        600,
        "external_ip.bound",
        joins="vm.create",
    ),
    # What it was bound to is gone or on its way: whatever is being done is pushed aside.
    Verb(
        "let_go_external_ip",
        _("Unbind"),
        frozenset({S.FREE, S.BOUND, S.EXPIRED}),
        T.UNBINDING,
        86_400,
        "external_ip.unbound",
        preempts=frozenset({T.BINDING, T.UNBINDING, T.RESIZING}),
    ),
    # One that has expired is unbound as people do it, and stays expired.
    Verb(
        "unbind_expired_external_ip",
        _("Unbind"),
        frozenset({S.EXPIRED}),
        T.UNBINDING,
        600,
        "external_ip.unbound",
    ),
    # The end of the grace of one that was not paid.
    Verb(
        "retire_external_ip",
        _("Release"),
        frozenset({S.FREE, S.BOUND, S.EXPIRED}),
        T.UNBINDING,
        3600,
        "external_ip.deleted",
    ),
    # Its paid time ran out, or it was paid again after that.
    Verb("expire_external_ip", _("Expire"), _USABLE, event="external_ip.expired"),
    Verb(
        "reinstate_external_ip",
        _("Reinstate"),
        frozenset({S.EXPIRED}),
        event="external_ip.reinstated",
    ),
)

EXTERNAL_IPS = Catalogue(
    "external_ip",
    app="network",
    public=_PUBLIC,
    internal=_INTERNAL,
    labels={**dict(ExternalIpTask.choices), **dict(ExternalIpStatus.choices)},
    busy=_("The external IP is busy: %(state)s."),
)
