"""What the tests know of the API's URLs of disks, snapshots, images and a VM's changes."""

from __future__ import annotations

from typing import Any

from tests.isolation.known import Known, Write, asked, own

_TEXTS = {"name": "renamed", "remark": "changed"}
_PASSWORD = "N3w-enough-secret"
_BUY_DISK = {
    "region": "{region}",
    "disk_type": "{disk_type}",
    "size_gib": 20,
    "name": "bought",
    "quote_token": "{quote_token}",
}
_COPY = {"name": "copy", "quote_token": "{quote_token}"}
_SIZE = {"vcpus": 2, "memory_mib": 4096, "quote_token": "{quote_token}"}
_SCHEDULE = {"hours": [3], "keep_count": 7}
_IMPORT = {
    "region": "{region}",
    "url": "https://images.example/debian.qcow2",
    "name": "imported",
    "sha256": "0" * 64,
}


def _details(sample: str, kind: str) -> Known:
    return Known(
        {"pk": sample},
        {
            "patch": Write(f"compute.rename_{kind}", _TEXTS),
            "delete": Write(f"compute.delete_{kind}"),
        },
    )


def _vm(verb: str, body: dict[str, Any], sample: str = "vm", permission: str = "") -> Known:
    return own(sample, permission or f"compute.{verb}", body)


STORAGE_API: dict[str, Known] = {
    "api-disk-list": Known(writes={"post": Write("compute.create_disk", _BUY_DISK)}),
    "api-disk-quote": Known(writes={"post": Write("billing.quote", asked(_BUY_DISK))}),
    "api-disk-detail": _details("disk", "disk"),
    "api-disk-attach": own("disk", "compute.attach_disk", {"vm": "{stopped_vm}"}),
    "api-disk-detach": own("bound_disk", "compute.detach_disk", {}),
    "api-disk-check": own("disk", "compute.check_disk", {}),
    "api-disk-repair": own(
        "damaged_disk", "compute.repair_disk", {"extent": "all", "accept_loss": True}
    ),
    "api-disk-clone": own("disk", "compute.clone_disk", _COPY),
    "api-disk-expand": own(
        "disk", "compute.expand_disk", {"size_gib": 30, "quote_token": "{quote_token}"}
    ),
    "api-disk-quote-expansion": own("disk", "billing.quote", {"size_gib": 30}),
    "api-disk-restore": own("binned_disk", "compute.restore_disk", {}),
    "api-disk-destroy-for-good": own("binned_disk", "compute.destroy_disk", {}),
    "api-disk-schedule": Known(
        {"pk": "scheduled_disk"},
        {
            "put": Write("compute.set_snapshot_schedule", _SCHEDULE),
            "delete": Write("compute.delete_snapshot_schedule"),
        },
    ),
    "api-snapshot-list": Known(
        writes={"post": Write("compute.create_snapshot", {"disk": "{disk}", "name": "taken"})}
    ),
    "api-snapshot-detail": _details("snapshot", "snapshot"),
    "api-snapshot-roll-back": own("snapshot", "compute.roll_back_snapshot", {}),
    "api-snapshot-create-disk": own("snapshot", "compute.create_disk_from_snapshot", _COPY),
    "api-image-list": Known(writes={"post": Write("compute.import_image", _IMPORT)}),
    "api-image-detail": _details("image", "image"),
    "api-image-upload": Known(writes={"post": Write("compute.import_image")}),
    "api-image-download": own("image", "compute.download_image", {}),
    "api-image-file": Known({"pk": "image"}),
    "api-image-restore": own("binned_image", "compute.restore_image", {}),
    "api-image-destroy-for-good": own("binned_image", "compute.destroy_image", {}),
    "api-vm-attach-disk": _vm("attach_disk", {"disk": "{disk}"}, "stopped_vm"),
    "api-vm-detach-disk": _vm("detach_disk", {"disk": "{bound_disk}"}),
    "api-vm-change-security-groups": _vm(
        "change_security_groups", {"internal": "{group}", "external": None}
    ),
    "api-vm-change-placement-group": _vm("change_placement_group", {"group": "{placement_group}"}),
    "api-placement-group-list": Known(
        writes={
            "post": Write(
                "compute.create_placement_group",
                {"region": "{region}", "name": "new", "policy": "spread"},
            )
        }
    ),
    "api-placement-group-detail": Known(
        {"pk": "placement_group"},
        {
            "patch": Write("compute.rename_placement_group", {"name": "renamed"}),
            "delete": Write("compute.delete_placement_group"),
        },
    ),
    "api-vm-update-machine-type": _vm("update_machine_type", {}, "stopped_vm"),
    "api-vm-change-private-ip": _vm("change_private_ip", {"address": ""}, "stopped_vm"),
    "api-vm-modify": _vm("modify_vm", _SIZE, "stopped_vm"),
    "api-vm-quote-modification": _vm("modify_vm", asked(_SIZE), "stopped_vm", "billing.quote"),
    "api-vm-hot-upgrade": _vm("hot_upgrade_vm", _SIZE),
    "api-vm-quote-hot-upgrade": _vm("hot_upgrade_vm", asked(_SIZE), "vm", "billing.quote"),
    "api-vm-make-image": _vm("make_image", {"name": "made"}, "stopped_vm"),
    "api-vm-reinstall": _vm(
        "reinstall_vm", {"image": "{base_image}", "password": _PASSWORD}, "stopped_vm"
    ),
    "api-vm-reset-password": _vm("reset_password", {"password": _PASSWORD}),
    "api-vm-vnc-information": _vm("get_vnc_information", {}),
}


def _disk(verb: str, body: dict[str, Any] | None = None, sample: str = "disk") -> Known:
    return own(sample, f"compute.{verb}", body, "disk_id")


def _snapshot(verb: str, body: dict[str, Any] | None = None) -> Known:
    return own("snapshot", f"compute.{verb}", body, "snapshot_id")


def _image(verb: str, body: dict[str, Any] | None = None) -> Known:
    return own("image", f"compute.{verb}", body, "image_id")


def _change(verb: str, body: dict[str, Any], sample: str = "vm") -> Known:
    return own(sample, f"compute.{verb}", body, "vm_id")


_BUY_FORM = {**_BUY_DISK, "size_gib": "20", "duration": "hour:1", "remark": ""}
_COPY_FORM = {**_BUY_FORM, "name": "copy"}
_SIZE_FORM = {"spec": "{larger_spec}", "quote_token": "{quote_token}"}
_SCHEDULE_FORM = {
    "hours": ["3"],
    "weekdays": ["0"],
    "time_zone": "UTC",
    "keep_count": "7",
    "state": "on",
}

STORAGE_CONSOLE: dict[str, Known] = {
    "disk-list": Known(),
    "disk-detail": Known({"disk_id": "disk"}),
    "snapshot-detail": Known({"snapshot_id": "snapshot"}),
    "image-detail": Known({"image_id": "image"}),
    "disk-create": Known(writes={"post": Write("compute.create_disk", _BUY_FORM)}),
    "disk-batch-delete": Known(writes={"post": Write("compute.delete_disk", {"ids": ["{disk}"]})}),
    "disk-batch-check": Known(writes={"post": Write("compute.check_disk", {"ids": ["{disk}"]})}),
    "disk-check": _disk("check_disk"),
    "disk-repair": _disk("repair_disk", {"extent": "all", "accept_loss": "on"}, "damaged_disk"),
    "disk-attach": _disk("attach_disk", {"vm": "{stopped_vm}"}),
    "disk-detach": _disk("detach_disk", {}, "bound_disk"),
    "disk-expand": _disk("expand_disk", {"size_gib": "30", "quote_token": "{quote_token}"}),
    "disk-clone": _disk("clone_disk", _COPY_FORM),
    "disk-rename": _disk("rename_disk", {**_TEXTS, "tags": ""}),
    "disk-renew": own(
        "disk",
        "billing.renew_resource",
        {"periods": "1", "quote_token": "{quote_token}"},
        "disk_id",
    ),
    "disk-delete": _disk("delete_disk"),
    "disk-schedule": _disk("set_snapshot_schedule", _SCHEDULE_FORM, "scheduled_disk"),
    "disk-snapshot": _disk("create_snapshot", {"name": "taken", "remark": ""}),
    "vm-snapshots": Known({"vm_id": "vm"}),
    "snapshot-list": Known(),
    "snapshot-batch-delete": Known(
        writes={"post": Write("compute.delete_snapshot", {"ids": ["{snapshot}"]})}
    ),
    "snapshot-roll-back": _snapshot("roll_back_snapshot", {"typed_name": "{snapshot_name}"}),
    "snapshot-create-disk": _snapshot("create_disk_from_snapshot", _COPY_FORM),
    "snapshot-rename": _snapshot("rename_snapshot", _TEXTS),
    "snapshot-delete": _snapshot("delete_snapshot"),
    "image-list": Known(),
    "image-import": Known(writes={"post": Write("compute.import_image", _IMPORT)}),
    "image-upload": Known(writes={"post": Write("compute.import_image")}),
    "image-batch-delete": Known(
        writes={"post": Write("compute.delete_image", {"ids": ["{image}"]})}
    ),
    "image-rename": _image("rename_image", _TEXTS),
    "image-download": _image("download_image"),
    "image-file": Known({"image_id": "image"}),
    "image-delete": _image("delete_image"),
    "vm-reset-password": _change(
        "reset_password", {"password": _PASSWORD, "again": _PASSWORD, "password_again": _PASSWORD}
    ),
    "vm-modify": _change("modify_vm", _SIZE_FORM, "stopped_vm"),
    "vm-hot-upgrade": _change("hot_upgrade_vm", _SIZE_FORM),
    "vm-reinstall": _change(
        "reinstall_vm",
        {"image": "{base_image}", "password": _PASSWORD, "password_again": _PASSWORD},
        "stopped_vm",
    ),
    "vm-make-image": _change("make_image", {"name": "made", "remark": ""}, "stopped_vm"),
    "vm-attach-disk": _change("attach_disk", {"disk": "{disk}"}, "stopped_vm"),
    "vm-detach-disk": _change("detach_disk", {"disk": "{bound_disk}"}),
    "vm-change-security-groups": _change(
        "change_security_groups", {"internal": "{group}", "external": ""}
    ),
    "vm-change-placement-group": _change("change_placement_group", {"group": "{placement_group}"}),
    "placement-group-list": Known(),
    "placement-group-create": Known(
        writes={
            "post": Write(
                "compute.create_placement_group", {"name": "new", "policy": "spread", "remark": ""}
            )
        }
    ),
    "placement-group-detail": Known({"pk": "placement_group"}),
    "placement-group-rename": own(
        "placement_group", "compute.rename_placement_group", {"name": "renamed", "remark": ""}
    ),
    "placement-group-delete": own("placement_group", "compute.delete_placement_group"),
    "vm-update-machine-type": _change("update_machine_type", {}, "stopped_vm"),
    "vm-change-private-ip": _change(
        "change_private_ip", {"subnet": "{subnet}", "address": ""}, "stopped_vm"
    ),
}
