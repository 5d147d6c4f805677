"""The verbs of VMs, in the order of their menu."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from compute.states.vms import (
    ANY,
    LIVING,
    ON,
    PAUSED,
    PAUSED_LABEL,
    RUNNING,
    SETTLED,
    STOPPED,
    VmStatus,
    VmTask,
)
from compute.verbs import inputs
from scloud.verbs.catalogue import (
    AdminButton,
    Answer,
    Batch,
    Catalogue,
    Dialog,
    Field,
    Quote,
    Route,
    Verb,
)

SIZE = {"vcpus": 4, "memory_mib": 8192}
BOUGHT_SIZE = ("4C8G", {**SIZE, "quote_token": inputs.QUOTED})
# The groups of the menu. The screen of a VM shows the first one too.
POWER, ACCESS, CONFIGURATION, NETWORK, BILLING, DANGER = range(6)
GROUPS = {
    POWER: _("Power"),
    ACCESS: _("Access"),
    CONFIGURATION: _("Configuration"),
    NETWORK: _("Disks and network"),
    BILLING: _("Billing"),
    DANGER: _("Reinstall and delete"),
}
# Of the operators' buttons: what is done is in the tenant's operation log.
SEEN = _("The tenant sees in the operation log that an administrator did this.")

S, T = VmStatus, VmTask

_PUBLIC = (
    Verb(
        "start_vm",
        _("Start"),
        STOPPED,
        T.STARTING,
        180,
        "vm.started",
        icon="player-play",
        route=Route("Start a stopped VM."),
        dialog=Dialog(how="post", button=True, done=_("Starting.")),
        batch=Batch(_("The selected VMs are started.")),
        admin=AdminButton(batch=True),
    ),
    Verb(
        "shut_down_vm",
        _("Shut down"),
        RUNNING,
        T.STOPPING,
        180,
        "vm.stopped",
        icon="player-stop",
        route=Route("Ask the guest of a running VM to shut down."),
        dialog=Dialog(
            button=True,
            text=_("The operating system is asked to shut down. Billing continues."),
            done=_("%(name)s is shutting down."),
        ),
        batch=Batch(_("The operating systems of the selected VMs are asked to shut down.")),
        admin=AdminButton(batch=True, confirm=SEEN),
    ),
    Verb(
        "restart_vm",
        _("Restart"),
        RUNNING,
        T.RESTARTING,
        240,
        "vm.restarted",
        icon="refresh",
        route=Route("Restart a running VM through its operating system."),
        dialog=Dialog(
            button=True,
            text=_("The operating system is asked to restart. Active connections will be dropped."),
            done=_("%(name)s is restarting."),
        ),
        batch=Batch(
            _(
                "The operating systems of the selected VMs are asked to restart. "
                "Active connections will be dropped."
            )
        ),
        admin=AdminButton(),
    ),
    Verb(
        "resume_vm",
        _("Resume"),
        frozenset({PAUSED}),
        T.RESUMING,
        180,
        "vm.resumed",
        icon="player-skip-forward",
        route=Route("Let a paused VM go on where it stands."),
        dialog=Dialog(how="post", button=True, done=_("Resuming.")),
        batch=Batch(_("The selected VMs continue where they were paused.")),
        admin=AdminButton(batch=True),
    ),
    Verb(
        "power_off_vm",
        _("Power off"),
        ON | {S.STOPPED},
        T.POWERING_OFF,
        180,
        "vm.powered_off",
        preempts=frozenset({T.STARTING, T.STOPPING, T.RESTARTING, T.RESUMING}),
        icon="plug-x",
        danger=True,
        route=Route("Switch a VM off by force; it may lose data."),
        dialog=Dialog(
            text=_("Data that has not been written to disk yet is lost."),
            done=_("%(name)s is being powered off."),
        ),
        batch=Batch(_("Data that has not been written to disk yet is lost.")),
        admin=AdminButton(batch=True, confirm=SEEN),
    ),
    Verb(
        "open_vnc",
        _("VNC login"),
        ON,
        icon="screen-share",
        needs_idle=False,
        elsewhere="A ticket of a browser session: the screen's page asks for it.",
        dialog=Dialog(how="tab", group=ACCESS, button=True, page="vm-screen"),
    ),
    Verb(
        "get_vnc_information",
        _("Get VNC information"),
        ON,
        icon="device-desktop",
        needs_idle=False,
        route=Route(
            "Open a new port with a new password for one VNC client, for 300 seconds.\n\n"
            "The port opens right after the answer: a program that is refused tries again for a "
            "moment.\n\n"
            "Within the 300 seconds the client may connect again with the same information, from "
            "the address that it came from first; its newer connection ends the older. New "
            "information ends the former; so does a stop or a migration of the VM.",
            path="vnc-information",
            answer=Answer.SHAPE,
            shape=inputs.VncInformationShape,
            secret=True,
        ),
        dialog=Dialog(
            group=ACCESS,
            path="vnc-information",
            text=_(
                "A new port and password for any VNC client, valid for 300 seconds. "
                "Earlier ones are revoked."
            ),
        ),
    ),
    Verb(
        "reset_password",
        _("Reset password"),
        RUNNING,
        T.RESETTING,
        180,
        "vm.password_reset",
        icon="key",
        input=inputs.PasswordInput,
        route=Route(
            "Set the administrator's password of a running VM through its guest agent.",
            example=("New", {"password": "Correct.Horse8"}),
        ),
        dialog=Dialog(
            group=ACCESS,
            text=_("Set through the guest agent while the VM runs. The password is not stored."),
            done=_("The password of %(name)s is being set."),
        ),
    ),
    Verb(
        "modify_vm",
        _("Modify configuration"),
        STOPPED,
        T.MODIFYING,
        180,
        "vm.modified",
        icon="adjustments",
        input=inputs.VmSizePurchaseInput,
        route=Route(
            "Give a stopped VM another size, up or down; effective at its next start.",
            example=BOUGHT_SIZE,
            quote=Quote(
                doc="Say what another size costs now and per period; changes nothing.",
                input=inputs.VmSizeInput,
                name="quote_modification",
                example=("4C8G", SIZE),
            ),
        ),
        dialog=Dialog(
            group=CONFIGURATION,
            text=_("Takes effect at the next start. The GPU count cannot be changed."),
            done=_("%(name)s is being resized."),
        ),
    ),
    Verb(
        "hot_upgrade_vm",
        _("Hot upgrade"),
        RUNNING,
        T.UPGRADING,
        180,
        "vm.upgraded",
        icon="rocket",
        input=inputs.VmSizePurchaseInput,
        route=Route(
            "Give a running VM more vCPUs or memory without a restart.",
            example=BOUGHT_SIZE,
            quote=Quote(
                doc="Say what growing a running VM costs now and per period; changes nothing.",
                input=inputs.VmSizeInput,
                name="quote_hot_upgrade",
                example=("4C8G", SIZE),
            ),
        ),
        dialog=Dialog(
            group=CONFIGURATION,
            text=_("Adds vCPUs or memory immediately, without a restart."),
            done=_("%(name)s is being upgraded."),
        ),
    ),
    Verb(
        "change_security_groups",
        _("Change security groups"),
        SETTLED | ON,
        icon="shield",
        input=inputs.SecurityGroupsInput,
        route=Route(
            "Give a VM an internal and an external security group, or none; acts at once.",
            example=("One", {"internal": "sg-0q8zt5mva", "external": None}),
        ),
        dialog=Dialog(
            group=NETWORK,
            text=_(
                "Takes effect immediately. Active connections that are no longer "
                "allowed will be dropped."
            ),
            done=_("Saved."),
        ),
    ),
    Verb(
        "change_placement_group",
        _("Change placement group"),
        SETTLED | ON,
        icon="layout-grid",
        input=inputs.VmPlacementGroupInput,
        route=Route(
            "Put a VM into a placement group, or take it out of its own.\n\n"
            "A stopped VM whose host does not fit starts on another one. A running VM has to be "
            "where a required policy allows it.",
            answer=Answer.ROW,
            example=("One", {"group": "pg-0q8zt5mva"}),
        ),
        dialog=Dialog(
            group=CONFIGURATION,
            press=_("Save"),
            text=_(
                "A running VM stays where it is. A stopped one whose host does not fit starts on "
                "another host."
            ),
            done=_("Saved."),
        ),
    ),
    Verb(
        "update_machine_type",
        _("Update machine type"),
        STOPPED,
        event="vm.machine_type_updated",
        icon="arrow-up-circle",
        route=Route(
            "Give a stopped VM the newest machine type that its hosts offer.\n\n"
            "The machine type says which virtual hardware the guest finds. A VM keeps it until it "
            "is updated; it has the new one from its next start.",
            answer=Answer.ROW,
        ),
        dialog=Dialog(
            group=CONFIGURATION,
            text=_(
                "The guest finds newer virtual hardware at its next start. Windows may ask for its "
                "license to be activated again. There is no way back."
            ),
            done=_("%(name)s has another machine type."),
        ),
    ),
    Verb(
        "change_alarm_template",
        _("Modify alarm template"),
        SETTLED | ON,
        icon="bell-cog",
        needs_idle=False,
        right="alarms.change_vm_template",
        input=inputs.VmAlarmTemplateInput,
        route=Route(
            "Give a VM another alarm template, or none; its open alarms end.",
            operation="change_alarm_template_of_vm",
            example=("Another one", {"template": "template-0q8zt5mva"}),
        ),
        dialog=Dialog(
            group=CONFIGURATION,
            press=_("Save"),
            text=_("Open alarms of the VM end, and the rules of the new template start counting."),
            done=_("Saved."),
        ),
        batch=Batch(
            _("Open alarms of the VMs end, and the rules of the new template start counting.")
        ),
    ),
    Verb(
        "change_private_ip",
        _("Change private IP"),
        STOPPED,
        icon="network",
        event="vm.private_ip_changed",
        input=inputs.PrivateIpInput,
        route=Route(
            "Give a stopped VM another private address, of its subnet or another one of its VPC.",
            answer=Answer.ROW,
            example=("A chosen one", {"subnet": "subnet-7h2k9d0qz", "address": "10.0.1.20"}),
        ),
        dialog=Dialog(
            group=NETWORK,
            text=_(
                "The VM has the new address when it starts next. The present one becomes free for "
                "other VMs."
            ),
            done=_("%(name)s has another private IP."),
        ),
    ),
    Verb(
        "make_image",
        _("Make image"),
        STOPPED,
        T.IMAGING,
        3600,
        "vm.image_made",
        icon="photo-plus",
        input=inputs.MakeImageInput,
        route=Route(
            "Make an own image from a stopped VM's system disk.",
            answer=Answer.MADE,
            made="image",
            example=("Golden", {"name": "web golden"}),
        ),
        dialog=Dialog(
            group=CONFIGURATION,
            text=_(
                "Contains the system disk only. The VM stays stopped until the image is complete."
            ),
            done=_("An image of %(name)s is being created."),
        ),
    ),
    Verb(
        "reinstall_vm",
        _("Reinstall"),
        STOPPED,
        T.REINSTALLING,
        900,
        "vm.reinstalled",
        icon="disc",
        danger=True,
        input=inputs.ReinstallInput,
        route=Route(
            "Replace a stopped VM's system disk by a fresh one; data disks are not touched.",
            example=("Fresh", {"image": "image-4k2p09xqa"}),
        ),
        dialog=Dialog(
            group=DANGER,
            text=_(
                "The system disk and its snapshots are erased. Data disks are kept. "
                "The VM is stopped afterwards."
            ),
            done=_("%(name)s is being reinstalled."),
        ),
    ),
    # A disk of the VM's choice: the rule of the disk is among the verbs of disks.
    Verb(
        "attach_disk",
        _("Attach disk"),
        SETTLED,
        icon="link",
        input=inputs.VmAttachInput,
        route=Route(
            "Attach an unbound disk of the VM's region, live where the VM runs.",
            operation="attach_disk_to_vm",
            example=("Attach", {"disk": "disk-4k2p09xqa"}),
        ),
        dialog=Dialog(
            group=NETWORK,
            press=_("Attach"),
            text=_("A running VM sees the disk immediately. A new disk has no file system yet."),
            done=_("The disk is being attached to %(name)s."),
        ),
    ),
    Verb(
        "detach_disk",
        _("Detach disk"),
        SETTLED,
        icon="unlink",
        argument=None,
        input=inputs.VmDetachInput,
        route=Route(
            "Unmount a data disk in the guest, where it runs, and take it off the VM.",
            operation="detach_disk_from_vm",
            example=("Detach", {"disk": "disk-4k2p09xqa"}),
        ),
        dialog=Dialog(
            group=NETWORK,
            press=_("Detach"),
            text=_("It is unmounted in the guest first. Data is kept."),
            done=_("The disk is being detached from %(name)s."),
        ),
    ),
    # External IPs of the VM's choice: the rules are among the verbs of external IPs.
    Verb(
        "bind_external_ip",
        _("Bind external IP"),
        SETTLED,
        icon="world",
        right="network.bind_external_ip",
        argument="target",
        input=inputs.VmBindInput,
        route=Route(
            "Bind a free external IP of the VM's region; a running VM has it at once.",
            operation="bind_external_ip_to_vm",
            example=("Bind", {"external_ip": "eip-4k2p09xqa"}),
        ),
        dialog=Dialog(
            group=NETWORK,
            press=_("Bind"),
            text=_(
                "The VM gets the address on its external network interface. Where its guest agent "
                "does not answer, the guest configures the address at its next boot."
            ),
            done=_("The external IP is being bound to %(name)s."),
        ),
    ),
    Verb(
        "unbind_external_ip",
        _("Unbind external IP"),
        SETTLED | ON,
        icon="world-off",
        right="network.unbind_external_ip",
        argument=None,
        input=inputs.VmUnbindInput,
        route=Route(
            "Take an external IP off the VM; its connections end.",
            operation="unbind_external_ip_from_vm",
            example=("Unbind", {"external_ip": "eip-4k2p09xqa"}),
        ),
        dialog=Dialog(
            group=NETWORK,
            press=_("Unbind"),
            text=_("Connections to this address are dropped. The address remains yours."),
            done=_("The external IP is being unbound from %(name)s."),
        ),
    ),
    Verb(
        "bind_eni",
        _("Bind ENI"),
        SETTLED,
        icon="network",
        right="network.bind_eni",
        input=inputs.VmEniInput,
        route=Route(
            "Plug a free ENI of the VM's region into it, live where it runs.",
            operation="bind_eni_to_vm",
            example=("Bind", {"eni": "eni-4k2p09xqa"}),
        ),
        dialog=Dialog(
            group=NETWORK,
            press=_("Bind"),
            text=_(
                "A running VM sees the interface immediately. Where its guest agent does not "
                "answer, the guest configures it at its next boot."
            ),
            done=_("The ENI is being bound to %(name)s."),
        ),
    ),
    Verb(
        "unbind_eni",
        _("Unbind ENI"),
        SETTLED,
        icon="network-off",
        right="network.unbind_eni",
        argument=None,
        input=inputs.VmUnbindEniInput,
        route=Route(
            "Pull an ENI out of the VM; it keeps its address.",
            operation="unbind_eni_from_vm",
            example=("Unbind", {"eni": "eni-4k2p09xqa"}),
        ),
        dialog=Dialog(
            group=NETWORK,
            press=_("Unbind"),
            text=_("Its connections are dropped. It keeps its address."),
            done=_("The ENI is being unbound from %(name)s."),
        ),
    ),
    Verb(
        "renew_vm",
        _("Renew"),
        LIVING | {S.BINNED},
        icon="calendar-plus",
        needs_idle=False,
        right="billing.renew_resource",
        elsewhere="POST /subscriptions/{resource_id}/renew",
        dialog=Dialog(
            group=BILLING,
            press=_("Pay and renew"),
            text=_("The new period starts when the paid period ends."),
            done=_("%(name)s was renewed."),
        ),
    ),
    Verb(
        "rename_vm",
        _("Rename"),
        ANY,
        icon="pencil",
        needs_idle=False,
        input=inputs.TagsBase,
        route=Route(
            "Change name, remark, tags or deletion protection, in any state.",
            method="patch",
            answer=Answer.ROW,
            shape=inputs.VmChangesInput,
        ),
        dialog=Dialog(
            group=CONFIGURATION,
            title=_("Name, remark and tags"),
            press=_("Save"),
            icon="",
            done=_("Saved."),
        ),
    ),
    Verb(
        "protect_vm",
        _("Deletion protection"),
        LIVING,
        icon="lock",
        needs_idle=False,
        input=inputs.ProtectInput,
        route=Route("Protect a VM from deletion.", method="patch", answer=Answer.ROW),
        dialog=Dialog(
            group=CONFIGURATION,
            press=_("Save"),
            icon="",
            text=_("While it is on, the VM cannot be deleted."),
            done=_("Saved."),
            fields={"protected": Field(_("Deletion protection"))},
        ),
    ),
    Verb(
        "delete_vm",
        _("Delete"),
        LIVING | {S.FAILED},
        T.DELETING,
        300,
        "vm.deleted",
        icon="trash",
        danger=True,
        input=inputs.DeleteQuery,
        route=Route(
            "Move a VM to the recycle bin; its data disks and external IPs are unbound, or go too.",
            method="delete",
            query=True,
        ),
        dialog=Dialog(
            leaves=True,
            group=DANGER,
            text=_("The VM is powered off and moved to the recycle bin."),
            done=_("%(name)s is being deleted."),
            fields={
                "delete_disks": Field(
                    _("Also delete data disks"),
                    _("They are moved to the recycle bin instead of being detached."),
                ),
                "delete_external_ips": Field(
                    _("Also release external IPs"),
                    _("They are moved to the recycle bin instead of being unbound."),
                ),
                "delete_enis": Field(
                    _("Also delete ENIs"),
                    _("They are deleted for good instead of being unbound."),
                ),
            },
        ),
        batch=Batch(
            _(
                "The selected VMs are powered off and moved to the recycle bin. "
                "Their data disks are detached and their external IPs unbound unless you also "
                "delete them."
            )
        ),
        admin=AdminButton(confirm=SEEN),
    ),
    Verb(
        "restore_vm",
        _("Restore"),
        frozenset({S.BINNED}),
        T.RESTORING,
        300,
        "vm.restored",
        icon="arrow-back-up",
        route=Route("Take a VM out of the recycle bin; it comes back stopped."),
        dialog=Dialog(
            binned=True,
            text=_("It counts towards your quota again."),
            done=_("%(name)s is being restored."),
        ),
        batch=Batch(button=False),
        admin=AdminButton(),
    ),
    Verb(
        "destroy_vm",
        _("Destroy"),
        frozenset({S.BINNED}),
        T.DESTROYING,
        600,
        "vm.destroyed",
        icon="trash-x",
        danger=True,
        input=inputs.DestroyInput,
        route=Route("Destroy a binned VM for good.", name="destroy_for_good"),
        dialog=Dialog(
            binned=True,
            type_name=True,
            text=_("The VM is permanently deleted. This cannot be undone."),
            done=_("%(name)s is being destroyed."),
        ),
        batch=Batch(button=False),
        admin=AdminButton(confirm=SEEN),
    ),
    Verb(
        "migrate_vm",
        _("Live migrate"),
        RUNNING,
        T.MIGRATING,
        900,
        "vm.migrated",
        icon="arrows-right-left",
        administrator_only=True,
        elsewhere="Django admin, on a page that asks for the host.",
        silent="Only administrators move VMs.",
    ),
)

# Verbs of the platform itself; nobody presses a button for them.
_INTERNAL = (
    Verb("create_vm", _("Create"), frozenset({S.NEW}), T.CREATING, 600, "vm.created"),
    Verb("expire_vm", _("Expire"), SETTLED | ON, T.EXPIRING, 300, "vm.expired"),
    # Paid again after it had expired.
    Verb("reinstate_vm", _("Reinstate"), frozenset({S.EXPIRED}), event="vm.reinstated"),
    # Give a domain that is smaller than its row what is paid and missing.
    Verb("grow_vm", _("Complete upgrade"), RUNNING, T.UPGRADING, 180, "vm.grown"),
    Verb(
        "fail_over_vm",
        _("Fail over"),
        STOPPED,
        T.FAILING_OVER,
        300,
        "vm.failed_over",
        administrator_only=True,
    ),
    # Of a host that enters maintenance: off it, and placed anew at its next start.
    Verb(
        "rehome_vm",
        _("Move to another host"),
        frozenset({S.STOPPED, S.EXPIRED}),
        T.MIGRATING,
        180,
        "vm.rehomed",
        administrator_only=True,
    ),
    # Off it with its guest shut down, and started again on another host.
    Verb(
        "evacuate_vm",
        _("Shut down for maintenance"),
        RUNNING,
        T.STOPPING,
        240,
        "vm.evacuated",
        administrator_only=True,
    ),
)

VMS = Catalogue(
    "vm",
    app="compute",
    public=_PUBLIC,
    internal=_INTERNAL,
    labels={**dict(VmStatus.choices), PAUSED: PAUSED_LABEL, **dict(VmTask.choices)},
    busy=_("The VM is busy: %(state)s."),
    hidden_tasks=frozenset({VmTask.RESETTING}),
    groups=GROUPS,
)
VM_RULES = VMS.public
