"""Taking VMs off a host that enters maintenance, where they cannot be moved while they run."""

from __future__ import annotations

from django.utils.translation import gettext as _

from compute.models import VM, Host, HostMaintenance
from compute.states.hosts import IN_MAINTENANCE
from compute.states.maintenance import DepartureState
from compute.transitions.maintenance import depart
from compute.transitions.vms import VMS
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor


@action("platform.rehome_vm")
def rehome_vm(*, actor: Actor, vm: VM) -> Job:
    """Take a stopped VM off a host that enters maintenance; its next start places it anew.

    Raises Conflict (``vm_state``, ``host_state``).
    """
    VMS.guard(vm, "rehome_vm")
    _require_entering(vm)
    return VMS.begin(vm, "rehome_vm", actor=actor, expected={"host": vm.host_id})


@action("platform.evacuate_vm")
def evacuate_vm(*, actor: Actor, vm: VM, maintenance: HostMaintenance, reason: str = "") -> Job:
    """Shut a running VM down and take it off its host; it starts on another one when it can.

    ``reason`` is what operators read of why it cannot be moved. Raises Conflict (``vm_state``,
    ``host_state``).
    """
    VMS.guard(vm, "evacuate_vm")
    _require_entering(vm)
    payload, expected = {"maintenance": maintenance.pk}, {"host": vm.host_id}
    job = VMS.begin(vm, "evacuate_vm", actor=actor, payload=payload, expected=expected)
    # With the job: by this row it is known afterwards that it has to be started again. The VM is
    # locked first, as by its owner's orders.
    depart(maintenance, vm, DepartureState.MOVING, reason)
    return job


def _require_entering(vm: VM) -> None:
    """Refuse a VM whose host does not enter maintenance. Raises Conflict (``host_state``)."""
    # It stays so until this has ended.
    rows = Host.objects.select_for_update(no_key=True).filter(pk=vm.host_id)
    host = rows.filter(state__in=IN_MAINTENANCE).first()
    if host is None:
        raise Conflict(
            _("The host of %(name)s is not entering maintenance.") % {"name": vm.name},
            code="host_state",
            remedy=_("Check its status and try again."),
        )
    audit.note(vm, detail=f"From {host.name}.")
