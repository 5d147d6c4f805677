"""Where a VM stands, as far as its open screens are concerned."""

from dataclasses import dataclass

from compute.models import VM
from compute.states.vms import VmStatus
from scloud.tenancy.scoping import scopes_disabled


@dataclass(frozen=True, kw_only=True)
class ScreenState:
    """What matters of a VM to its open screens."""

    running: bool
    host_id: str | None
    tenant_id: str


def look(vm_id: str) -> ScreenState | None:
    """Return the state of a VM; None if there is no such VM."""
    with scopes_disabled():
        row = VM.objects.filter(pk=vm_id).values("status", "host_id", "tenant_id").first()
    if row is None or row["status"] == VmStatus.DESTROYED:
        return None
    return ScreenState(
        running=row["status"] == VmStatus.RUNNING and row["host_id"] is not None,
        host_id=row["host_id"],
        tenant_id=row["tenant_id"],
    )
