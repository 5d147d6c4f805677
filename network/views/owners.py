"""The names of what NICs belong to, from the kinds that the apps above make known."""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import apps
from django.urls import reverse

from scloud.resources import kinds


def names(vm_ids: Iterable[str | None]) -> dict[str, str]:
    """The names of VMs by their ids; those that nobody knows are left out."""
    wanted = {pk for pk in vm_ids if pk}
    kind = next((one for one in kinds.all_kinds() if one.kind == "vm"), None)
    if kind is None or not wanted:
        return {}
    rows = apps.get_model(kind.model)._default_manager.filter(pk__in=wanted)
    return dict(rows.values_list("pk", "name"))


def url(vm_id: str) -> str:
    """The page of a VM, wherever the app that knows VMs has put it; empty if there is none."""
    kind = next((one for one in kinds.all_kinds() if one.kind == "vm"), None)
    return reverse(kind.url_name, args=[vm_id]) if kind is not None and kind.url_name else ""
