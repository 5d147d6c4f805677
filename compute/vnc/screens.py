"""Where the screens are: what the host of a VM is asked.

The functions block; they are for threads of the VNC processes, never for a web request.
"""

import logging
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hypervisor.base import DomainNotRunning, HypervisorError
from compute.models import VM
from compute.states.vms import VmStatus
from compute.tasks.drivers import hypervisor_of
from compute.vnc import rfb
from compute.vnc.screen import Endpoint, ScreenUnavailable
from scloud.lib.backoff import Said
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

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
    tls = encryption(settings.SCLOUD_GATEWAY_CERTIFICATES)
    required = settings.SCLOUD_VNC_TLS == "required"
    if required and tls is None:
        raise ScreenUnavailable(_("The screen of the VM is not available right now."))
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
    return Endpoint(
        address=where.address,
        port=where.port,
        password=password,
        tls=tls,
        plain_allowed=not required,
    )


def encryption(directory: Path) -> ssl.SSLContext | None:
    """Return what connects to the hosts' screens with this machine's certificates.

    Read anew each time, so that renewals count at once. None where there are none, which is
    logged.
    """
    try:
        # Where the link leads now: certificate and key of one issue.
        place = directory.resolve(strict=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The authority with its revocation list.
        context.load_verify_locations(place / "ca.pem")
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        context.load_cert_chain(place / "cert.pem", place / "key.pem")
    except OSError as error:
        required = settings.SCLOUD_VNC_TLS == "required"
        level = logging.ERROR if required else logging.INFO
        said.say(directory, repr(error)[:200], level, "no certificates for screens: %s", error)
        return None
    said.over(directory, "there are certificates for screens")
    return context
