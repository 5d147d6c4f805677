"""Jobs that ask the devices of hosts, or have them switch. They touch no VM's row.

That a host was fenced is written with the end of the job that did it, and nowhere else.

What becomes of the VMs of a host that was switched off shows when hosts are looked at next, as for
any host that does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from compute.fencing.base import POWER_LIMIT_S, AgentKind, DeviceRef, FencePort, FencingError
from compute.fencing.opening import open_fence
from compute.hosts.fencing import refusal
from compute.models import FenceDevice, Host
from compute.queries.hosts import situation_of
from compute.rules.fencing import FENCE, POWER_OFF, POWER_ON, TEST
from compute.states.hosts import MAY_RUN, MOVES, HostMove, HostState
from compute.transitions.hosts import move, note_failover
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib import keys, lease
from scloud.lib.errors import HostError, ScloudError
from scloud.recovery import freezing
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


#: The code of a job that found that its host need not be fenced any more.
NOT_DUE: Final = "fence_not_due"


class FenceHost(DeviceHandler):
    """Off, seen to be off, and with the end of the job *fenced*.

    A worker that dies leaves a host that is on or off; the next one asks for the same again, and a
    host that is off already counts.
    """

    label = _("Switching the host off")
    max_attempts = 3
    limit_s = POWER_LIMIT_S
    # The host is judged anew.
    repeatable = False

    def ensure_asked(self, context: Context) -> None:
        """Switch it off, unless it has been cleared; looked at again right before it is asked."""
        device = FenceDevice.objects.select_related("host").filter(pk=context.job.target_id).first()
        if device is None:
            raise ScloudError(gettext("The fence device was deleted."), code="fence_device_gone")
        due = partial(self.check_due, device.host_id, context.payload)
        due()
        with translated_errors(), lease.also(due):
            done = fence_of(device).off(limit_s=self.limit_s)
        context.result.update(power=done.power.value, already=done.already)

    @staticmethod
    def check_due(host_id: str, payload: dict[str, Any]) -> None:
        """Raise ScloudError (``fence_not_due``) unless the host is still to be fenced."""
        host = Host.objects.select_related("cluster").get(pk=host_id)
        if payload["by_hand"]:
            due = host.state in MAY_RUN
        else:
            since = "" if host.state_since is None else host.state_since.isoformat()
            due = (
                host.state == HostState.SUSPECT
                and since == payload["since"]
                and host.cluster.failover
                and not freezing.is_frozen()
                # That others are alive was seen by the sweeper that queued this.
                and not refusal(situation_of(host, others_alive=True))
            )
        if not due:
            raise ScloudError(
                gettext("%(name)s is no longer to be fenced.") % {"name": host.name}, code=NOT_DUE
            )

    def on_success(self, context: Context) -> None:
        super().on_success(context)
        device = FenceDevice.objects.filter(pk=context.job.target_id).first()
        if device is not None:
            self._fenced(device.host_id)

    @staticmethod
    def _fenced(host_id: str) -> None:
        """Write that it is off, whatever was concluded of it meanwhile."""
        reason = gettext("Its fence device confirmed that it is off.")
        host = Host.objects.select_for_update().get(pk=host_id)
        if host.state in MOVES[HostMove.FENCE].allowed_from:
            move(host, HostMove.FENCE, reason=reason)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        if error.code == NOT_DUE:
            return
        super().on_failure(context, error)
        device = FenceDevice.objects.select_related("host").filter(pk=context.job.target_id).first()
        if device is not None and device.host.state == HostState.SUSPECT:
            words = gettext("It was not fenced: %(reason)s") % {"reason": error.for_operators()}
            note_failover(device.host, words)


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
    register(FENCE, FenceHost())
