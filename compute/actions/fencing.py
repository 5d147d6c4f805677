"""What administrators do with the power of hosts, and with the devices that hold it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from compute.models import FenceDevice, Host
from compute.rules.fencing import (
    FENCE,
    POWER_OFF,
    POWER_ON,
    RECIPIENT,
    TEST,
    check_typed,
    device_of,
    fits,
    needs_password,
)
from compute.states.hosts import MAY_RUN, HostState
from compute.transitions.hosts import check_state
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib import keys
from scloud.lib.errors import InvalidInput
from scloud.tenancy.actor import Actor

#: Longer than a device may take (POWER_LIMIT_S of the port) and the wait for a slot.
DEADLINE_S = 300.0
_LOGGED = ("agent", "address", "port", "user", "system", "verify_certificate")


@action("platform.save_fence_device")
def save_fence_device(*, actor: Actor, device: FenceDevice, password: str = "") -> FenceDevice:
    """Store a new or changed device; an empty password stays as it is. It counts as not tested.

    Raises InvalidInput (``fence_device_invalid``, ``password_missing``, ``password_invalid``).
    """
    before = FenceDevice.objects.select_for_update().filter(pk=device.pk).first()
    try:
        device.full_clean()
    except ValidationError as error:
        field, texts = next(iter(error.message_dict.items()))
        raise InvalidInput(texts[0], code="fence_device_invalid", field=field) from error
    if password:
        if not fits(password):
            raise InvalidInput(
                _("This password cannot be used."), code="password_invalid", field="new_password"
            )
        device.sealed_password = keys.box().encrypt(password.encode()).decode()
    elif needs_password(before, {name: getattr(device, name) for name in RECIPIENT}):
        raise InvalidInput(_("Enter the password."), code="password_missing", field="new_password")
    if before is not None:
        audit.note(before={name: getattr(before, name) for name in _LOGGED})
        if not password:
            device.sealed_password = before.sealed_password
    device.tested_at, device.tested_power, device.test_error = None, "", ""
    device.save()
    audit.note(
        device,
        after={
            **{name: getattr(device, name) for name in _LOGGED},
            "password": "changed" if password else "kept",
        },
    )
    return device


@action("platform.delete_fence_device")
def delete_fence_device(*, actor: Actor, device: FenceDevice) -> None:
    """Delete a device with its password; its host can no longer be switched from here."""
    audit.note(device, before={name: getattr(device, name) for name in _LOGGED})
    device.delete()


@action("platform.test_fence_device")
def test_fence_device(*, actor: Actor, device: FenceDevice) -> Job:
    """Ask a device for the power of its host; nothing is switched. Raises Conflict."""
    audit.note(device)
    title = _("Test the fence device of %(name)s") % {"name": device.host.name}
    return _enqueue(actor, device, TEST, title)


@action("platform.power_off_host", confirmed=True)
def power_off_host(*, actor: Actor, host: Host, typed: str) -> Job:
    """Cut the power of a host, with everything that runs on it.

    ``typed`` is the host's name, as the operator has typed it. VMs' rows are left as they are.
    Raises InvalidInput (``name_differs``), Conflict (``no_fence_device``, ``target_busy``).
    """
    audit.note(host)
    check_typed(host, typed)
    title = _("Power off %(name)s") % {"name": host.name}
    return _enqueue(actor, device_of(host), POWER_OFF, title)


@action("platform.fence_host", confirmed=True)
def fence_host(*, actor: Actor, host: Host, typed: str) -> Job:
    """Give a host up: its device switches it off, and then it is fenced.

    ``typed`` is the host's name, as the operator has typed it. Raises InvalidInput
    (``name_differs``), Conflict (``host_state``, ``no_fence_device``, ``target_busy``).
    """
    audit.note(host)
    check_typed(host, typed)
    check_state(host, MAY_RUN)
    return _fence(actor, host, by_hand=True)


@action("platform.fence_host")
def fence_suspect_host(*, actor: Actor, host: Host) -> Job:
    """Fence a host that is suspect; whether it still may be is looked at again right before.

    Raises Conflict (``host_state``, ``no_fence_device``, ``target_busy``).
    """
    audit.note(host)
    check_state(host, frozenset({HostState.SUSPECT}))
    return _fence(actor, host, by_hand=False)


def _fence(actor: Actor, host: Host, *, by_hand: bool) -> Job:
    since = "" if host.state_since is None else host.state_since.isoformat()
    title = _("Fence %(name)s") % {"name": host.name}
    payload = {"by_hand": by_hand, "since": since}
    return _enqueue(actor, device_of(host), FENCE, title, payload)


@action("platform.power_on_host")
def power_on_host(*, actor: Actor, host: Host) -> Job:
    """Switch a host on. Raises Conflict (``no_fence_device``, ``target_busy``)."""
    audit.note(host)
    title = _("Power on %(name)s") % {"name": host.name}
    return _enqueue(actor, device_of(host), POWER_ON, title)


def _enqueue(
    actor: Actor,
    device: FenceDevice,
    kind: str,
    title: str,
    payload: dict[str, Any] | None = None,
) -> Job:
    """One job of a device at a time: a test beside a switch would see neither state."""
    return jobs.enqueue(
        kind=kind,
        tenant=None,
        title=title,
        target_kind=FenceDevice.KIND,
        target_id=device.pk,
        payload=payload,
        deadline_s=DEADLINE_S,
        actor=actor,
    )
