"""Leases: a port and a password for one VNC client, for 300 seconds."""

import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from compute.models import VM
from compute.models.vnc import VncLease, VncLeaseState
from compute.vnc import standing
from compute.vnc.rfb import new_password
from scloud.audit.events import emit
from scloud.lib import keys
from scloud.lib.errors import NoCapacity
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

# The gateway process listens here; the payload is the id of a lease.
CHANNEL: Final = "scloud_vnc_leases"
LIFETIME_S: Final = 300
KEEP: Final = timedelta(days=183)
DEFAULT_PORTS: Final = "15900-16899"
PERMISSION: Final = "compute.get_vnc_information"
_PORT_ATTEMPTS: Final = 20
_WAITING: Final = (VncLeaseState.REQUESTED, VncLeaseState.LISTENING)


@dataclass(frozen=True, kw_only=True)
class VncInformation:
    """What a person types into a VNC client. The password is shown this once."""

    lease_id: str
    vm_id: str
    address: str
    port: int
    password: str = field(repr=False)
    expires_at: datetime


def port_range() -> range:
    """Return the ports that the gateway may use (setting SCLOUD_VNC_GATEWAY_PORTS)."""
    text: str = getattr(settings, "SCLOUD_VNC_GATEWAY_PORTS", DEFAULT_PORTS)
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def issue(*, actor: Actor, vm: VM) -> VncInformation:
    """Write a lease and wake the gateway. The action around it checks right and state.

    Raises NoCapacity when every port is leased.
    """
    close_waiting(vm_id=vm.pk, reason="A newer one was asked for.")
    expire()
    password = new_password()
    now = timezone.now()
    lease = VncLease(
        tenant_id=vm.tenant_id,
        vm=vm,
        user=actor.user,
        api_key=actor.api_key,
        address=settings.SCLOUD_VNC_GATEWAY_ADDRESS,
        password_box=keys.box().encrypt(password.encode()).decode(),
        created_at=now,
        expires_at=now + timedelta(seconds=LIFETIME_S),
    )
    _take_port(lease)
    wake_gateway(lease.pk)
    return VncInformation(
        lease_id=lease.pk,
        vm_id=vm.pk,
        address=lease.address,
        port=lease.port,
        password=password,
        expires_at=lease.expires_at,
    )


def _take_port(lease: VncLease) -> None:
    """Save the lease with a random port that no other one waits on."""
    with scopes_disabled():
        taken = set(VncLease.objects.filter(state__in=_WAITING).values_list("port", flat=True))
        free = [port for port in port_range() if port not in taken]
        for _ in range(min(_PORT_ATTEMPTS, len(free))):
            lease.port = free.pop(secrets.randbelow(len(free)))
            try:
                with transaction.atomic():
                    lease.save(force_insert=True)
            except IntegrityError:
                continue  # another request was faster with this port
            return
    raise NoCapacity(
        "All ports for VNC clients are in use.",
        code="vnc_ports_exhausted",
        remedy="Try again in a few minutes, or open the screen in the browser.",
        numbers={"ports": len(port_range())},
    )


def wake_gateway(lease_id: str) -> None:
    """Tell the gateway, when the transaction commits, to look at a lease."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps({"lease": lease_id})])


def password_of(lease: VncLease) -> str:
    """Return the password of a lease that waits."""
    return str(keys.box().decrypt(lease.password_box.encode()).decode())


def _closing(reason: str) -> dict[str, Any]:
    return {
        "state": VncLeaseState.CLOSED,
        "password_box": "",
        "closed_at": timezone.now(),
        "close_reason": reason,
    }


def close_waiting(*, vm_id: str, reason: str) -> None:
    """Close the leases of a VM that nobody has used yet."""
    with scopes_disabled():
        waiting = VncLease.objects.filter(vm_id=vm_id, state__in=_WAITING)
        for lease_id in list(waiting.values_list("pk", flat=True)):
            if waiting.filter(pk=lease_id).update(**_closing(reason)):
                wake_gateway(lease_id)


def expire() -> int:
    """Close and forget what was not used in time, whether or not a gateway runs."""
    with scopes_disabled():
        return int(
            VncLease.objects.filter(state__in=_WAITING, expires_at__lte=timezone.now()).update(
                **_closing("Nobody used it in time.")
            )
        )


def sweep() -> int:
    """Expire leases, and delete old ones."""
    expired = expire()
    with scopes_disabled():
        VncLease.objects.filter(
            Q(closed_at__lt=timezone.now() - KEEP), state=VncLeaseState.CLOSED
        ).delete()
    return expired


# -- the gateway's side --------------------------------------------------------------------------


def waiting() -> list[VncLease]:
    """Return the leases for which a port has to be open now."""
    with scopes_disabled():
        return list(
            VncLease.objects.filter(state__in=_WAITING, expires_at__gt=timezone.now())
            .select_related("tenant", "user")
            .order_by("created_at")
        )


def mark_listening(lease_id: str) -> bool:
    """The port is open; False if the lease is not wanted any more."""
    with scopes_disabled():
        return bool(
            VncLease.objects.filter(
                pk=lease_id, state__in=_WAITING, expires_at__gt=timezone.now()
            ).update(state=VncLeaseState.LISTENING)
        )


def mark_connected(lease_id: str, *, client_ip: str | None) -> bool:
    """A client gave the right password. True for exactly one of them; the password is erased."""
    with scopes_disabled(), transaction.atomic():
        now = timezone.now()
        won = VncLease.objects.filter(
            pk=lease_id, state=VncLeaseState.LISTENING, expires_at__gt=now
        ).update(
            state=VncLeaseState.CONNECTED,
            password_box="",
            connected_at=now,
            client_ip=client_ip,
        )
        if won:
            _tell(VncLease.objects.get(pk=lease_id), "vm.vnc_opened", {})
        return bool(won)


def _holder(lease: VncLease) -> Actor | None:
    """Return who asked for the lease, as whom they are today; None if that is nobody."""
    user, key = lease.user, lease.api_key
    if user is None or not user.is_active or not lease.tenant.is_active:
        return None
    if user.tenant_id is None:
        return Actor.administrator(user, lease.tenant) if user.is_staff else None
    if user.tenant_id != lease.tenant_id:
        return None
    if key is not None and not (
        key.is_usable and key.user_id == user.pk and key.tenant_id == lease.tenant_id
    ):
        return None
    via = "api" if key is not None else "console"
    return Actor(tenant=lease.tenant, user=user, api_key=key, role=user.role, via=via)


def ending(lease_id: str) -> str:
    """Tell why the client of a lease may not see the screen (any more); empty when it may."""
    with scopes_disabled():
        lease = (
            VncLease.objects.select_related("tenant", "user", "api_key").filter(pk=lease_id).first()
        )
    if lease is None or lease.state == VncLeaseState.CLOSED:
        return "The lease was closed."
    holder = _holder(lease)
    if holder is None or not holder.allows(PERMISSION):
        return "The right to this screen has ended."
    state = standing.look(lease.vm_id)
    if state is None or not state.running:
        return "The VM is not running any more."
    return ""


def mark_closed(lease_id: str, *, reason: str) -> None:
    with scopes_disabled(), transaction.atomic():
        lease = VncLease.objects.select_for_update().filter(pk=lease_id).first()
        if lease is None or lease.state == VncLeaseState.CLOSED:
            return
        was_connected = lease.state == VncLeaseState.CONNECTED
        VncLease.objects.filter(pk=lease_id).update(**_closing(reason[:120]))
        if was_connected:
            _tell(lease, "vm.vnc_closed", {"reason": reason})


def forget_connected() -> int:
    """Close the leases that a gateway which died had connected: their connections died too."""
    with scopes_disabled():
        return int(
            VncLease.objects.filter(state=VncLeaseState.CONNECTED).update(
                **_closing("The gateway was started again.")
            )
        )


def _tell(lease: VncLease, kind: str, data: dict[str, Any]) -> None:
    with in_scope_of(lease.tenant):
        emit(
            tenant_id=lease.tenant_id,
            kind=kind,
            resource_kind="vm",
            resource_id=lease.vm_id,
            data={
                "user": lease.user.email if lease.user is not None else "",
                "ip": lease.client_ip,
                "lease": lease.pk,
                **data,
            },
        )
