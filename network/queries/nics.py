"""Scoped reads of NICs."""

from __future__ import annotations

from django.db.models import QuerySet

from network.models import Nic


def nics_of(vm_id: str) -> QuerySet[Nic]:
    """The NICs of a VM with subnet, VPC, group and addresses."""
    rows: QuerySet[Nic] = (
        Nic.objects.filter(vm_id=vm_id)
        .select_related("subnet__vpc", "security_group", "eni", "external_address__segment")
        .prefetch_related("addresses")
    )
    return rows
