"""Where the screens are: what the host of a VM is asked.

The functions block; they are for threads of the VNC processes, never for a web request.
"""

import logging
from datetime import timedelta
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hypervisor.base import DomainNotRunning, HypervisorError
from compute.models import VM
from compute.states.vms import VmStatus
from compute.tasks.drivers import hypervisor_of
from compute.vnc import rfb
from compute.vnc.screen import Endpoint, ScreenUnavailable
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)

# Long enough for one connection to be made, short enough that a password is worth nothing later.
PASSWORD_LIFETIME: Final = timedelta(seconds=30)


def prepare(vm_id: str) -> Endpoint:
    """Ask the VM's host where the screen listens and open it with a fresh password.

    Raises:
        ScreenUnavailable: there is no running VM, or its host does not answer.
    """
    with scopes_disabled():
        vm = VM.objects.filter(pk=vm_id, status=VmStatus.RUNNING).select_related("host").first()
    if vm is None or vm.host is None:
        raise ScreenUnavailable("The VM is not running.")
    hypervisor = hypervisor_of(vm.host)
    password = rfb.new_password()
    try:
        where = hypervisor.vnc_endpoint(str(vm.uuid))
        hypervisor.set_vnc_password(
            str(vm.uuid), password, valid_until=timezone.now() + PASSWORD_LIFETIME
        )
    except DomainNotRunning:
        raise ScreenUnavailable("The VM is not running.") from None
    except HypervisorError as error:
        log.warning("no screen of %s: %s", vm_id, error.message)
        raise ScreenUnavailable(_("The screen of the VM is not available right now.")) from error
    return Endpoint(address=where.address, port=where.port, password=password)
