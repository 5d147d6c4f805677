"""Jobs that ask the devices of hosts, or have them switch. They touch no VM's row.

What becomes of the VMs of a host that was switched off shows when hosts are looked at next, as for
any host that does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from compute.fencing.base import AgentKind, DeviceRef, FencePort, FencingError
from compute.fencing.opening import open_fence
from compute.models import FenceDevice
from compute.rules.fencing import POWER_OFF, POWER_ON, TEST
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib import keys
from scloud.lib.errors import HostError, ScloudError
from scloud.tenancy.actor import Actor

ERROR_LENGTH: Final = 300

MESSAGES: dict[str, Promise] = {
    "fence_unreachable": _("The fence device does not answer."),
    "fence_refused": _("The fence device refuses the user, the password or the system."),
    "fence_certificate": _("The certificate of the fence device is not trusted."),
    "fence_timeout": _("The fence device did not answer in time."),
    "fence_not_confirmed": _("The fence device did not confirm it in time."),
    "fence_contradiction": _("The fence device contradicts itself."),
    "fence_agent_missing": _("The fence agent is not installed on this worker."),
}
FAILED = _("The fence device failed.")
REMEDIES: dict[str, Promise] = {
    "fence_certificate": _("Enter its certificate or its authority, or turn verification off."),
    "fence_agent_missing": _("Install the package fence-agents on every machine with workers."),
    "fence_not_confirmed": _("Treat the host as running until it was seen to be off."),
    "fence_contradiction": _("Treat the host as running until it was seen to be off."),
}


def fence_of(device: FenceDevice) -> FencePort:
    """Return the port of a device, with its password."""
    return open_fence(
        DeviceRef(
            agent=AgentKind(device.agent),
            address=device.address,
            port=device.port,
            user=device.user,
            password=keys.box().decrypt(device.sealed_password.encode()).decode(),
            system=device.system,
            verify=device.verify_certificate,
            certificate=device.certificate,
        )
    )


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise errors of devices as ScloudErrors, with the device's own words for operators."""
    try:
        yield
    except FencingError as error:
        kind = HostError if error.retryable else ScloudError
        remedy = REMEDIES.get(error.code)
        raise kind(
            str(MESSAGES.get(error.code, FAILED)),
            code=error.code,
            remedy=None if remedy is None else str(remedy),
            detail=error.message,
        ) from error


class DeviceHandler(Handler):
    """A job on one device: what came of it is on the row and in the operation log."""

    max_attempts = 1
    label: Promise

    def steps(self, job: Job) -> Sequence[Step]:
        return (Step("ask", str(self.label), self.ensure_asked),)

    def ensure_asked(self, context: Context) -> None:
        """Ask the device, and keep what it said for the end."""
        device = FenceDevice.objects.filter(pk=context.job.target_id).first()
        if device is None:
            raise ScloudError(gettext("The fence device was deleted."), code="fence_device_gone")
        with translated_errors():
            context.result.update(self.call(fence_of(device)))

    def call(self, port: FencePort) -> dict[str, Any]:
        raise AssertionError(f"{type(self).__name__} asks nothing")

    def on_success(self, context: Context) -> None:
        self._record(context, power=context.result["power"])

    def on_failure(self, context: Context, error: ScloudError) -> None:
        self._record(context, error=error)

    def _record(self, context: Context, power: str = "", error: ScloudError | None = None) -> None:
        device = FenceDevice.objects.filter(pk=context.job.target_id).first()
        if device is not None:
            record_fencing(
                actor=Actor.system(None),
                device=device,
                kind=context.job.kind,
                power=power,
                already=bool(context.result.get("already")),
                error=error,
            )


class AskDevice(DeviceHandler):
    """The power of the host is read, nothing is switched."""

    label = _("Asking for the power")

    def call(self, port: FencePort) -> dict[str, Any]:
        return {"power": port.status().power.value}


class PowerOff(DeviceHandler):
    """Off, seen to be off, or an error: see the contract of the port."""

    label = _("Switching the host off")
    # Whoever repeats it types the host's name again.
    repeatable = False

    def call(self, port: FencePort) -> dict[str, Any]:
        done = port.off()
        return {"power": done.power.value, "already": done.already}


class PowerOn(DeviceHandler):
    """On; the host's system boots afterwards."""

    label = _("Switching the host on")

    def call(self, port: FencePort) -> dict[str, Any]:
        done = port.on()
        return {"power": done.power.value, "already": done.already}


@action("platform.record_fencing")
def record_fencing(
    *,
    actor: Actor,
    device: FenceDevice,
    kind: str,
    power: str,
    already: bool = False,
    error: ScloudError | None = None,
) -> None:
    """Write what came of a job on a device: on its row, and in the operation log."""
    said = "" if error is None else error.for_operators()
    FenceDevice.objects.filter(pk=device.pk).update(
        tested_at=timezone.now(), tested_power=power, test_error=said[:ERROR_LENGTH]
    )
    audit.note(
        device,
        after={
            "job": kind,
            "power": power or None,
            "already": already,
            "error": None if error is None else error.code,
        },
        detail=said,
    )


def register_all() -> None:
    """Make the handlers known."""
    register(TEST, AskDevice())
    register(POWER_OFF, PowerOff())
    register(POWER_ON, PowerOn())
