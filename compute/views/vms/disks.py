"""Attaching and detaching a disk, asked for on the side of the VM."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy

from compute.actions import disks as disk_verbs
from compute.models import VM, Disk
from compute.queries import disks as disk_queries
from compute.views.verb_base import Text, VmAction
from compute.views.vms.verbs import ConsoleVerb, register
from scloud.web import ui


class OneDiskForm(forms.Form):
    """Which disk."""

    disk = forms.ChoiceField(label=gettext_lazy("Disk"))

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["disk"].choices = choices  # type: ignore[attr-defined]  # ChoiceField


class VmDiskAction(VmAction):
    """A verb on a disk, chosen on the side of the VM."""

    none_text: ClassVar[Text]
    _found: list[Disk] | None = None

    def choices(self, vm: VM) -> list[Disk]:
        """Return the disks to choose from, read once per request."""
        if self._found is None:
            self._found = self.disks(vm)
        return self._found

    def disks(self, vm: VM) -> list[Disk]:
        """Read the disks to choose from."""
        raise NotImplementedError

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The disks."""
        choices = [
            (disk.pk, f"{disk.device or disk.name} ({disk.name}, {ui.size_gib(disk.size_gib)})")
            if disk.device
            else (disk.pk, f"{disk.name} ({disk.pk}, {ui.size_gib(disk.size_gib)})")
            for disk in self.choices(obj)
        ]
        return OneDiskForm(data, choices=choices)

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """Say so where there is none to choose."""
        found = super().get_dialog_context(obj)
        if not found["warnings"] and not self.choices(obj):
            found["warnings"] = [self.none_text]
        return found

    def chosen(self, obj: VM, data: dict[str, Any]) -> Disk:
        """Return the disk of the form."""
        return next(disk for disk in self.choices(obj) if disk.pk == data["disk"])


class AttachDisk(VmDiskAction):
    """An unbound disk to this VM."""

    rule = "attach_disk"
    title = gettext_lazy("Attach disk")
    verb = gettext_lazy("Attach")
    icon = "link"
    text = gettext_lazy("A running VM sees the disk at once. A new disk has no file system yet.")
    success_text = gettext_lazy("The disk is being attached to %(name)s.")
    none_text = gettext_lazy("There is no unbound disk in this region: create one first.")

    def disks(self, vm: VM) -> list[Disk]:
        """Return the unbound disks of the region."""
        return list(disk_queries.free_disks(vm.region)[:500])

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Attach it."""
        return disk_verbs.attach_disk(actor=self.actor, vm=obj, disk=self.chosen(obj, data))


class DetachDisk(VmDiskAction):
    """A data disk off this VM."""

    rule = "detach_disk"
    title = gettext_lazy("Detach disk")
    verb = gettext_lazy("Detach")
    icon = "unlink"
    text = gettext_lazy("It is unmounted in the guest first. The content stays.")
    success_text = gettext_lazy("The disk is being detached from %(name)s.")
    none_text = gettext_lazy("It has no data disk.")

    def disks(self, vm: VM) -> list[Disk]:
        """Return the data disks of the VM."""
        return [disk for disk in disk_queries.disks_of(vm) if not disk.is_system]

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Detach it."""
        return disk_verbs.detach_disk(actor=self.actor, disk=self.chosen(obj, data))


for _view in (AttachDisk, DetachDisk):
    register(ConsoleVerb(_view.rule, _view, group=2))
