"""Looking at a guest for somebody who asked, and keeping what was seen for some minutes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from compute.hypervisor.base import (
    AgentUnavailable,
    GuestFilesystem,
    GuestInterface,
    GuestSystem,
    Hypervisor,
    HypervisorError,
)
from compute.hypervisor.picture import png_of
from compute.models import VM, GuestLook, LookKind
from compute.tasks.base import is_on_host, vm_of
from compute.tasks.drivers import hypervisor_of
from scloud.audit import events
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib import keys

log = logging.getLogger(__name__)

# A guest belongs to a tenant: what it says is a stranger's text, and is kept only in small parts.
MAX_TEXT: Final = 120
MAX_INTERFACES: Final = 16
MAX_ADDRESSES: Final = 16
MAX_FILESYSTEMS: Final = 32
#: What PostgreSQL can count to; a guest may say more.
MAX_BYTES: Final = 2**62

Found = tuple[dict[str, Any] | None, bytes]


class LookAtGuest(Handler):
    """One look. What went wrong is an answer, too: the job succeeds and the page says why."""

    max_attempts = 3
    quiet = True

    def steps(self, job: Job) -> Sequence[Step]:
        return (Step("look", gettext("Looking at the guest"), self.ensure_seen),)

    def ensure_seen(self, context: Context) -> None:
        """Ask the host and write down the answer, if the VM is still where it was asked for."""
        vm = vm_of(context.job)
        what = LookKind(context.payload["what"])
        facts: dict[str, Any] | None = None
        content, error_code = b"", ""
        if not is_on_host(vm) or vm.host is None:
            error_code = "domain_not_running"
        else:
            try:
                facts, content = _LOOKS[what](hypervisor_of(vm.host), str(vm.uuid))
            except HypervisorError as error:
                log.info("%s of %s was not seen: %s", what, vm.pk, error.message)
                error_code = error.code
            except ValueError as error:
                log.warning("%s of %s was not understood: %s", what, vm.pk, error)
                error_code = "look_not_understood"
        context.guard()
        with transaction.atomic():
            kept = {
                "seen_at": timezone.now(),
                "error_code": error_code,
                "facts": facts,
                "sealed_content": keys.box().encrypt(content) if content else b"",
            }
            where = {"vm__host": vm.host_id, "vm__epoch": vm.epoch, "tenant": vm.tenant_id}
            GuestLook.objects.filter(vm=vm, what=what, **where).update(**kept)
            events.notify(
                tenant_id=vm.tenant_id,
                kind="vm.seen",
                resource_kind=VM.KIND,
                resource_id=vm.pk,
            )


def _screen(driver: Hypervisor, uuid: str) -> Found:
    return None, png_of(driver.screenshot(uuid))


def _console(driver: Hypervisor, uuid: str) -> Found:
    return None, driver.console_log(uuid)


def _facts(driver: Hypervisor, uuid: str) -> Found:
    # Most agents that do not answer are not there at all: that is known at once.
    if not driver.agent_ready(uuid):
        raise AgentUnavailable("The guest agent does not answer.")
    found = facts_of(driver.system(uuid), driver.addresses(uuid), driver.filesystems(uuid))
    return found, b""


_LOOKS = {LookKind.SCREEN: _screen, LookKind.CONSOLE: _console, LookKind.FACTS: _facts}


def facts_of(
    system: GuestSystem,
    interfaces: Sequence[GuestInterface],
    filesystems: Sequence[GuestFilesystem],
) -> dict[str, Any]:
    """Return what is kept of what an agent said: plain values, bounded in length and number."""
    return {
        "system": {
            name: _text(getattr(system, name))
            for name in ("name", "version", "kernel", "machine", "hostname")
        },
        "interfaces": [
            {
                "name": _text(one.name),
                "mac": _text(one.mac),
                "addresses": [_text(address) for address in one.addresses[:MAX_ADDRESSES]],
            }
            for one in interfaces
            if not _is_loopback(one)
        ][:MAX_INTERFACES],
        "filesystems": [
            {
                "mount_point": _text(one.mount_point),
                "device": _text(one.device),
                "type": _text(one.fs_type),
                "total_bytes": _bytes(one.total_bytes),
                "used_bytes": _bytes(one.used_bytes),
                "disks": [_text(disk) for disk in one.disk_ids[:MAX_ADDRESSES]],
            }
            for one in filesystems[:MAX_FILESYSTEMS]
        ],
    }


def _text(said: object) -> str:
    """A guest's word without what no page can show; PostgreSQL keeps no NUL."""
    shown = "".join(one for one in str(said)[: 4 * MAX_TEXT] if one.isprintable())
    return shown[:MAX_TEXT]


def _bytes(said: int | None) -> int | None:
    return said if said is not None and 0 <= said <= MAX_BYTES else None


def _is_loopback(interface: GuestInterface) -> bool:
    return bool(interface.addresses) and all(
        address.startswith(("127.", "::1/")) for address in interface.addresses
    )


def register_all() -> None:
    """Called once when Django is ready."""
    register("vm.look", LookAtGuest())


__all__ = ["LookAtGuest", "facts_of", "register_all"]
