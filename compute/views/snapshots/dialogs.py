"""How the console finds snapshots, and those of their verbs that need a dialog of their own."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.models import Disk
from compute.queries import snapshots as snapshot_queries
from compute.rules.storage import SNAPSHOT_SKU
from compute.views.disks.dialogs import CopyDialog
from compute.views.priced import metered_lines
from scloud.web import ui, verbs
from scloud.web.verbs import Lines, VerbDialog


def _lines(verb: str, snapshot: Any) -> Lines:
    disk = snapshot.disk
    where = f"{disk.name} ({disk.vm.name})" if disk.vm else disk.name
    return [
        (_("Disk"), where),
        (_("Taken"), ui.moment(snapshot.taken_at or snapshot.created_at)),
    ]


verbs.register(
    verbs.Pages(
        kind="snapshot",
        prefix="snapshots",
        key="snapshot_id",
        permission="compute.view_snapshot",
        one=lambda request, pk, binned: snapshot_queries.snapshot(pk),
        several=lambda request, ids: snapshot_queries.snapshots().filter(pk__in=ids),
        lines=_lines,
    )
)


class SnapshotForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=30)
    remark = forms.CharField(label=gettext_lazy("Remark"), max_length=200, required=False)


@verbs.dialog("disk", "create_snapshot")
class DiskSnapshot(VerbDialog):
    """Keeping what a disk holds now."""

    form_class = SnapshotForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """A name of the present time."""
        now = timezone.localtime()
        return {"initial": {"name": f"snap-{now:%Y%m%d-%H%M%S}"}}

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """With what it will cost."""
        found = super().get_dialog_context(obj)
        price = metered_lines(obj.tenant, obj.region, SNAPSHOT_SKU, obj.size_gib)
        return {**found, "lines": [*found["lines"], *price]}


@verbs.dialog("snapshot", "create_disk_from_snapshot")
class SnapshotCreateDisk(CopyDialog):
    suffix = "-restored"

    def source(self, obj: Any) -> Disk:
        found: Disk = obj.disk
        return found
