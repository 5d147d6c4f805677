"""VMs that never came to be on a host that was silent when they were given up.

Their money and quota went back at once. What a domain could still use (capacity, ports,
addresses, volumes, chips) is held until the host has been heard and knows no such domain.
"""

from __future__ import annotations

import logging

from django.db import transaction

from compute.models import VM
from compute.states.vms import VmStatus
from compute.tasks.vms.lifecycle import release_all, take_apart
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing

log = logging.getLogger(__name__)
said = Said(log)

# Those of a destroyed one: somebody deleted it from the list before its host was heard.
GONE = (VmStatus.FAILED, VmStatus.DESTROYED)


def let_go(vm: VM) -> bool:
    """Give free all that a VM held whose host has said that it does not know it.

    False, and nothing is given free, while the sweeps are frozen and when network or pool do not
    answer; asked again next time.
    """
    if freezing.is_frozen():
        return False
    try:
        take_apart(vm)
    except ScloudError as error:
        said.say(vm.pk, error.code, logging.WARNING, "%s: %s", vm.pk, error.message)
        return False
    with transaction.atomic():
        changed = VM.objects.filter(
            pk=vm.pk, status=vm.status, host=vm.host_id, revision=vm.revision, task=""
        ).update(host=None)
        if changed:
            release_all(vm)
    if changed:
        log.info("%s is on no host any more: what it held was given free", vm.pk)
    return bool(changed)
