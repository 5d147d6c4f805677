"""Asking for a look at a guest: its screen, what it wrote to its serial port, its facts."""

from datetime import timedelta
from typing import Final

from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.models import VM, GuestLook, LookKind
from compute.transitions.vms import VMS
from scloud.audit.action import action, note
from scloud.jobs.models import Job
from scloud.jobs.service import enqueue
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor

#: A look counts as lost after this time, and may be asked for again.
GIVEN_UP_S: Final = 60
#: How long its job may take: longer, so that hosts that answer late leave no failed jobs behind.
DEADLINE_S: Final = 300
#: Facts change rarely: who opens a page does not ask guests each time.
FACTS_FRESH: Final = timedelta(minutes=5)
#: A guest that did not answer may have booted since.
FACTS_RETRIED: Final = timedelta(seconds=30)


@action("compute.look_at_guest")
def look_at_guest(*, actor: Actor, vm: VM, what: LookKind) -> Job | None:
    """Have a picture of the screen taken, or the console log read; None while that is under way.

    Needs the right to the screen (``compute.open_vnc``), too. Raises Conflict when the VM is not
    running, and for the log of one that is on no host.
    """
    actor.require("compute.open_vnc")
    note(after={"what": what.value})
    if what is LookKind.SCREEN:
        VMS.guard(vm, "open_vnc")
    elif vm.host_id is None:
        raise Conflict(
            _("%(name)s has not been started yet.") % {"name": vm.name},
            code="vm_not_placed",
            remedy=_("Start the VM: what its system writes while it boots appears here."),
        )
    return _ask(actor, vm, what, _("Look at %(name)s") % {"name": vm.name})


@action("compute.view_vm", log=False)
def ask_guest_facts(*, actor: Actor, vm: VM) -> Job | None:
    """Have the guest agent asked what runs there; None where that is known or under way.

    Not logged: pages ask by themselves. Raises Conflict when the VM is not running.
    """
    VMS.guard(vm, "open_vnc")
    now = timezone.now()
    known = Q(error_code="", seen_at__gt=now - FACTS_FRESH) | Q(seen_at__gt=now - FACTS_RETRIED)
    if GuestLook.objects.filter(known, vm=vm, what=LookKind.FACTS).exists():
        return None
    title = _("Ask the guest agent of %(name)s") % {"name": vm.name}
    return _ask(actor, vm, LookKind.FACTS, title)


def _ask(actor: Actor, vm: VM, what: LookKind, title: str) -> Job | None:
    """Queue a look unless one is under way: of two requests at once one finds the row claimed."""
    now = timezone.now()
    GuestLook.objects.get_or_create(vm=vm, what=what, defaults={"tenant_id": vm.tenant_id})
    ended = Q(asked_at=None) | Q(seen_at__gte=F("asked_at"))
    given_up = Q(asked_at__lt=now - timedelta(seconds=GIVEN_UP_S))
    claimed = GuestLook.objects.filter(ended | given_up, vm=vm, what=what).update(asked_at=now)
    if not claimed:
        return None
    return enqueue(
        kind="vm.look",
        tenant=vm.tenant,
        title=title,
        target_kind=VM.KIND,
        target_id=vm.pk,
        payload={"what": what.value},
        deadline_s=DEADLINE_S,
        actor=actor,
        exclusive=False,
    )
